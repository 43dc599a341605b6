"""The block events of a log, a row each, in columns that any number of lines may fill."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from profiler.trace import MOST_ROWS

Ints = npt.NDArray[np.int64]

QUEUED, ISSUED, COMPLETED = range(3)
"""A task asked for sectors (or a part of what it asked for begins here); the disk was asked for them; it
has answered."""

SECTOR = 512
"""Bytes; the block layer counts in these, on every disk."""

LAST_SECTOR = 2**54
"""No disk has more: its bytes would not fit in 63 bits."""
MOST_SECTORS = 2**23
"""No request is of more: its length in bytes has 32 bits (linux/blk_types.h: bvec_iter.bi_size)."""

LAST_TASK = 2**31
LAST_NS = 2**61
"""From one such time to another a trace may take (docs/trace.md)."""

READ, WRITE, OTHER = range(3)
"""What a request does: of the letters of a tool the first that is R or W. OTHER: to discard, to flush, to
reset a zone."""


_ROW = struct.Struct("<bqiqibi")
_DTYPE = np.dtype(
    [("kind", "i1"), ("time_ns", "<i8"), ("disk", "<i4"), ("sector", "<i8"), ("sectors", "<i4"),
     ("does", "i1"), ("tid", "<i4")]
)  # fmt: skip


@dataclass
class Events:
    """What a log says of disks.

    names: of tasks, by tid, the last that the log has. processes: the process of a tid, where the log tells.
    lost: events that the tool itself has lost. told: what the tool itself has counted: "reads", "read_kib",
    "writes", "write_kib". empty_ends: requests of no sectors, none of them a write, that have ended. cached:
    pages that came into the page cache, by device and inode, where the log tells. disks: their rows, in the
    order in which they come.
    """

    disks: dict[bytes, int] = field(default_factory=dict)
    names: dict[int, bytes] = field(default_factory=dict)
    processes: dict[int, int] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)
    cached: dict[bytes, int] = field(default_factory=dict)
    lost: int = 0
    empty_ends: int = 0
    _rows: bytearray = field(default_factory=bytearray, repr=False)

    def __len__(self) -> int:
        return len(self._rows) // _ROW.size

    def add(
        self, kind: int, time_ns: int, disk: bytes, sector: int, sectors: int, letters: bytes, tid: int
    ) -> bool:
        """Add an event; False, and nothing is added, where its numbers are none of a disk's."""
        if not (0 <= sector < LAST_SECTOR and 0 <= sectors <= MOST_SECTORS and 0 <= tid < LAST_TASK):
            return False
        number = self.disks.get(disk)
        if number is None:
            number = len(self.disks)
            if number >= _MOST_DISKS:
                return False
        if not -LAST_NS < time_ns < LAST_NS:
            return False
        self.disks[disk] = number
        self._rows += _ROW.pack(kind, time_ns, number, sector, sectors, _does(letters), tid)
        return True

    def name(self, tid: int, name: bytes) -> None:
        """What the log calls a task."""
        if name and (tid in self.names or len(self.names) < MOST_ROWS["tasks"]):
            self.names[tid] = name[:_MOST_NAME]

    def belongs(self, tid: int, pid: int) -> None:
        """The process of a task, if there can be one of that number."""
        if 0 < pid < LAST_TASK:
            self.processes[tid] = pid

    def lose(self, count: int) -> None:
        """The tool has lost so many events more."""
        self.lost = min(self.lost + max(count, 0), LAST_NS)

    def cache(self, file: bytes, pages: int) -> None:
        """So many pages of a file, known by device and inode, came into the page cache."""
        if file in self.cached or len(self.cached) < MOST_ROWS["files"]:
            self.cached[file] = self.cached.get(file, 0) + pages

    def columns(self) -> dict[str, Ints]:
        """kind (QUEUED ...), time_ns, disk, sector, sectors, does (READ ...) and tid of each event as arrays
        of int64, by time; of events of one time, as they stand in the log."""
        rows = np.frombuffer(self._rows, _DTYPE)
        rows = rows[np.argsort(rows["time_ns"], kind="stable")]
        return {name: rows[name].astype(np.int64) for name in _DTYPE.names or ()}


_MOST_DISKS = 10_000
_MOST_NAME = 64


@lru_cache(maxsize=256)
def _does(letters: bytes) -> int:
    """Letters as the kernel writes them (include/trace/events/block.h, blk_fill_rwbs): an F ahead asks for a
    flush before; then R, W, D, F, N or, of zones, Z and one more."""
    first = letters.removeprefix(b"F")[:1] or b"F"
    return READ if first == b"R" else WRITE if first == b"W" else OTHER
