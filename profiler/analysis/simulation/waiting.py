"""When requests are issued, and how long the program waits for them: device time and program time told
apart.

The program's clock is the time that a run would take if every read were answered at once. It stands still
while the program waits.
"""

from __future__ import annotations

import heapq
import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain as chain_of
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.intervals import PAGE, Ints, spans
from profiler.analysis.reads.untraced_runs import median_s
from profiler.analysis.simulation.placement import SPACE
from profiler.calls import READ_OPS
from profiler.trace import DEVICE_OPS, Trace

Floats = npt.NDArray[np.float64]

ASYNCHRONOUS = frozenset(op for op in READ_OPS if op.startswith(("aio_", "uring_")))
"""Calls of which one task may have several under way."""

NEVER = 2**62
"""The `needed_ns` of what nothing ever reads."""

_AT_ONCE = 1 << 16
"""Rows that are Python's numbers at a time: all of them at once would take five times the columns."""

SLICE_S = 0.1
"""A control group gives leave in slices of time: DFL_THROTL_SLICE_HD (linux: block/blk-throttle.c)."""


class Slices:
    """When a control group lets requests pass that it holds to so many a second.

    Each slice of SLICE_S lets pass as many as fall to it, as soon as they come; the next one waits until the
    slice ends. What is left over is lost. After a slice that nothing came in the next request begins one
    (linux: block/blk-throttle.c: throtl_trim_slice, tg_within_iops_limit).
    """

    def __init__(self, per_second: float) -> None:
        self._allowed = max(int(per_second * SLICE_S), 1)
        self._length = max(SLICE_S, self._allowed / per_second)
        self._begin, self._passed = -math.inf, 0

    def passed(self, asked: float) -> float:
        """When one passes that is asked for at that time, in seconds; times rise."""
        late = asked - self._begin
        if late >= 2 * self._length:
            self._begin, self._passed = asked, 0
        elif late >= self._length or self._passed >= self._allowed:
            self._begin, self._passed = self._begin + self._length, 0
        self._passed += 1
        return max(asked, self._begin)


@dataclass(frozen=True)
class Clock:
    """Times of the trace, in ns, as seconds on the program's clock: straight lines between the knots."""

    knots_ns: Ints
    knots_s: Floats

    def __call__(self, times_ns: Ints) -> Floats:
        """Seconds for each time; infinite for NEVER."""
        seconds: Floats = np.interp(times_ns, self.knots_ns, self.knots_s)
        return np.where(times_ns >= NEVER, np.inf, seconds)


def clock(trace: Trace, reads: pd.DataFrame | None = None) -> Clock:
    """The program's clock of this run: the time in which no read was under way.

    What a tracer adds to it is taken out by an untraced warm run where there is one: the clock then runs
    slower, to end when that did. reads: trace.reads() if at hand.
    """
    reads = trace.reads(("time_ns", "duration_ns")) if reads is None else reads
    known = reads["duration_ns"].notna().to_numpy(bool)
    start = reads["time_ns"].to_numpy(np.int64)
    duration = reads["duration_ns"].to_numpy(np.int64, na_value=0)
    del reads
    if not known.all():
        start, duration = start[known], duration[known]
    start, end = spans(start, duration)
    del duration
    np.maximum.accumulate(end, out=end)
    begins = np.append(True, start[1:] > end[:-1])[: len(start)]
    start, end = start[begins], end[np.append(begins[1:], True)[: len(start)]]
    last = int(trace.events["time_ns"].max()) if len(trace.events) else 0
    last = max(last, round((trace.meta.wall_s or 0) * 1e9), int(end[-1]) if len(end) else 0)
    knots = np.empty(2 * len(start) + 2, np.int64)
    knots[0], knots[1:-1:2], knots[2:-1:2], knots[-1] = 0, start, end, last
    del start, end
    seconds = np.zeros(len(knots))
    seconds[1::2] = np.diff(knots)[::2]  # between the start and the end of a read it stands still
    np.cumsum(seconds, out=seconds)
    seconds /= 1e9
    warm = median_s(trace.meta.measured.warm)
    if warm is not None and seconds[-1] > warm:
        seconds *= warm / seconds[-1]
    return Clock(knots, seconds)


