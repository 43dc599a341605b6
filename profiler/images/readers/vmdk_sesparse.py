"""SESPARSE, the sparse extents of ESX 6.5 and later: two levels of tables with entries of 64 bits, and
grains of 4 KiB.

VMware has not published it; names, constants and checks are those of QEMU's block/vmdk.c
(VMDKSESparseConstHeader, vmdk_open_se_sparse, get_cluster_offset). Offsets in the header are in sectors.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from profiler.images.build import Builder
from profiler.images.map import Map
from profiler.images.runs import Wanted
from profiler.images.source import Image, Offsets, take
from profiler.images.tables import distinct, entries
from profiler.units import show_count

MAGIC = struct.pack("<QQ", 0xCAFE_BABE, 0x2_0000_0001)  # SESPARSE_CONST_HEADER_MAGIC, and version 2.1
KINDS = (
    "header", "volatile header", "journal header", "journal", "grain directory", "grain table",
    "free bitmap", "backmap", "grain",
)  # fmt: skip
_FOLDS = ("grain",)
_SECTOR = 512
_HEADER = struct.Struct("<26Q")
_VOLATILE_MAGIC = 0xCAFE_CAFE  # SESPARSE_VOLATILE_HEADER_MAGIC
_FURTHEST = 1 << 52  # sectors
_MAX_DIRECTORY_BYTES = 32 << 20
_ALLOCATED_TABLE = 0x1000_0000  # in the upper half of an entry of the directory
_TOP = np.uint64(60)
_ALLOCATED_GRAIN = 3  # in the top 4 bits; 0: none, 1: unmapped, 2: zeros


def read(image: Image, wanted: Wanted | None = None) -> Map:
    """The map of a SESPARSE extent. Raises nothing: what is wrong with it becomes a note."""
    raw = take(image, 0, _HEADER.size)
    words = _HEADER.unpack(raw) if len(raw) == _HEADER.size else ()
    capacity, grain, table = words[2:5] if words else (0, 0, 0)
    size = grain * _SECTOR
    if not words or max(words[2:5] + words[10:]) >= _FURTHEST or not 512 <= size <= 64 << 20 \
            or size & (size - 1) or not 0 < table <= 8192:  # fmt: skip
        builder = Builder(image, KINDS, _FOLDS)
        builder.claim("header", 0, _SECTOR)
        builder.lacks("nothing but the header is labelled, as it cannot be made out")
        return builder.finish("vmdk", {})
    regions = {kind: (words[at] * _SECTOR, words[at + 1] * _SECTOR) for kind, at in (
        ("volatile header", 10), ("journal header", 12), ("journal", 14), ("grain directory", 16),
        ("grain tables", 18), ("free bitmap", 20), ("backmap", 22), ("grains", 24),
    )}  # fmt: skip
    builder = Builder(image, KINDS, _FOLDS, unit=size, base=regions["grains"][0], wanted=wanted)
    builder.claim_bytes("header", np.array([0]), np.array([_SECTOR]))
    for kind, (start, length) in regions.items():
        if kind in KINDS and start < builder.size:
            builder.claim_bytes(kind, np.array([start]), np.array([min(start + length, builder.size)]))
    facts: dict[str, Any] = {
        "subformat": "SESPARSE", "virtual_size": capacity * _SECTOR, "cluster_size": size,
    }  # fmt: skip
    volatile = take(image, regions["volatile header"][0], 32)
    if len(volatile) < 32 or int.from_bytes(volatile[:8], "little") != _VOLATILE_MAGIC:
        builder.note("the volatile header is not where the header says")
    elif any(volatile[24:32]):
        builder.lacks(
            "the journal is to be replayed: the map shows what was before; QEMU does not open this"
        )
    facts["dirty"] = len(volatile) == 32 and any(volatile[24:32])
    offsets, index = _directory(image, builder, *regions["grain directory"], *regions["grain tables"],
                                table * _SECTOR)  # fmt: skip
    facts["allocated_clusters"] = _grains(image, builder, offsets, index, table * _SECTOR, size)
    return builder.finish("vmdk", facts)


def _directory(
    image: Image, builder: Builder, start: int, length: int, tables: int, room: int, table: int
) -> tuple[Offsets, Offsets]:
    """Claim the grain tables, of `table` bytes each: where these lie, rising, and the number of each."""
    if length > _MAX_DIRECTORY_BYTES:
        builder.lacks("the grain directory is too long; the first 32 MiB are used")
        length = _MAX_DIRECTORY_BYTES
    raw = take(image, start, length)
    if len(raw) < length:
        builder.lacks("the file ends within its grain directory")
    words = np.frombuffer(raw, "<u8", len(raw) // 8)
    index = np.flatnonzero(words)
    good = words[index] >> np.uint64(32) == _ALLOCATED_TABLE
    if not good.all():
        wrong = len(good) - int(np.count_nonzero(good))
        builder.note(f"entries of the grain directory that are not known: {show_count(wrong)}")
        index = index[good]
    offsets = (words[index] & np.uint64(0xFFFF_FFFF)).astype(np.int64) * table
    inside = (offsets + table <= room) & (offsets + tables < builder.size)
    if not inside.all():
        builder.note("a grain table lies outside the place of the grain tables")
    offsets, index = distinct(builder, "grain table", offsets[inside] + tables, index[inside], table)
    builder.claim_bytes("grain table", offsets, offsets + table)
    return offsets, index


def _grains(image: Image, builder: Builder, offsets: Offsets, index: Offsets, table: int, grain: int) -> int:
    allocated = 0
    for words, number in entries(image, builder, "grain table", offsets, index, table, "<u8"):
        there = words >> _TOP == _ALLOCATED_GRAIN
        words, number = words[there], number[there]
        allocated += len(words)
        # the lower 12 bits of the number stand above the upper 48
        cells = (((words >> np.uint64(48)) & np.uint64(0xFFF))
                 | ((words & np.uint64((1 << 48) - 1)) << np.uint64(12))).view(np.int64)  # fmt: skip
        good = (cells < builder.cells.count) & (number < (1 << 61) // grain)
        if not good.all():
            builder.note("a grain lies past the end of the file")
        cells, number = cells[good], number[good]
        free = builder.claim_cells("grain", cells)
        builder.place(cells[free] * grain + builder.base, grain, number[free] * grain)
    return allocated
