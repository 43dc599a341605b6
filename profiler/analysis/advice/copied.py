"""What a start would read of a copy of its disk image in another layout.

What a copy by `qemu-img convert` looks like is modelled, not looked up: header, refcount table, first
refcount block and L1 table at the front, then the guest's data in the guest's order, an L2 table before the
data that it maps; clusters of zeros are left out, and so are snapshots and bitmaps; a chain of backing files
becomes one file. Its parts on the device keep the distances that they have in the file, free of other files
between them. What was not read and of which nobody knows where the guest has it is taken to be spread evenly
over the rest of the guest's disk. The program is taken to do the same, with as much time of its own; but
what reads whatever is allocated (`qemu-img convert`) reads whole clusters of the copy.

Sizes of reads after QEMU's docs/qcow2-cache.txt and block/qcow2*.c: an L2 table is read in slices of a
cluster, 64 KiB at most (by `qemu-img check` whole), a refcount block and the refcount table whole, the L1
table as long as its entries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from profiler.analysis.advice.image_reads import ImageReads
from profiler.analysis.advice.layouts import Layout
from profiler.analysis.advice.traced_image import TracedImage
from profiler.analysis.intervals import PAGE, Ints
from profiler.errors import ColdseekError
from profiler.trace import Trace

KIB = 2**10

MAX_MADE = 5_000_000
"""More reads of tables than this are not made up: a hostile trace may claim any size."""

_HEAD = 512  # bytes that QEMU reads of any file to tell its format (BLOCK_PROBE_BUF_SIZE)
_SCANS = (("convert",), ("compare",), ("dd",))
"""Commands of qemu-img that read whatever is allocated: whole clusters, but for subclusters and raw."""


@dataclass(frozen=True)
class CopyReads:
    """Reads of a copy: the index of the read (of `ImageReads`) that each comes from, offset and size."""

    source: Ints
    offset: Ints
    size: Ints


def as_raw(image: TracedImage, found: ImageReads) -> tuple[CopyReads, int]:
    """Data at the guest's offsets; of the rest the head of the file, by which its format is told."""
    data = np.flatnonzero(found.is_data & found.written)
    offset = np.minimum(found.guest[data], max(image.virtual - 1, 0))
    source = [data]
    offsets, sizes = [offset], [np.minimum(found.size[data], max(image.virtual, 1))]
    head = np.flatnonzero(~found.is_data & (found.offset == 0))[:1]
    source.append(head)
    offsets.append(np.zeros(len(head), np.int64))
    sizes.append(np.full(len(head), _HEAD))
    return CopyReads(*(np.concatenate(part) for part in (source, offsets, sizes))), image.virtual


class _Spread:
    """How many of `total` things in a row are there before a place: all of the known ones, and `others` more
    that are spread evenly over the rest."""

    def __init__(self, first: Ints, last: Ints, others: int, total: int) -> None:
        order = np.argsort(first, kind="stable")
        first, last = first[order], np.maximum.accumulate(last[order]) if len(last) else last
        fresh = np.flatnonzero(np.append(True, first[1:] > last[:-1])[: len(first)])
        self._first = first[fresh]
        self._last = last[np.append(fresh[1:], len(last)) - 1] if len(fresh) else last
        lengths = self._last - self._first + 1
        self._sums = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.known = int(lengths.sum())
        self._rest = max(total - self.known, 0)
        self._others = min(max(others, 0), self._rest)
        self.all = self.known + self._others

    def before(self, places: Ints) -> Ints:
        at = np.searchsorted(self._first, places, side="right") - 1
        known = np.zeros(len(places), np.int64)
        inside = at >= 0
        span = (self._last - self._first + 1)[at[inside]]
        known[inside] = self._sums[at[inside]] + np.minimum(places[inside] - self._first[at[inside]], span)
        if not self._rest:
            return known
        more = ((places - known).astype(np.float64) * (self._others / self._rest)).astype(np.int64)
        return known + more


