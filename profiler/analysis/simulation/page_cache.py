"""What a cold page cache and Linux's read-ahead make of a program's reads: what is asked of the file system,
in order, each with the read that caused it.

The page cache is empty at the start but for what the caller says, and nothing is evicted but what the
program itself lets go. See `readahead` for the kernel's part.
"""

from __future__ import annotations

import heapq
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.host import MEMORY_FILESYSTEMS
from profiler.analysis.intervals import LAST, PAGE, Ints, first_covering, fresh, joined, spans, to_pages
from profiler.analysis.simulation.accesses import (
    ADVICE,
    CODE,
    DONTNEED,
    FAULT,
    HEAD,
    MADVISED,
    MAP,
    PIPE,
    PRESENT,
    RANDOM,
    READ,
    SEQUENTIAL,
    SPLICED,
    TOUCHING,
    WILLNEED,
    WRITE,
    Accesses,
    Rows,
    accesses_of,
    first_touched,
    overlaps_of,
)
from profiler.analysis.simulation.readahead import (
    CHUNK,
    MAX_CHUNKS,
    MAX_ORDER,
    SHIFT,
    FileCache,
    TooMuchError,
    Window,
)
from profiler.errors import NoMemoryError
from profiler.facts.values import known
from profiler.files.free_memory import available_bytes
from profiler.trace import Trace
from profiler.units import show_bytes

_MAX_CALL = 2**31
"""No call moves so many bytes (MAX_RW_COUNT); files of which a trace says so are not followed page by
page."""

NEVER = 2**62
"""In `needed_ns`: no read and no fault ever touched it."""

READ_AHEAD_KB, MAX_SECTORS_KB, MAX_SEGMENTS = 128, 1280, 128
"""Of a device of which the trace does not say: the kernel's own defaults (VM_READAHEAD_PAGES,
BLK_DEF_MAX_SECTORS_CAP, BLK_MAX_SEGMENTS)."""

_MOST_KB = 64 * 1024
"""More than this is believed of no device: a hostile trace may claim anything."""

REQUEST_BYTES = 700
"""Of memory that a request takes, or 2 MiB of a file that are there, at the peak, until it is projected. A
start that asks for more than there is memory for is refused: a single read can be of 2 GiB."""

_LARGE_FOLIOS = {
    "ext4": (6, 16), "xfs": (5, 18), "bcachefs": (6, 7), "erofs": (6, 2), "afs": (6, 0), "nfs": (6, 13),
    "nfs4": (6, 13), "cifs": (6, 14), "smb3": (6, 14), "9p": (6, 14), "zonefs": (6, 0), "": (6, 16),
}  # fmt: skip
"""File systems that take folios of several pages, and since which Linux."""

_SIZES = {"read": "int64", "file": "int32", "offset": "int64", "size": "int64", "time_ns": "int64"}
REQUEST_COLUMNS = {**_SIZES, "needed_ns": "int64", "folio": "int64"}
"""Of the frame that `simulate` gives."""
_IN_CHUNK = CHUNK - 1
_PAGE = [1 << bit for bit in range(CHUNK)]
_TWO_BEFORE = [3 << bit >> 2 for bit in range(CHUNK)]
_THREE = [7 << bit >> 2 for bit in range(CHUNK)]
"""Of a page of a chunk its bit, those of the two before it, and all three."""

_IN_A_ROW = 16
"""So many stretches of mapped pages in a row, 1 MiB of a file without a gap: it was read through. Our own
choice: programs and libraries jump, and leave gaps."""


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

    Raises NoMemoryError for more requests than there is memory for (REQUEST_BYTES each).
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
    settings = _Settings(trace, read_ahead_kb)
    held = _by_file(resident)
    coarse: list[Rows] = []
    cache = FileCache()
    run = _Run(cache, accesses)
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


