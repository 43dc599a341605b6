"""What a cold start costs on a device: the requests that reach it, served by a model of it.

Cold cost counts what has to be brought in if nothing is cached at the start and nothing is evicted: a
re-read is free. Device time that the program does not wait for, because it was read ahead while the program
was busy, is told apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.intervals import Ints, exact_sum
from profiler.analysis.measured import measured, median_s
from profiler.analysis.pagecache import facts_of_devices, simulate
from profiler.analysis.placement import FILE_GAP, SPACE, place
from profiler.analysis.waiting import NEVER, Clock, clock, overlapping, waits
from profiler.devices.model import Device, Floats
from profiler.errors import ColdseekError, UsageError
from profiler.trace import Trace

MAX_SERVED = 5_000_000
"""Requests times copies; more are refused (about 300 bytes of memory and a microsecond each)."""

SPREADS = 2.0
"""A band reaches so many standard deviations of what is left to chance to either side: 95% of cases."""


@dataclass(frozen=True)
class Cold:
    """What reaches the device in a cold start, and when.

    requests: the columns of `placement.place`, plus issued_s and needed_s (on the program's clock, see
    `waiting`) and group (int64, see `waiting.overlapping`), in the order in which they are made. placed: as
    in `Placement.known`. warm_s: the median wall time of untraced warm runs, None if there are none.
    """

    requests: pd.DataFrame
    placed: str
    warm_s: float | None


@dataclass(frozen=True)
class Projection:
    """The projected cost of a cold start on one device.

    device, title: its name and one line on it. copies: starts at once. requests, bytes: what reaches the
    device, of all copies. seconds: how long the program waits for the device (of several copies: the one
    that waits longest); low_s, high_s: the band that real devices of this kind are expected in. busy_s: how
    long the device is busy, with what nobody waits for too. start_s, start_low_s, start_high_s: the whole
    start, which is the untraced warm wall time and the waiting; None where no warm run was timed. placed:
    as in `Placement.known`. shares: part of the device's time -> share of it, as far as the model tells
    parts apart. times: float64, seconds that each request of one copy is waited for. reads: int64, the row
    of the reads' frame that caused each of these requests; -1: none of them.
    """

    device: str
    title: str
    copies: int
    requests: int
    bytes: int
    seconds: float
    low_s: float
    high_s: float
    busy_s: float
    start_s: float | None
    start_low_s: float | None
    start_high_s: float | None
    placed: str
    shares: dict[str, float]
    times: npt.NDArray[np.float64] = field(repr=False, compare=False)
    reads: Ints = field(repr=False, compare=False)


def requests(trace: Trace, reads: pd.DataFrame | None = None, resident: pd.DataFrame | None = None) -> Cold:
    """What reaches the device in a cold start, where it lies there, and when it is made. `reads`:
    trace.reads() if at hand. resident: what is in the page cache all the same, see `pagecache.simulate`."""
    reads = trace.reads() if reads is None else reads
    placement = place(
        simulate(trace, resident=resident), trace.files, trace.extents, facts_of_devices(trace)
    )
    frame = placement.requests
    made = frame.assign(group=_groups(frame, overlapping(reads)), **_clocked(frame, clock(trace, reads)))
    return Cold(made, placement.known, median_s(measured(trace.meta, "warm")[0]))


def project(what: Trace | Cold, device: Device, copies: int = 1) -> Projection:
    """The cost of a cold start on `device`, as if everything that was read lay on it.

    what: a trace, or what `requests` made of it (made once for several devices).

    Devices of the trace are laid one after another on the one that is projected, FILE_GAP apart. Of `copies`
    such starts at once each makes a request in turn, or all of a group; each has files of its own, laid
    behind those of the one before. Copies that share their files do much better.

    The band: the device's own (`Device.low_ratio`, `high_ratio`), the chance in its model, and the order in
    which it serves what is queued.

    Raises UsageError for copies < 1, ColdseekError for more requests than MAX_SERVED.
    """
    cold = requests(what) if isinstance(what, Trace) else what
    frame = cold.requests
    if copies < 1:
        raise UsageError(f"{copies} copies make no sense; give a number from 1")
    if copies > 1 and len(frame) * copies > MAX_SERVED:
        raise ColdseekError(
            f"{copies} copies of {len(frame)} requests are too many; at most {MAX_SERVED} are modelled"
        )
    sizes = frame["size"].to_numpy(np.int64)
    offsets, span = _on_one_device(frame)
    issued, needed = (frame[name].to_numpy(np.float64) for name in ("issued_s", "needed_s"))
    group = frame["group"].to_numpy(np.int64)
    turn = np.cumsum(np.diff(group, prepend=group[:1]) != 0)
    request, copy = _interleave(turn, copies)
    shift = np.array([number * span % SPACE for number in range(copies)], np.int64)
    service = device.serve(
        (offsets[request] + shift[copy]) % SPACE, sizes[request], _arrivals(issued, turn, request, copies)
    )
    latency = service.latency
    waited = waits(issued[request], needed[request], turn[request], copy, latency, service.occupied)
    each = np.bincount(copy, weights=waited, minlength=copies)
    slowest = int(np.argmax(each))
    seconds, busy = float(each[slowest]), float(latency.sum())
    chance = SPREADS * service.spread_s
    low = max((seconds - service.sooner_s) * device.low_ratio - chance, 0.0)
    high = (seconds + service.later_s) * device.high_ratio + chance if seconds else 0.0
    times = np.zeros(len(frame))
    times[request[copy == slowest]] = waited[copy == slowest]
    return Projection(
        device=device.name,
        title=device.title,
        copies=copies,
        requests=len(request),
        bytes=exact_sum(sizes) * copies,
        seconds=seconds,
        low_s=low,
        high_s=high,
        busy_s=busy,
        **{
            name: None if cold.warm_s is None else cold.warm_s + wait
            for name, wait in (("start_s", seconds), ("start_low_s", low), ("start_high_s", high))
        },
        placed=cold.placed,
        shares={name: float(part.sum()) / busy for name, part in service.parts.items()} if busy else {},
        times=times,
        reads=frame["read"].to_numpy(np.int64),
    )


def _groups(frame: pd.DataFrame, group_of_read: Ints) -> Ints:
    """For each request the number of its group: of its read, or one of its own moment where it has none."""
    read = frame["read"].to_numpy(np.int64)
    moment = frame["time_ns"].to_numpy(np.int64)
    own = len(group_of_read) + np.cumsum(np.diff(moment, prepend=moment[:1]) != 0)
    return np.where(read >= 0, np.append(group_of_read, 0)[read], own)


def _clocked(frame: pd.DataFrame, program: Clock) -> dict[str, Floats]:
    """issued_s and needed_s. Requests are made in their order, whatever a rounding of times makes of it."""
    at = np.minimum(frame["time_ns"].to_numpy(np.int64), NEVER - 1)  # however late: it was made
    issued = np.maximum.accumulate(program(at))
    needed_ns, time_ns = (frame[name].to_numpy(np.int64) for name in ("needed_ns", "time_ns"))
    return {
        "issued_s": issued,
        "needed_s": np.where(needed_ns <= time_ns, issued, np.maximum(program(needed_ns), issued)),
    }


def _arrivals(issued: Floats, turn: Ints, request: Ints, copies: int) -> Floats:
    """When requests reach the device, in the order of service: those of one turn together, any others at
    least a nanosecond apart. Several copies leave it no pause.
    """
    pause = np.where(np.diff(turn, prepend=-1) != 0, 1e-9, 0.0)
    if copies == 1:
        pause = np.where(pause > 0, np.maximum(np.diff(issued, prepend=0.0), pause), 0.0)
    arrivals: Floats = np.cumsum(pause)[request]
    return arrivals


def _on_one_device(frame: pd.DataFrame) -> tuple[Ints, int]:
    """Offsets with all devices laid one after another, and how much of the device they span, in bytes."""
    offsets = frame["device_offset"].to_numpy(np.int64).copy()
    ends = offsets + np.minimum(frame["size"].to_numpy(np.int64), SPACE)
    which, names = pd.factorize(frame["device"])
    base = 0
    for index in range(len(names)):
        rows = which == index
        lowest = int(offsets[rows].min())
        end = int(ends[rows].max())
        if index:
            offsets[rows] = (offsets[rows] - lowest + base) % SPACE
            base += end - lowest + FILE_GAP
        else:
            base = end + FILE_GAP
    return offsets, base


def _interleave(turn: Ints, copies: int) -> tuple[Ints, Ints]:
    """The order of service: for each place in it the request, and which copy makes it."""
    request = np.tile(np.arange(len(turn)), copies)
    copy = np.repeat(np.arange(copies), len(turn))
    order = np.lexsort((request, copy, turn[request]))
    return request[order], copy[order]
