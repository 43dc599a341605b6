"""The cache layer: pages brought into the page cache and faults on mapped files, as rows of the log.

The kernel names a file by the device of its file system and its inode number. Most are known from the opens
and mappings that the tracer saw. What a file system reads for itself (inodes, directories, bitmaps) are
pages of the block device's own inode, whose number is the device's (linux: bdev_add). On file systems that
stat(2) shows under another device than the kernel (overlayfs, btrfs) a file is known by the reads that
brought its pages in, or by its inode number alone if no other such file has it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from profiler.calls import LARGEST, READ_OPS
from profiler.capture.kernel.join import Ints, asof
from profiler.capture.kernel.syscalls import Columns, processes_of
from profiler.capture.recorder import EVENT_DTYPE, OP_CODES, UNKNOWN, FileFacts, Recorder

ADDED, FAULTED = "mm_filemap_add_to_page_cache", "mm_filemap_fault"
FIELDS = {ADDED: ["s_dev", "i_ino", "index", "order"], FAULTED: ["s_dev", "i_ino", "index"]}

_READS = [OP_CODES[name] for name in READ_OPS]
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MINOR_BITS = 20  # of a dev_t inside the kernel (linux/kdev_t.h)


def rows(
    mine: Mapping[str, Columns],
    everyone: Mapping[str, Columns],
    log: npt.NDArray[np.void],
    recorder: Recorder,
    processes: Mapping[int, int],
    start_ns: int,
) -> npt.NDArray[np.void]:
    """Rows of ops `miss` and `fault`; files that the recorder does not know yet are added to it.

    mine: events of the observed tasks. everyone: of others too, of which those in `processes` count. log:
    the rows of the syscall layer.
    """
    parts = []
    reads = log[np.isin(log["op"], _READS) & (log["size"] > 0) & (log["offset"] >= 0)]
    both = [(table, event) for table in (mine, everyone) for event in (ADDED, FAULTED) if event in table]
    for tables, event in both:
        op = "miss" if event == ADDED else "fault"
        table = tables[event]
        wanted = table["time_ns"] >= start_ns
        if tables is everyone:
            wanted &= np.isin(table["tid"], list(processes))
        table = {name: values[wanted] for name, values in table.items()}
        made = np.zeros(len(table["time_ns"]), EVENT_DTYPE)
        made["time_ns"] = table["time_ns"] - start_ns
        made["duration_ns"] = UNKNOWN
        made["tid"] = table["tid"]
        made["pid"] = processes_of(table["tid"], processes)
        made["handle"] = -1
        made["op"] = OP_CODES[op]
        made["offset"] = np.clip(table["index"], 0, LARGEST // _PAGE) * _PAGE
        made["file"] = _files(table, _brought_in_by(made, reads), recorder)
        pages = np.int64(1) << np.clip(table["order"], 0, 20).astype(np.int64) if "order" in table else 1
        made["size"] = made["requested"] = np.minimum(pages * _PAGE, LARGEST - made["offset"])
        parts.append(made)
    return np.concatenate(parts) if parts else np.zeros(0, EVENT_DTYPE)


def _brought_in_by(pages: npt.NDArray[np.void], reads: npt.NDArray[np.void]) -> Ints:
    """Of each page the file whose read asked for just that page at that time; -1: none did."""
    at = asof(pages["tid"], pages["time_ns"], reads["tid"], reads["time_ns"])
    read = np.append(reads, np.zeros(1, EVENT_DTYPE))[at]
    asked = (
        (at >= 0) & (pages["time_ns"] <= read["time_ns"] + read["duration_ns"])
        & (pages["offset"] < read["offset"] + read["size"]) & (pages["offset"] + _PAGE > read["offset"])
    )  # fmt: skip
    return np.where(asked, read["file"], -1).astype(np.int64)


def _files(table: Columns, brought_in_by: Ints, recorder: Recorder) -> npt.NDArray[np.int64]:
    """The recorder's number of each row's file."""
    inodes = np.stack([table["s_dev"].astype(np.int64), table["i_ino"].astype(np.int64)])
    distinct, which = np.unique(inodes, axis=1, return_inverse=True)
    known: dict[tuple[str, int | None], int] = {}
    for number, facts in enumerate(recorder.files):
        if facts.inode is not None:  # disks of which only the device layer tells have none
            known.setdefault((facts.device, None if facts.kind == "block" else facts.inode), number)
    which = which.reshape(-1)
    elsewhere = (b"/proc/", b"/sys/", b"/dev/")
    unplaced = [
        (facts.inode, number)
        for number, facts in enumerate(recorder.files)
        if facts.device.startswith("0:") and facts.kind == "regular" and not facts.path.startswith(elsewhere)
    ]
    alike = Counter(inode for inode, _ in unplaced)
    alone = {inode: number for inode, number in unplaced if alike[inode] == 1}
    of_reads = dict(zip(which[brought_in_by >= 0], brought_in_by[brought_in_by >= 0], strict=True))
    numbers = [
        _file(int(device), int(inode), known, int(of_reads.get(number, alone.get(int(inode), -1))), recorder)
        for number, (device, inode) in enumerate(distinct.T)
    ]
    return np.array(numbers, np.int64)[which] if numbers else np.zeros(0, np.int64)


def _file(
    device: int, inode: int, known: dict[tuple[str, int | None], int], likely: int, recorder: Recorder
) -> int:
    name = device_name(device)
    found = known.get((name, inode))
    if found is not None:
        return found
    if device >> _MINOR_BITS == 0 and (node := block_node(inode)):
        of_device = device_name(inode)  # opened as a file, or else read by its file system
        facts = FileFacts(node, of_device, kind="metadata")
        found = known.get((of_device, None))
        return recorder.file(("metadata", inode), facts) if found is None else found
    if likely >= 0:
        return likely
    facts = FileFacts(f"(inode {inode} of {name})".encode(), name, inode if 0 <= inode < 2**63 else None)
    return recorder.file((device, inode), facts)


def device_name(device: int) -> str:
    """A dev_t of the kernel's as "major:minor"."""
    return f"{device >> _MINOR_BITS}:{device & ((1 << _MINOR_BITS) - 1)}"


def block_node(device: int) -> bytes:
    """The name of a block device's node; b"" if there is no such device."""
    try:
        return b"/dev/" + os.path.basename(os.readlink(f"/sys/dev/block/{device_name(device)}")).encode()
    except OSError:
        return b""
