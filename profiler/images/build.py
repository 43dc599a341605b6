"""How a map is put together: cells of a file are claimed for structures, runs of data for the guest.

With `cells` and `runs`, every bound on memory is here: an image may claim anything, so nothing is as large
as it says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.facts.structures import UNALLOCATED
from profiler.images.cells import BLOCK, MAX_CELLS, Cells, Codes
from profiler.images.map import MAX_RANGES, Layout, Map, Placed
from profiler.images.ranges import Ranges, joined, merged, overlaid
from profiler.images.runs import Runs, Wanted
from profiler.images.source import Image, Offsets
from profiler.units import show_count, show_path

MAX_SIZE = 1 << 62
"""What of a file lies beyond is not labelled."""
MAX_NOTES = 30
"""So many faults are told, a sentence each, and that there are more; what the map lacks, always."""

_MAX_RAW = 2 * MAX_RANGES


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
        self._left = 2 * min(self.cells.count, MAX_CELLS) + BLOCK
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
        step = max(1, BLOCK // each)
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

    def _all(self) -> Ranges:
        parts: list[Ranges] = []
        held, folding = 0, False
        for part in self._parts():
            parts.append(self._fold(*part) if folding else part)
            held += len(parts[-1][0])
            if held > _MAX_RAW and not folding:
                parts, folding = [self._fold(*joined(parts))], True
                held = len(parts[0][0])
            if held > _MAX_RAW:
                break
        starts, ends, codes = merged(*joined(parts))
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

    def _parts(self) -> Iterator[Ranges]:
        """Ranges in bytes, part by part of the file."""
        exact = self._exact_ranges()
        if self.base and self.size:
            zero = np.zeros(1, np.int64)
            yield overlaid(zero, np.array([min(self.base, self.size)]), zero.astype(np.uint8), *exact)
        for firsts, lasts, codes in self.cells.runs():
            starts = firsts * self.unit + self.base
            ends = np.minimum(lasts * self.unit + self.base, self.size)
            yield overlaid(starts, ends, codes, *exact)

    def _exact_ranges(self) -> Ranges:
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
        return merged(starts, ends, codes)

    def _fold(self, starts: Offsets, ends: Offsets, codes: Codes) -> Ranges:
        """Put together neighbours that are data or free; the highest of their codes gives the name."""
        if not len(starts):
            return starts, ends, codes
        loose = codes <= self._last_fold
        fresh = np.flatnonzero(np.concatenate([np.ones(1, bool), ~(loose[1:] & loose[:-1])]))
        last = np.append(fresh[1:], len(starts)) - 1
        return starts[fresh], ends[last], np.maximum.reduceat(codes, fresh)


def cut_short(image: Image, format: str, kinds: Sequence[str], folds: Sequence[str]) -> Map:
    """The map of a file that ends within its header."""
    builder = Builder(image, kinds, folds)
    builder.lacks("the file ends within its header")
    return builder.finish(format, {})


def _several(count: int, noun: str, one: str, many: str) -> str:
    return f"{show_count(count)} {noun} {one}" if count == 1 else f"{show_count(count)} {noun}s {many}"


def safe(value: Any) -> Any:
    """A fact from an image, fit to be shown: texts escaped and cut."""
    return show_path(value)[:200] if isinstance(value, str) else value
