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
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from profiler.calls import LARGEST, READ_OPS
from profiler.capture.calls.event_log import EVENT_DTYPE, OP_CODES, UNKNOWN, Recorder
from profiler.capture.kernel.join import Ints, asof
from profiler.capture.kernel.probed.stand_ins import FAULTED
from profiler.capture.kernel.syscalls import Columns, processes_of
from profiler.capture.kernel.windows import Window
from profiler.trace import FileFacts

ADDED = "mm_filemap_add_to_page_cache"
FIELDS = {ADDED: ["s_dev", "i_ino", "index", "order"], FAULTED: ["s_dev", "i_ino", "index"]}

_READS = [OP_CODES[name] for name in READ_OPS]
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MINOR_BITS = 20  # of a dev_t inside the kernel (linux/kdev_t.h)


Named = Callable[[int, int], int | None]
"""What is known otherwise: device and inode -> the recorder's file."""


class CacheLayer:
    """Rows of ops `miss` and `fault`, window after window. named: asked first. Their `file` is a number of
    `files`, which are known at the end only, as it is all reads that tell which file some inodes are."""

    def __init__(self, recorder: Recorder, start_ns: int, named: Named = lambda device, inode: None) -> None:
        self._recorder = recorder
        self._start_ns = start_ns
        self._named = named
        self._inodes: dict[tuple[int, int], int] = {}  # device, inode -> its number
        self._of_reads: dict[int, int] = {}  # number -> the recorder's file that reads brought in
        self._left: dict[tuple[str, str], Columns] = {}  # pages of reads that have not ended

    def feed(
        self,
        window: Window,
        log: npt.NDArray[np.void],
        begun: Mapping[int, int],
        processes: Mapping[int, int],
    ) -> npt.NDArray[np.void]:
        """The window's pages as rows of the log, without those of reads that are yet to end.

        Of `window.all`, tasks in `processes` count. log: the window's rows of the syscall layer. begun: task
        -> since when it has been in a call (ns).
        """
        parts = [np.zeros(0, EVENT_DTYPE)]
        reads = log[np.isin(log["op"], _READS) & (log["size"] > 0) & (log["offset"] >= 0)]
        tasks = np.array([list(begun), list(begun.values())], np.int64)
        for whose, tables in (("mine", window.mine), ("all", window.all)):
            for event in (ADDED, FAULTED):
                if event not in tables:
                    continue
                table, left = tables[event], self._left.get((whose, event), {})
                wanted = table["time_ns"] >= self._start_ns
                if whose == "all":
                    wanted &= np.isin(table["tid"], list(processes))
                table = {
                    name: np.concatenate([left.get(name, column[:0]), column[wanted]])
                    for name, column in table.items()
                }
                call = asof(table["tid"].astype(np.int64), table["time_ns"], tasks[0], tasks[1])
                ended = call < 0
                self._left[whose, event] = {name: column[~ended] for name, column in table.items()}
                table = {name: column[ended] for name, column in table.items()}
                parts.append(self._rows(table, "miss" if event == ADDED else "fault", reads, processes))
        return np.concatenate(parts)

    def _rows(
        self, table: Columns, op: str, reads: npt.NDArray[np.void], processes: Mapping[int, int]
    ) -> npt.NDArray[np.void]:
        rows = np.zeros(len(table["time_ns"]), EVENT_DTYPE)
        rows["time_ns"] = table["time_ns"] - self._start_ns
        rows["duration_ns"] = UNKNOWN
        rows["tid"] = table["tid"]
        rows["pid"] = processes_of(table["tid"], processes)
        rows["handle"] = -1
        rows["op"] = OP_CODES[op]
        rows["offset"] = np.clip(table["index"], 0, LARGEST // _PAGE) * _PAGE
        pages = np.int64(1) << np.clip(table["order"], 0, 20).astype(np.int64) if "order" in table else 1
        rows["size"] = rows["requested"] = np.minimum(pages * _PAGE, LARGEST - rows["offset"])
        rows["file"] = self._numbers(table, _brought_in_by(rows, reads))
        return rows

    def _numbers(self, table: Columns, brought_in_by: Ints) -> Ints:
        """The number of each row's inode."""
        inodes = np.stack([table["s_dev"].astype(np.int64), table["i_ino"].astype(np.int64)])
        distinct, which = np.unique(inodes, axis=1, return_inverse=True)
        pairs = map(tuple, distinct.T.tolist())
        numbers = np.array([self._inodes.setdefault(pair, len(self._inodes)) for pair in pairs], np.int64)
        of_rows: Ints = numbers[which.reshape(-1)]
        brought = brought_in_by >= 0
        self._of_reads.update(zip(of_rows[brought].tolist(), brought_in_by[brought].tolist(), strict=True))
        return of_rows

    def files(self) -> Ints:
        """The recorder's file of each number; those that it does not know yet are added to it."""
        known: dict[tuple[str, int | None], int] = {}
        for number, facts in enumerate(self._recorder.files):
            if facts.inode is not None:  # disks of which only the device layer tells have none
                known.setdefault((facts.device, None if facts.kind == "block" else facts.inode), number)
        elsewhere = (b"/proc/", b"/sys/", b"/dev/")
        unplaced = [
            (facts.inode, number)
            for number, facts in enumerate(self._recorder.files)
            if facts.device.startswith("0:")
            and facts.kind == "regular"
            and not facts.path.startswith(elsewhere)
        ]
        alike = Counter(inode for inode, _ in unplaced)
        alone = {inode: number for inode, number in unplaced if alike[inode] == 1}
        return np.array([
            self._file(device, inode, known, self._of_reads.get(number, alone.get(inode, -1)))
            for (device, inode), number in self._inodes.items()
        ], np.int64)  # fmt: skip

    def _file(self, device: int, inode: int, known: dict[tuple[str, int | None], int], likely: int) -> int:
        named = self._named(device, inode)
        return _file(device, inode, known, likely, self._recorder) if named is None else named


def _brought_in_by(pages: npt.NDArray[np.void], reads: npt.NDArray[np.void]) -> Ints:
    """Of each page the file whose read asked for just that page at that time; -1: none did."""
    at = asof(pages["tid"], pages["time_ns"], reads["tid"], reads["time_ns"])
    read = np.append(reads, np.zeros(1, EVENT_DTYPE))[at]
    asked = (
        (at >= 0) & (pages["time_ns"] <= read["time_ns"] + read["duration_ns"])
        & (pages["offset"] < read["offset"] + read["size"]) & (pages["offset"] + _PAGE > read["offset"])
    )  # fmt: skip
    return np.where(asked, read["file"], -1).astype(np.int64)


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
