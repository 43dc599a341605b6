"""The device layer: the requests by which a device served the program, as rows of the log."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from profiler.capture.kernel.device import requests
from profiler.capture.kernel.pagecache import block_node, device_name
from profiler.capture.kernel.syscalls import Columns, processes_of
from profiler.capture.recorder import EVENT_DTYPE, OP_CODES, UNKNOWN, FileFacts, Recorder

QUEUED, ISSUED, COMPLETED, REMAPPED = (
    "block_bio_queue", "block_rq_issue", "block_rq_complete", "block_bio_remap",
)  # fmt: skip
FIELDS = {
    QUEUED: ["dev", "sector", "nr_sector", "comm"],
    ISSUED: ["dev", "sector", "nr_sector", "bytes"],
    COMPLETED: ["dev", "sector", "nr_sector"],
    REMAPPED: ["dev", "sector", "nr_sector", "old_dev", "old_sector"],
}
_WORKER = re.compile(rb"iou-(?:wrk|sqp)-(\d+)")


def rows(
    tables: Mapping[str, Columns], recorder: Recorder, processes: Mapping[int, int], start_ns: int
) -> npt.NDArray[np.void]:
    """Rows of ops `request` and `kernel_request`; the disks are added to the recorder's files."""
    bios = tables[QUEUED]
    owned = np.isin(bios["tid"], list(processes)) & (bios["time_ns"] >= start_ns)
    named = [bios["dev"], tables[REMAPPED]["dev"], tables[REMAPPED]["old_dev"]]
    disks = _disks(np.unique(np.concatenate(named)).tolist())
    found = requests(bios, owned, tables[ISSUED], tables[COMPLETED], tables[REMAPPED], disks)
    made = np.zeros(len(found.time_ns), EVENT_DTYPE)
    made["time_ns"] = np.maximum(found.time_ns - start_ns, 0)
    made["duration_ns"] = np.where(found.duration_ns < 0, UNKNOWN, found.duration_ns)
    made["tid"] = found.tid
    # a worker of the kernel's issues for somebody
    made["pid"] = processes_of(np.where(found.deferred, bios["tid"][found.bio], found.tid), processes)
    made["file"] = _files(found.dev, recorder)
    made["handle"] = -1
    made["op"] = np.where(found.deferred, OP_CODES["kernel_request"], OP_CODES["request"])
    made["offset"] = found.offset
    made["size"] = made["requested"] = found.size
    return made


def workers(tables: Mapping[str, Columns], processes: Mapping[int, int]) -> dict[int, int]:
    """The threads in which io_uring reads for the observed tasks, with their processes.

    No event tells that they are made (linux: create_io_thread), but they are named for their makers.
    """
    bios, found = tables[QUEUED], {}
    for name in np.unique(bios["comm"]).tolist():
        worker = _WORKER.match(name)
        if worker is not None and int(worker[1]) in processes:
            for tid in np.unique(bios["tid"][bios["comm"] == name]).tolist():
                found[tid] = processes[int(worker[1])]
    return found


def _disks(devices: Iterable[int]) -> dict[int, int]:
    """The whole disk of each device that is a partition."""
    found = {}
    for device in devices:
        place = f"/sys/dev/block/{device_name(device)}"
        if os.path.exists(f"{place}/partition"):
            with open(f"{place}/../dev", encoding="ascii") as source:
                major, minor = source.read().split(":")
            found[device] = int(major) << 20 | int(minor)
    return found


def _files(devices: npt.NDArray[np.int64], recorder: Recorder) -> npt.NDArray[np.int64]:
    numbers = {}
    for device in np.unique(devices).tolist():
        name = device_name(device)
        node = block_node(device) or f"(device {name})".encode()
        facts = FileFacts(node, name, kind="block")
        known = [n for n, one in enumerate(recorder.files) if (one.kind, one.device) == ("block", name)]
        numbers[device] = known[0] if known else recorder.file(("disk", device), facts)
    return np.array([numbers[device] for device in devices.tolist()], np.int64)
