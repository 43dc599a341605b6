"""The accesses of a program to one file after another, as Linux serves them from its page cache."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from profiler.analysis.intervals import LAST, PAGE
from profiler.analysis.simulation.kernel.accesses import (
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
    WILLNEED,
    WRITE,
    Accesses,
    Rows,
)
from profiler.analysis.simulation.kernel.pages import CHUNK, MAX_CHUNKS, SHIFT
from profiler.analysis.simulation.kernel.pieces import Piece, pieces
from profiler.analysis.simulation.kernel.readahead import FileCache, Window
from profiler.errors import NoMemoryError
from profiler.files.free_memory import available_bytes
from profiler.units import show_bytes

REQUEST_BYTES = 700
"""Of memory that a request takes, or 2 MiB of a file that are there, at the peak, until it is projected. A
start that asks for more than there is memory for is refused: a single read can be of 2 GiB."""

_PAGE = [1 << bit for bit in range(CHUNK)]
_TWO_BEFORE = [3 << bit >> 2 for bit in range(CHUNK)]
_THREE = [7 << bit >> 2 for bit in range(CHUNK)]
"""Of a page of a chunk its bit, those of the two before it, and all three."""
_IN_CHUNK = CHUNK - 1  # the bits of a page's number that say where in its chunk it is

_IN_A_ROW = 16
"""So many stretches of mapped pages in a row, 1 MiB of a file without a gap: it was read through. Our own
choice: programs and libraries jump, and leave gaps."""


class Run:
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
        for few in pieces(self._accesses, rows):
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

        for few in pieces(accesses, rows):
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

    def _other(self, few: Piece, at: int) -> None:
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

    def _on_open(self, few: Piece, at: int, window: Window) -> None:
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