def clocked(frame: pd.DataFrame, program: Clock) -> dict[str, Floats]:
    """issued_s and needed_s. Requests are made in their order, whatever a rounding of times makes of it."""
    at = np.minimum(frame["time_ns"].to_numpy(np.int64), NEVER - 1)  # however late: it was made
    issued = np.maximum.accumulate(program(at))
    needed_ns, time_ns = (frame[name].to_numpy(np.int64) for name in ("needed_ns", "time_ns"))
    return {
        "issued_s": issued,
        "needed_s": np.where(needed_ns <= time_ns, issued, np.maximum(program(needed_ns), issued)),
    }


OVERLAPPING_COLUMNS = ("time_ns", "duration_ns", "tid", "op")
"""Of the reads, for `overlapping`."""


def overlapping(reads: pd.DataFrame) -> Ints:
    """For each read the number of its group: those that were under way at the same time, none of them
    waiting for another. Numbers rise with time.

    A group has a first read, and what other tasks read while that one was under way; of asynchronous calls
    also those of the same task.
    """
    start = reads["time_ns"].to_numpy(np.int64)
    _, end = spans(start, reads["duration_ns"].to_numpy(np.int64, na_value=0))
    alone = np.ones(len(reads), bool)  # begins when all before it have ended: a group begins there
    alone[1:] = start[1:] >= np.maximum.accumulate(end)[:-1]
    if alone.all():
        return np.arange(len(reads))
    first = alone.copy()
    rows = np.flatnonzero(~(alone & np.append(alone[1:], True)))  # all others are alone in their groups
    task = reads["tid"].to_numpy(np.int64)[rows]
    many = reads["op"].isin(ASYNCHRONOUS).to_numpy(bool)[rows]
    task[many] = -1 - np.flatnonzero(many)
    until, tasks = -1, set[int]()
    for row, begin, stop, who in _rows(rows, start[rows], end[rows], task):
        if begin >= until or who in tasks:
            first[row] = True
            until, tasks = stop, {who}
        else:
            tasks.add(who)
    return np.cumsum(first) - 1


def as_given(trace: Trace) -> pd.DataFrame:
    """The requests of a log of the block layer, as they were: the columns of `projection.Cold.requests`.

    While none was under way, the programs computed. Those that were under way at the same time did not wait
    for each other. All are taken to be waited for: no log tells which of them nobody waits for.
    """
    asked = trace.layer("device")
    asked = asked[asked["op"].isin(DEVICE_OPS).to_numpy(bool)].reset_index(drop=True)
    size = asked["size"].to_numpy(np.int64, na_value=0)
    offset, _ = spans(asked["offset"].to_numpy(np.int64, na_value=0), size)
    apart = asked.assign(tid=-1 - np.arange(len(asked)))  # whoever asked: overlapping ones go together
    time = asked["time_ns"].to_numpy(np.int64)
    file = asked["file"].to_numpy(np.int64)
    made = pd.DataFrame(
        {
            "read": np.full(len(asked), -1),
            "file": file,
            "offset": offset,
            "size": size,
            "time_ns": time,
            "needed_ns": time,
            "folio": np.full(len(asked), PAGE),
            "device": np.append(trace.files["device"].to_numpy(object), "")[file],
            "device_offset": offset % SPACE,
            "own": np.zeros(len(asked), bool),
            "group": overlapping(apart),
            "handed": np.zeros(len(asked), bool),
        }
    )
    return made.assign(**clocked(made, clock(trace, asked)), each=np.ones(len(asked), bool))


