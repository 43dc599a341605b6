"""VMDK, after VMware's "Virtual Disk Format": sparse extents of hosted products ("KDMV"), compressed streams
of them (streamOptimized), sparse extents of ESX ("COWD"; "SESPARSE" is in vmdk_sesparse), and the descriptor
where that is a file by itself.

The extents that a descriptor names are files of their own and each has its own map, with places in the one
disk that they make up.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from profiler.images.build import Builder, safe
from profiler.images.map import Map
from profiler.images.readers import vmdk_descriptor, vmdk_sesparse
from profiler.images.readers.vmdk_descriptor import Descriptor
from profiler.images.runs import Wanted
from profiler.images.source import Image, Offsets, take, text
from profiler.images.tables import distinct, entries
from profiler.units import show_count

MAGIC = b"KDMV"
MAGIC_ESX = b"COWD"
KINDS = (
    "header", "descriptor", "grain directory", "redundant grain directory", "grain table",
    "redundant grain table", "marker", "footer", "compressed grain", "grain",
)  # fmt: skip
_FOLDS = ("compressed grain", "grain")
_SECTOR = 512
_HEADER = struct.Struct("<4sIIQQQQIQQQ?4sH")
_HEADER_ESX = struct.Struct("<4sIIIIII")
_HEADER_ESX_BYTES = 2048  # COWDisk_Header, with the name of the parent at 32 and that of the disk
_SMALLEST_GRAIN = 512  # of ESX, its default there; VMware's hosted products make none below 4 KiB
_AT_END = 0xFFFF_FFFF_FFFF_FFFF
_REDUNDANT, _ZERO_GRAINS, _COMPRESSED, _MARKERS = 1 << 1, 1 << 2, 1 << 16, 1 << 17
_MAX_DIRECTORY = 1 << 20  # entries
_MAX_GRAINS = 1 << 20  # compressed ones, or such as do not start where a multiple of their size does


@dataclass
class _Extent:
    version: int
    flags: int
    capacity: int  # sectors
    grain: int  # sectors
    descriptor: tuple[int, int]  # sectors
    entries: int  # of a grain table
    directory: int  # sector
    redundant: int  # sector, 0: none
    parent: str = ""  # of ESX's, where no descriptor says it
    length: int = 0  # of the directory, entries
    at_end: bool = False  # this header is the copy at the end of a stream


def read(image: Image, wanted: Wanted | None = None) -> Map:
    """The map of a VMDK file. Raises nothing: what is wrong with the image becomes a note."""
    raw = take(image, 0, _HEADER_ESX_BYTES)
    if raw[:16] == vmdk_sesparse.MAGIC:
        return vmdk_sesparse.read(image, wanted)
    if raw[:4] not in (MAGIC, MAGIC_ESX):
        return _descriptor_file(image)
    extent = _extent(raw)
    if extent is not None and raw[:4] == MAGIC and not extent.capacity and all(extent.descriptor):
        return _descriptor_file(image, *(value * _SECTOR for value in extent.descriptor))
    footer = extent is not None and extent.directory == _AT_END
    if footer:
        extent = _extent(take(image, image.size - 2 * _SECTOR, _SECTOR))
        if extent is not None:
            extent.at_end = True
    grain = extent.grain * _SECTOR if extent else 0
    if extent is None or not _SMALLEST_GRAIN <= grain <= 64 << 20 or not 0 < extent.entries <= 8192:
        builder = Builder(image, KINDS, _FOLDS)
        builder.lacks("nothing but the header is labelled, as it cannot be made out")
        builder.claim("header", 0, _SECTOR)
        return builder.finish("vmdk", {})
    facts: dict[str, Any] = {
        "subformat": "COWD" if raw[:4] == MAGIC_ESX else "SPARSE",
        "version": extent.version,
        "virtual_size": extent.capacity * _SECTOR,
        "cluster_size": grain,
        "compressed": bool(extent.flags & _COMPRESSED),
        "backing_file": "",
    }
    builder = Builder(image, KINDS, _FOLDS, unit=grain, wanted=wanted)
    header = min(_HEADER_ESX_BYTES, extent.directory * _SECTOR) if raw[:4] == MAGIC_ESX else _SECTOR
    _bytes(builder, "header", 0, max(_SECTOR, header))
    backing = extent.parent
    if all(extent.descriptor):
        start, length = (value * _SECTOR for value in extent.descriptor)
        _bytes(builder, "descriptor", start, length)
        found = vmdk_descriptor.parse(take(image, start, min(length, vmdk_descriptor.MAX_BYTES)))
        backing = found.parent
        facts |= _ids(found)
    facts["backing_file"] = safe(backing)
    if raw[:4] == MAGIC and raw[72]:
        builder.note("the image was not closed as it should be")
    if footer:
        _bytes(builder, "marker", image.size - 3 * _SECTOR, _SECTOR)
        _bytes(builder, "footer", image.size - 2 * _SECTOR, _SECTOR)
        _bytes(builder, "marker", image.size - _SECTOR, _SECTOR)
    if extent.flags & _REDUNDANT and extent.redundant:
        _tables(image, builder, extent, extent.redundant, "redundant ")
    offsets, index = _tables(image, builder, extent, extent.directory, "")
    if extent.flags & _COMPRESSED:
        facts["allocated_clusters"] = _stream(image, builder, extent, offsets, index)
    else:
        facts["allocated_clusters"] = _grains(image, builder, extent, offsets, index)
    return builder.finish("vmdk", facts, backing=backing, backing_format="vmdk" if backing else "")


def _extent(raw: bytes) -> _Extent | None:
    if len(raw) < _SECTOR:
        return None
    if raw[:4] == MAGIC_ESX:
        _, version, flags, capacity, grain, directory, length = _HEADER_ESX.unpack_from(raw)
        parent = text(raw[32 : 32 + 1024]) if not flags & 1 else ""
        return _Extent(version, 0, capacity, grain, (0, 0), 4096, directory, 0, parent, length)
    if raw[:4] != MAGIC:
        return None
    (_, version, flags, capacity, grain, place, size, entries, redundant, directory, *_) = (
        _HEADER.unpack_from(raw)
    )
    # a sector number beyond this is past the end of any file, and would not stay a byte offset in 64 bits
    if max(capacity, grain, place, size, redundant) >= 1 << 52 or (1 << 52) <= directory < _AT_END:
        return None
    span = grain * entries
    length = -(-capacity // span) if span else 0
    return _Extent(
        version, flags, capacity, grain, (place, size), entries, directory, redundant, length=length
    )


def _bytes(builder: Builder, kind: str, start: int, length: int) -> None:
    builder.claim_bytes(kind, np.array([start]), np.array([start + length]))


def _tables(
    image: Image, builder: Builder, extent: _Extent, sector: int, which: str
) -> tuple[Offsets, Offsets]:
    """Claim a grain directory and its grain tables: where these lie, rising, and the number of each."""
    start, count = sector * _SECTOR, extent.length
    _bytes(builder, f"{which}grain directory", start, count * 4)
    if count > _MAX_DIRECTORY:
        builder.lacks(f"of {show_count(count)} grain tables the first {show_count(_MAX_DIRECTORY)} are used")
        count = _MAX_DIRECTORY
    raw = take(image, start, count * 4)
    if len(raw) < count * 4:
        builder.lacks(f"the file ends within its {which}grain directory")
    sectors = np.frombuffer(raw, "<u4", len(raw) // 4).astype(np.int64)
    index = np.flatnonzero(sectors)
    offsets = sectors[index] * _SECTOR
    good = builder.within(f"{which}grain table", offsets, aligned=False)
    offsets, index = distinct(builder, "grain table", offsets[good], index[good], extent.entries * 4)
    builder.claim_bytes(f"{which}grain table", offsets, offsets + extent.entries * 4)
    if extent.at_end:  # a stream that was written in one go: a sector before each table tells what comes
        marked = np.append(offsets, start) if count else offsets
        builder.claim_bytes("marker", marked - _SECTOR, marked)
    return offsets, index


def _chunks(
    image: Image, builder: Builder, extent: _Extent, offsets: Offsets, index: Offsets
) -> Iterator[tuple[Offsets, Offsets]]:
    """Of some grain tables at a time: where the grains start, and which part of the guest's disk each is."""
    least = 1 if extent.flags & _ZERO_GRAINS else 0  # 1: a grain of zeros, which lies nowhere
    length = extent.entries * 4
    for sectors, number in entries(image, builder, "grain table", offsets, index, length, "<u4"):
        there = sectors > least
        yield sectors[there].view(np.int64) * _SECTOR, number[there] * (extent.grain * _SECTOR)


