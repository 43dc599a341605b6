"""A volume that is filled on demand: each block comes from afar when it is first touched."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from profiler.devices.model import Bytes, Device, Floats, Service


@dataclass(frozen=True)
class Lazy:
    """A new volume that was made of a snapshot. A request that touches a block of block_kib for the first
    time waits first_touch_ms for it, on top of the time of the volume itself, `server`; all others take that
    alone. What one request touches comes at once. Of a request the first and the last block are looked at:
    one that is larger than two blocks and joins two that are there finds the others there too.
    """

    first_touch_ms: float
    block_kib: float
    server: Device

    def serve(self, offsets: Bytes, sizes: Bytes, arrivals: Floats) -> Service:
        """See `Model.serve`; parts: loading, and those of the volume."""
        served = self.server.serve(offsets, sizes, arrivals)
        block = int(self.block_kib * 1024)
        ends = offsets + np.maximum(sizes, 1) - 1
        touched = np.column_stack([offsets // block, ends // block]).ravel()
        _, first = np.unique(touched, return_index=True)
        new = np.zeros(len(touched), np.bool_)
        new[first] = True
        loading = np.where(new.reshape(-1, 2).any(axis=1), self.first_touch_ms / 1e3, 0.0)
        return replace(served, parts={"loading": loading, **served.parts})
