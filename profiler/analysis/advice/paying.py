"""Whether a prefetch pays: a cold start, projected, against a plan that runs by itself before it or beside
it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from profiler.analysis.advice.options import LEAST_SAVED, prefetched
from profiler.analysis.simulation.projection import project, requests
from profiler.analysis.simulation.waiting import clock
from profiler.devices.model import Device
from profiler.trace import Trace

OWN_REQUESTS, OWN_BYTES, OWN_CPU_S = 111, 10_161_750, 0.025
"""What a plan costs before it reads the first file: requests and bytes of its own start with nothing cached,
all of Python's, and seconds of processor. Measured with Python 3.11 of Debian 12 on ext4
(docs/performance.md)."""

CPU_A_BYTE = 0.6e-3 / 2**20
"""Seconds of processor that reading takes, where all is resident: 166 MiB of 590 files took 0.1 s more than
none."""

_SPREAD = 2**33
"""The files of Python lie anywhere on so many bytes of the device: our own choice."""


@dataclass(frozen=True)
class Paying:
    """Seconds that a start waits on one device. cold: with no prefetch; before: a plan that ran first, its
    own start and all that it waits included; beside: a plan that is started with it, at best. own: of these
    the plan's start.
    """

    device: str
    cold: float
    before: float
    beside: float
    own: float

    @property
    def verdict(self) -> str:
        """ "before", "beside" or "not": where it saves LEAST_SAVED at least."""
        if self.before <= (1 - LEAST_SAVED) * self.cold:
            return "before"
        return "beside" if self.beside <= (1 - LEAST_SAVED) * self.cold else "not"


def paying(trace: Trace, devices: Sequence[Device]) -> list[Paying]:
    """Of each device. Raises ColdseekError where the plan holds too much to be projected.

    Beside: until Python has started, the start goes on as with nothing cached; then the plan gets through
    while the program computes, and what is left of the plan's time the program waits. It never waits for
    more than without a plan. That is the best that can be: in truth the requests of both share the device.
    """
    cold = requests(trace)
    first, rest = prefetched(trace)
    busy = cold.warm_s if cold.warm_s is not None else float(clock(trace, trace.reads()).knots_s[-1])
    results = []
    for device in devices:
        alone = project(cold, device).seconds
        own = OWN_CPU_S + _own_start(device)
        projected = project(first, device)
        plan = projected.seconds + CPU_A_BYTE * projected.bytes
        left = project(rest, device).seconds
        waiting = alone / (alone + busy) if alone else 0.0  # share of the time until Python has started
        beside = min(alone, own * waiting + max(plan - max(busy - own * (1 - waiting), 0.0), 0.0) + left)
        results.append(Paying(device.name, alone, own + plan + left, beside, own))
    return results


def _own_start(device: Device) -> float:
    """Seconds that Python waits for its own files: one request after another, scattered."""
    golden = 0.6180339887  # steps of it spread evenly (Weyl)
    places = np.modf(np.arange(OWN_REQUESTS) * golden)[0] * _SPREAD
    offsets = places.astype(np.int64) // 4096 * 4096
    sizes = np.full(OWN_REQUESTS, OWN_BYTES // OWN_REQUESTS // 4096 * 4096, np.int64)
    return float(device.serve(offsets, sizes).latency.sum())
