"""The disk that the guest sees, put together from the files of a chain by their maps."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from profiler.images.map import Map, Placed, owners
from profiler.images.runs import Wanted
from profiler.images.source import Image, Offsets, take

_HELD = 8
"""So many decompressed clusters are held, of 2 MiB at most."""
_MAX_PACKED = 4 << 20
_PACKED = ("compressed cluster", "compressed grain")
_GRAIN_MARKER = 12  # of a compressed grain: 8 bytes with its place, 4 with the length of what follows


class WithoutSnapshots:
    """A qcow2 image whose header says that there are no internal snapshots: so that its map has of each part
    of the guest's disk the one place that holds it now."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self.size = image.size

    def read(self, offset: int, length: int) -> bytes:
        raw = self._image.read(offset, length)
        # nb_snapshots is the word at 60 (QEMU, docs/interop/qcow2.txt)
        low, high = max(offset, 60) - offset, min(offset + len(raw), 64) - offset
        return raw if low >= high else raw[:low] + bytes(high - low) + raw[high:]


@dataclass(frozen=True)
class Layer:
    """One file of a chain: its bytes, and the runs of the guest's data in it. packed: whether a run is
    compressed. cluster: bytes of the guest in a compressed one. how: "deflate", "grain" or "" (not known).
    whole: whether the runs are all that there are.
    """

    image: Image
    placed: Placed
    packed: np.ndarray[tuple[int], np.dtype[np.bool_]]
    cluster: int
    how: str
    whole: bool

    @property
    def spans(self) -> Offsets:
        """Bytes of the guest in each run."""
        return np.where(self.packed, self.cluster, self.placed.lengths)


def layer(image: Image, found: Map) -> Layer:
    """What a map says of a file, for the guest's disk."""
    layout = found.layout
    is_packed = np.array([name in _PACKED for name in layout.names], bool)[layout.codes]
    edges = layout.starts[1:][is_packed[1:] != is_packed[:-1]]
    placed = _cut(found.placed, edges)  # what is compressed may follow what is not, in file and disk alike
    held = owners(placed.starts, layout.starts, layout.ends)
    packed = np.zeros(len(placed.starts), bool)
    packed[held >= 0] = is_packed[held[held >= 0]]
    how = ""
    if found.format in ("qcow2", "qcow") and found.facts.get("compression", "zlib") == "zlib":
        how = "deflate"
    elif found.format == "vmdk":
        how = "grain"
    cluster = found.facts.get("cluster_size") or 0
    return Layer(image, placed, packed, cluster if type(cluster) is int else 0, how, placed.whole)


def _cut(placed: Placed, edges: Offsets) -> Placed:
    """The same runs, none across an edge."""
    ends = placed.starts + placed.lengths
    inside = owners(edges, placed.starts, ends) >= 0
    starts = np.unique(np.concatenate([placed.starts, edges[inside]]))
    row = owners(starts, placed.starts, ends)
    until = np.minimum(np.append(starts[1:], np.iinfo(np.int64).max), ends[row])
    return Placed(starts, until - starts, placed.guest[row] + starts - placed.starts[row], placed.whole)


