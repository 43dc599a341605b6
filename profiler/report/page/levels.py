"""The density pyramid: for each level one mark stands for all those of its kind that lie near it.

A level cuts time, numbers of marks, and the touched span of each file into cells. Of the marks of one cell
that have all kinds in common (structure, answer, thread, operation) the first is kept, and how many they
are. So a level is drawn, coloured and switched on and off as the marks themselves are, and its counts add
up to all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profiler.analysis.intervals import Ints
from profiler.report.page.marks import Files, Marks, Numbers

SHAPES = ((4096, 256), (512, 128), (256, 64), (128, 32))
"""Cells along the time (as many again along the numbers) and along each file, of each level."""

PLENTY = 150_000
"""So many marks are drawn as they are within a frame: a level is made where there are more in all, and kept
where it is at most half as long as what comes below it."""

Floats = npt.NDArray[np.float64]

_PIECE = 1 << 20
"""Marks that are sorted at a time: in more, sorting takes longer and much more memory."""


@dataclass(frozen=True)
class Level:
    """row: the marks that are kept, ascending. count: how many each stands for."""

    row: Ints
    count: Ints


def levels(marks: Marks, files: Files) -> list[Level]:
    """The levels above these marks, the coarsest first; none of few marks. What lies at unknown places is in
    none of them."""
    found: list[Level] = []
    below = len(marks)
    if below <= PLENTY:
        return found
    for across, along in SHAPES:
        if below <= PLENTY:
            break
        level = _level(marks, files, across, along)
        if len(level.row) <= below // 2:
            found.insert(0, level)
            below = len(level.row)
    return found


def _level(marks: Marks, files: Files, across: int, along: int) -> Level:
    column = _columns(marks.time_ns, across)
    rows, counts = [], []
    start = 0
    while start < len(column):  # pieces that end where a cell along the time does
        last = column[min(start + _PIECE, len(column)) - 1]
        stop = int(np.searchsorted(column, last, side="right"))
        some = marks.take(slice(start, stop))
        cell = _joined([column[start:stop] - column[start], _places(some, files, along), _kinds(some)])
        _, first, count = np.unique(cell, return_index=True, return_counts=True)
        order = np.argsort(first)
        rows.append(first[order] + start)
        counts.append(count[order])
        start = stop
    row, count = np.concatenate(rows), np.concatenate(counts)
    known = marks.offset[row] >= 0
    return Level(row[known], count[known])


def _columns(time: Numbers, across: int) -> Numbers:
    """The cell along the time and the numbers that each mark is in: ascending."""
    span = max(int(time[-1]) - int(time[0]), 1)
    part: Floats = (time - time[0]).astype(np.float64)
    part /= span
    part *= across
    found: Numbers = part.astype(np.int32)
    del part
    by_number = np.arange(len(time), dtype=np.int64)
    by_number *= across
    by_number //= max(len(time), 1)
    found += by_number.astype(np.int32)  # both ascend: no pair of cells has the sum of another
    return found


def _places(marks: Marks, files: Files, along: int) -> Ints:
    """The cell along the span of its file that each mark is in, of all files; 0: it is not known where."""
    low, high = np.array(files.low, np.float64), np.array(files.high, np.float64)
    scale: Floats = along / np.maximum(high - low, 1)
    found = (marks.offset - low[marks.file]) * scale[marks.file]
    place: Ints = np.clip(found.astype(np.int64), 0, along - 1)
    place += marks.file * np.int64(along) + 1
    place[marks.offset < 0] = 0
    return place


def _kinds(marks: Marks) -> Ints:
    """One number for all that marks are told apart by."""
    return _joined([marks.structure + 1, marks.answer, marks.thread, marks.op])


def _joined(columns: Sequence[Numbers]) -> Ints:
    """Columns of numbers from 0 on as one; numbered anew where that would not fit in 63 bits."""
    made: Ints = columns[0].astype(np.int64)
    room = int(made.max(initial=0)) + 1
    for column in columns[1:]:
        wide = int(column.max(initial=0)) + 1
        if room * wide >= 2**62:
            made = np.unique(made, return_inverse=True)[1].reshape(-1).astype(np.int64)
            room = int(made.max(initial=0)) + 1
        made = made * wide + column
        room *= wide
    return made
