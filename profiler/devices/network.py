"""A device behind a network."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from profiler.devices.model import MEGA, Bytes, Device, Floats, Service


@dataclass(frozen=True)
class Network:
    """A file server: a round trip and the bytes over the wire, on top of the time of the server's own
    device. Of queued requests the round trips overlap; the wire and the device each serve one after another.
    """

    round_trip_us: float
    transfer_mb_per_s: float
    server: Device

    def serve(self, offsets: Bytes, sizes: Bytes, arrivals: Floats) -> Service:
        """See `Model.serve`; parts: network, and those of the server's device."""
        served = self.server.serve(offsets, sizes, arrivals)
        wire = sizes / (self.transfer_mb_per_s * MEGA)
        return replace(
            served,
            parts={"network": self.round_trip_us / 1e6 + wire, **served.parts},
            occupied=np.maximum(served.occupied, wire),
        )
