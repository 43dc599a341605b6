"""Stretches of time that overlap, each in the first lane that is free: in a lane none overlap."""

from __future__ import annotations

import heapq

import numpy as np

from profiler.analysis.intervals import Ints


def lanes(start: Ints, end: Ints) -> Ints:
    """The lane of each stretch [start, end), from 0 on; they come sorted by start. There are as many as ever
    overlap; of the free ones the lowest is taken. A stretch of no length takes its lane for that moment."""
    taken = np.zeros(len(start), np.int64)
    busy: list[tuple[int, int]] = []
    free: list[int] = []
    for row, (begin, until) in enumerate(zip(start.tolist(), end.tolist(), strict=True)):
        while busy and busy[0][0] <= begin:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else len(busy)
        taken[row] = lane
        heapq.heappush(busy, (until, lane))
    return taken
