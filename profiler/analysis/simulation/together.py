"""Several starts of one program at once: when their requests reach the device they share, and where."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.intervals import Ints
from profiler.analysis.simulation.placement import FILE_GAP, SPACE
from profiler.analysis.simulation.waiting import Floats


def arrivals(issued: Floats, turn: Ints, request: Ints, copies: int) -> Floats:
    """When requests reach the device, in the order of service: those of one turn together, any others at
    least a nanosecond apart. Several copies leave it no pause.
    """
    pause = np.where(np.diff(turn, prepend=-1) != 0, 1e-9, 0.0)
    if copies == 1:
        pause = np.where(pause > 0, np.maximum(np.diff(issued, prepend=0.0), pause), 0.0)
    arrivals: Floats = np.cumsum(pause)[request]
    return arrivals


def on_one_device(frame: pd.DataFrame) -> tuple[Ints, int]:
    """Offsets with all devices laid one after another, and how much of the device they span, in bytes."""
    offsets = frame["device_offset"].to_numpy(np.int64).copy()
    ends = offsets + np.minimum(frame["size"].to_numpy(np.int64), SPACE)
    which, names = pd.factorize(frame["device"])
    base = 0
    for index in range(len(names)):
        rows = which == index
        lowest = int(offsets[rows].min())
        end = int(ends[rows].max())
        if index:
            offsets[rows] = (offsets[rows] - lowest + base) % SPACE
            base += end - lowest + FILE_GAP
        else:
            base = end + FILE_GAP
    return offsets, base


def behind(offsets: Ints, sizes: Ints, own: npt.NDArray[np.bool_], span: int, copies: int) -> Ints:
    """By how much the files of each copy lie behind those of the first: all behind what the first has and
    what they share, which is `span` bytes."""
    if not own.any():
        return np.zeros(copies, np.int64)
    lowest = int(offsets[own].min())
    length = int((offsets[own] + np.minimum(sizes[own], SPACE)).max()) - lowest + FILE_GAP
    shifts = [(span - lowest + (number - 1) * length) % SPACE for number in range(1, copies)]
    return np.array([0, *shifts], np.int64)


def served_as(request: Ints, copy: Ints, served: npt.NDArray[np.bool_]) -> Ints:
    """For each place in the order of service that at which what it asks for is brought in: the first copy's,
    where it is not served itself."""
    first = copy == 0
    places = np.empty(int(first.sum()), np.int64)
    places[request[first]] = np.flatnonzero(first)
    return np.where(served, np.arange(len(request)), places[request])


def interleave(turn: Ints, copies: int) -> tuple[Ints, Ints]:
    """The order of service: for each place in it the request, and which copy makes it."""
    if copies == 1:
        return np.arange(len(turn)), np.zeros(len(turn), np.int64)
    request = np.tile(np.arange(len(turn)), copies)
    copy = np.repeat(np.arange(copies), len(turn))
    order = np.lexsort((request, copy, turn[request]))
    return request[order], copy[order]
