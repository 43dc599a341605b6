"""qcow, the version before qcow2, after QEMU's block/qcow.c: two levels of tables, no refcounts."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from profiler.images.build import Builder, cut_short, safe
from profiler.images.map import Map
from profiler.images.runs import Wanted
from profiler.images.source import Image, Offsets, take, text
from profiler.images.tables import distinct, entries
from profiler.units import show_count

KINDS = ("header", "L1 table", "L2 table", "compressed cluster", "data cluster")
_FOLDS = ("compressed cluster", "data cluster")
_HEADER = struct.Struct(">4sIQIIQBBHIQ")  # QCowHeader
_COMPRESSED = np.uint64(1 << 63)  # QCOW_OFLAG_COMPRESSED
_CLUSTER_BITS, _L2_BITS = range(9, 17), range(6, 14)  # qcow_open takes no others
_MAX_L1_BYTES = 32 << 20
_MAX_COMPRESSED = 1 << 20


def read(image: Image, wanted: Wanted | None = None) -> Map:
    """The map of a qcow image. Raises nothing: what is wrong with the image becomes a note."""
    raw = take(image, 0, _HEADER.size)
    if len(raw) < _HEADER.size:
        return cut_short(image, "qcow", KINDS, _FOLDS)
    _, _, name_at, name_size, _, size, bits, l2_bits, _, crypt, l1 = _HEADER.unpack(raw)
    facts: dict[str, Any] = {
        "version": 1,
        "cluster_size": 1 << bits if bits in _CLUSTER_BITS else 0,
        "virtual_size": size,
        "encryption": {0: "", 1: "aes"}.get(crypt, str(crypt)),
        "backing_file": "",
    }
    if bits not in _CLUSTER_BITS or l2_bits not in _L2_BITS:
        builder = Builder(image, KINDS, _FOLDS)
        builder.claim("header", 0, _HEADER.size)
        builder.lacks(f"clusters of 2^{bits} bytes and L2 tables of 2^{l2_bits} entries are not possible")
        return builder.finish("qcow", facts)
    cluster = 1 << bits
    builder = Builder(image, KINDS, _FOLDS, unit=cluster, wanted=wanted)
    backing = ""
    if name_at:
        if name_size > 1023 or name_at + name_size > image.size:
            builder.note("the name of the backing file does not lie within the file")
        else:
            backing = text(take(image, name_at, name_size))
    facts["backing_file"] = safe(backing)
    _claim(builder, "header", 0, max(_HEADER.size, name_at + name_size if backing else 0))
    offsets, index = _l1(image, builder, l1, -(-size // (cluster << l2_bits)), 8 << l2_bits)
    facts |= _l2(image, builder, offsets, index, bits, l2_bits)
    return builder.finish("qcow", facts, backing=backing)


def _claim(builder: Builder, kind: str, start: int, length: int) -> None:
    start, end = min(start, builder.size), min(start + length, builder.size)
    builder.claim_bytes(kind, np.array([start]), np.array([end]))


def _l1(image: Image, builder: Builder, at: int, count: int, table: int) -> tuple[Offsets, Offsets]:
    """Claim the L1 table and the L2 tables, of `table` bytes each: where these lie, rising, and their
    numbers."""
    if at >= image.size:
        builder.lacks("the L1 table lies past the end of the file")
    if count * 8 > _MAX_L1_BYTES:
        builder.lacks(f"an L1 table of {show_count(count)} entries is too long; the first 32 MiB are used")
        count = _MAX_L1_BYTES // 8
    _claim(builder, "L1 table", at, count * 8)
    raw = take(image, at, count * 8)
    if len(raw) < count * 8:
        builder.lacks("the file ends within its L1 table")
    words = np.frombuffer(raw, ">u8", len(raw) // 8).astype(np.uint64)
    index = np.flatnonzero(words)
    offsets = words[index].view(np.int64)  # beyond 2^63 they are negative, so outside
    good = builder.within("L2 table", offsets, aligned=False)
    offsets, index = distinct(builder, "L2 table", offsets[good], index[good], table)
    builder.claim_bytes("L2 table", offsets, offsets + table)
    return offsets, index


def _l2(
    image: Image, builder: Builder, offsets: Offsets, index: Offsets, bits: int, l2_bits: int
) -> dict[str, int]:
    cluster, table = 1 << bits, 8 << l2_bits
    allocated = packed = 0
    place, length = np.uint64((1 << 63 - bits) - 1), np.uint64(cluster - 1)
    for words, number in entries(image, builder, "L2 table", offsets, index, table, ">u8"):
        # an L1 table may be claimed to map more than 2^63 bytes
        some = (words != 0) & (number < 1 << 62 - bits)
        words, number = words[some], number[some]
        allocated += len(words)
        compressed = (words & _COMPRESSED) != 0
        if compressed.any() and packed <= _MAX_COMPRESSED:
            of_packed = words[compressed]
            starts = (of_packed & place).view(np.int64)
            sizes = ((of_packed >> np.uint64(63 - bits)) & length).view(np.int64)
            guest = number[compressed] << bits
            good = builder.within("compressed cluster", starts, aligned=False)
            starts, sizes, guest = starts[good], sizes[good], guest[good]
            builder.claim_bytes("compressed cluster", starts, starts + sizes)
            builder.place(starts[sizes > 0], sizes[sizes > 0], guest[sizes > 0])
            if packed + len(of_packed) > _MAX_COMPRESSED:
                builder.lacks("there are too many compressed clusters; the others are not labelled")
        packed += int(np.count_nonzero(compressed))
        host, guest = words[~compressed].view(np.int64), number[~compressed] << bits
        good = builder.within("data cluster", host)
        host, guest = host[good], guest[good]
        free = builder.claim_cells("data cluster", host >> bits)
        builder.place(host[free], cluster, guest[free])
    return {"l2_tables": len(offsets), "allocated_clusters": allocated, "compressed_clusters": packed}
