"""A disk with an arm, of which data sheets or a calibration tell the usual numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profiler.devices.disks.seek import published_ms
from profiler.devices.model import MEGA, Bytes, Curve, Floats, Service, gaps, pauses

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Disk:
    """Command overhead, seek, half a turn, transfer; where it lies under the head is not known.

    The seek curve runs through seek_curve_ms, points (gigabytes, milliseconds), where it was measured. Else
    through the three numbers of a data sheet (`seek.published_ms`): settle_ms (track to track),
    average_seek_ms, full_stroke_ms. Distances are taken as shares of the capacity. The first request comes
    from an unknown place and pays the average seek.

    Zones: tracks get shorter inwards, so the rate falls from transfer_mb_per_s at the start of the disk to
    inner_mb_per_s at its end, in proportion to the offset; without inner_mb_per_s it is the same everywhere.

    Track buffer: after a read the disk reads on into its buffer of buffer_mb until the next request comes. A
    request that starts where the previous one ended is transfer only, less what the disk has read by then. A
    short way forward costs no more than reading over the gap.

    Queue: of requests that arrive together, at most queue_depth (NCQ), those are served first that lie
    first. Rotation is uniform: the mean is half a turn, its standard deviation a turn through the square
    root of 12 a request.
    """

    rpm: float
    settle_ms: float
    average_seek_ms: float
    full_stroke_ms: float
    command_ms: float
    transfer_mb_per_s: float
    capacity_gb: float
    inner_mb_per_s: float = 0.0
    buffer_mb: float = 8.0
    queue_depth: float = 1.0
    seek_curve_ms: Curve = ()

    def serve(self, offsets: Bytes, sizes: Bytes, arrivals: Floats) -> Service:
        """See `Model.serve`; parts: command, seeking, turning, transferring. Queued requests keep their
        places in the arrays, whatever order they are served in.
        """
        order, depth = self._queued(offsets, arrivals)
        parts, turning = self._in_order(offsets[order], sizes[order], arrivals)
        back = np.argsort(order)
        parts = {name: part[back] for name, part in parts.items()}
        total = sum(parts.values(), np.zeros(len(offsets)))
        later = 0.0
        if (depth > 1).any():
            as_they_came, _ = self._in_order(offsets, sizes, arrivals)
            later = max(float(sum(part.sum() for part in as_they_came.values()) - total.sum()), 0.0)
        return Service(
            parts,
            occupied=total,
            spread_s=60 / self.rpm / math.sqrt(12) * math.sqrt(np.count_nonzero(turning)),
            # of k places that are waiting, the one that comes under the head first is 1 / (k + 1) of a turn
            # away; to take it costs a longer way of the arm, so this is the least that it can be
            sooner_s=float((turning * (1 - 2 / (depth + 1))).sum()),
            later_s=later,
        )

    def _in_order(self, offsets: Bytes, sizes: Bytes, arrivals: Floats) -> tuple[dict[str, Floats], Floats]:
        """The parts of each request, served in this order; and its half turns, 0 where there is none."""
        rate = self.rate(offsets)
        gap = gaps(offsets, sizes)
        seek = self.seek_s(np.abs(gap))
        seek[:1] = self.average_seek_ms / 1e3
        turn = np.full(len(offsets), 30 / self.rpm)
        ahead = np.minimum(pauses(arrivals) * rate, self.buffer_mb * MEGA)  # bytes read on meanwhile
        over = np.maximum(gap - ahead, 0.0) / rate  # the gap passes under the head without a seek
        passed = (gap >= 0) & (over < seek + turn)
        passed[:1] = False
        buffered = np.where(passed, np.clip(ahead - gap, 0.0, sizes), 0.0)
        parts = {
            "command": np.where(passed & (gap == 0), 0.0, self.command_ms / 1e3),
            "seeking": np.where(passed, 0.0, seek),
            "turning": np.where(passed, over, turn),
            "transferring": (sizes - buffered) / rate + buffered / np.maximum(rate, _INTERFACE),
        }
        return parts, np.where(passed, 0.0, turn)

    def rate(self, offsets: Bytes) -> Floats:
        """Bytes a second under the head at each offset."""
        inner = self.inner_mb_per_s or self.transfer_mb_per_s
        share = np.clip(offsets / (self.capacity_gb * 1e9), 0.0, 1.0)
        return np.asarray((self.transfer_mb_per_s + (inner - self.transfer_mb_per_s) * share) * MEGA)

    def seek_s(self, distance: Floats) -> Floats:
        """Seconds to move the arm over `distance` bytes and settle."""
        if self.seek_curve_ms:
            known, seek_ms = np.array(self.seek_curve_ms, np.float64).T
            measured: Floats = np.interp(distance / 1e9, known, seek_ms) / 1e3
            return measured
        share = distance / (self.capacity_gb * 1e9)
        return published_ms(share, self.settle_ms, self.average_seek_ms, self.full_stroke_ms) / 1e3

    def _queued(self, offsets: Bytes, arrivals: Floats) -> tuple[Ints, Floats]:
        """The order of service: by offset among those that arrived together, at most queue_depth of them;
        and how many were queued with each, itself too.
        """
        began = np.append(True, arrivals[1:] != arrivals[:-1])[: len(arrivals)]
        if self.queue_depth < 2 or began.all():
            return np.arange(len(offsets)), np.ones(len(offsets))
        queue = np.cumsum(began) - 1
        since = np.arange(len(offsets)) - np.flatnonzero(began)[queue]
        depth = np.minimum(np.bincount(queue)[queue], self.queue_depth)
        return np.lexsort((offsets, since // int(self.queue_depth), queue)), depth


_INTERFACE = 300 * MEGA
"""Bytes a second from the disk's buffer: SATA at 3 Gbit/s with 8b/10b coding."""
