"""What a model of a storage device is.

A model is told the requests that reach a device, in the order in which they are served: arrays of equal
length with the device offset and the size of each in bytes, and its arrival in seconds. Arrivals are on the
clock of the program, which stands still while the program waits for the device; requests that arrive at the
same time are queued together. It gives the service of each request: the parts of the time from its start to
its completion, and how long the device is occupied by it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.int64]
Curve = tuple[tuple[float, float], ...]
"""Points (x, y) of a measured curve, x rising; between them it is a straight line."""

COUNTS = ("requests", "bios")

AFTER_A_PAUSE = "after a pause"
"""The part of the time that `Device.pause_us` adds."""

MEGA = 1e6
"""Device makers' megabyte, that of every `_mb_per_s`."""


@dataclass(frozen=True)
class Service:
    """How requests are served, one number a request, in seconds.

    parts: name of what the time is spent on -> seconds; they add up to the time from start to completion.
    occupied: time from a request's start until the device can start another: less than the time to
    completion where it serves several at once, more where it is held to a number of requests a second.
    spread_s: standard deviation of the sum of all times, as far as chance is part of the model (rotation).
    sooner_s, later_s: by so much the sum would be smaller or larger if what is queued were served in the
    best order, or in that of its arrival.

    >>> served = coldseek.device("sata-ssd").serve(np.array([0, 8388608]), np.array([4096, 4096]))
    >>> served.latency
    array([0.00014, 0.00014])
    """

    parts: dict[str, Floats]
    occupied: Floats
    spread_s: float = 0.0
    sooner_s: float = 0.0
    later_s: float = 0.0

    @property
    def latency(self) -> Floats:
        """From the start of each request to its completion."""
        total = np.zeros(len(self.occupied))
        for part in self.parts.values():
            total += part
        return total


class Model(Protocol):
    """One kind of device. Its fields are the keys of its presets and of calibrated device files."""

    def serve(self, offsets: Bytes, sizes: Bytes, arrivals: Floats) -> Service:
        """How each request is served, in the given order."""
        ...


@dataclass(frozen=True)
class Device:
    """A model with a name and its limits.

    title: one line in words. source: where the numbers come from. low_ratio, high_ratio: real devices of
    this kind take between low_ratio and high_ratio times the projected time, <= 1 and >= 1. counts: what
    an operation is to its limit: one of COUNTS. A disk, and most volumes of a cloud, count "requests", after
    neighbours have been merged; a control group counts "bios", which are what a file system submits (linux:
    block/blk-throttle.c is asked before that). handoff_us: what a
    program on this machine waits longer for a request where one thread makes the read for another, beyond
    what handing over costs it without the device; None: not known, and nothing is added. remote: it is
    behind a network, so that nobody can put it in the place of a disk of one's own. pause_us: points (x, y):
    a request takes y microseconds longer if the program did something else for x microseconds before it;
    without any point nothing is added. Whoever serves the disk of a virtual machine falls asleep meanwhile.

    >>> ssd = coldseek.device("sata-ssd")
    >>> ssd.kind, ssd.low_ratio <= 1 <= ssd.high_ratio
    ('flash', True)
    """

    name: str
    title: str
    source: str
    kind: str
    model: Model
    low_ratio: float = 1.0
    high_ratio: float = 1.0
    counts: str = "requests"
    handoff_us: float | None = None
    remote: bool = False
    pause_us: Curve = ()

    def serve(self, offsets: Bytes, sizes: Bytes, arrivals: Floats | None = None) -> Service:
        """How each request is served; see `Model`. arrivals: None for one after another without a pause,
        each when the one before it is complete.
        """
        # on the program's clock hardly any time passes then, and still no two arrive together
        one_by_one = np.arange(len(offsets), dtype=np.float64) * 1e-9
        arrivals = one_by_one if arrivals is None else arrivals
        service = self.model.serve(offsets, sizes, arrivals)
        if not self.pause_us:
            return service
        paused_us, longer_us = np.array(self.pause_us, np.float64).T
        longer = np.interp(pauses(arrivals) * 1e6, paused_us, longer_us) / 1e6
        # the device is no busier: it is the request that is late to reach it, or its answer to come back
        return dataclasses.replace(service, parts=service.parts | {AFTER_A_PAUSE: longer})


def gaps(offsets: Bytes, sizes: Bytes) -> Floats:
    """Bytes from the end of the previous request to the start of each; the first is taken as coming from
    0."""
    ends = np.concatenate([[0], offsets[:-1] + sizes[:-1]])[: len(offsets)]
    return np.asarray(offsets - ends, np.float64)


def continues(offsets: Bytes, sizes: Bytes) -> npt.NDArray[np.bool_]:
    """Which requests start exactly where the previous one ended; never the first."""
    going_on = np.equal(gaps(offsets, sizes), 0)
    going_on[:1] = False
    return np.asarray(going_on, np.bool_)


def pauses(arrivals: Floats) -> Floats:
    """Seconds in which the device had nothing to do before each request: the program was busy otherwise.
    None before the first."""
    return np.maximum(np.diff(arrivals, prepend=arrivals[:1]), 0.0)
