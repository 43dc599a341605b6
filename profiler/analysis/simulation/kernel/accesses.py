"""What the events of a trace mean to the page cache: what is read, touched, advised or opened, in order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.host import MEMORY_FILESYSTEMS
from profiler.analysis.intervals import LAST, PAGE, Ints, fresh, spans, to_pages
from profiler.calls import READ_OPS, WRITE_OPS
from profiler.trace import DATA_KINDS, Trace

PIPE = 16 * PAGE
"""Bytes that sendfile, splice and copy_file_range read at a time: a pipe's room (PIPE_DEF_BUFFERS)."""

READ, SPLICED, HEAD, FAULT, WILLNEED, RANDOM, NORMAL, SEQUENTIAL = range(8)
DONTNEED, WRITE, MAP, CODE, PRESENT, MADVISED = range(8, 14)
TOUCHING = (READ, SPLICED, HEAD, FAULT, PRESENT)
KINDS = {
    **dict.fromkeys(READ_OPS, READ),
    **dict.fromkeys(("sendfile", "splice", "copy_file_range", "uring_splice"), SPLICED),
    **dict.fromkeys(WRITE_OPS, WRITE),
    "exec": HEAD, "fault": FAULT, "readahead": WILLNEED, "fadvise_willneed": WILLNEED,
    "fadvise_random": RANDOM, "fadvise_normal": NORMAL, "fadvise_sequential": SEQUENTIAL,
    "fadvise_dontneed": DONTNEED, "mmap": MAP, "mmap_exec": CODE, "present": PRESENT,
    "madvise_willneed": WILLNEED, "madvise_normal": MADVISED, "madvise_random": MADVISED + 1,
    "madvise_sequential": MADVISED + 2,
}  # fmt: skip
"""What an event means to the page cache of its file."""
ADVICE = ("", "random", "sequential")


Rows = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Accesses:
    """All that matters to the page cache, one entry an event, in the order of time.

    row: of the trace's events. read: row of `trace.reads()`, -1 for what is none. start, end, wanted: bytes;
    `wanted` is where it would have ended had all been there that was asked for. There are tens of millions,
    so columns are as narrow as they may be, and what few ask for is looked up among the events.
    """

    events: pd.DataFrame
    row: Rows
    kind: npt.NDArray[np.int8]
    read: Rows
    file: Rows
    time: Ints
    start: Ints
    end: Ints
    wanted: Ints
    direct: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.row)

    def of_event(self, name: str, entries: npt.NDArray[np.integer]) -> Rows:
        """A column of the events without nulls: handle, pid, tid."""
        found: Rows = self.events[name].to_numpy()[self.row[entries]]
        return found

    def until(self, entries: npt.NDArray[np.integer]) -> Ints:
        """When calls ended; `time` where it is not known or the kernel did not wait in it."""
        events = self.events.iloc[self.row[entries]][["op", "duration_ns"]]
        names = events["op"].cat.categories
        waited = np.array([*(not name.startswith(("aio_", "uring_")) for name in names), True], bool)
        duration = events["duration_ns"].to_numpy(np.int64, na_value=0)
        duration[~waited[events["op"].cat.codes.to_numpy()]] = 0
        return spans(self.time[entries], duration)[1]


def accesses_of(trace: Trace) -> Accesses:
    events = trace.events
    names, codes = list(events["op"].cat.categories), events["op"].cat.codes.to_numpy()
    kind = np.array([*(KINDS.get(name, -1) for name in names), -1], np.int8)[codes]
    file = events["file"].to_numpy()
    of_data = np.append(trace.files["kind"].isin(DATA_KINDS).to_numpy(bool), False)
    data = of_data.copy()
    data[:-1] &= ~trace.files["filesystem"].isin(MEMORY_FILESYSTEMS).to_numpy(bool)
    in_call, in_cache = ((events["layer"] == layer).to_numpy(bool) for layer in ("syscall", "cache"))
    size = events["size"].to_numpy(np.int64, na_value=0)
    got = size > 0
    reads = ((kind == READ) | (kind == SPLICED)) & in_call & got & of_data[file]
    offset = events["offset"].to_numpy(np.int64, na_value=-1)
    moves = (kind == READ) | (kind == SPLICED) | (kind == WRITE)
    advice = (kind >= RANDOM) & (kind <= SEQUENTIAL)
    wanted = (
        (kind >= 0) & data[file] & (moves <= got) & ((offset >= 0) | advice)
        & np.where(kind == FAULT, in_cache, in_call) & (events["errno"].to_numpy() == 0)
    )  # fmt: skip
    at = np.flatnonzero(wanted)
    time = events["time_ns"].to_numpy(np.int64)[at]
    found = kind[at] == PRESENT
    if trace.meta.cache == "cold" and found.any() and (kind[at] == FAULT).any():
        # the faults of a cold run tell what came in and when: what else was found mapped had been in memory
        duration = events["duration_ns"].to_numpy(np.int64, na_value=0)
        time = spans(time, np.where(found, duration[at], 0))[1]
        order = np.argsort(time, kind="stable")
        at, time, found = at[order], time[order], found[order]
    if found.any():
        # of what was found later only the earliest time is known: faults all the same, one after the other
        later = np.arange(len(at)) - np.searchsorted(time, time, side="left")
        time = time + np.where(found, later, 0)
    kind, size, moves = kind[at], size[at], moves[at]
    requested = events["requested"].to_numpy(np.int64)[at]
    start, wanted_end = spans(np.maximum(offset[at], 0), np.maximum(requested, size))
    _, end = spans(start, np.where(moves, size, requested))
    to_the_end = ((kind == WILLNEED) | (kind == DONTNEED)) & (requested == 0)  # a length of 0: all the rest
    end[to_the_end] = LAST
    return Accesses(
        events=events,
        row=at.astype(np.int32),
        kind=kind,
        read=np.where(reads, np.cumsum(reads, dtype=np.int32) - 1, np.int32(-1))[at],
        file=file[at],
        time=time,
        start=start,
        end=end,
        wanted=end if np.array_equal(wanted_end, end) else wanted_end,
        direct=events["direct"].to_numpy(bool)[at],
    )


def overlaps_of(accesses: Accesses, order: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Which of the accesses, given by file, are reads during which another task begins to read that file."""
    is_read, file = accesses.kind[order] == READ, accesses.file[order]
    tid = accesses.of_event("tid", order)
    found = np.zeros(len(order), bool)
    found[:-1] = is_read[:-1] & is_read[1:] & (file[1:] == file[:-1]) & (tid[1:] != tid[:-1])
    near = np.flatnonzero(found)
    found[near] = accesses.time[order[near + 1]] < accesses.until(order[near])
    return found


def first_touched(accesses: Accesses, rows: npt.NDArray[np.integer]) -> pd.DataFrame:
    """What the page cache asks for without read-ahead, for the rows of one file."""
    rows = rows[np.isin(accesses.kind[rows], TOUCHING)]
    start, end = to_pages(accesses.start[rows], accesses.end[rows])
    pieces = fresh(np.zeros(len(rows), np.int64), start, end)
    return pd.DataFrame(
        {
            "event": rows[pieces.row],
            "file": accesses.file[rows][pieces.row],
            "offset": pieces.start,
            "size": pieces.end - pieces.start,
            "folio": PAGE,
        }
    )