def _grains(image: Image, builder: Builder, extent: _Extent, offsets: Offsets, index: Offsets) -> int:
    grain, allocated, odd = extent.grain * _SECTOR, 0, 0
    for host, guest in _chunks(image, builder, extent, offsets, index):
        allocated += len(host)
        good = builder.within("grain", host, aligned=False)
        host, guest = host[good], guest[good]
        crooked = host % grain != 0
        if crooked.any():
            odd += int(np.count_nonzero(crooked))
            if odd > _MAX_GRAINS:
                builder.lacks("there are too many grains at odd places; the others are not labelled")
                break
            starts = np.unique(host[crooked])
            breaks = np.flatnonzero(np.diff(starts) != grain) + 1
            firsts = starts[np.concatenate([np.zeros(1, np.int64), breaks])]
            lasts = starts[np.append(breaks, len(starts)) - 1]
            builder.claim_bytes("grain", firsts, lasts + grain)
            builder.place(host[crooked], grain, guest[crooked])
            host, guest = host[~crooked], guest[~crooked]
        free = builder.claim_cells("grain", host // grain)
        builder.place(host[free], grain, guest[free])
    return allocated


def _stream(image: Image, builder: Builder, extent: _Extent, offsets: Offsets, index: Offsets) -> int:
    """Compressed grains. How long one is stands before its data, but it ends where the next thing starts."""
    starts, guests, held, allocated = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0, 0
    for host, guest in _chunks(image, builder, extent, offsets, index):
        allocated += len(host)
        good = builder.within("compressed grain", host, aligned=False)
        starts.append(host[good])
        guests.append(guest[good])
        held += len(starts[-1])
        if held > _MAX_GRAINS:
            builder.lacks("there are too many compressed grains; the others are not labelled")
            break
    begin, once = np.unique(np.concatenate(starts), return_index=True)
    guest = np.concatenate(guests)[once]
    if not len(begin):
        return allocated
    metadata = np.append(builder.exact_starts(), builder.size)
    following = metadata[np.minimum(np.searchsorted(metadata, begin, "right"), len(metadata) - 1)]
    end = np.minimum(np.append(begin[1:], builder.size), following)
    end[-1] = min(int(end[-1]), _end_of_grain(image, int(begin[-1]), extent))
    end = np.minimum(end, begin + 2 * extent.grain * _SECTOR + _SECTOR)
    builder.claim_bytes("compressed grain", begin, end)
    builder.place(begin, end - begin, guest)
    return allocated


def _end_of_grain(image: Image, start: int, extent: _Extent) -> int:
    """Where the data of a compressed grain ends: its marker is 8 bytes with the place, 4 with the length."""
    length = 12 if extent.flags & _MARKERS else 4
    raw = take(image, start, length)
    if len(raw) < length:
        return image.size
    size = int.from_bytes(raw[-4:], "little")
    return start + -(-(length + size) // _SECTOR) * _SECTOR


def _ids(found: Descriptor) -> dict[str, str]:
    known = {"create_type": safe(found.kind), "id": found.id, "parent_id": found.parent_id}
    return {name: value for name, value in known.items() if value}


def _descriptor_file(image: Image, start: int = 0, length: int = 0) -> Map:
    """The map of a descriptor, and the extents that it names. It is the whole file, or, in a sparse extent
    without a disk of its own, `length` bytes from `start`."""
    builder = Builder(image, KINDS, _FOLDS)
    _bytes(builder, "descriptor", start, length or image.size)
    if length:
        _bytes(builder, "header", 0, _SECTOR)
    found = vmdk_descriptor.parse(take(image, start, min(length or image.size, vmdk_descriptor.MAX_BYTES)))
    for note in found.notes:
        builder.note(note)
    facts = {
        "subformat": "descriptor", "virtual_size": found.size, "extents": len(found.extents),
        "extent_kinds": list(found.kinds[:10]), "backing_file": safe(found.parent), **_ids(found),
    }  # fmt: skip
    return builder.finish(
        "vmdk", facts, backing=found.parent, backing_format="vmdk" if found.parent else "",
        extents=found.extents,
    )  # fmt: skip
