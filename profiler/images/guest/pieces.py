"""What a reader of a file system finds: pieces of the volume, each of one kind, and of one inode or none.

Every bound on memory is here: a file system may claim anything.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.images.runs import Wanted
from profiler.images.source import Offsets

MAX_PIECES = 200_000
"""So many pieces of what is asked about are kept: as many as a trace holds ranges."""
MAX_HELD = 1_000_000
"""So many pieces of directories, asked about or not, are kept to find the names of files."""
MAX_INODE_BYTES = 512 << 20
"""So much of inodes is read: two million of 256 bytes."""
MAX_NODES = 1 << 16
"""So many blocks that say where the rest of a file lies are read: 256 MiB in blocks of 4 KiB."""
MORE_INODES = f"more inodes than are read ({MAX_INODE_BYTES >> 20} MiB); the others are left out"
MORE_NODES = "more blocks that say where files lie than are read; the others are left out"

KINDS = (
    "superblock", "group descriptors", "block bitmap", "inode bitmap", "group headers", "inode tree",
    "inode table", "inodes", "journal", "directory", "link", "extent tree", "extended attributes",
    "metadata", "file data",
)  # fmt: skip
"""What pieces may be; the number of a kind is its place here. "metadata" is what file systems keep in files
of their own: quotas, what is to be done for orphans."""
FILE, DIRECTORY, LINK = KINDS.index("file data"), KINDS.index("directory"), KINDS.index("link")


def of_modes(mode: npt.NDArray[np.integer[Any]]) -> tuple[Offsets, npt.NDArray[np.bool_]]:
    """What inodes of these modes are, LINK, DIRECTORY or FILE, and which are such that have blocks: no
    devices, pipes or sockets."""
    kind = np.full(len(mode), FILE, np.int64)
    type_ = mode & 0o170000  # S_IFMT
    kind[type_ == stat.S_IFDIR] = DIRECTORY
    kind[type_ == stat.S_IFLNK] = LINK
    return kind, np.isin(type_, (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK))


@dataclass
class Found:
    """Pieces of a volume: bytes [starts, ends), `kinds` as numbers of KINDS, `inodes` 0 where there is none.
    notes: what is wrong or left out, a sentence each. paths: of inodes, from the root of the file system.
    """

    starts: Offsets
    ends: Offsets
    kinds: Offsets
    inodes: Offsets
    notes: dict[str, None] = field(default_factory=dict)
    paths: dict[int, bytes] = field(default_factory=dict)


class Pieces:
    """Collects pieces: those that touch what is asked for, and no more of these than MAX_PIECES."""

    def __init__(self, asked: Wanted, size: int, limit: int = MAX_PIECES) -> None:
        self.size = size
        self.notes: dict[str, None] = {}
        self._asked = asked
        self._parts: list[tuple[Offsets, Offsets, Offsets, Offsets]] = []
        self._held, self._limit = 0, limit

    def note(self, sentence: str) -> None:
        if len(self.notes) < 30:
            self.notes[sentence] = None

    def add(self, kinds: Offsets | int, starts: Offsets, ends: Offsets, inodes: Offsets | int = 0) -> None:
        """More of them, bytes; what lies outside the volume is left out."""
        if not len(starts) or self._held > self._limit:
            return
        good = (starts >= 0) & (ends > starts) & (ends <= self.size) & touches(starts, ends, self._asked)
        count = int(np.count_nonzero(good))
        if not count:
            return
        kinds, inodes = (
            column[good] if isinstance(column, np.ndarray) else np.full(count, column, np.int64)
            for column in (kinds, inodes)
        )
        self._parts.append((starts[good], ends[good], kinds, inodes))
        self._held += count
        if self._held > self._limit:
            self.note("what was read of the guest lies in more pieces than are told apart")

    def left(self) -> bool:
        """Whether any of what is asked for is in none of the pieces yet."""
        found = self.found()
        wanted = sum((self._asked[1] - self._asked[0]).tolist())
        lows = np.searchsorted(self._asked[1], found.starts, "right")
        have = 0
        for low, start, end in zip(lows.tolist(), found.starts.tolist(), found.ends.tolist(), strict=True):
            while low < len(self._asked[0]) and self._asked[0][low] < end:
                have += int(min(end, self._asked[1][low]) - max(start, self._asked[0][low]))
                low += 1
        return bool(have < wanted)

    def found(self) -> Found:
        """All of them, sorted, without overlaps: of two that overlap the first that was added counts."""
        if not self._parts:
            nothing = np.empty(0, np.int64)
            return Found(nothing, nothing, nothing, nothing, self.notes)
        starts, ends, kinds, inodes = (np.concatenate([part[n] for part in self._parts]) for n in range(4))
        starts, ends, rows = apart(starts, ends)
        kinds, inodes = kinds[rows], inodes[rows]
        same = (starts[1:] == ends[:-1]) & (kinds[1:] == kinds[:-1]) & (inodes[1:] == inodes[:-1])
        fresh = np.flatnonzero(np.concatenate([np.ones(1, bool), ~same]))
        last = np.append(fresh[1:], len(starts)) - 1
        return Found(starts[fresh], ends[last], kinds[fresh], inodes[fresh], self.notes)


def touches(starts: Offsets, ends: Offsets, asked: Wanted) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which of the ranges [start, end) hold any of what is asked for."""
    lows, highs = asked
    first = np.searchsorted(highs, starts, "right")
    found = first < len(lows)
    found[found] = lows[first[found]] < ends[found]
    return found


def apart(starts: Offsets, ends: Offsets) -> tuple[Offsets, Offsets, Offsets]:
    """Ranges as parts that do not overlap, sorted, and of which row each is: where two overlap, the one that
    comes first in the rows has it, at the price of what of the other lies behind it."""
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], ends[order]
    reached = np.concatenate([np.zeros(1, np.int64), np.maximum.accumulate(ends)[:-1]])
    if (starts >= reached).all():
        return starts, ends, order
    # rare, a broken file system: what was added earlier keeps its whole range if it starts no later
    low = np.maximum(starts, reached)
    keep = low < ends
    return low[keep], ends[keep], order[keep]
