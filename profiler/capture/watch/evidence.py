"""Which file a call read, by what the kernel says while it reads: the inode of the pages that it looks up in
the page cache, or that it reads past it.

Pure: decoded events and calls in, columns out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profiler.capture.calls.event_log import UNKNOWN
from profiler.capture.kernel.join import asof
from profiler.capture.kernel.probed.stand_ins import DIRECT, LOOKED_UP
from profiler.capture.kernel.syscalls import Columns, Ints, Pairs
from profiler.capture.kernel.windows import Window

EVENTS = {
    LOOKED_UP: ("s_dev", "i_ino", "index", "last_index", "isize", "pos", "count"),
    DIRECT: ("dev", "ino", "isize", "pos", "count", "ki_flags"),
}
"""linux/filemap.h: every buffered read, of what is cached too; linux: fs/iomap/trace.h: O_DIRECT, of file
systems that are made on iomap (ext4, xfs and others). Of the former's fields the last three are those of its
stand-in in place of `index` and `last_index`; see `kernel.probed`."""
_WRITE = 1 << 18  # IOCB_WRITE, linux/fs.h
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MOST_AT_ONCE = 1 << 31  # bytes; the kernel takes a page less (MAX_RW_COUNT, linux/fs.h)


@dataclass(frozen=True)
class Touched:
    """Stretches of files that the kernel read for somebody, a row each, by time: [start, end) bytes, whole
    pages but for direct ones. device: the kernel's dev_t."""

    time_ns: Ints
    tid: Ints
    device: Ints
    inode: Ints
    start: Ints
    end: Ints
    direct: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.time_ns)

    def rows(self, which: npt.NDArray[np.generic]) -> Touched:
        """Some of them."""
        return Touched(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


def touched(tables: Mapping[str, Columns]) -> Touched:
    """What was read, in one window's events."""
    parts = []
    pages, direct = tables.get(LOOKED_UP), tables.get(DIRECT)
    if pages is not None and len(pages["time_ns"]):
        bound = (1 << 62) // _PAGE
        if "index" not in pages:
            pages = _as_looked_up(pages)
        first, last = np.clip(pages["index"], 0, bound), np.clip(pages["last_index"], 0, bound)
        parts.append((
            pages["time_ns"], pages["tid"], pages["s_dev"], pages["i_ino"], first * _PAGE,
            (last + 1) * _PAGE, np.zeros(len(first), bool),
        ))  # fmt: skip
    if direct is not None and len(direct["time_ns"]):
        reads = np.flatnonzero((direct["ki_flags"] & _WRITE) == 0)
        start = direct["pos"][reads]
        end = np.minimum(start + np.maximum(direct["count"][reads], 0), direct["isize"][reads])
        parts.append((
            direct["time_ns"][reads], direct["tid"][reads], direct["dev"][reads], direct["ino"][reads],
            start, np.maximum(end, start), np.ones(len(reads), bool),
        ))  # fmt: skip
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    columns = columns or [np.zeros(0, np.int64)] * 7
    time, tid, device, inode, start, end, past = (
        column[np.argsort(columns[0], kind="stable")].astype(np.int64) for column in columns
    )
    return Touched(time, tid, device, inode, start, end, past.astype(bool))


def _as_looked_up(asked: Columns) -> Columns:
    """What was asked for of files, as the pages that are looked up for it: none at their end."""
    start = np.minimum(asked["pos"], 1 << 62)
    end = np.minimum(start + np.clip(asked["count"], 0, _MOST_AT_ONCE), asked["isize"])
    reads = np.flatnonzero((start >= 0) & (end > start))
    kept = {name: asked[name][reads] for name in ("time_ns", "tid", "s_dev", "i_ino")}
    return {**kept, "index": start[reads] // _PAGE, "last_index": (end[reads] - 1) // _PAGE}


class Reads:
    """Puts what was read to the calls that read it, window after window: see `Evidence`."""

    def __init__(self) -> None:
        self._left = touched({})

    def feed(self, window: Window, calls: Pairs, begun: Mapping[int, int]) -> Evidence:
        """begun: task -> since when it has been in a call that has not ended (ns)."""
        found = touched(window.mine)
        found = Touched(
            *(np.concatenate([getattr(self._left, name), getattr(found, name)])
              for name in found.__dataclass_fields__)
        )  # fmt: skip
        tasks = np.array([list(begun), list(begun.values())], np.int64).reshape(2, -1)
        waits = asof(found.tid, found.time_ns, tasks[0], tasks[1]) >= 0
        self._left = found.rows(waits)
        found = found.rows(~waits)
        call = asof(found.tid, found.time_ns, calls.tid, calls.time_ns)
        ends = np.where(calls.duration_ns == UNKNOWN, 0, calls.time_ns + calls.duration_ns)
        within = (call >= 0) & (found.time_ns <= np.append(ends, 0)[call])
        device, inode = np.full(len(calls.tid), -1), np.full(len(calls.tid), -1)
        direct = np.zeros(len(calls.tid), bool)
        device[call[within]], inode[call[within]] = found.device[within], found.inode[within]
        direct[call[within]] = found.direct[within]
        return Evidence(device, inode, direct, found.rows(~within))


@dataclass(frozen=True)
class Evidence:
    """device, inode: of each call what it read; -1: nothing is known. direct: whether past the page cache.
    others: what was read outside of such calls: by exec, sendfile, requests to io_uring and libaio."""

    device: Ints
    inode: Ints
    direct: npt.NDArray[np.bool_]
    others: Touched
