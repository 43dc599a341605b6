"""What the reads of a cold start wait for each device, one after the other, along the map's axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.intervals import Ints
from profiler.analysis.simulation.projection import Projection
from profiler.report.page.packing import Pack

Floats = npt.NDArray[np.float64]

POINTS = 4096
"""Of a cumulative line; between two of them it is straight."""

CODE = 1.2
"""What each read costs on a device is told as a power of this, in tens of nanoseconds, so to 10%; the sum
over all reads is made exact. It is for sums over a selection."""

BUDGET = 900_000
"""Bytes that these codes may take, before they are base64; where they would take more every n-th read has
one."""


def cumulative(projection: Projection, reads: int) -> Floats:
    """Seconds waited by the end of each read, with what was waited for since the one before, mapped files
    among it."""
    if not reads:
        return np.zeros(0)
    read = pd.Series(projection.reads).where(lambda row: row >= 0).bfill().ffill().fillna(0)
    spent = np.bincount(read.to_numpy(np.int64), projection.times, reads)[:reads].astype(
        np.float64, copy=False
    )
    np.cumsum(spent, out=spent)
    return spent


def lines(
    projections: Sequence[Projection], kept: npt.NDArray[np.bool_], step: int, pack: Pack
) -> dict[str, Any]:
    """The lines of all devices, at numbers of the kept reads. kept: those of the trace's reads that the map
    shows. step: of the layer of reads, of which every n-th has a code."""
    count = int(kept.sum())
    rows = np.unique(np.linspace(0, max(count - 1, 0), min(count, POINTS)).astype(np.int64))
    along, codes, tried = [], [], Pack()
    for one in projections:
        line = cumulative(one, len(kept))
        line = line if count == len(kept) else line[kept]
        along.append(line[rows])
        codes.append(_codes(np.diff(line, prepend=0.0)[::step]))
        tried.column(codes[-1])
    thin = max(-(-sum(map(len, tried.blocks)) // BUDGET), 1)
    devices = []
    for one, line, each in zip(projections, along, codes, strict=True):
        each = each[::thin]
        decoded = _decoded_s(each)
        millionths = np.rint(line / one.seconds * 1e6) if one.seconds else np.zeros(len(rows))
        devices.append(
            {
                "device": one.device,
                "line": pack.column(_steps(millionths.astype(np.int64)), signed=True),
                "codes": pack.column(each),
                "scale": one.seconds / decoded if decoded else 0.0,
            }
        )
    return {"number": pack.column(_steps(rows)), "devices": devices, "base": CODE, "thin": thin}


def _steps(values: Ints) -> Ints:
    found: Ints = np.diff(values, prepend=np.int64(0))
    return found


def _codes(seconds: Floats) -> npt.NDArray[np.int16]:
    power = np.maximum(seconds, 1e-8)
    power /= 1e-8
    np.log(power, out=power)
    power /= np.log(CODE)
    found = np.minimum(np.rint(power, out=power), 254).astype(np.int16) + np.int16(1)
    found[seconds <= 0] = 0
    return found


def _decoded_s(codes: npt.NDArray[np.int16]) -> float:
    """The sum of what these codes say, in seconds."""
    return float(np.where(codes > 0, CODE ** (codes - 1.0) * 1e-8, 0).sum())
