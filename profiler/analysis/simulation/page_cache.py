"""What a cold page cache and Linux's read-ahead make of a program's reads: what is asked of the file system,
in order, each with the read that caused it.

The page cache is empty at the start but for what the caller says, and nothing is evicted but what the
program itself lets go. See the folder `kernel` for Linux's part.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.host import MEMORY_FILESYSTEMS
from profiler.analysis.intervals import LAST, PAGE, Ints, first_covering, fresh, joined, spans, to_pages
from profiler.analysis.simulation.kernel.accesses import (
    MADVISED,
    SPLICED,
    TOUCHING,
    Accesses,
    Rows,
    accesses_of,
    first_touched,
    overlaps_of,
)
from profiler.analysis.simulation.kernel.pages import CHUNK, MAX_CHUNKS, TooMuchError
from profiler.analysis.simulation.kernel.readahead import FileCache
from profiler.analysis.simulation.kernel.run import Run
from profiler.analysis.simulation.kernel.settings import Settings
from profiler.facts.values import known
from profiler.trace import Trace

_MAX_CALL = 2**31
"""No call moves so many bytes (MAX_RW_COUNT); files of which a trace says so are not followed page by
page."""

_SOUGHT_AT_ONCE = 1 << 20
"""Accesses in which it is sought what first needs what was read ahead."""

NEVER = 2**62
"""In `needed_ns`: no read and no fault ever touched it."""

_SIZES = {"read": "int64", "file": "int32", "offset": "int64", "size": "int64", "time_ns": "int64"}
REQUEST_COLUMNS = {**_SIZES, "needed_ns": "int64", "folio": "int64"}
"""Of the frame that `simulate` gives."""


def simulate(
    trace: Trace, *, resident: pd.DataFrame | None = None, read_ahead_kb: int | None = None
) -> pd.DataFrame:
    """What has to come from the device if nothing is cached at the start: one row a request, in the order of
    issue.

    Seen are the syscall layer and, where the trace has them, the faults of the layer `cache`: mapped reads
    of other traces stay unseen. What was observed to miss, or to reach a device, is not looked at.

    resident: what was in the page cache at the start all the same: file, offset, size (bytes).
    read_ahead_kb: of all devices; None: what the trace says of each file's device, READ_AHEAD_KB where it
    does not.

    Columns: read (row of `trace.reads()` that caused it; -1: a fault, advice, or the start of a program),
    file, offset, size (bytes; whole pages, but for O_DIRECT), time_ns (when it was issued), needed_ns (when
    a read or fault first touches it: time_ns for what somebody waits for, later for what was read ahead,
    NEVER if nobody does), folio (bytes that lie together in memory: a device takes so many of them at once).
    Each row is one submission: a request goes to the device for each stretch of it that lies together there
    (`placement.place`).

    Left out are reads of unknown offset and of memory file systems. Files of which a trace claims more than
    a machine could do are not read ahead: each page is then fetched by its first read.

    Raises NoMemoryError for more requests than there is memory for (`kernel.run.REQUEST_BYTES` each).
    """
    accesses = accesses_of(trace)
    direct = np.flatnonzero(accesses.direct & (accesses.kind <= SPLICED))
    passing = pd.DataFrame(
        {
            "event": direct,
            "file": accesses.file[direct],
            "offset": accesses.start[direct],
            "size": accesses.end[direct] - accesses.start[direct],
            "folio": PAGE,
        }
    )
    asked = _through_the_cache(trace, accesses, resident, read_ahead_kb)
    made = pd.concat([asked, passing], ignore_index=True) if len(passing) else asked
    del asked
    event = made["event"].to_numpy(np.int64)
    if (event[1:] < event[:-1]).any():
        order = np.argsort(event, kind="stable")
        event, made = event[order], made.iloc[order]
    columns: dict[str, Any] = {name: made[name].to_numpy() for name in ("file", "offset", "size", "folio")}
    del made
    columns["read"], columns["time_ns"] = accesses.read[event], accesses.time[event]
    columns["needed_ns"] = _needed(columns, event, accesses)
    return pd.DataFrame(
        {name: columns[name].astype(dtype, copy=False) for name, dtype in REQUEST_COLUMNS.items()},
        copy=False,
    )


def _through_the_cache(
    trace: Trace, accesses: Accesses, resident: pd.DataFrame | None, read_ahead_kb: int | None
) -> pd.DataFrame:
    """What the page caches of all files ask for: event (row of `accesses`), file, offset, size, folio."""
    order = _by_their_files(accesses)
    file = accesses.file[order]
    begins = np.flatnonzero(np.append(True, file[1:] != file[:-1])[: len(file)])
    numbers, bounds = file[begins].tolist(), [*begins.tolist(), len(order)]
    del file
    overlaps = overlaps_of(accesses, order)
    ends, huge = _file_ends(trace, accesses), _huge(accesses, len(trace.files))
    settings = Settings(trace, read_ahead_kb)
    held = _by_file(resident)
    coarse: list[Rows] = []
    cache = FileCache()
    run = Run(cache, accesses)
    asked = cache.asked
    for number, (low, high) in zip(numbers, pairwise(bounds), strict=True):
        most, largest, max_order = settings.of(number)
        before = len(asked)
        cache.of_another(ends[number], largest, max_order)
        try:
            if huge[number]:
                raise TooMuchError
            for begin, stop in held.get(number, ()):
                cache.keep(begin, stop)
            run.go(order[low:high], most, mixed=bool(overlaps[low:high].any()))
        except TooMuchError:
            del asked[before:]
            coarse.append(order[low:high])
    event, first, last, folio = np.frombuffer(asked, np.int64).reshape(-1, 4).T
    parts = [
        pd.DataFrame(
            {
                "event": event.astype(np.int32),  # as in `Accesses.row`
                "file": accesses.file[event],
                "offset": first * PAGE,
                "size": (last - first) * PAGE,
                "folio": folio * PAGE,
            },
            copy=False,
        )
    ]
    for rows in coarse:
        parts.append(first_touched(accesses, rows))
    return pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]


def _by_their_files(accesses: Accesses) -> Rows:
    """The accesses that go through the page cache, those of one file after another, in the order of time."""
    cached = np.flatnonzero(~accesses.direct).astype(np.int32)
    file = accesses.file[cached]
    # numbers of 16 bits are sorted much faster, and few traces have more files
    small = len(file) > 0 and file.max() < 2**15
    found: Rows = cached[np.argsort(file.astype(np.int16) if small else file, kind="stable")]
    return found


def _huge(accesses: Accesses, files: int) -> npt.NDArray[np.bool_]:
    """The files of which a trace claims more than a machine could do."""
    size = accesses.end - accesses.start
    large = np.flatnonzero(size > (CHUNK - 2) * PAGE)  # in whole pages they may cover a chunk
    large = large[np.isin(accesses.kind[large], TOUCHING)]
    found = np.zeros(files, bool)
    found[accesses.file[large[size[large] > _MAX_CALL]]] = True
    cached = large[~accesses.direct[large]]
    start, end = to_pages(accesses.start[cached], accesses.end[cached])
    chunks = np.bincount(accesses.file[cached], (end - start) // (CHUNK * PAGE), files)
    return found | (chunks > MAX_CHUNKS)


def _file_ends(trace: Trace, accesses: Accesses) -> list[int]:
    """Pages of each file. Of a file of unknown size, those that are known to be there."""
    size = trace.files["size"].to_numpy(np.int64, na_value=-1).copy()
    for file in np.flatnonzero((trace.files["kind"] == "block").to_numpy(bool) & (size < 0)).tolist():
        size[file] = known(trace.meta.host.device(trace.files["device"][file]).size_bytes, -1)
    seen = np.zeros(len(trace.files), np.int64)
    touched = np.flatnonzero((size < 0)[accesses.file])
    touched = touched[np.isin(accesses.kind[touched], TOUCHING)]
    np.maximum.at(seen, accesses.file[touched], accesses.end[touched])
    size = np.where(size < 0, seen, np.minimum(size, LAST))
    ends: list[int] = (-(-size // PAGE)).tolist()
    return ends


def _by_file(resident: pd.DataFrame | None) -> dict[int, list[tuple[int, int]]]:
    """What was there at the start, in pages, by file."""
    found: dict[int, list[tuple[int, int]]] = {}
    if resident is not None:
        offset, size = (resident[name].to_numpy(np.int64) for name in ("offset", "size"))
        start, end = to_pages(*spans(offset, size))
        pages = zip(resident["file"].tolist(), (start // PAGE).tolist(), (end // PAGE).tolist(), strict=True)
        for file, first, stop in pages:
            if first < stop:
                found.setdefault(file, []).append((first, stop))
    return found


def _needed(made: Mapping[str, Any], event: Ints, accesses: Accesses) -> Ints:
    """When each request is first needed; see `simulate`. event: the access that caused it."""
    time: Ints = made["time_ns"]
    file = made["file"]
    start, end = spans(made["offset"], made["size"])
    touches = np.zeros(MADVISED + 3, bool)
    touches[list(TOUCHING)] = True
    own = touches[accesses.kind[event]] & (accesses.start[event] < end) & (accesses.end[event] > start)
    ahead = np.flatnonzero(~own)
    needed = time.copy()
    if not len(ahead):
        return needed
    needed[ahead] = NEVER
    file, start, end = file[ahead], start[ahead], end[ahead]
    read_ahead = np.zeros(int(accesses.file.max(initial=0)) + 1, bool)
    read_ahead[file] = True
    # a piece of the accesses at a time, none of them much smaller than what was read ahead
    at_once = max(_SOUGHT_AT_ONCE, len(ahead))
    for begin in range(0, len(accesses), at_once):
        some = slice(begin, begin + at_once)
        access = np.flatnonzero(
            touches[accesses.kind[some]] & ~accesses.direct[some] & read_ahead[accesses.file[some]]
        )
        access += begin
        first, last = to_pages(accesses.start[access], accesses.end[access])
        which = np.concatenate([file, file, accesses.file[access], accesses.file[access]])
        keys, _, _ = joined(which, np.concatenate([start, end, first, last]))
        begins, ends, first, last = np.split(keys, np.cumsum([len(ahead), len(ahead), len(access)]))
        order = np.argsort(begins, kind="stable")
        low = np.searchsorted(np.maximum.accumulate(ends[order]), first, side="right")
        high = np.searchsorted(begins[order], last, side="left")
        met = np.flatnonzero(low < high)
        if not len(met):
            continue
        found = first_covering(low[met], high[met], len(order))
        by = np.flatnonzero(found < len(met))
        by = by[needed[ahead[order[by]]] == NEVER]  # those before it have no earlier piece
        rows = ahead[order[by]]
        needed[rows] = np.maximum(accesses.time[access[met[found[by]]]], time[rows])
    return needed


def first_touches(reads: pd.DataFrame, files: pd.DataFrame) -> pd.DataFrame:
    """What has to come from the device if nothing is cached at the start and nothing is evicted.

    reads: the frame of `Trace.reads()`. files: the trace's table of files, for their file systems.

    Gives one row a request, in order: read (row of `reads` that caused it), file, offset and size (bytes,
    whole pages), time_ns. A request is a stretch of pages of one read that no earlier read of that file
    touched, so a re-read costs nothing. Reads with O_DIRECT go past the page cache: they always count, as
    they are, and leave nothing behind. Reads of memory file systems cost nothing; reads of unknown offset
    cannot be placed and are left out.

    >>> touched = coldseek.first_touches(trace.reads(), trace.files)
    >>> len(touched), list(touched.columns)
    (64, ['read', 'file', 'offset', 'size', 'time_ns'])
    """
    row = np.flatnonzero(reads["offset"].notna().to_numpy(bool) & ~_in_memory(reads, files))
    chosen = reads.iloc[row]
    file = chosen["file"].to_numpy(np.int64)
    start, end = spans(chosen["offset"].to_numpy(np.int64), chosen["size"].to_numpy(np.int64))
    direct = chosen["direct"].to_numpy(bool)

    cached = np.flatnonzero(~direct)
    pieces = fresh(file[cached], *to_pages(start[cached], end[cached]))
    passing = np.flatnonzero(direct)
    which = np.concatenate([cached[pieces.row], passing])
    begin = np.concatenate([pieces.start, start[passing]])
    stop = np.concatenate([pieces.end, end[passing]])
    order = np.argsort(which, kind="stable")  # the pieces of one read stay in the order of their offsets
    which, begin, stop = which[order], begin[order], stop[order]
    return pd.DataFrame(
        {
            "read": row[which].astype(np.int64),
            "file": file[which].astype(np.int32),
            "offset": begin,
            "size": stop - begin,
            "time_ns": chosen["time_ns"].to_numpy(np.int64)[which],
        }
    )


def _in_memory(reads: pd.DataFrame, files: pd.DataFrame) -> npt.NDArray[np.bool_]:
    memory = files["filesystem"].isin(MEMORY_FILESYSTEMS).to_numpy(bool)
    memory = np.append(memory, False)  # where file -1 points
    found: npt.NDArray[np.bool_] = memory[reads["file"].to_numpy(np.int64)]
    return found
