"""The same bytes as one sequential read: what a cold start would wait at least, if all of it lay in one
piece."""

from __future__ import annotations

import numpy as np

from profiler.analysis.intervals import PAGE
from profiler.analysis.simulation.placement import SPACE
from profiler.analysis.simulation.waiting import waits
from profiler.devices.model import Device

READ_AHEAD = 128 * 1024
"""Bytes that Linux asks for at a time when it reads ahead, unless told otherwise (VM_READAHEAD_PAGES)."""

MOST_PIECES = 4096
"""Larger reads are modelled in so many requests: what one costs besides its bytes is nothing by then."""


def sequential_s(device: Device, size: int, largest: int = READ_AHEAD, begin: int = 0) -> float:
    """Seconds until `size` bytes from the offset `begin` of the device are there, read in order and all
    asked for at once.

    The requests lie behind each other, each of the larger of READ_AHEAD and `largest` bytes: those that the
    start made may be larger. The device's own model serves them, so a disk pays one seek and half a turn and
    then its streaming rate; a flash drive pays one latency and then the bandwidth of its channels:

        sum of occupied(request) for all but the last + latency(last)

    with both as in `devices.model.Service`. Nobody waits for anything else meanwhile.
    """
    if size <= 0:
        return 0.0
    size = min(size, SPACE)
    piece = max(largest, READ_AHEAD, -(-size // MOST_PIECES))
    piece = -(-piece // PAGE) * PAGE
    starts = np.arange(0, size, piece, dtype=np.int64)
    sizes = np.minimum(size - starts, piece)
    none = np.zeros(len(starts))
    service = device.serve((starts + begin) % SPACE, sizes, none)
    group = np.zeros(len(starts), np.int64)
    waited = waits(none, none, group, group, service.latency, service.occupied)
    return float(waited.sum())
