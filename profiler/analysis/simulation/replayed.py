"""What of a trace is read again in a replay, and what a device model says of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.intervals import Ints
from profiler.analysis.simulation.placement import SPACE
from profiler.analysis.simulation.projection import requests
from profiler.devices.model import Device
from profiler.errors import ColdseekError
from profiler.trace import Trace

SECTOR = 512
"""Reads past the page cache begin and end at multiples of it (open(2), O_DIRECT)."""
COLUMNS = ("time_ns", "file", "offset", "size")


def replayed(trace: Trace, layer: str, on_device: bool) -> tuple[pd.DataFrame, Ints]:
    """The reads to make again, in order: COLUMNS, int64 (file: a row of the sizes). And the bytes of each
    file.

    layer: "device": the requests of a cold start, observed or modelled, whole sectors; what file systems
    read of their own is one more file behind those of the trace, its blocks one behind another. "syscall":
    the reads as they were called. on_device: one file, which is the device; its size is 0: not known here.
    Raises ColdseekError where there is nothing to read, or a place is out of all bounds.
    """
    if layer == "syscall":
        reads = trace.reads()
        reads = reads[reads["offset"].notna()]
        rows = reads.assign(own=False, device_offset=reads["offset"])
        if on_device:
            raise ColdseekError("calls read files, not devices; use --layer device, or --on a directory")
    else:
        rows = requests(trace).requests
    if not len(rows):
        raise ColdseekError(f"the trace has nothing to replay on the {layer} layer; record a cold start")
    own = rows["own"].to_numpy(bool)
    time, file, offset, size = (rows[name].to_numpy(np.int64) for name in COLUMNS)
    sizes = np.append(trace.files["size"].to_numpy(np.int64, na_value=0), 0)
    if on_device:
        file, offset = np.zeros_like(file), rows["device_offset"].to_numpy(np.int64)
        sizes = np.zeros(1, np.int64)
    elif own.any():
        file, offset = np.where(own, len(sizes) - 1, file), np.where(own, _packed(offset, size, own), offset)
    if (file < 0).any():
        raise ColdseekError("some requests belong to no known file; use --on DEVICE")
    if (offset < 0).any() or (offset > SPACE).any() or (size > SPACE).any():
        raise ColdseekError("the trace's offsets are out of all bounds; record it again")
    if layer == "device":
        end = -(-(offset + size) // SECTOR) * SECTOR
        offset = offset // SECTOR * SECTOR
        size = end - offset
    order = np.argsort(time, kind="stable")
    made = pd.DataFrame(dict(zip(COLUMNS, (time, file, offset, size), strict=True))).iloc[order]
    if not on_device:
        np.maximum.at(sizes, file, offset + size)
    return made.reset_index(drop=True), sizes


def _packed(offset: Ints, size: Ints, own: npt.NDArray[np.bool_]) -> Ints:
    """Places for the blocks of `own`, one behind another in the order of the device; 0 for the others."""
    places, which = np.unique(offset[own], return_inverse=True)
    widths = np.zeros(len(places), np.int64)
    np.maximum.at(widths, which, -(-size[own] // SECTOR) * SECTOR)
    packed = np.zeros(len(offset), np.int64)
    packed[own] = (np.cumsum(widths) - widths)[which]
    return packed


def expected_s(device: Device, offsets: Ints, sizes: Ints, times_ns: Ints | None = None) -> float:
    """Seconds that these reads take on `device`, each begun when the one before it is complete.

    offsets: on the device, bytes. times_ns: and none sooner after the one before it than it was recorded;
    None: without a pause.
    """
    if times_ns is None:
        service = device.serve(offsets, sizes)
        return float(np.maximum(service.latency, service.occupied).sum())
    gap = np.diff(times_ns, append=times_ns[-1:]) / 1e9
    each = np.maximum(device.serve(offsets, sizes).latency, device.serve(offsets, sizes).occupied)
    idle = np.maximum(gap - each, 0.0)  # the device has nothing to do before the next
    arrivals = np.concatenate([[0.0], np.cumsum(idle)[:-1]]) + np.arange(len(idle)) * 1e-9
    service = device.serve(offsets, sizes, arrivals)
    return float(np.maximum(np.maximum(service.latency, service.occupied), gap).sum())
