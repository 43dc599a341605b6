"""Drives without moving parts, and volumes in a cloud, which behave like them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from profiler.devices.model import MEGA, Bytes, Curve, Floats, Service


@dataclass(frozen=True)
class Flash:
    """A latency that grows with the size of the request, and several requests at once.

    latency_us: points (bytes, microseconds) of a request that is alone: the first holds for all that is
    smaller, beyond the last the bytes come at transfer_mb_per_s. channels: requests that are served at once
    without slowing each other down; of more, each takes its turn. transfer_mb_per_s: all channels together.
    iops: the most requests a second that the device is allowed to serve (cloud volumes, cgroups); a request
    may begin 1 / iops after the one before it.
    """

    latency_us: Curve
    transfer_mb_per_s: float
    channels: float = 1.0
    iops: float = math.inf

    def serve(self, offsets: Bytes, sizes: Bytes, arrivals: Floats) -> Service:
        """See `Model.serve`; parts: latency (that of the smallest request), transferring."""
        known, latency_us = np.array(self.latency_us, np.float64).T
        beyond = np.maximum(sizes - known[-1], 0.0) / (self.transfer_mb_per_s * MEGA)
        total = np.interp(sizes, known, latency_us) / 1e6 + beyond
        smallest = np.full(len(sizes), latency_us[0] / 1e6)
        bandwidth = sizes / (self.transfer_mb_per_s * MEGA)
        at_once = np.maximum(total / self.channels, bandwidth)
        return Service(
            {"latency": smallest, "transferring": total - smallest}, np.maximum(at_once, 1 / self.iops)
        )
