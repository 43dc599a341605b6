"""The rule of thumb: so many requests a second, wherever they lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from profiler.devices.model import MEGA, Bytes, Floats, Service, continues


@dataclass(frozen=True)
class Flat:
    """Every request costs 1 / iops, wherever it lies, or the time of its bytes where that is longer.

    A request that starts where the previous one ended is no random I/O and costs the time of its bytes only.
    """

    iops: float
    transfer_mb_per_s: float

    def serve(self, offsets: Bytes, sizes: Bytes, arrivals: Floats) -> Service:
        """See `Model.serve`; parts: operations, transferring."""
        transfer = sizes / (self.transfer_mb_per_s * MEGA)
        operation = np.where(continues(offsets, sizes), 0.0, np.maximum(1 / self.iops - transfer, 0.0))
        return Service({"operations": operation, "transferring": transfer}, operation + transfer)
