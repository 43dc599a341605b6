"""The device layer: the requests by which a device served the program, as rows of the log."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from profiler.capture.calls.event_log import EVENT_DTYPE, OP_CODES, UNKNOWN, Recorder
from profiler.capture.kernel.device import Following
from profiler.capture.kernel.pagecache import block_node, device_name
from profiler.capture.kernel.syscalls import Columns, processes_of
from profiler.capture.kernel.windows import Window
from profiler.trace import FileFacts

QUEUED, ISSUED, COMPLETED, REMAPPED = (
    "block_bio_queue", "block_rq_issue", "block_rq_complete", "block_bio_remap",
)  # fmt: skip
FIELDS = {
    QUEUED: ["dev", "sector", "nr_sector", "comm"],
    ISSUED: ["dev", "sector", "nr_sector", "bytes"],
    COMPLETED: ["dev", "sector", "nr_sector"],
    REMAPPED: ["dev", "sector", "nr_sector", "old_dev", "old_sector"],
}
_KINDS = {"bios": QUEUED, "issues": ISSUED, "completes": COMPLETED, "remaps": REMAPPED}
_WORKER = re.compile(rb"iou-(?:wrk|sqp)-(\d+)")


class DeviceLayer:
    """Rows of ops `request` and `kernel_request`, window after window; the disks are added to the recorder's
    files."""

    def __init__(self, recorder: Recorder, start_ns: int) -> None:
        self._recorder = recorder
        self._start_ns = start_ns
        self._following = Following()

    def feed(self, window: Window, processes: Mapping[int, int]) -> npt.NDArray[np.void]:
        """What has ended by the end of the window, as rows of the log. processes: task -> process, of all
        observed tasks so far."""
        tables = {kind: window.all[event] for kind, event in _KINDS.items()}
        bios, remaps = tables["bios"], tables["remaps"]
        owned = np.isin(bios["tid"], list(processes)) & (bios["time_ns"] >= self._start_ns)
        named = np.concatenate([bios["dev"], remaps["dev"], remaps["old_dev"]])
        found = self._following.feed(
            tables | {"bios": {**bios, "owned": owned}}, _disks(np.unique(named).tolist()),
            window.start_ns, window.last,
        )  # fmt: skip
        rows = np.zeros(len(found.time_ns), EVENT_DTYPE)
        rows["time_ns"] = np.maximum(found.time_ns - self._start_ns, 0)
        rows["duration_ns"] = np.where(found.duration_ns < 0, UNKNOWN, found.duration_ns)
        rows["tid"] = found.tid
        # a worker of the kernel's issues for somebody
        rows["pid"] = processes_of(np.where(found.deferred, found.queuer, found.tid), processes)
        rows["file"] = _files(found.dev, self._recorder)
        rows["handle"] = -1
        rows["op"] = np.where(found.deferred, OP_CODES["kernel_request"], OP_CODES["request"])
        rows["offset"] = found.offset
        rows["size"] = rows["requested"] = found.size
        return rows


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
