"""Runs of the guest's data in a file, and which parts of a file somebody asks about."""

from __future__ import annotations

import numpy as np

from profiler.images.map import Placed
from profiler.images.source import Offsets

Wanted = tuple[Offsets, Offsets]
"""Sorted ranges without overlaps, starts and ends (bytes): the parts of a file that somebody asks about."""

MAX_RUNS = 200_000
"""So many runs of the guest's data are kept: as many as a trace holds ranges."""


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
