"""Accesses to one file in pages, some thousands at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from profiler.analysis.intervals import PAGE, to_pages
from profiler.analysis.simulation.kernel.accesses import READ, Accesses, Rows

_AT_ONCE = 1 << 16
"""Accesses that are Python's numbers at a time: all of them at once would take five times the columns."""


@dataclass(frozen=True, slots=True)
class Piece:
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


def pieces(accesses: Accesses, rows: Rows) -> Iterator[Piece]:
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
        yield Piece(*(column.tolist() for column in columns))
