"""What of a trace is read again in a replay, and what a device model says of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.intervals import Ints, exact_sum
from profiler.analysis.simulation.placement import SPACE
from profiler.analysis.simulation.projection import project, requests
from profiler.calls import READ_OPS
from profiler.devices.model import Device
from profiler.errors import ColdseekError
from profiler.facts.replays import Replay
from profiler.trace import Trace

SECTOR = 512
"""Reads past the page cache begin and end at multiples of it (open(2), O_DIRECT)."""


@dataclass(frozen=True)
class Expected:
    """What a device is projected to take for the reads of a replay. low_s, high_s: the device's own band."""

    device: str
    seconds: float
    low_s: float
    high_s: float


@dataclass(frozen=True)
class Replayed:
    """What a replay measured, beside what devices are projected to take. recorded_extents: pieces that the
    recorded files lay in; None: not known."""

    measured: Replay
    projected: tuple[Expected, ...] = ()
    recorded_extents: int | None = None


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
        if trace.meta.device_only and not on_device:
            raise ColdseekError(
                "the trace knows places on a disk, and of no file: nothing to make such files of; use "
                "coldseek replay --on DEVICE"
            )
        rows = requests(trace).requests
    if not len(rows):
        raise ColdseekError(f"the trace has nothing to replay on the {layer} layer; record a cold start")
    own = rows["own"].to_numpy(bool)
    time, file, offset, size = (rows[name].to_numpy(np.int64) for name in COLUMNS)
    if (offset < 0).any() or (offset > SPACE).any() or exact_sum(size) > SPACE:
        raise ColdseekError("the trace's offsets are out of all bounds; record it again")
    sizes = np.append(trace.files["size"].to_numpy(np.int64, na_value=0), 0)
    if on_device:
        file, offset = np.zeros_like(file), rows["device_offset"].to_numpy(np.int64)
        sizes = np.zeros(1, np.int64)
    elif own.any():
        file, offset = np.where(own, len(sizes) - 1, file), np.where(own, _packed(offset, size, own), offset)
    if (file < 0).any():
        raise ColdseekError("some requests belong to no known file; use --on DEVICE")
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


def expected(
    trace: Trace, reads: pd.DataFrame, measured: Replay, devices: Sequence[Device]
) -> list[Expected]:
    """What each device takes for the reads of `replayed`, where they were measured to lie, or in order of
    their file offsets where that is not known. Of calls with pauses nothing is projected."""
    if measured.layer == "syscall":
        return [] if measured.pauses else [_of_calls(trace, device) for device in devices]
    sizes = reads["size"].to_numpy(np.int64)
    offsets = reads["offset"].to_numpy(np.int64) if measured.offsets is None else measured.offsets
    times = reads["time_ns"].to_numpy(np.int64) if measured.pauses else None
    made = []
    for device in devices:
        seconds = expected_s(device, offsets, sizes, times)
        made.append(Expected(device.name, seconds, seconds * device.low_ratio, seconds * device.high_ratio))
    return made


def _of_calls(trace: Trace, device: Device) -> Expected:
    """The calls one after another without a pause, through a page cache that reads ahead. What is read
    otherwise, through mappings say, is left out, as in the replay."""
    events = trace.events
    calls = events[(events["layer"] == "syscall") & events["op"].isin(READ_OPS)].reset_index(drop=True)
    # the observed misses and requests are of the mappings too
    meta = dataclasses.replace(trace.meta, tracer="", unseen=("readahead",))
    cold = requests(dataclasses.replace(trace, meta=meta, events=calls), lookups=False)
    at_once = cold.requests.assign(issued_s=0.0, needed_s=0.0)
    result = project(dataclasses.replace(cold, requests=at_once), device)
    return Expected(device.name, result.seconds, result.low_s, result.high_s)


def recorded_extents(trace: Trace, reads: pd.DataFrame) -> int | None:
    """Pieces that the files of the reads lay in when they were recorded; None: not known of all."""
    used = np.unique(reads["file"].to_numpy(np.int64))
    used = used[used < len(trace.files)]
    rows = trace.extents[trace.extents["file"].isin(used)].sort_values(["file", "logical"])
    if not len(used) or len(np.unique(rows["file"])) < len(used):
        return None
    file, physical, length = (rows[name].to_numpy(np.int64) for name in ("file", "physical", "length"))
    follows = (file[1:] == file[:-1]) & (physical[1:] == physical[:-1] + length[:-1])
    return len(rows) - int(follows.sum())
