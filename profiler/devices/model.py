"""What a model of a storage device is, and the models there are.

A model is told the requests that reach a device, in order: two arrays of equal length, the device offset and
the size of each, in bytes. It gives the service time of each request in seconds, as named parts that add up.
Requests are served one after another: what a single program does that waits for every read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.int64]

MEGA = 1e6
"""Device makers' megabyte, that of every `_mb_per_s`."""


class Model(Protocol):
    """One kind of device. Its fields are the keys of its presets and of calibrated device files."""

    def parts(self, offsets: Bytes, sizes: Bytes) -> dict[str, Floats]:
        """What each request spends its time on: name of the part -> seconds, one a request."""
        ...


@dataclass(frozen=True)
class Device:
    """A model with a name and its limits.

    title: one line in words. source: where the numbers come from. low_ratio, high_ratio: real devices of
    this kind take between low_ratio and high_ratio times the projected time, <= 1 and >= 1.
    """

    name: str
    title: str
    source: str
    kind: str
    model: Model
    low_ratio: float = 1.0
    high_ratio: float = 1.0

    def service_times(self, offsets: Bytes, sizes: Bytes) -> Floats:
        """Seconds for each request; device offsets and sizes in bytes, in the order in which they are
        served."""
        total = np.zeros(len(offsets))
        for part in self.model.parts(offsets, sizes).values():
            total += part
        return total


@dataclass(frozen=True)
class Flat:
    """Every request costs 1 / iops, wherever it lies, or the time of its bytes where that is longer.

    A request that starts where the previous one ended is no random I/O and costs the time of its bytes only.
    """

    iops: float
    transfer_mb_per_s: float

    def parts(self, offsets: Bytes, sizes: Bytes) -> dict[str, Floats]:
        transfer = sizes / (self.transfer_mb_per_s * MEGA)
        operation = np.where(continues(offsets, sizes), 0.0, np.maximum(1 / self.iops - transfer, 0.0))
        return {"operations": operation, "transferring": transfer}


@dataclass(frozen=True)
class Disk:
    """A disk with an arm: command overhead, seek, half a turn, transfer.

    The seek curve has the usual two branches, after Ruemmler and Wilkes, "An introduction to disk drive
    modeling", IEEE Computer 27(3), 1994: with the square root of the distance while the arm still
    accelerates, linear beyond. It runs through three published numbers: settle_ms (track to track) at 0,
    average_seek_ms at a third of the stroke, which is the mean distance of random places, and full_stroke_ms
    at the whole. Distances are taken as shares of the capacity. The first request comes from an unknown
    place and pays the average seek.

    A request that starts where the previous one ended is transfer only: the disk reads on into its buffer. A
    short way forward costs no more than reading over the gap.
    """

    rpm: float
    settle_ms: float
    average_seek_ms: float
    full_stroke_ms: float
    command_ms: float
    transfer_mb_per_s: float
    capacity_gb: float

    def parts(self, offsets: Bytes, sizes: Bytes) -> dict[str, Floats]:
        transfer = sizes / (self.transfer_mb_per_s * MEGA)
        gap = gaps(offsets, sizes)
        seek = self.seek_s(np.abs(gap))
        turn = np.full(len(offsets), 30 / self.rpm)
        seek[:1] = self.average_seek_ms / 1e3
        over = gap / (self.transfer_mb_per_s * MEGA)  # the gap passes under the head without a seek
        passed = (gap >= 0) & (over < seek + turn)
        passed[:1] = False
        return {
            "command": np.where(continues(offsets, sizes), 0.0, self.command_ms / 1e3),
            "seeking": np.where(passed, 0.0, seek),
            "turning": np.where(passed, over, turn),
            "transferring": transfer,
        }

    def seek_s(self, distance: Floats) -> Floats:
        """Seconds to move the arm over `distance` bytes and settle."""
        share = np.minimum(distance / (self.capacity_gb * 1e9), 1.0) * 3  # 1: a third of the stroke
        near = self.settle_ms + (self.average_seek_ms - self.settle_ms) * np.sqrt(share)
        far = self.average_seek_ms + (self.full_stroke_ms - self.average_seek_ms) * (share - 1) / 2
        seek_ms: Floats = np.where(share < 1, near, far)
        return seek_ms / 1e3


@dataclass(frozen=True)
class Flash:
    """A drive without moving parts, one request at a time: a latency up to 4 KiB, then the bandwidth.

    A request that starts where the previous one ended pays for its bytes only: such runs are fetched ahead,
    by the kernel in larger requests and by the drive.
    """

    latency_us: float
    transfer_mb_per_s: float

    def parts(self, offsets: Bytes, sizes: Bytes) -> dict[str, Floats]:
        going_on = continues(offsets, sizes)
        beyond = np.where(going_on, sizes, np.maximum(sizes - 4096, 0))
        return {
            "latency": np.where(going_on, 0.0, self.latency_us / 1e6),
            "transferring": beyond / (self.transfer_mb_per_s * MEGA),
        }


@dataclass(frozen=True)
class Network:
    """A file server: a round trip and the bytes over the wire, on top of the time of the server's own
    device.

    In a run of requests that follow one another the round trips overlap and the slower of wire and device
    counts.
    """

    round_trip_us: float
    transfer_mb_per_s: float
    server: Device

    def parts(self, offsets: Bytes, sizes: Bytes) -> dict[str, Floats]:
        going_on = continues(offsets, sizes)
        served = self.server.service_times(offsets, sizes)
        wire = sizes / (self.transfer_mb_per_s * MEGA)
        return {
            "server": served,
            "network": np.where(going_on, np.maximum(wire - served, 0.0), self.round_trip_us / 1e6 + wire),
        }


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
