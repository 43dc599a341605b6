"""The L1 and L2 tables of a qcow2 image: which cluster of the file holds which of the guest's disk.

Compressed clusters are smaller than a cluster and share clusters of the file: those are labelled whole.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from profiler.images.build import Builder
from profiler.images.readers.qcow2.header import Header
from profiler.images.readers.qcow2.words import CHUNK, MAX_ENTRIES, OFFSET, words
from profiler.images.runs import Runs
from profiler.images.source import Image, Offsets, gather
from profiler.units import show_count

MAX_L1_BYTES = 32 << 20
"""QEMU's own bound on one table."""
_MAX_L2_BYTES = 1 << 30  # maps 8 TiB in clusters of 64 KiB
_MAX_L2_TABLES = 1 << 19

_COMPRESSED = np.uint64(1 << 62)
_COPIED = np.uint64(1 << 63)


class Mapping:
    """The L2 tables found so far: where each lies, and which part of the guest's disk it maps."""

    def __init__(self, image: Image, builder: Builder, header: Header) -> None:
        self._image, self._builder, self._header = image, builder, header
        self._offsets: list[Offsets] = []
        self._index: list[Offsets] = []
        self._count = 0
        self._room = min(_MAX_L2_BYTES // header.cluster, _MAX_L2_TABLES)
        self._entries = MAX_ENTRIES
        self._seen: set[tuple[int, int]] = set()  # L1 tables, offset and entries

    def claim_l1(self, kind: str, offset: int, entries: int) -> int:
        """Claim an L1 table and the L2 tables it names; how many of these are new."""
        if not entries or (offset, entries) in self._seen:
            return 0
        self._seen.add((offset, entries))
        if offset % self._header.cluster:
            self._builder.note(f"the {kind} at offset {offset:,} does not start where a cluster does")
            return 0
        if entries * 8 > MAX_L1_BYTES:
            self._builder.lacks(
                f"{kind}s of more than 32 MiB are too long; the first 32 MiB of each are used"
            )
            entries = MAX_L1_BYTES // 8
        self._builder.claim(kind, offset, entries * 8)
        new = 0
        for first in range(0, entries, CHUNK // 8):
            if self._entries <= 0 or self._room <= 0:
                self._builder.lacks("there are more L1 and L2 tables than are read; the others are left out")
                break
            table = words(self._image, offset, entries, first)
            if not len(table):
                break
            self._entries -= len(table)
            found = (table & OFFSET).view(np.int64)
            at = np.flatnonzero(found)
            found = found[at]
            good = self._builder.within("L2 table", found)
            found, at = found[good], at[good] + first
            found, once = np.unique(found, return_index=True)
            at = at[once]
            if len(found) > self._room:
                found, at = found[: self._room], at[: self._room]
            # L2 tables are shared between snapshots; what is something else already is not read as one
            free = self._builder.claim_cells("L2 table", found >> self._header.cluster_bits, shared=True)
            self._offsets.append(found[free])
            self._index.append(at[free])
            self._count += int(np.count_nonzero(free))
            self._room -= int(np.count_nonzero(free))
            new += int(np.count_nonzero(free))
        return new

    def claim_data(self, active: int, outside: Runs) -> dict[str, int]:
        """Claim all data clusters, and count those of the first `active` L2 tables. The tables are read in
        the order they lie in, chunk by chunk. outside: for the runs of data that lie in another file."""
        facts = {
            "l2_tables": self._count,
            "allocated_clusters": 0,
            "compressed_clusters": 0,
            "fragmented_clusters": 0,
        }
        short = 0
        for part, (offsets, index) in enumerate(
            (
                (_joined(self._offsets)[:active], _joined(self._index)[:active]),
                (_joined(self._offsets)[active:], _joined(self._index)[active:]),
            )
        ):
            order = np.argsort(offsets, kind="stable")
            offsets, index = offsets[order], index[order]
            step = max(1, CHUNK // self._header.cluster)
            for first in range(0, len(offsets), step):
                if self._builder.cells.dropped:  # there is no memory to label more
                    break
                rows, cut = gather(self._image, offsets[first : first + step], self._header.cluster)
                short += cut
                counts = self._chunk(rows, index[first : first + step], outside)
                if part == 0:
                    for name, count in counts.items():
                        facts[name] += count
        if short:
            self._builder.lacks(f"the file ends within its L2 tables ({show_count(short)} of them)")
        return facts

    def _chunk(self, rows: npt.NDArray[np.uint8], index: Offsets, outside: Runs) -> dict[str, int]:
        """Claim what some L2 tables point to; index: the place of each in its L1 table."""
        bits, cluster = self._header.cluster_bits, self._header.cluster
        width = 16 if self._header.extended else 8
        per_table = cluster // width
        table_words = rows.reshape(-1).view(">u8")
        if self._header.extended:
            table_words = table_words[::2]
        entries = table_words.astype(np.uint64)
        counts = {"compressed_clusters": 0}
        packed = np.flatnonzero(entries & _COMPRESSED)
        if len(packed):
            counts["compressed_clusters"] = len(packed)
            self._compressed(entries, packed, index, per_table)
            entries[packed] = 0
        # with a data file, offset 0 of it is a place as good as any other
        at = np.flatnonzero(entries & (OFFSET | _COPIED) if self._header.external else entries & OFFSET)
        host = (entries if len(at) == len(entries) else entries[at]).view(np.int64) & OFFSET.astype(np.int64)
        table = at >> (per_table.bit_length() - 1)
        guest = ((index * per_table - np.arange(len(index)) * per_table)[table] + at) << bits
        # as qemu-img check counts: what does not follow the cluster before it in the same table; all that
        # are compressed
        jumps = np.flatnonzero(host[1:] - host[:-1] != cluster)
        jumps = jumps[table[jumps] == table[jumps + 1]]
        counts["fragmented_clusters"] = len(jumps) + counts["compressed_clusters"]
        counts["allocated_clusters"] = len(host) + counts["compressed_clusters"]
        if self._header.external:
            outside.add(host, cluster, guest)
            return counts
        good = self._builder.within("data cluster", host)
        if not good.all():
            host, guest = host[good], guest[good]
        free = self._builder.claim_cells("data cluster", host >> bits, shared=True)
        if not free.all():
            host, guest = host[free], guest[free]
        self._builder.place(host, cluster, guest)
        return counts

    def _compressed(
        self, entries: npt.NDArray[np.uint64], at: Offsets, index: Offsets, per_table: int
    ) -> None:
        """Claim the compressed clusters of the entries at these places; see `_chunk`."""
        if self._header.external:
            self._builder.note(
                "an image with an external data file cannot have compressed clusters, but has"
            )
            return
        bits = self._header.cluster_bits
        split = 62 - (bits - 8)
        packed = entries[at] & np.uint64((1 << 62) - 1)
        place_mask = np.uint64(((1 << split) - 1) & ((1 << 56) - 1))
        starts = (packed & place_mask).astype(np.int64)
        sectors = (packed >> np.uint64(split)).astype(np.int64) + 1
        ends = np.minimum((starts // 512 + sectors) * 512, self._builder.size)
        table = at // per_table
        guest = (index[table] * per_table + (at - table * per_table)) << bits
        good = self._builder.within("compressed cluster", starts, aligned=False)
        starts, ends, guest = starts[good], ends[good], guest[good]
        if not len(starts):
            return
        # one may take more than its share only in a corrupt image, but it may start close to the end of
        # one cluster of the file and go on in the next
        first, last = starts >> bits, (ends - 1) >> bits
        cells = np.unique(np.concatenate([first, np.minimum(first + 1, last)]))
        self._builder.claim_cells("compressed cluster", cells, shared=True)
        self._builder.place(starts, ends - starts, guest)


def _joined(parts: list[Offsets]) -> Offsets:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)
