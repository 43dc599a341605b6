"""Which file a request on a device read, and where in it: the inverse of the extents of the files.

Extents count from the start of a partition, requests from the start of its disk; the facts of the devices in
`Meta.host` say how they belong together. Offsets, sizes and lengths are in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from profiler.analysis.intervals import Ints, fresh, holding, spans
from profiler.analysis.simulation.placement import LAST, SPACE
from profiler.trace import DEVICE_OPS, Trace

_FARTHEST = 2**62
"""No request of a trace lies behind this, on a disk or in a file. Extents that begin there are read by none,
and those that are left cannot overflow."""


@dataclass(frozen=True)
class Partition:
    """disk: "major:minor" of the whole disk that a device lies on; start: where on it, in bytes."""

    disk: str
    start: int


def known_files(trace: Trace) -> Ints:
    """The numbers of the files with a map of which every place on a disk is known, where a tracer saw what
    reached the disks.

    Not known are files on devices that pass their requests on (device-mapper, RAID) and those without
    extents or without the last of them: what was cut off may lie wherever a request was.
    """
    if not trace.saw("device"):
        return np.zeros(0, np.int64)
    disks, extents = partitions(trace), trace.extents
    whole = extents["file"][extents["flags"] & LAST != 0].to_numpy(np.int64)
    mapped = np.unique(trace.structures["file"].to_numpy(np.int64))
    placed = mapped[np.isin(mapped, whole) & (mapped >= 0)]
    on_disk = trace.files["device"].isin(list(disks)).to_numpy(bool)
    known: Ints = placed[on_disk[placed]]
    return known


def requests(trace: Trace, files: Ints) -> pd.DataFrame:
    """The requests of the layer `device` that read one of `files` (of `known_files`), in time order, with
    their first byte: file, offset (in the file), size (the program's bytes, which may go on behind what
    the file has there).
    """
    rows = trace.layer("device")
    rows = rows[(rows["op"].isin(DEVICE_OPS) & rows["offset"].notna() & (rows["file"] >= 0)).to_numpy(bool)]
    device = trace.files["device"].to_numpy(object)
    disks = partitions(trace)
    extents = trace.extents[np.isin(trace.extents["file"].to_numpy(np.int64), files)]
    where = [disks[name] for name in device[extents["file"].to_numpy(np.int64)]]
    file, offset = read_from(
        device[rows["file"].to_numpy(np.int64)],
        rows["offset"].to_numpy(np.int64),
        extents.assign(disk=[one.disk for one in where], start=[one.start for one in where]),
    )
    size = rows["size"].to_numpy(np.int64, na_value=0)
    found = pd.DataFrame({"file": file, "offset": offset, "size": size})
    return found[file >= 0].reset_index(drop=True)


def read_from(disk: np.ndarray, offset: Ints, extents: pd.DataFrame) -> tuple[Ints, Ints]:
    """For each byte, at `offset` on `disk` (texts), the file that has it and where in the file; -1, -1 where
    none has.

    extents: the columns of the trace's table, disk, and start: where on the disk the partition begins (at
    most 2**61). Files that share a place, by reflinks or in a trace that lies, are not to be told apart: the
    first in the table has it, which is the one of which the most was read.
    """
    file, place = np.full(len(offset), -1, np.int64), np.full(len(offset), -1, np.int64)
    near = (extents[["logical", "physical"]] <= _FARTHEST).all(axis=1) & (extents["length"] > 0)
    extents = extents[near.to_numpy(bool)]
    if not len(extents) or not len(offset):
        return file, place
    codes, _ = pd.factorize(np.concatenate([extents["disk"].to_numpy(object), disk]))
    group, groups = np.split(codes.astype(np.int64), [len(extents)])
    owner, physical, begin = (extents[name].to_numpy(np.int64) for name in ("file", "physical", "start"))
    logical, until = spans(*(extents[name].to_numpy(np.int64) for name in ("logical", "length")))
    start, end = spans(physical + begin, until - logical)
    pieces = fresh(group, start, end)
    held = holding(group[pieces.row], pieces.start, pieces.end, groups, offset)
    inside = held >= 0
    extent = pieces.row[held[inside]]
    file[inside] = owner[extent]
    place[inside] = logical[extent] + (offset[inside] - start[extent])
    return file, place


def partitions(trace: Trace) -> dict[str, Partition]:
    """Where each device lies on its disk, by "major:minor"; those of which it is not known left out."""
    found = {}
    for number, device in trace.meta.host.devices.items():
        if device.disk_number is not None and device.start_bytes is not None:
            found[number] = Partition(device.disk_number, min(device.start_bytes, SPACE))
    return found