def as_qcow2(trace: Trace, image: TracedImage, layout: Layout, found: ImageReads) -> tuple[CopyReads, int]:
    cluster, covers, virtual = layout.cluster, layout.table_covers, max(image.virtual, 1)
    data = np.flatnonzero(found.is_data & found.written)
    guest = np.minimum(found.guest[data], virtual - 1)
    size = np.minimum(found.size[data], virtual)
    end = np.minimum(guest + size, virtual)
    clusters, tables = -(-virtual // cluster), -(-virtual // covers)
    read = _Spread(guest // PAGE, (end - 1) // PAGE, 0, virtual)
    unknown = -(-max(found.data_bytes - read.known * PAGE, 0) // cluster)
    held = _Spread(guest // cluster, (end - 1) // cluster, unknown, clusters)
    of_tables = _Spread(guest // covers, (end - 1) // covers, min(unknown, tables), tables)
    l1_bytes = tables * 8
    front = (3 + -(-l1_bytes // cluster)) * cluster
    total = front + (held.all + of_tables.all) * cluster
    blocks = -(-total // layout.block_covers)

    def table_at(number: Ints) -> Ints:
        first: Ints = number * (covers // cluster)
        return front + (held.before(first) + of_tables.before(number)) * cluster

    # each slice is read when it is first needed: by data, or where no data is read, by what looked it up
    parts: list[tuple[Ints, Ints, Ints, Ints]] = []  # source, order within it, offset, size
    maps = layout.slice_bytes // layout.entry * cluster  # bytes of the guest's disk by one slice
    if len(data):
        source, slices = _expand(data, guest // maps, (end - 1) // maps)
        piece = layout.slice_bytes
    else:
        whole = trace.meta.command[1:2] == ("check",)
        piece = cluster if whole else layout.slice_bytes
        maps = piece // layout.entry * cluster
        looked = np.flatnonzero((found.kind == "L2 table") & (of_tables.all > 0))
        low = (found.first[looked] * virtual).astype(np.int64)
        high = np.maximum((found.last[looked] * virtual).astype(np.int64) - 1, low)
        source, slices = _expand(looked, low // maps, high // maps)
    slices, once = np.unique(slices, return_index=True)
    each = max(cluster // piece, 1)
    offsets = table_at(slices // each) + slices % each * piece
    parts.append((source[once], np.zeros(len(slices), np.int64), offsets, np.full(len(slices), piece)))
    inside = guest % cluster
    rows = data
    if trace.meta.command[1:2] in _SCANS and not layout.extended:
        rows, found_clusters = _expand(data, guest // cluster, (end - 1) // cluster)
        found_clusters, once_each = np.unique(found_clusters, return_index=True)
        rows, guest = rows[once_each], found_clusters * cluster
        inside, size = np.zeros(len(rows), np.int64), np.full(len(rows), cluster)
    host = front + (held.before(guest // cluster) + of_tables.before(guest // covers + 1)) * cluster
    parts.append((rows, np.ones(len(rows), np.int64), host + inside, size))

    counted = np.flatnonzero(found.kind == "refcount block")
    number = np.minimum((found.first[counted] * blocks).astype(np.int64), blocks - 1)
    number, once = np.unique(number, return_index=True)
    places = np.where(number == 0, 2 * cluster, number * layout.block_covers)
    parts.append((counted[once], np.zeros(len(number), np.int64), places, np.full(len(number), cluster)))
    for kind, where, long in (
        ("refcount table", cluster, -(-blocks * 8 // cluster) * cluster),
        ("L1 table", 3 * cluster, l1_bytes),
    ):
        rows = np.flatnonzero(found.kind == kind)[:1]
        parts.append(
            (rows, np.zeros(len(rows), np.int64), np.full(len(rows), where), np.full(len(rows), long))
        )
    head = np.flatnonzero(found.kind == "header")
    at = np.minimum(found.offset[head], 4 * KIB - _HEAD)
    if image.format != "qcow2":
        head = np.flatnonzero(~found.is_data)[:1]
        at = np.zeros(len(head), np.int64)
    parts.append((head, np.zeros(len(head), np.int64), at, np.minimum(found.size[head], _HEAD)))
    source, within, offset, length = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.lexsort((within, source))
    return CopyReads(source[order], offset[order], length[order]), total


def _expand(source: Ints, low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """The numbers from `low` to `high` of each row, with its source."""
    counts = high - low + 1
    if float(counts.sum(dtype=np.float64)) > MAX_MADE:
        raise ColdseekError(f"the copy's tables would be read more than {MAX_MADE:,} times")
    which = np.repeat(np.arange(len(source)), counts)
    within = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    return source[which], low[which] + within
