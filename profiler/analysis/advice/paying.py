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
    own start and all that it waits included; beside: a plan that is started with it. own: the plan's own
    start alone.
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

    Beside: while Python starts, the start goes on as with nothing cached, both at half the speed. After
    that, what is still to be read the plan reads while the program computes; the program waits for the rest
    of it, and for half of it at least, as it needs at once what the plan has just begun with. That half is
    our own choice, and a cautious one.
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
        passed = (
            min(own / (alone + busy), 1.0) if alone + busy else 1.0
        )  # share of the start, as Python starts
        later = max(plan - busy, min(plan, alone) / 2) + left
        beside = own + passed * alone + (1 - passed) * later
        results.append(Paying(device.name, alone, own + plan + left, beside, own))
    return results


def _own_start(device: Device) -> float:
    """Seconds that Python waits for its own files: one request after another, scattered."""
    golden = 0.6180339887  # steps of it spread evenly (Weyl)
    places = np.modf(np.arange(OWN_REQUESTS) * golden)[0] * _SPREAD
    offsets = places.astype(np.int64) // 4096 * 4096
    sizes = np.full(OWN_REQUESTS, OWN_BYTES // OWN_REQUESTS // 4096 * 4096, np.int64)
    return float(device.serve(offsets, sizes).latency.sum())
