"""Parallels' expandable disks, after QEMU's docs/interop/parallels.txt: a header, the table of all clusters
(BAT) right behind it, and the clusters; an extension holds dirty bitmaps. The XML that puts such files
together is in parallels_descriptor."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.images.build import Builder, cut_short
from profiler.images.map import Map
from profiler.images.readers import parallels_descriptor
from profiler.images.runs import Wanted
from profiler.images.source import Image, take
from profiler.units import show_count

MAGICS = (b"WithoutFreeSpace", b"WithouFreSpacExt")
"""Of the first the BAT counts in sectors, of the second in clusters."""
KINDS = ("header", "block allocation table", "format extension", "dirty bitmap", "data cluster")
_FOLDS = ("data cluster",)
_SECTOR = 512
_FIRST = 512  # bytes that tell a descriptor
_HEADER = struct.Struct("<16sIIIIIQIIIQ")
_IN_USE = 0x746F_6E59  # HEADER_INUSE_MAGIC
_EXTENSION = 0xAB23_4CEF_23DC_EA87  # of the format extension
_DIRTY_BITMAP = 0x2038_5FAE_252C_B34A  # of one of its features
_MAX_ENTRIES = 4 << 20  # 4 TiB in clusters of 1 MiB, which Parallels makes
_MAX_CLUSTER = 64 << 20
_MAX_BITMAP_ENTRIES = 1 << 16
_MAX_FEATURES = 1024
_CHUNK = 1 << 18  # entries


def read(image: Image, wanted: Wanted | None = None) -> Map:
    """The map of a Parallels disk. Raises nothing: what is wrong with the image becomes a note."""
    if parallels_descriptor.is_descriptor(take(image, 0, _FIRST)):
        return parallels_descriptor.read(image)
    raw = take(image, 0, _HEADER.size)
    if len(raw) < _HEADER.size:
        return cut_short(image, "parallels", KINDS, _FOLDS)
    magic, version, _, _, tracks, entries, sectors, in_use, _, _, extension = _HEADER.unpack(raw)
    old = magic == MAGICS[0]
    if old:
        sectors &= 0xFFFF_FFFF  # the upper half was not used then (block/parallels.c, parallels_open)
    cluster = tracks * _SECTOR
    facts: dict[str, Any] = {
        "version": version,
        "virtual_size": sectors * _SECTOR,
        "cluster_size": cluster if cluster <= _MAX_CLUSTER else 0,
        "blocks": entries,
        "dirty": in_use == _IN_USE,
    }
    if not 0 < cluster <= _MAX_CLUSTER:
        builder = Builder(image, KINDS, _FOLDS)
        builder.claim("header", 0, _HEADER.size)
        builder.lacks(f"clusters of {show_count(tracks)} sectors are not possible")
        return builder.finish("parallels", facts)
    table, short = _table(image, entries)
    unit = _SECTOR if old else cluster
    used = int(np.count_nonzero(table))
    # in the old format the clusters start wherever the table ended, and follow each other from there
    base = int(table[table > 0].min()) * unit % cluster if used else 0
    builder = Builder(image, KINDS, _FOLDS, unit=cluster, base=base, wanted=wanted)
    builder.claim_bytes("header", np.array([0]), np.array([_HEADER.size]))
    builder.claim_bytes("block allocation table", np.array([_HEADER.size]),
                        np.array([_HEADER.size + 4 * entries]))  # fmt: skip
    if short:
        builder.lacks(short)
    if facts["dirty"]:
        builder.note("the image was not closed as it should be, or is in use")
    if extension:
        facts["bitmaps"] = _extension(image, builder, extension * _SECTOR, cluster)
    facts["allocated_blocks"] = used
    for first in range(0, len(table), _CHUNK):
        part = table[first : first + _CHUNK].astype(np.int64)
        at = np.flatnonzero(part)
        host = part[at] * unit
        good = builder.within("data cluster", host)
        host, at = host[good], at[good]
        free = builder.claim_cells("data cluster", (host - base) // cluster)
        builder.place(host[free], cluster, (at[free] + first) * cluster)
    return builder.finish("parallels", facts)


def _table(image: Image, entries: int) -> tuple[npt.NDArray[np.uint32], str]:
    """The entries of the BAT, 0 for a cluster that is nowhere, and what is wrong with it."""
    wrong = ""
    if entries > _MAX_ENTRIES:
        wrong = f"of a BAT of {show_count(entries)} entries the first {show_count(_MAX_ENTRIES)} are used"
        entries = _MAX_ENTRIES
    raw = take(image, _HEADER.size, 4 * entries)
    if len(raw) < 4 * entries:
        wrong = "the file ends within its block allocation table"
    return np.frombuffer(raw, "<u4", len(raw) // 4), wrong


def _extension(image: Image, builder: Builder, at: int, cluster: int) -> int:
    """Claim the format extension, one cluster, and the bitmaps in it; how many there are."""
    raw = take(image, at, cluster)
    if len(raw) < cluster or struct.unpack_from("<Q", raw)[0] != _EXTENSION:
        builder.note("there is no format extension where the header says")
        return 0
    builder.claim_bytes("format extension", np.array([at]), np.array([at + cluster]))
    place, bitmaps = 24, 0
    for _ in range(_MAX_FEATURES):
        if place + 24 > len(raw):
            break
        magic, _, length = struct.unpack_from("<QQI", raw, place)
        data = raw[place + 24 : place + 24 + length]
        if not magic:  # the end
            break
        if magic == _DIRTY_BITMAP and len(data) >= 32:
            bitmaps += 1
            count = struct.unpack_from("<I", data, 28)[0]
            words = np.frombuffer(data, "<u8", min(count, (len(data) - 32) // 8, _MAX_BITMAP_ENTRIES), 32)
            # 0 and 1: all of it is clear, or set; then no cluster is used
            starts = words[(words > 1) & (words < builder.size // _SECTOR)].astype(np.int64) * _SECTOR
            builder.claim_bytes("dirty bitmap", starts, starts + cluster)
        place += 24 + -(-length // 8) * 8
    return bitmaps