class Disk:
    """The guest's disk, as an `Image`. What is nowhere is zeros, but where part of the chain is not known:
    there a read ends.

    layers: the file in front first. complete: whether all files behind it are among them.
    """

    def __init__(self, layers: Sequence[Layer], size: int, complete: bool) -> None:
        self.size = size
        self._complete = complete and all(one.whole for one in layers)
        self._layers = layers
        self._ordered = []
        for one in layers:
            order = np.argsort(one.placed.guest, kind="stable")
            order = order[one.placed.guest[order] < size]
            starts = one.placed.guest[order]
            ends = starts + np.minimum(one.spans[order], size - starts)
            ends[:-1] = np.minimum(ends[:-1], starts[1:])
            some = starts < ends
            self._ordered.append((starts[some], ends[some], order[some]))
        self._held: dict[tuple[int, int], bytes] = {}

    def read(self, offset: int, length: int) -> bytes:
        parts, at, end = [], offset, min(offset + length, self.size)
        while at < end:
            part = self._piece(at, end)
            if not part:
                break
            parts.append(part)
            at += len(part)
        return b"".join(parts)

    def _piece(self, at: int, end: int) -> bytes:
        """Bytes from `at` on that lie together, up to `end`; none where they are not known."""
        for number, (starts, ends, order) in enumerate(self._ordered):
            row = int(np.searchsorted(starts, at, "right")) - 1
            if row >= 0 and at < ends[row]:
                return self._run(
                    number, int(order[row]), at - int(starts[row]), min(end, int(ends[row])) - at
                )
            if row + 1 < len(starts):  # what lies behind it has to end where this one goes on
                end = min(end, int(starts[row + 1]))
        return bytes(end - at) if self._complete else b""

    def _run(self, number: int, row: int, skip: int, length: int) -> bytes:
        found = self._layers[number]
        start = int(found.placed.starts[row])
        if not found.packed[row]:
            return take(found.image, start + skip, length)
        key = number, row
        if key not in self._held:
            if len(self._held) >= _HELD:
                del self._held[next(iter(self._held))]
            self._held[key] = _unpacked(found, start, int(found.placed.lengths[row]))
        return self._held[key][skip : skip + length]

    def asked(self, parts: Sequence[Wanted | None]) -> Wanted:
        """Which of the guest's disk lies in these parts of the files, one entry a layer (None: nothing):
        sorted ranges without overlaps."""
        nothing = np.empty(0, np.int64)
        lows, highs = [nothing], [nothing]
        for one, wanted in zip(self._layers, parts, strict=True):
            if wanted is None or not len(wanted[0]) or not len(one.placed.starts):
                continue
            placed = one.placed
            row, low, high = _overlaps(placed.starts, placed.starts + placed.lengths, *wanted)
            packed = one.packed[row]
            guest, start = placed.guest[row], placed.starts[row]
            inside = guest < self.size
            lows.append(np.where(packed, guest, guest + low - start)[inside])
            highs.append(np.where(packed, guest + one.cluster, guest + high - start)[inside])
        return merged(np.concatenate(lows), np.minimum(np.concatenate(highs), self.size))

    def places(self, number: int, starts: Offsets, ends: Offsets) -> tuple[Offsets, Offsets, Offsets]:
        """Where ranges of the guest's disk, sorted and without overlaps, lie in a file: starts, ends, and of
        which range each is. A compressed cluster is all that of the range that has the most of it."""
        one = self._layers[number]
        guests, guest_ends, order = self._ordered[number]
        row, low, high = _overlaps(starts, ends, guests, guest_ends)
        run = np.searchsorted(guests, low, "right") - 1
        rows = order[run]
        packed = one.packed[rows]
        begin = one.placed.starts[rows] + np.where(packed, 0, low - guests[run])
        until = np.where(packed, begin + one.placed.lengths[rows], begin + high - low)
        keep = np.ones(len(rows), bool)
        if packed.any():  # of several in one cluster the largest
            size = np.where(packed, high - low, 0)
            best = np.lexsort((-size, rows))
            first = np.concatenate([np.ones(1, bool), rows[best][1:] != rows[best][:-1]])
            keep[best[~first & packed[best]]] = False
        sorted_ = np.argsort(begin[keep], kind="stable")
        return begin[keep][sorted_], until[keep][sorted_], row[keep][sorted_]


def _unpacked(found: Layer, start: int, length: int) -> bytes:
    raw = take(found.image, start, min(length, _MAX_PACKED))
    try:
        if found.how == "grain":
            size = int.from_bytes(raw[8:_GRAIN_MARKER], "little")
            return zlib.decompressobj().decompress(raw[_GRAIN_MARKER : _GRAIN_MARKER + size], found.cluster)
        if found.how == "deflate":
            whole = zlib.decompressobj(-15).decompress(raw, found.cluster)
            return whole if len(whole) == found.cluster else b""
    except zlib.error:
        pass
    return b""


def _overlaps(
    starts: Offsets, ends: Offsets, others: Offsets, other_ends: Offsets
) -> tuple[Offsets, Offsets, Offsets]:
    """What sorted ranges without overlaps share with others of that kind: row of the first, start, end."""
    if not len(starts) or not len(others):
        nothing = np.empty(0, np.int64)
        return nothing, nothing, nothing
    first = np.searchsorted(other_ends, starts, "right")
    last = np.searchsorted(others, ends, "left")
    count = np.maximum(last - first, 0)
    row = np.repeat(np.arange(len(starts)), count)
    other = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
    low, high = np.maximum(starts[row], others[other]), np.minimum(ends[row], other_ends[other])
    keep = low < high
    return row[keep], low[keep], high[keep]


def merged(starts: Offsets, ends: Offsets) -> Wanted:
    """Ranges [start, end) in order, those that overlap or touch as one."""
    keep = starts < ends
    starts, ends = starts[keep], ends[keep]
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], np.maximum.accumulate(ends[order]) if len(ends) else ends
    fresh = np.flatnonzero(np.concatenate([np.ones(min(1, len(starts)), bool), starts[1:] > ends[:-1]]))
    return starts[fresh], ends[np.append(fresh[1:], len(ends)) - 1] if len(fresh) else ends


def seen_now(image: Image, format: str) -> Image:
    """The image as it is to be mapped for the guest's disk."""
    return WithoutSnapshots(image) if format == "qcow2" else image