def waits(
    issued: Floats,
    needed: Floats,
    group: Ints,
    chain: Ints,
    latency: Floats,
    occupied: Floats,
    served_as: Ints | None = None,
    held: Slices | None = None,
) -> Floats:
    """How long the program waits for each request, in seconds; arrays of equal length, in the order of
    service.

    issued, needed: on the program's clock, when a request is made and when the program cannot go on without
    it (infinite: never; at `issued`: at once). group: requests next to each other with one number are made
    together, before any of them is waited for. chain: which of several programs makes it, each with a clock
    of its own; 0, 1 ... latency, occupied: as in `devices.model.Service`. The device serves one after
    another, each as soon as the one before it is no longer in the way. served_as: of each the row that
    brings it in: its own, or an earlier one, of another program that asked for the same; None: each its own.
    held: gives leave for each request, before it reaches the device; None: nobody has to.
    """
    if not len(issued):
        return np.zeros(0)
    if held is None and (needed <= issued).all() and not chain.any() and (np.diff(group) != 0).all():
        return _one_by_one(issued, latency, occupied)
    if held is None and served_as is None and not chain.any():
        return _of_one_program(issued, needed, group, latency, occupied)
    waited = array("d", bytes(8 * len(issued)))
    chains = int(chain.max()) + 1
    lag, base, last = [0.0] * chains, [0.0] * chains, [-1] * chains
    pending: list[list[tuple[float, float, int]]] = [[] for _ in range(chains)]
    free, ends = 0.0, array("d", bytes(8 * len(issued)))  # whose items are set faster than those of numpy
    by = np.arange(len(issued)) if served_as is None else served_as
    rows = _rows(issued, needed, group, chain, latency, occupied, by)
    for row, (issue, need, number, who, takes, blocks, source) in enumerate(rows):
        if number != last[who]:
            last[who] = number
            if pending[who]:
                _settle(pending[who], issue, lag, who, waited)
            base[who] = lag[who]
        if source == row:
            start = issue + base[who]
            if free > start:  # a call of max() for each of millions is a tenth of the time
                start = free
            if held is not None:
                start = held.passed(start)
            free, done = start + blocks, start + takes
            ends[row] = done
        else:
            done = ends[source]  # it is there, or under way
        if need > issue:
            heapq.heappush(pending[who], (need, done, row))
        else:
            late = done - issue
            if late > lag[who]:
                waited[row] = late - lag[who]
                lag[who] = late
    for who in range(chains):
        _settle(pending[who], float(np.finfo(np.float64).max), lag, who, waited)
    return np.frombuffer(waited)


def _rows(*columns: npt.NDArray[Any]) -> Iterator[tuple[Any, ...]]:
    """The rows of these columns as Python's numbers, never more than _AT_ONCE of them in memory."""
    return chain_of.from_iterable(
        zip(*(column[begin : begin + _AT_ONCE].tolist() for column in columns), strict=True)
        for begin in range(0, len(columns[0]), _AT_ONCE)
    )


def _settle(
    pending: list[tuple[float, float, int]], now: float, lag: list[float], who: int, waited: array[float]
) -> None:
    """Wait for everything that the program needs up to `now`."""
    while pending and pending[0][0] <= now:
        need, done, row = heapq.heappop(pending)
        late = done - need - lag[who]
        if late > 0:
            waited[row] = late
            lag[who] += late


def _of_one_program(
    issued: Floats, needed: Floats, group: Ints, latency: Floats, occupied: Floats
) -> Floats:
    """`waits` of one program, each request brought in by itself: the same step by step, with less to do in
    each."""
    waited = array("d", bytes(8 * len(issued)))
    pending: list[tuple[float, float, int]] = []
    lag, base, free, last = 0.0, 0.0, 0.0, -1
    never = math.inf
    rows = _rows(np.arange(len(issued)), issued, needed, group, latency, occupied)
    for row, issue, need, number, takes, blocks in rows:
        if number != last:
            last = number
            while pending and pending[0][0] <= issue:
                lag = _settled(pending, lag, waited)
            base = lag
        start = issue + base
        if free > start:
            start = free
        free, done = start + blocks, start + takes
        if need <= issue:
            late = done - issue
            if late > lag:
                waited[row] = late - lag
                lag = late
        elif need < never:
            heapq.heappush(pending, (need, done, row))
    while pending:
        lag = _settled(pending, lag, waited)
    return np.frombuffer(waited)


def _settled(pending: list[tuple[float, float, int]], lag: float, waited: array[float]) -> float:
    """Wait for the first of these; how far behind the program is then."""
    need, done, row = heapq.heappop(pending)
    late = done - need - lag
    if late > 0:
        waited[row] = late
        lag += late
    return lag


def _one_by_one(issued: Floats, latency: Floats, occupied: Floats) -> Floats:
    """`waits` where each request is waited for before the next is made."""
    steps = np.maximum(occupied[:-1], latency[:-1] + np.diff(issued))
    lag = issued[0] + np.append(0.0, np.cumsum(steps)) + latency - issued
    steps = np.diff(lag, prepend=0.0)
    return np.where(steps > 0, steps, 0.0)  # rounding makes a wait of nothing a little less
