"""Which part of the guest's disk holds what: its partitions, what is in them, and of ext and xfs file
systems whose blocks these are.

Nothing is mounted, and only what is asked about is looked for. An image may claim anything: see `pieces` and
`names` for the bounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profiler.images.guest import ext, xfs
from profiler.images.guest.disk import merged
from profiler.images.guest.partitions import partitions
from profiler.images.guest.pieces import KINDS, MAX_PIECES, Found, touches
from profiler.images.guest.signatures import signature
from profiler.images.guest.volume import Volume
from profiler.images.runs import Wanted
from profiler.images.source import Image, Offsets

_READERS = {"ext2": ext.read, "ext3": ext.read, "ext4": ext.read, "xfs": xfs.read}
_MAX_VOLUMES = 128
"""Of so many partitions that were read the file systems are looked into."""
_NAMED = tuple(KINDS.index(kind) for kind in ("file data", "directory", "link", "extent tree"))


@dataclass(frozen=True)
class Contents:
    """Ranges of the guest's disk, bytes, half open, sorted, without overlaps: what is there of what was
    asked about. kinds: "ext4 inode table", "ntfs file system" ... paths: of the file in its file system;
    b"": none, or not known. notes: what is wrong or left out.
    """

    starts: Offsets
    ends: Offsets
    kinds: npt.NDArray[np.object_]
    paths: npt.NDArray[np.object_]
    notes: tuple[str, ...]


def contents(disk: Image, asked: Wanted, names: bool = False) -> Contents:
    """What of a disk lies in the parts that are asked about: sorted ranges without overlaps. names: find
    the paths of files too, for which directories are read. Raises nothing: what is wrong becomes a note.
    """
    notes: dict[str, None] = {}
    told: list[str] = []
    layers = _Layers(asked)
    tables, parts = partitions(disk, told)
    for start, end, kind in tables:
        layers.add(np.array([start]), np.array([end]), kind)
    looked = 0
    for number, (start, end) in enumerate(parts or [(0, disk.size)], 1):
        if not touches(np.array([start]), np.array([end]), asked)[0]:
            continue
        looked += 1
        if looked > _MAX_VOLUMES:
            notes["more partitions than are looked into"] = None
            break
        volume = Volume(disk, start, end)
        holds = signature(volume)
        if holds is None:
            if parts:
                layers.below(start, end, "partition")
            continue
        if holds.name in _READERS:
            found = _READERS[holds.name](volume, _within(asked, start, start + volume.size), names)
            layers.found(found, start, holds.name)
            of = f" in partition {number}" if parts else ""
            notes.update(dict.fromkeys(f"{holds.name}{of}: {note}" for note in found.notes))
            layers.below(start, start + volume.size, f"{holds.name} in no file")
        else:
            layers.add(np.array([start + holds.start]), np.array([start + holds.end]), holds.mark)
            layers.below(start, start + volume.size, holds.kind)
    if parts:
        layers.below(0, disk.size, "outside partitions")
    return layers.made(tuple(notes))


def _within(asked: Wanted, start: int, end: int) -> Wanted:
    """What is asked of a part of the disk, in its own offsets."""
    lows, highs = np.maximum(asked[0], start), np.minimum(asked[1], end)
    some = lows < highs
    return lows[some] - start, highs[some] - start


class _Layers:
    """Ranges, those that were added first on top; cut to what is asked about."""

    def __init__(self, asked: Wanted) -> None:
        self._asked = asked
        self._parts: list[tuple[Offsets, Offsets, npt.NDArray[np.object_], npt.NDArray[np.object_]]] = []
        self._below: list[tuple[int, int, str]] = []

    def add(
        self, starts: Offsets, ends: Offsets, kinds: str | npt.NDArray[np.object_],
        paths: npt.NDArray[np.object_] | None = None,
    ) -> None:  # fmt: skip
        """Exact places."""
        if isinstance(kinds, str):
            kinds = np.full(len(starts), kinds, object)
        if paths is None:
            paths = np.full(len(starts), b"", object)
        self._parts.append((starts, ends, kinds, paths))

    def below(self, start: int, end: int, kind: str) -> None:
        """What a range is called where nothing more is known of it."""
        self._below.append((start, end, kind))

    def found(self, found: Found, base: int, name: str) -> None:
        names = np.array([f"{name} {kind}" for kind in KINDS], object)
        paths = np.full(len(found.starts), b"", object)
        for row in np.flatnonzero(np.isin(found.kinds, _NAMED)).tolist() if found.paths else ():
            paths[row] = found.paths.get(int(found.inodes[row]), b"")
        self.add(found.starts + base, found.ends + base, names[found.kinds], paths)

    def made(self, notes: tuple[str, ...]) -> Contents:
        nothing = np.empty(0, np.int64)
        none = np.empty(0, object)
        starts, ends = (np.concatenate([nothing, *(part[n] for part in self._parts)]) for n in range(2))
        kinds, paths = (np.concatenate([none, *(part[n] for part in self._parts)]) for n in (2, 3))
        keep = touches(starts, ends, self._asked)
        starts, ends, kinds, paths = starts[keep], ends[keep], kinds[keep], paths[keep]
        order = np.argsort(starts, kind="stable")
        starts, ends, kinds, paths = starts[order], ends[order], kinds[order], paths[order]
        reached = np.concatenate(
            [nothing, np.zeros(min(1, len(starts)), np.int64), np.maximum.accumulate(ends)[:-1]]
        )
        starts = np.maximum(starts, reached)
        keep = starts < ends
        starts, ends, kinds, paths = starts[keep], ends[keep], kinds[keep], paths[keep]
        for low, high, kind in self._below:
            gap_starts, gap_ends = _gaps(_within(self._asked, low, high), starts - low, ends - low)
            if not len(gap_starts):
                continue
            starts, ends = np.append(starts, gap_starts + low), np.append(ends, gap_ends + low)
            kinds = np.append(kinds, np.full(len(gap_starts), kind, object))
            paths = np.append(paths, np.full(len(gap_starts), b"", object))
            order = np.argsort(starts, kind="stable")
            starts, ends, kinds, paths = starts[order], ends[order], kinds[order], paths[order]
        differ = (starts[1:] != ends[:-1]) | (kinds[1:] != kinds[:-1]) | (paths[1:] != paths[:-1])
        fresh = np.flatnonzero(np.concatenate([np.ones(min(1, len(starts)), bool), differ.astype(bool)]))
        ends = ends[np.append(fresh[1:], len(starts)) - 1] if len(fresh) else ends
        starts, kinds, paths = starts[fresh], kinds[fresh], paths[fresh]
        if len(starts) > MAX_PIECES:
            notes = (*notes, "what was read of the guest lies in more pieces than are told apart")
            starts, ends, kinds, paths = (
                column[:MAX_PIECES] for column in (starts, ends, kinds, paths)
            )  # fmt: skip
        return Contents(starts, ends, kinds, paths, notes)


def _gaps(asked: Wanted, starts: Offsets, ends: Offsets) -> Wanted:
    """What is asked about and in none of the ranges [start, end), which are sorted and do not overlap."""
    edges = np.unique(np.concatenate([*asked, starts, ends]))
    if len(edges) < 2:
        return edges[:0], edges[:0]
    lows, highs = edges[:-1], edges[1:]
    wanted = touches(lows, highs, asked) & ~touches(lows, highs, (starts, ends))
    return merged(lows[wanted], highs[wanted])
