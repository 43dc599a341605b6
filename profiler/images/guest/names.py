"""The paths of the files that were asked about, found by walking the directories from the root."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from profiler.images.guest.pieces import MAX_HELD
from profiler.images.source import Image, Offsets, take
from profiler.units import show_count

MAX_DIRECTORIES = 200_000
MAX_ENTRIES = 4_000_000
MAX_DIRECTORY_BYTES = 256 << 20
_MAX_DEPTH = 64
_MAX_PATH = 4096

Entries = Callable[[bytes], Iterable[tuple[int, bytes, bool | None]]]
"""What stands in some bytes of a directory: inode, name, whether it is a directory (None: not said)."""
Blocks = Callable[[int], Iterator[bytes]]
"""The bytes of the directory with this inode, some at a time."""


class Held:
    """Where the blocks of all directories lie."""

    def __init__(self, limit: int = MAX_HELD) -> None:
        self._parts: list[tuple[Offsets, Offsets, Offsets]] = []
        self._count, self._limit = 0, limit
        self._inside: dict[int, bytes] = {}  # what stands in the inode itself

    def add(self, starts: Offsets, ends: Offsets, inodes: Offsets) -> None:
        room = self._limit - self._count
        if room > 0 and len(starts):
            self._parts.append((starts[:room], ends[:room], inodes[:room]))
            self._count += len(starts)

    def put(self, inode: int, raw: bytes) -> None:
        """A directory that stands in its inode."""
        if len(self._inside) < self._limit:
            self._inside[inode] = raw

    def blocks(self, volume: Image, at_once: int) -> Blocks:
        """Reads a directory."""
        nothing = np.empty(0, np.int64)
        starts, ends, inodes = (
            np.concatenate([nothing, *(part[n] for part in self._parts)]) for n in range(3)
        )
        order = np.argsort(inodes, kind="stable")
        starts, ends, inodes = starts[order], ends[order], inodes[order]

        def read(inode: int) -> Iterator[bytes]:
            if self._inside.get(inode):
                yield self._inside[inode]
            low, high = np.searchsorted(inodes, inode, "left"), np.searchsorted(inodes, inode, "right")
            for start, end in zip(starts[low:high].tolist(), ends[low:high].tolist(), strict=True):
                for at in range(start, end, at_once):
                    raw = take(volume, at, min(at_once, end - at))
                    if raw:  # it can be read
                        yield raw

        return read


class Tree:
    """Which path leads to each of `wanted`. The bounds: so many directories, entries, bytes."""

    def __init__(self, wanted: Offsets, root: int) -> None:
        self.notes: dict[str, None] = {}
        self._root = root
        self._wanted = set(np.unique(wanted).tolist()) - {root}
        self._above: dict[int, tuple[int, bytes]] = {}  # inode -> its directory, its name there

    def walk(self, blocks: Blocks, entries: Entries) -> None:
        """Go through the directories from the root, those above first."""
        missing = set(self._wanted)
        todo, seen = [self._root], {self._root}
        left, room = MAX_ENTRIES, MAX_DIRECTORY_BYTES
        for directory in todo:  # it grows
            for raw in blocks(directory):
                room -= len(raw)
                for inode, name, is_directory in entries(raw):
                    left -= 1
                    if name in (b".", b"..") or inode in seen or b"/" in name or b"\0" in name:
                        continue
                    if inode in missing:
                        missing.discard(inode)
                        self._above[inode] = directory, name
                    if is_directory is not False and len(seen) < MAX_DIRECTORIES:
                        seen.add(inode)
                        todo.append(inode)
                        self._above[inode] = directory, name
                if left < 0 or room < 0:
                    self.notes[
                        f"more directories than are read; {show_count(len(missing))} files have no name"
                    ] = None
                    return
            if not missing:
                return

    def paths(self) -> dict[int, bytes]:
        """The path of each wanted inode that was found; one of them where there are several."""
        found = {self._root: b"/"}
        for inode in self._wanted:
            parts: list[bytes] = []
            at = inode
            while at != self._root and at in self._above and len(parts) < _MAX_DEPTH:
                at, name = self._above[at]
                parts.append(name)
            if at == self._root and parts:
                path = b"/" + b"/".join(reversed(parts))
                if len(path) <= _MAX_PATH:
                    found[inode] = path
        return found
