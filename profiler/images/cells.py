"""A file in cells of one size: which of them is claimed, and for what."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from profiler.images.source import Offsets

Codes = npt.NDArray[np.uint8]
"""What cells are claimed for, by number; 0: nothing."""

MAX_CELLS = 64 << 20
"""So many units of a file are told apart, a byte of memory each: 4 TiB in clusters of 64 KiB."""

PAGE = 4096
"""Cells: of a file with more cells than there is memory for, what is claimed gets pages."""
BLOCK = 1 << 20
"""Cells that are looked at together."""


class Cells:
    """A code for each of `count` units of a file, 0 at first. First come, first served."""

    def __init__(self, count: int, limit: int = MAX_CELLS) -> None:
        self.count = count
        self.dropped = 0  # cells that there was no memory for
        self._whole = count <= limit
        self._pages: dict[int, int] = {}  # number of the page -> its row in the store
        pages = 1 if self._whole else max(1, limit // PAGE)
        self._store: Codes = np.zeros((pages, count if self._whole else PAGE), np.uint8)

    def get(self, cells: Offsets) -> Codes:
        """The codes of these cells."""
        if self._whole:
            whole: Codes = self._store[0][cells]
            return whole
        rows = self._rows(cells, make=False)
        codes: Codes = self._store[rows, cells % PAGE]
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
        rows, columns = self._rows(cells, make=True), cells % PAGE
        self.dropped += int(np.count_nonzero(rows < 0))
        codes: Codes = self._store[rows, columns]
        codes[rows < 0] = 0
        free = (rows >= 0) & (codes == 0)
        self._store[rows[free], columns[free]] = code
        return codes

    def fill(self, first: int, last: int, code: int) -> npt.NDArray[np.int64]:
        """Claim the cells of [first, last) that are free; how many there were of each code before."""
        before = np.zeros(256, np.int64)
        step = BLOCK if self._whole else PAGE
        for start in range(first // step * step, last, step):
            low, high = max(start, first), min(start + step, last)
            row, base = 0, 0
            if not self._whole:
                row, base = self._row(start // PAGE, make=True), start
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
            for start in range(0, self.count, BLOCK):
                yield _runs(self._store[0][start : start + BLOCK], start)
            return
        after = 0
        for page, row in sorted(self._pages.items()):
            start = page * PAGE
            if start > after:
                yield np.array([after]), np.array([start]), np.zeros(1, np.uint8)
            after = min(start + PAGE, self.count)
            yield _runs(self._store[row][: after - start], start)
        if after < self.count:
            yield np.array([after]), np.array([self.count]), np.zeros(1, np.uint8)

    def _rows(self, cells: Offsets, make: bool) -> Offsets:
        """The rows of the store that the cells lie in; -1 where there is none."""
        pages, inverse = np.unique(cells // PAGE, return_inverse=True)
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
