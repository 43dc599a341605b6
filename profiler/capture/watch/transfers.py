"""Where sendfile, splice and copy_file_range read, when the offset lies in the program's memory: told by the
pages that were looked up for them.

A transfer of `size` bytes that looked up the pages [first, last] began in the first and ended in the last.
Often only one offset does that, whole pages above all, or the file's end leaves only one; else it is not
known.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from profiler.capture.calls.event_log import OP_CODES, UNKNOWN
from profiler.capture.kernel.join import asof
from profiler.capture.kernel.syscalls import Ints
from profiler.capture.watch.evidence import Touched

_PAGE = os.sysconf("SC_PAGE_SIZE")


_OPS = np.array([OP_CODES[name] for name in ("sendfile", "splice", "copy_file_range")])


class Transfers:
    """log: calls as rows of the log; start_ns: the zero of their times. rows: the numbers of those that
    moved data from a file, in order; device, inode: of each what was read, -1: not known."""

    def __init__(self, log: npt.NDArray[np.void], start_ns: int) -> None:
        self.rows = np.flatnonzero(np.isin(log["op"], _OPS) & (log["size"] > 0))
        mine = log[self.rows]
        self._tid, self._begun = mine["tid"].astype(np.int64), mine["time_ns"] + start_ns
        self._ended = self._begun + np.maximum(mine["duration_ns"], 0)
        self._size, self._handle = mine["size"], mine["handle"]
        count = len(self.rows)
        self._first, self._end = np.full(count, 2**62), np.full(count, -1)
        self.device, self.inode = np.full(count, -1), np.full(count, -1)

    def seen(self) -> Iterator[tuple[int, int, int, int]]:
        """What was read through which open: handle, device, inode, when (ns)."""
        known = np.flatnonzero((self.device >= 0) & (self._handle >= 0))
        columns = (self._handle, self.device, self.inode, self._begun)
        yield from zip(*(column[known].tolist() for column in columns), strict=True)

    def feed(self, touched: Touched) -> None:
        """Take in what was read outside of calls of one descriptor."""
        if not len(self.rows) or not len(touched):
            return
        call = asof(touched.tid, touched.time_ns, self._tid, self._begun)
        within = (call >= 0) & (touched.time_ns <= np.append(self._ended, -1)[call])
        call = call[within]
        np.minimum.at(self._first, call, touched.start[within])
        np.maximum.at(self._end, call, touched.end[within])
        self.device[call], self.inode[call] = touched.device[within], touched.inode[within]

    def offsets(self, sizes: Ints) -> Ints:
        """Of each of `rows` where it read (bytes; UNKNOWN where several places are possible). sizes: of each
        one's file, -1: not known."""
        low = np.maximum(self._first, self._end - _PAGE - self._size + 1)
        high = np.minimum(self._first + _PAGE - 1, self._end - self._size)
        high = np.where(sizes >= 0, np.minimum(high, sizes - self._size), high)
        return np.where((self._end >= 0) & (low == high), low, UNKNOWN)
