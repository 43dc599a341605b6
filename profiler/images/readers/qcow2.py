"""qcow2, versions 2 and 3, after QEMU's docs/interop/qcow2.txt: every cluster of the file, and for each run
of data its place in the guest's disk.

Compressed clusters are smaller than a cluster and share clusters of the file: those are labelled whole.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.images.build import Builder, Runs, Wanted, safe
from profiler.images.map import Map
from profiler.images.source import Image, Offsets, gather, take, text
from profiler.units import show_count

MAGIC = b"QFI\xfb"
KINDS = (
    "header", "L1 table", "L2 table", "refcount table", "refcount block", "snapshot table",
    "snapshot L1 table", "bitmap directory", "bitmap table", "bitmap data", "encryption header",
    "compressed cluster", "data cluster", "leaked cluster",
)  # fmt: skip
_FOLDS = ("leaked cluster", "compressed cluster", "data cluster")

MAX_L1_BYTES = 32 << 20  # QEMU's own bound on one table
MAX_REFCOUNT_TABLE_BYTES = 8 << 20  # the same
MAX_SNAPSHOTS = 65_536  # the same
MAX_BITMAPS = 65_535  # the same
_MAX_LIST_BYTES = 64 << 20  # of the snapshot table, of the bitmap directory
_MAX_ENTRIES = 16 << 20  # of all L1 tables together, and of all bitmap tables
_MAX_L2_BYTES = 1 << 30  # maps 8 TiB in clusters of 64 KiB
_MAX_L2_TABLES = 1 << 19
_MAX_REFCOUNT_BYTES = 512 << 20
_MAX_REFCOUNT_BLOCKS = 1 << 18
_MAX_CLUSTER_BITS = 21
_MAX_NAMES = 10  # of snapshots and of bitmaps that are told, to name one in a command
_CHUNK = 2 << 20  # bytes of tables that are held at once

_OFFSET = np.uint64(0x00FF_FFFF_FFFF_FE00)
_COMPRESSED = np.uint64(1 << 62)
_COPIED = np.uint64(1 << 63)

_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_HEADER_3 = struct.Struct(">QQQII")
_SNAPSHOT = struct.Struct(">QIHHIIQII")
_BITMAP = struct.Struct(">QIIBBHI")
_INCOMPATIBLE = ("dirty", "corrupt", "external data file", "compression type", "extended L2 entries")
_COMPATIBLE = ("lazy refcounts",)
_AUTOCLEAR = ("bitmaps", "raw external data")
_EXTENSIONS = {
    0xE2792ACA: "backing format",
    0x6803F857: "feature names",
    0x23852875: "bitmaps",
    0x0537BE77: "encryption header",
    0x44415441: "data file",
}


@dataclass
class _Header:
    version: int
    cluster_bits: int
    size: int  # of the guest's disk, bytes
    crypt: int
    l1: tuple[int, int]  # offset, entries
    refcounts: tuple[int, int]  # offset, clusters
    snapshots: tuple[int, int]  # offset, number
    incompatible: int = 0
    compatible: int = 0
    autoclear: int = 0
    refcount_order: int = 4
    length: int = 72
    compression: int = 0
    backing: str = ""
    extensions: dict[str, bytes] = field(default_factory=dict)

    @property
    def cluster(self) -> int:
        return 1 << self.cluster_bits

    @property
    def external(self) -> bool:
        return bool(self.incompatible & 4)

    @property
    def extended(self) -> bool:
        return bool(self.incompatible & 16)


def read(image: Image, wanted: Wanted | None = None) -> Map:
    """The map of a qcow2 image. wanted: of which parts of the file the guest's offsets are asked for (bytes;
    None: of all). Raises nothing: what is wrong with the image becomes a note.
    """
    notes: list[str] = []
    header = _header(image, notes)
    if header is None:
        builder = Builder(image, KINDS, _FOLDS, wanted=wanted)
        builder.claim("header", 0, min(image.size, _HEADER.size))
        builder.notes.update(dict.fromkeys(notes))
        builder.lacks("nothing but the header is labelled, as it cannot be made out")
        return builder.finish("qcow2", {})
    builder = Builder(image, KINDS, _FOLDS, unit=header.cluster, wanted=wanted)
    builder.notes.update(dict.fromkeys(notes))
    facts = _facts(header)
    builder.claim("header", 0, header.cluster)
    tables = _Tables(header.cluster)
    active = _l1(image, builder, header, "L1 table", *header.l1, tables)
    facts["active_l2_tables"] = active
    blocks = _refcount_table(image, builder, header)
    facts["snapshots"], facts["snapshot_names"] = _snapshots(image, builder, header, tables)
    facts["bitmaps"], facts["bitmap_names"] = _bitmaps(image, builder, header)
    _encryption(builder, header)
    outside = Runs()
    facts |= _l2(image, builder, header, tables, active, outside)
    _refcounts(image, builder, header, blocks, facts)
    return builder.finish(
        "qcow2",
        facts,
        backing=header.backing,
        backing_format=text(header.extensions.get("backing format", b"")[:256]),
        data_file=text(header.extensions.get("data file", b"")[:4096]) if header.external else "",
        outside=outside.placed(),
    )


def marked_dirty(first: bytes) -> bool:
    """Whether the header, the first bytes of an image, says that it was not closed cleanly: its refcounts
    are rebuilt by whoever opens it for writing. Version 2 has no such mark."""
    return int.from_bytes(first[4:8], "big") >= 3 and bool(int.from_bytes(first[72:80], "big") & 1)


# ---- header ----------------------------------------------------------------------------------------------


def _header(image: Image, notes: list[str]) -> _Header | None:
    raw = take(image, 0, 112)
    if len(raw) < _HEADER.size or raw[:4] != MAGIC:
        notes.append("the file ends within its header")
        return None
    (
        _, version, backing_offset, backing_size, cluster_bits, size, crypt, l1_entries, l1_offset,
        refcounts_offset, refcounts_clusters, snapshots, snapshots_offset,
    ) = _HEADER.unpack_from(raw)  # fmt: skip
    if version not in (2, 3):
        notes.append(f"qcow2 version {version} is not known; there are 2 and 3")
        return None
    if not 9 <= cluster_bits <= _MAX_CLUSTER_BITS:
        notes.append(f"clusters of 2^{cluster_bits} bytes are not possible; there are 2^9 to 2^21")
        return None
    header = _Header(
        version, cluster_bits, size, crypt, (l1_offset, l1_entries),
        (refcounts_offset, refcounts_clusters), (snapshots_offset, snapshots),
    )  # fmt: skip
    if version == 3:
        if len(raw) < 104:
            notes.append("the file ends within its header")
            return None
        found = _HEADER_3.unpack_from(raw, 72)
        header.incompatible, header.compatible, header.autoclear, header.refcount_order, header.length = (
            found
        )
        if header.refcount_order > 6:
            notes.append(f"refcounts of 2^{header.refcount_order} bits are not possible; 64 at most")
        if header.length > 104 and len(raw) > 104:
            header.compression = raw[104]
        if header.length < 104 or header.length > header.cluster:
            notes.append(f"a header of {header.length:,} bytes is not possible")
            header.length = 104
        if header.incompatible >> len(_INCOMPATIBLE):
            notes.append("the image uses features that are not known here; QEMU would not open it either")
        for bit, sentence in ((1, "marked dirty: its refcounts may be out of date"), (2, "marked corrupt")):
            if header.incompatible & bit:
                notes.append(f"the image is {sentence}")
    _extensions(take(image, 0, header.cluster), header, notes)
    if backing_offset:
        if backing_size > 1023 or backing_offset + backing_size > min(header.cluster, image.size):
            notes.append("the name of the backing file does not lie within the first cluster")
        else:
            header.backing = text(take(image, backing_offset, backing_size))
    return header


def _extensions(first: bytes, header: _Header, notes: list[str]) -> None:
    at = header.length
    while at + 8 <= len(first):
        kind, length = struct.unpack_from(">II", first, at)
        if kind == 0:
            return
        if length > len(first) - at - 8:
            notes.append("a header extension runs past the end of the first cluster")
            return
        if kind in _EXTENSIONS:
            header.extensions.setdefault(_EXTENSIONS[kind], first[at + 8 : at + 8 + length])
        at += 8 + -(-length // 8) * 8


def _facts(header: _Header) -> dict[str, Any]:
    features = [
        name
        for bits, names in (
            (header.incompatible, _INCOMPATIBLE),
            (header.compatible, _COMPATIBLE),
            (header.autoclear, _AUTOCLEAR),
        )
        for bit, name in enumerate(names)
        if bits >> bit & 1
    ]
    return {
        "version": header.version,
        "cluster_size": header.cluster,
        "virtual_size": header.size,
        "refcount_bits": 1 << min(header.refcount_order, 6),
        "l1_entries": header.l1[1],
        "extended_l2": header.extended,
        "compression": {0: "zlib", 1: "zstd"}.get(header.compression, str(header.compression)),
        "encryption": {0: "", 1: "aes", 2: "luks"}.get(header.crypt, str(header.crypt)),
        "features": features,
        "backing_file": safe(header.backing),
    }


# ---- tables of clusters ----------------------------------------------------------------------------------


class _Tables:
    """The L2 tables found so far: where each lies, and which part of the guest's disk it maps."""

    def __init__(self, cluster: int) -> None:
        self.offsets: list[Offsets] = []
        self.index: list[Offsets] = []
        self.count = 0
        self.room = min(_MAX_L2_BYTES // cluster, _MAX_L2_TABLES)
        self.entries = _MAX_ENTRIES
        self.seen: set[tuple[int, int]] = set()  # L1 tables, offset and entries


def _entries(image: Image, offset: int, count: int, first: int) -> npt.NDArray[np.uint64]:
    """Big-endian words `first` to `count` of a table, at most a chunk of them; fewer where the file ends."""
    length = min(count - first, _CHUNK // 8) * 8
    raw = take(image, offset + first * 8, length)
    return np.frombuffer(raw, ">u8", len(raw) // 8).astype(np.uint64)


def _l1(
    image: Image, builder: Builder, header: _Header, kind: str, offset: int, entries: int, tables: _Tables
) -> int:
    """Claim an L1 table and the L2 tables it names; how many of these are new."""
    if not entries or (offset, entries) in tables.seen:
        return 0
    tables.seen.add((offset, entries))
    if offset % header.cluster:
        builder.note(f"the {kind} at offset {offset:,} does not start where a cluster does")
        return 0
    if entries * 8 > MAX_L1_BYTES:
        builder.lacks(f"{kind}s of more than 32 MiB are too long; the first 32 MiB of each are used")
        entries = MAX_L1_BYTES // 8
    builder.claim(kind, offset, entries * 8)
    new = 0
    for first in range(0, entries, _CHUNK // 8):
        if tables.entries <= 0 or tables.room <= 0:
            builder.lacks("there are more L1 and L2 tables than are read; the others are left out")
            break
        words = _entries(image, offset, entries, first)
        if not len(words):
            break
        tables.entries -= len(words)
        found = (words & _OFFSET).view(np.int64)
        at = np.flatnonzero(found)
        found = found[at]
        good = builder.within("L2 table", found)
        found, at = found[good], at[good] + first
        found, once = np.unique(found, return_index=True)
        at = at[once]
        if len(found) > tables.room:
            found, at = found[: tables.room], at[: tables.room]
        # L2 tables are shared between snapshots; what is something else already is not read as one
        free = builder.claim_cells("L2 table", found >> header.cluster_bits, shared=True)
        tables.offsets.append(found[free])
        tables.index.append(at[free])
        tables.count += int(np.count_nonzero(free))
        tables.room -= int(np.count_nonzero(free))
        new += int(np.count_nonzero(free))
    return new


def _l2(
    image: Image, builder: Builder, header: _Header, tables: _Tables, active: int, outside: Runs
) -> dict[str, Any]:
    """Claim all data clusters. The tables are read in the order they lie in, chunk by chunk."""
    facts: dict[str, Any] = {
        "l2_tables": tables.count,
        "allocated_clusters": 0,
        "compressed_clusters": 0,
        "fragmented_clusters": 0,
    }
    short = 0
    for part, (offsets, index) in enumerate(
        (
            (_joined(tables.offsets)[:active], _joined(tables.index)[:active]),
            (_joined(tables.offsets)[active:], _joined(tables.index)[active:]),
        )
    ):
        order = np.argsort(offsets, kind="stable")
        offsets, index = offsets[order], index[order]
        step = max(1, _CHUNK // header.cluster)
        for first in range(0, len(offsets), step):
            if builder.cells.dropped:  # there is no memory to label more
                break
            rows, cut = gather(image, offsets[first : first + step], header.cluster)
            short += cut
            counts = _chunk(builder, header, rows, index[first : first + step], outside)
            if part == 0:
                for name, count in counts.items():
                    facts[name] += count
    if short:
        builder.lacks(f"the file ends within its L2 tables ({show_count(short)} of them)")
    return facts


def _chunk(
    builder: Builder, header: _Header, rows: npt.NDArray[np.uint8], index: Offsets, outside: Runs
) -> dict[str, int]:
    """Claim what some L2 tables point to; index: the place of each in its L1 table."""
    bits, cluster = header.cluster_bits, header.cluster
    width = 16 if header.extended else 8
    per_table = cluster // width
    words = rows.reshape(-1).view(">u8")
    if header.extended:
        words = words[::2]
    entries = words.astype(np.uint64)
    counts = {"compressed_clusters": 0}
    packed = np.flatnonzero(entries & _COMPRESSED)
    if len(packed):
        counts["compressed_clusters"] = len(packed)
        _compressed(builder, header, entries, packed, index, per_table)
        entries[packed] = 0
    # with a data file, offset 0 of it is a place as good as any other
    at = np.flatnonzero(entries & (_OFFSET | _COPIED) if header.external else entries & _OFFSET)
    host = (entries if len(at) == len(entries) else entries[at]).view(np.int64) & _OFFSET.astype(np.int64)
    table = at >> (per_table.bit_length() - 1)
    guest = ((index * per_table - np.arange(len(index)) * per_table)[table] + at) << bits
    # as qemu-img check counts: what does not follow the cluster before it in the same table; compressed, all
    jumps = np.flatnonzero(host[1:] - host[:-1] != cluster)
    jumps = jumps[table[jumps] == table[jumps + 1]]
    counts["fragmented_clusters"] = len(jumps) + counts["compressed_clusters"]
    counts["allocated_clusters"] = len(host) + counts["compressed_clusters"]
    if header.external:
        outside.add(host, cluster, guest)
        return counts
    good = builder.within("data cluster", host)
    if not good.all():
        host, guest = host[good], guest[good]
    free = builder.claim_cells("data cluster", host >> bits, shared=True)
    if not free.all():
        host, guest = host[free], guest[free]
    builder.place(host, cluster, guest)
    return counts


def _compressed(
    builder: Builder,
    header: _Header,
    entries: npt.NDArray[np.uint64],
    at: Offsets,
    index: Offsets,
    per_table: int,
) -> None:
    if header.external:
        builder.note("an image with an external data file cannot have compressed clusters, but has")
        return
    bits = header.cluster_bits
    split = 62 - (bits - 8)
    words = entries[at] & np.uint64((1 << 62) - 1)
    place_mask = np.uint64(((1 << split) - 1) & ((1 << 56) - 1))
    starts = (words & place_mask).astype(np.int64)
    sectors = (words >> np.uint64(split)).astype(np.int64) + 1
    ends = np.minimum((starts // 512 + sectors) * 512, builder.size)
    table = at // per_table
    guest = (index[table] * per_table + (at - table * per_table)) << bits
    good = builder.within("compressed cluster", starts, aligned=False)
    starts, ends, guest = starts[good], ends[good], guest[good]
    if not len(starts):
        return
    # one may take more than its share only in a corrupt image, but it may start close to the end of one
    # cluster of the file and go on in the next
    first, last = starts >> bits, (ends - 1) >> bits
    cells = np.unique(np.concatenate([first, np.minimum(first + 1, last)]))
    builder.claim_cells("compressed cluster", cells, shared=True)
    builder.place(starts, ends - starts, guest)


def _joined(parts: list[Offsets]) -> Offsets:
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


# ---- snapshots, bitmaps, encryption ----------------------------------------------------------------------


def _snapshots(image: Image, builder: Builder, header: _Header, tables: _Tables) -> tuple[int, list[str]]:
    """Claim the snapshot table and what it points to; how many snapshots there are, and the first names."""
    offset, count = header.snapshots
    if not count:
        return 0, []
    if offset % header.cluster or offset >= builder.size:
        builder.lacks(f"there is no snapshot table at offset {offset:,}")
        return 0, []
    if count > MAX_SNAPSHOTS:
        builder.lacks(f"{show_count(count)} snapshots are not possible; {show_count(MAX_SNAPSHOTS)} at most")
        count = MAX_SNAPSHOTS
    found: list[tuple[int, int]] = []
    names: list[str] = []
    at = offset
    for _ in range(count):
        raw = take(image, at, _SNAPSHOT.size)
        if len(raw) < _SNAPSHOT.size or not any(raw) or at - offset > _MAX_LIST_BYTES:
            builder.lacks(f"the snapshot table ends after {show_count(len(found))} of its snapshots")
            break
        l1_offset, l1_entries, id_size, name_size, *_, extra = _SNAPSHOT.unpack(raw)
        found.append((l1_offset, l1_entries))
        if len(names) < _MAX_NAMES:
            names.append(safe(text(take(image, at + _SNAPSHOT.size + extra + id_size, name_size))))
        at += -(-(_SNAPSHOT.size + extra + id_size + name_size) // 8) * 8
    builder.claim("snapshot table", offset, min(at, builder.size) - offset)
    for l1_offset, l1_entries in found:
        _l1(image, builder, header, "snapshot L1 table", l1_offset, l1_entries, tables)
    return len(found), names


def _bitmaps(image: Image, builder: Builder, header: _Header) -> tuple[int, list[str]]:
    """Claim the bitmap directory and what it points to; how many bitmaps there are, and the first names."""
    raw = header.extensions.get("bitmaps")
    if raw is None:
        return 0, []
    if len(raw) < 24:
        builder.note("the extension for bitmaps is too short")
        return 0, []
    if not header.autoclear & 1:
        # no longer looked after: what the extension points to may have become something else
        builder.lacks("the bitmaps are not consistent any more and left out")
        return 0, []
    count, _, size, offset = struct.unpack_from(">IIQQ", raw)
    if offset % header.cluster or offset >= builder.size or not size:
        builder.lacks(f"there is no bitmap directory at offset {offset:,}")
        return 0, []
    if count > MAX_BITMAPS or size > _MAX_LIST_BYTES:
        builder.lacks(f"{show_count(count)} bitmaps in {show_count(size)} bytes are not possible")
        count, size = min(count, MAX_BITMAPS), min(size, _MAX_LIST_BYTES)
    builder.claim("bitmap directory", offset, size)
    names: list[str] = []
    at, found, left = offset, 0, _MAX_ENTRIES
    for _ in range(count):
        raw = take(image, at, min(_BITMAP.size, offset + size - at))
        if len(raw) < _BITMAP.size or not any(raw):
            builder.lacks(f"the bitmap directory ends after {show_count(found)} of its bitmaps")
            break
        table, entries, _, _, _, name_size, extra = _BITMAP.unpack(raw)
        found += 1
        if len(names) < _MAX_NAMES:
            names.append(safe(text(take(image, at + _BITMAP.size + extra, name_size))))
        at += -(-(_BITMAP.size + name_size + extra) // 8) * 8
        left -= _bitmap(image, builder, header, table, entries, left)
    return found, names


def _bitmap(image: Image, builder: Builder, header: _Header, offset: int, entries: int, left: int) -> int:
    """Claim the table of one bitmap and what it points to; how many entries that took."""
    if not entries:
        return 0
    if offset % header.cluster:
        builder.note(f"the bitmap table at offset {offset:,} does not start where a cluster does")
        return 0
    whole = builder.claim("bitmap table", offset, entries * 8)
    if entries > left:
        builder.lacks("there are more entries in bitmap tables than are read; the others are left out")
        entries = left
    if not whole:  # it overlaps something: what it holds is no list of bitmap data
        return 0
    for first in range(0, entries, _CHUNK // 8):
        words = _entries(image, offset, entries, first)
        found = (words & _OFFSET).view(np.int64)
        found = np.unique(found[found != 0])
        found = found[builder.within("bitmap data", found)]
        builder.claim_cells("bitmap data", found >> header.cluster_bits)
        if not len(words):
            break
    return entries


def _encryption(builder: Builder, header: _Header) -> None:
    raw = header.extensions.get("encryption header")
    if raw is None:
        if header.crypt == 2:
            builder.note("the image is encrypted, but there is no pointer to its encryption header")
        return
    if len(raw) < 16:
        builder.note("the pointer to the encryption header is too short")
        return
    offset, length = struct.unpack_from(">QQ", raw)
    if offset % header.cluster:
        builder.note(f"the encryption header at offset {offset:,} does not start where a cluster does")
        return
    builder.claim("encryption header", offset, length)


# ---- refcounts -------------------------------------------------------------------------------------------


def _refcount_table(image: Image, builder: Builder, header: _Header) -> tuple[Offsets, Offsets]:
    """Claim the refcount table and its blocks: where these lie, and the number of each."""
    nothing = np.empty(0, np.int64), np.empty(0, np.int64)
    offset, clusters = header.refcounts
    if not clusters:
        builder.lacks("the image has no refcount table")
        return nothing
    if offset % header.cluster:
        builder.note(f"the refcount table at offset {offset:,} does not start where a cluster does")
        return nothing
    length = clusters * header.cluster
    if length > MAX_REFCOUNT_TABLE_BYTES:
        builder.lacks(
            f"a refcount table of {show_count(length)} bytes is too long; the first 8 MiB are used"
        )
        length = MAX_REFCOUNT_TABLE_BYTES
    builder.claim("refcount table", offset, length)
    words = _entries(image, offset, length // 8, 0)
    found = (words & ~np.uint64(511)).view(np.int64)  # beyond 2^63 it is negative, so outside
    number = np.flatnonzero(found)
    found = found[number]
    good = builder.within("refcount block", found)
    found, number = found[good], number[good]
    ordered, once = np.unique(found, return_index=True)
    if len(ordered) < len(found):
        builder.note("the refcount table names some of its blocks more than once")
    free = builder.claim_cells("refcount block", ordered >> header.cluster_bits)
    return ordered[free], number[once][free].astype(np.int64)


def _refcounts(
    image: Image,
    builder: Builder,
    header: _Header,
    blocks: tuple[Offsets, Offsets],
    facts: dict[str, Any],
) -> None:
    """Compare the refcounts with what was found: what is counted and nobody points to has leaked."""
    if header.refcount_order > 6:
        return
    offsets, numbers = blocks
    width = 1 << header.refcount_order
    per_block = header.cluster * 8 // width
    used = numbers < -(-builder.cells.count // per_block)
    offsets, numbers = offsets[used], numbers[used]
    if len(offsets) * header.cluster > _MAX_REFCOUNT_BYTES or len(offsets) > _MAX_REFCOUNT_BLOCKS:
        builder.lacks("there are more refcounts than are read; what has leaked is not known throughout")
        return
    labelled, counted, leaked = builder.cells.claimed(), 0, 0
    step = max(1, min(_CHUNK // header.cluster, _CHUNK // per_block))
    for first in range(0, len(offsets), step):
        rows, _ = gather(image, offsets[first : first + step], header.cluster)
        inside = _not_zero(rows, width)
        number = numbers[first : first + step]
        breaks = np.flatnonzero(np.diff(number) != 1) + 1
        for low, high in zip([0, *breaks.tolist()], [*breaks.tolist(), len(number)], strict=True):
            start = int(number[low]) * per_block
            cells = np.arange(start, min(start + (high - low) * per_block, builder.cells.count))
            counts = inside[low:high].reshape(-1)[: len(cells)]
            cells = cells[counts]
            codes = builder.cells.get(cells)
            free = cells[codes == 0]
            counted += len(cells) - len(free)
            if len(free):
                leaked += len(free)
                builder.claim_cells("leaked cluster", free)
    facts["leaked_clusters"] = leaked
    if leaked:
        builder.note(f"clusters that are counted as used but nobody points to: {show_count(leaked)}")
    if counted < labelled:
        builder.note(f"clusters that are used but counted as free: {show_count(labelled - counted)}")


def _not_zero(rows: npt.NDArray[np.uint8], width: int) -> npt.NDArray[np.bool_]:
    """Which refcounts are above 0, a row a block: entries of `width` bits, the lowest bits first."""
    if width >= 8:
        found: npt.NDArray[np.bool_] = rows.view(f">u{width // 8}") != 0
        return found
    bits = np.unpackbits(rows, axis=1, bitorder="little")
    if width == 1:
        return bits.view(np.bool_)
    some: npt.NDArray[np.uint8] = bits.reshape(len(rows), -1, width).max(axis=2)
    return some.view(np.bool_)
