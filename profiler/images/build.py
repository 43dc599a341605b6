"""How a map is put together: cells of a file are claimed for structures, runs of data for the guest.

Every bound on memory is here: an image may claim anything, so nothing is as large as it says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.facts.structures import UNALLOCATED
from profiler.images.map import MAX_RANGES, Layout, Map, Placed, owners
from profiler.images.source import Image, Offsets
from profiler.units import show_count, show_path

Codes = npt.NDArray[np.uint8]
Wanted = tuple[Offsets, Offsets]
"""Sorted ranges without overlaps, starts and ends (bytes): the parts of a file that somebody asks about."""

MAX_SIZE = 1 << 62
"""What of a file lies beyond is not labelled."""
MAX_CELLS = 64 << 20
"""So many units of a file are told apart, a byte of memory each: 4 TiB in clusters of 64 KiB."""
MAX_RUNS = 200_000
"""So many runs of the guest's data are kept: as many as a trace holds ranges."""
MAX_NOTES = 30
"""So many faults are told, a sentence each, and that there are more; what the map lacks, always."""

_PAGE = 4096  # cells: of a file with more cells than there is memory for, what is claimed gets pages
_BLOCK = 1 << 20  # cells that are looked at together
_MAX_RAW = 2 * MAX_RANGES


class Cells:
    """A code for each of `count` units of a file, 0 at first. First come, first served."""

    def __init__(self, count: int, limit: int = MAX_CELLS) -> None:
        self.count = count
        self.dropped = 0  # cells that there was no memory for
        self._whole = count <= limit
        self._pages: dict[int, int] = {}  # number of the page -> its row in the store
        pages = 1 if self._whole else max(1, limit // _PAGE)
        self._store: Codes = np.zeros((pages, count if self._whole else _PAGE), np.uint8)

    def get(self, cells: Offsets) -> Codes:
        """The codes of these cells."""
        if self._whole:
            whole: Codes = self._store[0][cells]
            return whole
        rows = self._rows(cells, make=False)
        codes: Codes = self._store[rows, cells % _PAGE]
        codes[rows < 0] = 0
        return codes

    def put(self, cells: Offsets, code: int) -> Codes:
        """Claim cells that are still free; the codes of all of them as they were before."""
        if self._whole:
            flat = self._store[0]
            before: Codes = flat[cells]
            if not before.any():
                flat[cells] = code
            else:
                flat[cells[before == 0]] = code
            return before
        rows, columns = self._rows(cells, make=True), cells % _PAGE
        self.dropped += int(np.count_nonzero(rows < 0))
        codes: Codes = self._store[rows, columns]
        codes[rows < 0] = 0
        free = (rows >= 0) & (codes == 0)
        self._store[rows[free], columns[free]] = code
        return codes

    def fill(self, first: int, last: int, code: int) -> npt.NDArray[np.int64]:
        """Claim the cells of [first, last) that are free; how many there were of each code before."""
        before = np.zeros(256, np.int64)
        step = _BLOCK if self._whole else _PAGE
        for start in range(first // step * step, last, step):
            low, high = max(start, first), min(start + step, last)
            row, base = 0, 0
            if not self._whole:
                row, base = self._row(start // _PAGE, make=True), start
                if row < 0:
                    self.dropped += last - low
                    break
            part = self._store[row][low - base : high - base]
            before += np.bincount(part, minlength=256)
            part[part == 0] = code
        return before

    def claimed(self) -> int:
        """How many cells have a code."""
        return int(np.count_nonzero(self._store if self._whole else self._store[: len(self._pages)]))

    def runs(self) -> Iterator[tuple[Offsets, Offsets, Codes]]:
        """Runs of one code, part by part of the file: first cell, end, code."""
        if self._whole:
            for start in range(0, self.count, _BLOCK):
                yield _runs(self._store[0][start : start + _BLOCK], start)
            return
        after = 0
        for page, row in sorted(self._pages.items()):
            start = page * _PAGE
            if start > after:
                yield np.array([after]), np.array([start]), np.zeros(1, np.uint8)
            after = min(start + _PAGE, self.count)
            yield _runs(self._store[row][: after - start], start)
        if after < self.count:
            yield np.array([after]), np.array([self.count]), np.zeros(1, np.uint8)

    def _rows(self, cells: Offsets, make: bool) -> Offsets:
        """The rows of the store that the cells lie in; -1 where there is none."""
        pages, inverse = np.unique(cells // _PAGE, return_inverse=True)
        rows = np.empty(len(pages), np.int64)
        for at, page in enumerate(pages.tolist()):
            rows[at] = self._row(page, make)
        found: Offsets = rows[inverse]
        return found

    def _row(self, page: int, make: bool) -> int:
        row = self._pages.get(page, -1)
        if row < 0 and make and len(self._pages) < len(self._store):
            row = self._pages[page] = len(self._pages)
        return row


def _runs(codes: Codes, base: int) -> tuple[Offsets, Offsets, Codes]:
    breaks = np.flatnonzero(codes[1:] != codes[:-1]) + 1
    starts = np.concatenate([np.zeros(1, np.int64), breaks])
    ends = np.append(breaks, len(codes))
    return starts + base, ends + base, codes[starts]


class Builder:
    """Collects what is known of one file and makes the Map of it.

    The file is told apart in cells of `unit` bytes from `base` on; `claim_bytes` is for what has no such
    measure. kinds: their names. folds: those of them that may be put together with what is free between
    them where a map gets too long, in rising order of who gives the name.
    """

    def __init__(
        self,
        image: Image,
        kinds: Sequence[str],
        folds: Sequence[str],
        unit: int = 512,
        base: int = 0,
        wanted: Wanted | None = None,
    ) -> None:
        # beyond, the end of a structure may not be a number of 64 bits; a sparse file can be that large
        self.size, self.unit, self.base = min(image.size, MAX_SIZE), unit, base
        order = [*folds, *(kind for kind in kinds if kind not in folds)]
        self.kinds = (UNALLOCATED, *order)
        self.code = {kind: code for code, kind in enumerate(self.kinds)}
        self._last_fold = len(folds)
        self.cells = Cells(max(0, -(-(self.size - base) // unit)))
        self.notes: dict[str, None] = {}
        self._lacks: dict[str, None] = {}
        self._untold = False
        self._twice: dict[tuple[int, int], int] = {}
        self._exact: list[tuple[Offsets, Offsets, int]] = []
        self._left = 2 * min(self.cells.count, MAX_CELLS) + _BLOCK
        self._guest = Runs(wanted)

    def note(self, sentence: str) -> None:
        """Something is wrong with the image. Of such there may be as many as it has structures, so no more
        than MAX_NOTES are kept."""
        if len(self.notes) < MAX_NOTES:
            self.notes[sentence] = None
        elif sentence not in self.notes:
            self._untold = True

    def lacks(self, sentence: str) -> None:
        """Something of the image is not in the map. No bound drops it, so a sentence names nothing of which
        an image may have many: no offset, no number of a structure."""
        self._lacks[sentence] = None

    def claim(self, kind: str, start: int, length: int) -> bool:
        """Claim the cells of one structure; whether it is all there and was free.

        What lies past the end of the file is left out, with a note.
        """
        if length <= 0:
            return False
        if start < self.base or start >= self.size:
            self.note(f"the {kind} at offset {start:,} lies past the end of the file")
            return False
        first = (start - self.base) // self.unit
        last = -(-(start + length - self.base) // self.unit)
        if last > self.cells.count:
            self.note(f"the {kind} at offset {start:,} runs past the end of the file")
        # tables that overlap again and again would take more time than any file is worth
        self._left -= last - first + 1
        if self._left < 0:
            self.lacks(f"there is more of {kind}s than any file holds; the others are left out")
            return False
        before = self.cells.fill(first, min(last, self.cells.count), self.code[kind])
        self._count_twice(before, kind, same=True)
        return last <= self.cells.count and not before[1:].any()

    def claim_cells(self, kind: str, cells: Offsets, shared: bool = False) -> npt.NDArray[np.bool_]:
        """Claim a cell each for structures of one cell, all within the file; which of them were free.

        shared: whether several may lie in one cell, or be pointed to from several places.
        """
        before = self.cells.put(cells, self.code[kind])
        free: npt.NDArray[np.bool_] = np.equal(before, 0)
        if not free.all():
            self._count_twice(np.bincount(before, minlength=256), kind, same=not shared)
        return free

    def claim_blocks(
        self, kind: str, cells: Offsets, each: int, shared: bool = False
    ) -> npt.NDArray[np.bool_]:
        """Claim `each` cells from each of these on; which of the blocks were free throughout."""
        if each == 1:
            return self.claim_cells(kind, cells, shared)
        free = np.ones(len(cells), np.bool_)
        step = max(1, _BLOCK // each)
        for first in range(0, len(cells), step):
            part = cells[first : first + step, None] + np.arange(each)
            inside = part < self.cells.count
            if not inside.all():
                self.note(f"the last {kind} runs past the end of the file")
            taken = np.ones(part.shape, np.bool_)
            taken[inside] = self.claim_cells(kind, part[inside], shared)
            free[first : first + step] = taken.all(axis=1)
        return free

    def claim_bytes(self, kind: str, starts: Offsets, ends: Offsets) -> None:
        """Claim ranges of bytes, before all that is claimed in cells; they are cut to the file."""
        starts, ends = np.maximum(starts, 0), np.minimum(ends, self.size)
        keep = starts < ends
        if keep.any():
            self._exact.append((starts[keep], ends[keep], self.code[kind]))

    def exact_starts(self) -> Offsets:
        """Where the ranges of bytes start that were claimed so far, sorted."""
        return np.unique(np.concatenate([np.empty(0, np.int64), *(part[0] for part in self._exact)]))

    def within(self, kind: str, offsets: Offsets, aligned: bool = True) -> npt.NDArray[np.bool_]:
        """Which offsets are those of whole cells within the file; notes on the others."""
        if not len(offsets):
            return np.ones(0, np.bool_)
        place = offsets - self.base if self.base else offsets
        if offsets.min() >= self.base and offsets.max() < self.size:
            good = np.ones(len(offsets), np.bool_)
            if not aligned or (
                not self.unit & (self.unit - 1) and not np.bitwise_or.reduce(place) % self.unit
            ):
                return good
        good = (offsets >= self.base) & (offsets < self.size)
        outside = len(good) - int(np.count_nonzero(good))
        if outside:
            self.note(_several(outside, kind, "lies", "lie") + " past the end of the file")
        if aligned:
            crooked = good & (place % self.unit != 0)
            wrong = int(np.count_nonzero(crooked))
            if wrong:
                self.note(_several(wrong, kind, "does", "do") + " not start where a unit of the file does")
                good &= ~crooked
        return good

    def place(self, starts: Offsets, lengths: Offsets | int, guest: Offsets) -> None:
        """Say that data at `starts` of the file is that at `guest` of the disk; neighbours are merged."""
        self._guest.add(starts, lengths, guest)

    def _count_twice(self, before: npt.NDArray[np.int64], kind: str, same: bool) -> None:
        code = self.code[kind]
        for other in np.flatnonzero(before).tolist():
            if other and (other != code or same):
                self._twice[other, code] = self._twice.get((other, code), 0) + int(before[other])

    def finish(self, format: str, facts: dict[str, Any], **more: Any) -> Map:
        """The map; `more`: further fields of it."""
        for (first, second), count in sorted(self._twice.items()):
            kinds = f"as {self.kinds[first]} and as {self.kinds[second]}"
            if first == second:
                kinds = f"each time as {self.kinds[first]}"
            self.note(f"{_several(count, 'cluster', 'is', 'are')} claimed more than once, {kinds}")
        starts, ends, codes = self._all()
        if self.cells.dropped:
            self.lacks(
                f"the image points to more places than are told apart ({show_count(MAX_CELLS)}); "
                "the others are called unallocated"
            )
        found = self._guest.placed()
        lengths = np.minimum(found.lengths, self.size - found.starts)
        placed = Placed(found.starts, lengths, found.guest, not self._guest.cut)
        if self._guest.cut:
            self.lacks("the guest's offsets are not known throughout: the data lies in too many pieces")
        if self._untold:
            self.lacks(f"more than {MAX_NOTES} things are wrong with the image; the rest is not told")
        layout = Layout(starts, ends, codes, self.kinds)
        return Map(format, facts, layout, placed, (*self._lacks, *self.notes), **more)

    def _all(self) -> tuple[Offsets, Offsets, Codes]:
        parts: list[tuple[Offsets, Offsets, Codes]] = []
        held, folding = 0, False
        for part in self._parts():
            parts.append(self._fold(*part) if folding else part)
            held += len(parts[-1][0])
            if held > _MAX_RAW and not folding:
                parts, folding = [self._fold(*_join(parts))], True
                held = len(parts[0][0])
            if held > _MAX_RAW:
                break
        starts, ends, codes = _merge(*_join(parts))
        if len(starts) > MAX_RANGES:
            starts, ends, codes = self._fold(starts, ends, codes)
            folding = True
        if folding:
            self.lacks(
                "data lies in so many pieces that it is shown with the free space between them as one"
            )
        if len(starts) > MAX_RANGES:
            starts, ends, codes = starts[:MAX_RANGES], ends[:MAX_RANGES], codes[:MAX_RANGES]
        if len(ends) and int(ends[-1]) < self.size:
            self.lacks(f"the map ends after {show_count(len(ends))} ranges, at offset {int(ends[-1]):,}")
        return starts, ends, codes

    def _parts(self) -> Iterator[tuple[Offsets, Offsets, Codes]]:
        """Ranges in bytes, part by part of the file."""
        exact = self._exact_ranges()
        if self.base and self.size:
            zero = np.zeros(1, np.int64)
            yield _overlay(zero, np.array([min(self.base, self.size)]), zero.astype(np.uint8), *exact)
        for firsts, lasts, codes in self.cells.runs():
            starts = firsts * self.unit + self.base
            ends = np.minimum(lasts * self.unit + self.base, self.size)
            yield _overlay(starts, ends, codes, *exact)

    def _exact_ranges(self) -> tuple[Offsets, Offsets, Codes]:
        """What was claimed in bytes: sorted, the first of two that overlap being kept whole."""
        if not self._exact:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint8)
        starts = np.concatenate([part[0] for part in self._exact])
        ends = np.concatenate([part[1] for part in self._exact])
        codes = np.concatenate([np.full(len(part[0]), part[2], np.uint8) for part in self._exact])
        order = np.argsort(starts, kind="stable")
        starts, ends, codes = starts[order], ends[order], codes[order]
        reached = np.maximum.accumulate(ends)
        before = np.concatenate([np.zeros(1, np.int64), reached[:-1]])
        overlapping = starts < before
        if overlapping.any():
            same = np.concatenate([np.zeros(1, bool), codes[1:] == codes[:-1]])
            wrong = int(np.count_nonzero(overlapping & ~same))
            if wrong:
                self.note(f"{_several(wrong, 'structure', 'overlaps', 'overlap')} the one before")
            starts = np.maximum(starts, before)
            keep = starts < ends
            starts, ends, codes = starts[keep], ends[keep], codes[keep]
        return _merge(starts, ends, codes)

    def _fold(self, starts: Offsets, ends: Offsets, codes: Codes) -> tuple[Offsets, Offsets, Codes]:
        """Put together neighbours that are data or free; the highest of their codes gives the name."""
        if not len(starts):
            return starts, ends, codes
        loose = codes <= self._last_fold
        fresh = np.flatnonzero(np.concatenate([np.ones(1, bool), ~(loose[1:] & loose[:-1])]))
        last = np.append(fresh[1:], len(starts)) - 1
        return starts[fresh], ends[last], np.maximum.reduceat(codes, fresh)


class Runs:
    """Runs of the guest's data in a file: merged as they come, only those that somebody asks about."""

    def __init__(self, wanted: Wanted | None = None, limit: int = MAX_RUNS) -> None:
        self.cut = False
        self._wanted, self._limit = wanted, limit
        self._parts: list[tuple[Offsets, Offsets, Offsets]] = []
        self._held = 0

    def add(self, starts: Offsets, lengths: Offsets | int, guest: Offsets) -> None:
        """More of them, in the order they are found in: file offsets, lengths, offsets of the guest."""
        if self.cut or not len(starts):
            return
        if isinstance(lengths, int):
            breaks = (starts[1:] - starts[:-1] != lengths) | (guest[1:] - guest[:-1] != lengths)
            first = np.concatenate([np.zeros(1, np.int64), np.flatnonzero(breaks) + 1])
            spans = np.diff(np.append(first, len(starts))) * lengths
            starts, guest = starts[first], guest[first]
        else:
            spans = lengths
        if self._wanted is not None:
            lows, highs = self._wanted
            at = np.searchsorted(highs, starts, "right")
            keep = at < len(lows)
            keep[keep] = lows[at[keep]] < starts[keep] + spans[keep]
            starts, spans, guest = starts[keep], spans[keep], guest[keep]
        self._parts.append((starts, spans, guest))
        self._held += len(starts)
        if self._held > self._limit:
            starts, spans, guest = self._sorted()
            self.cut = len(starts) > self._limit // 2
            first_ones = slice(self._limit)
            self._parts = [(starts[first_ones], spans[first_ones], guest[first_ones])]
            self._held = min(len(starts), self._limit)

    def placed(self) -> Placed:
        """All of them, sorted by where they start, without overlaps."""
        return Placed(*self._sorted())

    def _sorted(self) -> tuple[Offsets, Offsets, Offsets]:
        if not self._parts:
            nothing = np.empty(0, np.int64)
            return nothing, nothing, nothing
        starts, spans, guest = (np.concatenate([part[n] for part in self._parts]) for n in range(3))
        starts, first = np.unique(starts, return_index=True)  # of several at one place the first found
        spans, guest = spans[first], guest[first]
        if len(starts) > 1:  # the last sector of a compressed cluster may hold the start of the next
            spans[:-1] = np.minimum(spans[:-1], np.diff(starts))
        joined = (starts[1:] == starts[:-1] + spans[:-1]) & (guest[1:] == guest[:-1] + spans[:-1])
        fresh = np.flatnonzero(np.concatenate([np.ones(min(1, len(starts)), bool), ~joined]))
        return starts[fresh], np.add.reduceat(spans, fresh) if len(fresh) else spans, guest[fresh]


def cut_short(image: Image, format: str, kinds: Sequence[str], folds: Sequence[str]) -> Map:
    """The map of a file that ends within its header."""
    builder = Builder(image, kinds, folds)
    builder.lacks("the file ends within its header")
    return builder.finish(format, {})


def painted(image: Image, layers: Sequence[tuple[int, int, str]], rest: str) -> Layout:
    """The layout of a few ranges that may lie over each other, the first on top; `rest`: what is left."""
    size = image.size
    cut = [(max(0, start), min(end, size), kind) for start, end, kind in layers]
    cut = [layer for layer in cut if layer[0] < layer[1]]
    edges = sorted({0, size, *(edge for start, end, _ in cut for edge in (start, end))})
    place = {edge: at for at, edge in enumerate(edges)}
    names = tuple(dict.fromkeys((rest, *(kind for _, _, kind in cut))))
    codes: Codes = np.zeros(len(edges) - 1, np.uint8)
    for start, end, kind in reversed(cut):
        codes[place[start] : place[end]] = names.index(kind)
    bounds = np.array(edges, np.int64)
    return Layout(*_merge(bounds[:-1], bounds[1:], codes), names)


def _join(parts: list[tuple[Offsets, Offsets, Codes]]) -> tuple[Offsets, Offsets, Codes]:
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint8)
    starts, ends = (np.concatenate([part[n] for part in parts]) for n in range(2))
    return starts, ends, np.concatenate([part[2] for part in parts])


def _merge(starts: Offsets, ends: Offsets, codes: Codes) -> tuple[Offsets, Offsets, Codes]:
    """Neighbours of one code made one."""
    if not len(starts):
        return starts, ends, codes
    differ = (codes[1:] != codes[:-1]) | (starts[1:] != ends[:-1])
    fresh = np.flatnonzero(np.concatenate([np.ones(1, bool), differ]))
    last = np.append(fresh[1:], len(starts)) - 1
    return starts[fresh], ends[last], codes[fresh]


def _overlay(
    starts: Offsets, ends: Offsets, codes: Codes, over: Offsets, over_ends: Offsets, over_codes: Codes
) -> tuple[Offsets, Offsets, Codes]:
    """Ranges without gaps, with others laid over them where these are."""
    if not len(over) or not len(starts):
        return starts, ends, codes
    low, high = int(starts[0]), int(ends[-1])
    first, last = np.searchsorted(over_ends, low, "right"), np.searchsorted(over, high, "left")
    over, over_ends, over_codes = over[first:last], over_ends[first:last], over_codes[first:last]
    if not len(over):
        return starts, ends, codes
    edges = np.unique(np.clip(np.concatenate([starts, ends[-1:], over, over_ends]), low, high))
    lefts, rights = edges[:-1], edges[1:]
    under = codes[np.searchsorted(starts, lefts, "right") - 1]
    found = owners(lefts, over, over_ends)
    made: Codes = np.where(found >= 0, over_codes[found], under).astype(np.uint8)
    return _merge(lefts, rights, made)


def _several(count: int, noun: str, one: str, many: str) -> str:
    return f"{show_count(count)} {noun} {one}" if count == 1 else f"{show_count(count)} {noun}s {many}"


def safe(value: Any) -> Any:
    """A fact from an image, fit to be shown: texts escaped and cut."""
    return show_path(value)[:200] if isinstance(value, str) else value
