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


@dataclass(frozen=True)
class Accesses:
    """All that matters to the page cache, one entry an event, in the order of time.

    read: row of `trace.reads()`, -1 for what is none. until: when a call ended; `time` where it is not known
    or the kernel did not wait in it. start, end, wanted: bytes; `wanted` is where it would
    have ended had all been there that was asked for.
    """

    kind: Ints
    read: Ints
    file: Ints
    handle: Ints
    pid: Ints
    tid: Ints
    time: Ints
    until: Ints
    start: Ints
    end: Ints
    wanted: Ints
    direct: npt.NDArray[np.bool_]


def accesses_of(trace: Trace) -> Accesses:
    events = trace.events
    names, codes = list(events["op"].cat.categories), events["op"].cat.codes.to_numpy(np.int64)
    kind = np.array([*(KINDS.get(name, -1) for name in names), -1], np.int64)[codes]
    asynchronous = np.array([*(name.startswith(("aio_", "uring_")) for name in names), False], bool)[codes]
    file = events["file"].to_numpy(np.int64)
    data = np.append(trace.files["kind"].isin(DATA_KINDS).to_numpy(bool), False)
    data[:-1] &= ~trace.files["filesystem"].isin(MEMORY_FILESYSTEMS).to_numpy(bool)
    layer = events["layer"].to_numpy(object)
    offset = events["offset"].to_numpy(np.int64, na_value=-1)
    size = events["size"].to_numpy(np.int64, na_value=0)
    requested = events["requested"].to_numpy(np.int64)
    moves = (kind == READ) | (kind == SPLICED) | (kind == WRITE)
    is_read = ((kind == READ) | (kind == SPLICED)) & (layer == "syscall") & (size > 0)
    reads = is_read & np.append(trace.files["kind"].isin(DATA_KINDS).to_numpy(bool), False)[file]
    number = np.cumsum(reads) - 1
    advice = np.isin(kind, (RANDOM, NORMAL, SEQUENTIAL))
    wanted = (
        (kind >= 0) & data[file] & (moves <= (size > 0)) & ((offset >= 0) | advice)
        & (layer == np.where(kind == FAULT, "cache", "syscall")) & (events["errno"].to_numpy() == 0)
    )  # fmt: skip
    at = np.flatnonzero(wanted)
    time = events["time_ns"].to_numpy(np.int64)[at]
    duration = events["duration_ns"].to_numpy(np.int64, na_value=0)
    if trace.meta.cache == "cold" and (kind[at] == FAULT).any():
        # the faults of a cold run tell what came in and when: what else was found mapped had been in memory
        time = spans(time, np.where(kind[at] == PRESENT, duration[at], 0))[1]
        order = np.argsort(time, kind="stable")
        at, time = at[order], time[order]
    # of what was found later only the earliest time is known: faults all the same, one after the other
    later = np.arange(len(at)) - np.searchsorted(time, time, side="left")
    time = time + np.where(kind[at] == PRESENT, later, 0)
    kind, size, requested = kind[at], size[at], requested[at]
    asks = np.maximum(requested, size)
    start, wanted_end = spans(np.maximum(offset[at], 0), asks)
    _, end = spans(start, np.where(moves[at], size, requested))
    to_the_end = np.isin(kind, (WILLNEED, DONTNEED)) & (requested == 0)  # a length of 0: all the rest
    end[to_the_end] = LAST
    return Accesses(
        kind=kind,
        read=np.where(reads, number, -1)[at],
        file=file[at],
        handle=events["handle"].to_numpy(np.int64)[at],
        pid=events["pid"].to_numpy(np.int64)[at],
        tid=events["tid"].to_numpy(np.int64)[at],
        time=time,
        until=spans(time, np.where(asynchronous[at], 0, duration[at]))[1],
        start=start,
        end=end,
        wanted=wanted_end,
        direct=events["direct"].to_numpy(bool)[at],
    )


def overlaps_of(accesses: Accesses, order: Ints) -> npt.NDArray[np.bool_]:
    """Which of the accesses, given by file, are reads during which another task begins to read that file."""
    kind, file, tid, time = (
        values[order] for values in (accesses.kind, accesses.file, accesses.tid, accesses.time)
    )
    found = np.zeros(len(order), bool)
    found[:-1] = (
        (kind[:-1] == READ) & (kind[1:] == READ) & (file[1:] == file[:-1]) & (tid[1:] != tid[:-1])
        & (time[1:] < accesses.until[order][:-1])
    )  # fmt: skip
    return found


def first_touched(accesses: Accesses, rows: Ints) -> pd.DataFrame:
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
