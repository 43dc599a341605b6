"""Stretches of files as half-open intervals in bytes: what of each was not seen before, in numpy.

Everything works on the ends of intervals, never on the pages inside them, so that a read that claims 2**60
bytes costs no more memory than one of 4 KiB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

PAGE = 4096
"""Bytes in a page of the page cache. A trace does not say its machine's page size; 4 KiB on x86 and nearly
all ARM."""

LAST = 2**63 - 2 * PAGE
"""No interval ends behind this. A whole number of pages that is safe to round up; real files end before
2**63."""


_PAGES_PER_INTERVAL = 6
"""Below that a table of all pages (8 bytes each) is made sooner than the ends of intervals are sorted."""


@dataclass(frozen=True)
class Pieces:
    """Stretches [start, end) in bytes, each with the row of the interval that it comes from; all of equal
    length."""

    row: Ints
    start: Ints
    end: Ints


def spans(offset: Ints, size: Ints) -> tuple[Ints, Ints]:
    """Starts and ends of reads of `size` bytes at `offset`; ends are cut at LAST so that nothing
    overflows."""
    start = np.minimum(offset, LAST - 1)
    return start, start + np.minimum(size, LAST - start)


def to_pages(start: Ints, end: Ints) -> tuple[Ints, Ints]:
    """The intervals, grown to whole pages."""
    return start & -PAGE, (end + PAGE - 1) & -PAGE


def fresh(group: npt.NDArray[np.integer], start: Ints, end: Ints) -> Pieces:
    """Of each interval, in order, the stretches that no earlier interval of its group covers.

    group, start, end: one entry an interval, start < end. The pieces are disjoint within a group, cover
    exactly its union, and come sorted by (row, start); stretches of one row that touch are one piece.

    The ends cut each group into elementary segments; each segment belongs to the first interval that covers
    it. Those minima are found by a sparse table run backwards: an interval enters as two blocks of 2**k
    segments, and the blocks are halved from the largest down. O((n + m) log m) in numpy, and no more than
    O(m) memory.
    """
    pieces = _unsorted(group, start, end)
    order = np.argsort(pieces.row, kind="stable")
    return Pieces(pieces.row[order], pieces.start[order], pieces.end[order])


def new_bytes(group: npt.NDArray[np.integer], start: Ints, end: Ints) -> Ints:
    """Of each interval, in order, how many bytes no earlier interval of its group covers; see `fresh`."""
    count = len(start)
    pages = _by_page(group, start, end) if count else None
    if pages is not None:
        owner = first_covering(pages.first, pages.last, int(pages.points.sum()))
        new: Ints = np.bincount(owner, minlength=count + 1)[:count]
        new *= PAGE
        return new
    pieces = _unsorted(group, start, end)
    new = np.zeros(count, np.int64)
    np.add.at(new, pieces.row, pieces.end - pieces.start)
    return new


def _unsorted(group: npt.NDArray[np.integer], start: Ints, end: Ints) -> Pieces:
    """The pieces of `fresh` by group and place."""
    count = len(start)
    if count == 0:
        return Pieces(*(np.zeros(0, np.int64) for _ in range(3)))
    first, last, points = _segments(group, start, end)
    owner = first_covering(first, last, len(points))
    owned = owner < count
    # a new piece begins where the owner changes; segments of different groups have different owners
    changes = owner[1:] != owner[:-1]
    begins = np.flatnonzero(owned & np.append(True, changes))
    ends = np.flatnonzero(owned & np.append(changes, True))
    return Pieces(owner[begins].astype(np.int64), points[begins], points[ends + 1])


def _segments(group: npt.NDArray[np.integer], start: Ints, end: Ints) -> tuple[Ints, Ints, Ints]:
    """Each interval as a range of elementary segments: (first, last) with last exclusive, and where
    segments start.

    Segment i of a group lies between points i and i + 1.
    """
    count = len(start)
    pages = _by_page(group, start, end)
    if pages is not None:
        return pages.first, pages.last, pages.places()
    keys, bits, distinct = joined(np.concatenate([group, group]), np.concatenate([start, end]))
    keys, at = np.unique(keys, return_inverse=True)
    at, points = at.reshape(-1), keys & ((1 << bits) - 1)
    return at[:count], at[count:], points if distinct is None else distinct[points]


@dataclass(frozen=True)
class _Pages:
    """Intervals as ranges of elementary segments, each of which is a page. points: of each group, one more
    than it has pages, as its last one ends somewhere; lowest: its first page."""

    first: Ints
    last: Ints
    points: Ints
    lowest: Ints

    def places(self) -> Ints:
        """Where segments start."""
        base = np.cumsum(self.points) - self.points
        place = np.arange(int(self.points.sum())) - np.repeat(base - self.lowest, self.points)
        return place * PAGE


def _by_page(group: npt.NDArray[np.integer], start: Ints, end: Ints) -> _Pages | None:
    """`_segments` where each page may as well be a segment, so that nothing has to be sorted: all intervals
    are of whole pages, and their groups span few pages in all. None elsewhere.
    """
    if ((start | end) & (PAGE - 1)).any():
        return None
    groups = int(group.max()) - int(group.min()) + 1
    if groups > len(start):
        return None
    which = group - group.min()
    lowest, highest = np.full(groups, LAST // PAGE), np.zeros(groups, np.int64)
    first, last = start // PAGE, end // PAGE
    np.minimum.at(lowest, which, first)
    np.maximum.at(highest, which, last)
    points = np.maximum(highest - lowest + 1, 0)
    if float(points.sum(dtype=np.float64)) > _PAGES_PER_INTERVAL * len(start):
        return None
    shift = (np.cumsum(points) - points - lowest)[which]
    first += shift
    last += shift
    return _Pages(first, last, points, lowest)


def joined(group: npt.NDArray[np.integer], values: Ints) -> tuple[Ints, int, Ints | None]:
    """Pairs of a group and a value >= 0 as one number each that sorts as they do; how many of its bits are
    the value's; and, where both do not fit in 62 bits (hostile offsets), the distinct values: then the
    bits hold the place among them.
    """
    which = group.astype(np.int64, copy=False) - group.min()
    bits = int(values.max()).bit_length()
    if int(which.max()).bit_length() + bits <= 62:
        return (which << bits) | values, bits, None
    distinct, values = np.unique(values, return_inverse=True)
    bits = len(distinct).bit_length()
    return (which << bits) | values.reshape(-1), bits, distinct  # numpy 2.0 alone gives another shape


def holding(
    group: Ints, start: Ints, end: Ints, groups: npt.NDArray[np.integer], points: Ints
) -> npt.NDArray[np.intp]:
    """For each point (in the group beside it in `groups`) the row of the interval [start, end) of that group
    that holds it; -1: none does. Where intervals overlap, the one that starts last counts, alone.

    group, start, end: one entry an interval; starts and points >= 0.
    """
    if not len(group) or not len(points):
        return np.full(len(points), -1, np.intp)
    keys, _, _ = joined(np.concatenate([group, groups]), np.concatenate([start, points]))
    starts, wanted = keys[: len(group)], keys[len(group) :]
    order = np.argsort(starts, kind="stable")
    place = np.searchsorted(starts[order], wanted, side="right") - 1
    holder = order[np.maximum(place, 0)]
    inside = (place >= 0) & (group[holder] == groups) & (points < end[holder])
    return np.where(inside, holder, -1)


def first_covering(first: Ints, last: Ints, segments: int) -> npt.NDArray[np.integer]:
    """For each segment the smallest row whose [first, last) covers it; the number of rows where none
    does."""
    rows = len(first)
    table: npt.NDArray[np.integer] = np.full(segments, rows, np.int32 if rows < 2**31 - 1 else np.int64)
    width = last - first
    if rows and width.max() == 1 and width.min() == 1:
        table[first[::-1]] = np.arange(rows - 1, -1, -1)  # of several the last one stays
        return table
    level = np.frexp(width.astype(np.float64))[1].astype(np.int8) - 1  # floor(log2), exact < 2**53
    by_level = np.argsort(level, kind="stable")
    bounds = np.searchsorted(level[by_level], np.arange(int(level.max()) + 2))
    for power in range(int(level.max()), -1, -1):
        chosen = by_level[bounds[power] : bounds[power + 1]]
        block = 1 << power
        np.minimum.at(table, first[chosen], chosen.astype(table.dtype))
        if block > 1:
            np.minimum.at(table, last[chosen] - block, chosen.astype(table.dtype))
            half = block // 2  # a block that starts at p covers the halves at p and p + half
            np.minimum(table[half:], table[:-half], out=table[half:])
    return table


_AT_ONCE = 1 << 20
"""Values that are added at a time: their halves, of all of them at once, would take much memory."""


def exact_sum(values: Ints) -> int:
    """The sum as a Python integer: a million claimed reads of 2**60 bytes do not fit in 64 bits."""
    pieces = (values[begin : begin + _AT_ONCE] for begin in range(0, len(values), _AT_ONCE))
    return sum((int((some >> 32).sum()) << 32) + int((some & 0xFFFF_FFFF).sum()) for some in pieces)


def group_sums(values: Ints, group: npt.NDArray[np.integer], groups: int) -> Ints:
    """Sums of non-negative `values` for each group 0..groups-1, held at 2**63 - 1 where they are larger."""
    high, low = np.zeros(groups, np.int64), np.zeros(groups, np.int64)
    for begin in range(0, len(values), _AT_ONCE):
        some, which = values[begin : begin + _AT_ONCE], group[begin : begin + _AT_ONCE]
        if (some >> 32).any():
            np.add.at(high, which, some >> 32)
        np.add.at(low, which, some & 0xFFFF_FFFF)
    high += low >> 32
    fitting = (np.minimum(high, 2**31 - 1) << 32) | (low & 0xFFFF_FFFF)
    return np.where(high < 2**31, fitting, np.int64(2**63 - 1))