class _Run:
    """The accesses to one file after another."""

    def __init__(self, cache: FileCache, accesses: Accesses) -> None:
        self._cache = cache
        self._accesses = accesses
        self._most = 0
        free = available_bytes()
        self._room = (LAST if free is None else free) // REQUEST_BYTES
        self._windows: dict[int, Window] = {}
        self._maps: dict[int, list[_Map]] = {}  # by process, the latest last
        self._last_maps: list[_Map] = []
        self._advice: dict[int, list[tuple[int, int, str]]] = {}  # by process: pages, what was said of them
        self._row, self._row_end = 0, -1  # stretches found mapped without a gap; where the last one ends
        self._missed: dict[int, int] = {}  # task -> the page at which it last missed

    def go(self, rows: Rows, most: int, mixed: bool) -> None:
        """Take these rows of the accesses, those of one file whose opens read ahead up to `most` pages.
        mixed: some of its reads overlap. Raises TooMuchError."""
        self._most = most
        windows, cache = self._windows, self._cache
        self._row, self._row_end = 0, -1
        for kept in (windows, self._maps, self._last_maps, self._advice, self._missed):
            kept.clear()
        if mixed:
            self._go_mixed(rows)
            return
        plain, present, asked, read = cache.plain, cache.present, cache.asked, cache.read
        end, room = cache.end, self._room
        last, window = -2, Window(most)
        single: list[int] = []  # of `asked`, what is still to be put there
        for few in _pieces(self._accesses, rows):
            at, count = 0, len(few.kind)
            while at < count:
                start, stop, handle = few.start[at], few.stop[at], few.handle[at]
                if few.kind[at] != READ:
                    asked.extend(single)
                    single.clear()
                    self._other(few, at)
                    at += 1
                    continue
                if handle != last:
                    window, last = self._window(handle), handle
                chunk, bit = start >> SHIFT, start & _IN_CHUNK
                one, there, mask = stop - start == 1, plain.get(chunk, 0), _PAGE[bit]
                if one and there & mask:
                    # it is there, and so is what is read next: nearly all of a sequential stream
                    if few.until[at] > at + 1:
                        there >>= bit
                        behind = start + (~there & (there + 1)).bit_length() - 1
                        at = bisect_left(few.start, behind, at + 1, few.until[at]) - 1
                elif (
                    one and bit > 1 and (bits := present.get(chunk, 0)) & _THREE[bit] < _TWO_BEFORE[bit]
                    and start < end and most and few.wanted[at] == stop
                    and not 0 <= start - window.previous <= 1
                    and not window.random and len(present) < MAX_CHUNKS
                ):  # fmt: skip
                    # A page alone that follows at most one that is there, as `read` would find out: nearly
                    # all of random reads.
                    present[chunk], plain[chunk] = bits | mask, there | mask
                    single += (few.event[at], start, stop, 1)
                else:
                    asked.extend(single)
                    single.clear()
                    read(window, start, stop, few.wanted[at], few.event[at])
                    if (len(asked) >> 2) + len(present) > room:
                        raise self._too_many()
                window.previous = few.after[at]
                at += 1
            asked.extend(single)
            single.clear()

    def _go_mixed(self, rows: Rows) -> None:
        """`go` where tasks read the file at the same time: a read goes as far as to the first page that it
        has to wait for when it begins, and on from there when it ends, with others in between."""
        accesses = self._accesses
        waiting: list[tuple[int, int, Iterator[None], Window, int]] = []  # by their ends

        def go_on(until: int) -> None:
            while waiting and waiting[0][0] <= until:
                _, _, steps, window, after = heapq.heappop(waiting)
                for _ in steps:
                    self._check()
                window.previous = after

        for few in _pieces(accesses, rows):
            times, ends = accesses.time[few.event].tolist(), accesses.until(np.array(few.event)).tolist()
            for at, (kind, event, time, until) in enumerate(
                zip(few.kind, few.event, times, ends, strict=True)
            ):
                go_on(time)
                if kind != READ:
                    self._other(few, at)
                    continue
                window = self._window(few.handle[at])
                steps = self._cache.reading(window, few.start[at], few.stop[at], few.wanted[at], event)
                next(steps, None)
                self._check()
                heapq.heappush(waiting, (until, event, steps, window, few.after[at]))
        go_on(LAST)

    def _check(self) -> None:
        if (len(self._cache.asked) >> 2) + len(self._cache.present) > self._room:
            raise self._too_many()

    def _too_many(self) -> NoMemoryError:
        size = show_bytes(self._room * REQUEST_BYTES)
        return NoMemoryError(
            f"with nothing cached this start asks for more than {self._room:,} pieces, which take more "
            f"memory than the {size} that are free"
        )

    def _window(self, handle: int) -> Window:
        window = self._windows.get(handle)
        if window is None:
            window = self._windows[handle] = Window(self._most)
        return window

    def _other(self, few: _Piece, at: int) -> None:
        """Whatever is no plain read."""
        self._check()
        cache, kind = self._cache, few.kind[at]
        start, stop, event = few.start[at], few.stop[at], few.event[at]
        if kind == FAULT:
            self._fault(start, event)
        elif kind == PRESENT:
            self._found_present(start, stop, event)
        elif kind in (MAP, CODE):
            made = _Map(start, stop, few.handle[at], kind == CODE)
            self._maps.setdefault(self._number("pid", event), []).append(made)
            self._last_maps.append(made)
        elif kind == WRITE:
            cache.keep(start, stop)
        elif kind == DONTNEED:
            begin, end = int(self._accesses.start[event]), int(self._accesses.end[event])
            first, last = -(-begin // PAGE), end // PAGE if end < cache.end * PAGE else cache.end
            if first < last:
                cache.drop(first, last)
        elif kind >= MADVISED:
            said = (start, stop, ADVICE[kind - MADVISED])
            self._advice.setdefault(self._number("pid", event), []).append(said)
        else:
            self._on_open(few, at, self._window(few.handle[at]))

    def _number(self, name: str, event: int) -> int:
        """Of an access, a column of its event."""
        accesses = self._accesses
        return int(accesses.events[name].to_numpy()[accesses.row[event]])

    def _on_open(self, few: _Piece, at: int, window: Window) -> None:
        """Reads that the kernel makes in pieces, and advice on an open."""
        kind, event = few.kind[at], few.event[at]
        start, stop = few.start[at], few.stop[at]
        if kind == HEAD:
            self._cache.read(window, start, stop, stop, event)
            window.previous = few.after[at]
        elif kind == SPLICED:
            begin, end = int(self._accesses.start[event]), int(self._accesses.end[event])
            while begin < end:
                until = min(begin + PIPE, end)
                self._cache.read(window, begin // PAGE, -(-until // PAGE), -(-until // PAGE), event)
                window.previous = until // PAGE
                begin = until
        elif kind == WILLNEED:
            self._cache.advised(window, start, stop - start, event)
        else:
            window.random = kind == RANDOM
            if kind != RANDOM:
                window.most = self._most * (2 if kind == SEQUENTIAL else 1)

    def _found_present(self, start: int, stop: int, event: int) -> None:
        """Pages that were found mapped: of one fault, or of several, and nobody knows at which page.

        The middle one stands for all that it may have been. What of them is missing then was touched too. In
        a row of many that leave nothing out the program went through the file, and met the marks at which
        more is read ahead.
        """
        self._row = self._row + 1 if start == self._row_end else 0
        self._row_end = stop
        through, middle = self._row >= _IN_A_ROW, (start + stop) // 2
        next_of = self._cache.first_to_do if through else self._cache.first_missing
        for begin, end in ((start, stop),) if through else ((middle, middle + 1), (start, stop)):
            page = next_of(begin, end)
            while page < end:
                self._fault(page, event)
                self._check()
                page = next_of(page + 1, end)

    def _fault(self, page: int, event: int) -> None:
        pid, tid = self._number("pid", event), self._number("tid", event)
        if self._missed.pop(tid, None) == page:
            return  # the same once more, now that it is there: it had let go of its locks to wait
        mapping = _covering(self._maps.get(pid, ()), page) or _covering(self._last_maps, page)
        said = self._advice.get(pid, ())
        advice = next((words for start, stop, words in reversed(said) if start <= page < stop), "")
        window = self._window(-1 if mapping is None else mapping.handle)
        code_end = mapping.stop if mapping is not None and mapping.code else None
        if self._cache.fault(window, page, event, advice=advice, code_end=code_end):
            self._missed[tid] = page


@dataclass(frozen=True, slots=True)
class _Map:
    """Pages [start, stop) of the file are mapped, by way of an open; code: they may be executed."""

    start: int
    stop: int
    handle: int
    code: bool


def _covering(maps: Sequence[_Map], page: int) -> _Map | None:
    """The latest mapping of a page."""
    return next((one for one in reversed(maps) if one.start <= page < one.stop), None)


_SOUGHT_AT_ONCE = 1 << 20

_AT_ONCE = 1 << 16
"""Accesses that are Python's numbers at a time: all of them at once would take five times the columns."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Accesses to one file, in pages. after: where the position is then. event: row of `Accesses`. until: of
    reads of one page each, of one open, that go on from page to page, where in the piece that ends."""

    kind: list[int]
    start: list[int]
    stop: list[int]
    after: list[int]
    wanted: list[int]
    handle: list[int]
    event: list[int]
    until: list[int]


def _pieces(accesses: Accesses, rows: Rows) -> Iterator[_Piece]:
    """These accesses, never more than _AT_ONCE of them as Python's numbers."""
    for begin in range(0, len(rows), _AT_ONCE):
        event = rows[begin : begin + _AT_ONCE]
        kind, handle, ends = accesses.kind[event], accesses.of_event("handle", event), accesses.end[event]
        start, end = to_pages(accesses.start[event], ends)
        wanted = np.maximum(to_pages(end, accesses.wanted[event])[1], end) // PAGE
        start, stop = start // PAGE, end // PAGE
        alone = (kind == READ) & (stop - start == 1)
        goes_on = alone[1:] & alone[:-1] & (handle[1:] == handle[:-1]) & (np.diff(start) >> 1 == 0)
        last = np.append(np.where(goes_on, len(event), np.arange(1, len(event))), len(event))
        until = np.minimum.accumulate(last[::-1])[::-1]
        columns = (kind, start, stop, ends // PAGE, wanted, handle, event, until)
        yield _Piece(*(column.tolist() for column in columns))


class _Settings:
    """What the trace says of the devices and file systems that its files are on."""

    def __init__(self, trace: Trace, read_ahead_kb: int | None) -> None:
        self._host = trace.meta.host
        self._read_ahead_kb = read_ahead_kb
        self._on = trace.files["device"].tolist()
        self._kinds = trace.files["filesystem"].tolist()
        release = re.match(r"(\d{1,4})\.(\d{1,4})", trace.meta.host.kernel or "")
        self._kernel = (int(release[1]), int(release[2])) if release else (99, 0)  # unknown: a recent one
        self._known: dict[tuple[str, str], tuple[int, int, int]] = {}

    def of(self, file: int) -> tuple[int, int, int]:
        """Of a file: pages that its opens read ahead, and that one read may bring in; largest order of a
        folio."""
        key = self._on[file], self._kinds[file]
        found = self._known.get(key)
        if found is None:
            device = self._host.device(key[0])
            most = self._read_ahead_kb
            if most is None:
                most = min(known(device.read_ahead_kb, READ_AHEAD_KB), _MOST_KB)
            largest = min(known(device.max_sectors_kb, MAX_SECTORS_KB), _MOST_KB)
            since = _LARGE_FOLIOS.get(key[1])
            order = MAX_ORDER if since is not None and self._kernel >= since else 0
            kb = PAGE // 1024
            found = self._known[key] = max(0, most) // kb, largest // kb, order
        return found


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
