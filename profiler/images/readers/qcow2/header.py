"""The header of a qcow2 image, with its extensions: where the tables lie, and what the image is."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from profiler.images.build import safe
from profiler.images.source import Image, take, text

MAGIC = b"QFI\xfb"
SMALLEST = 72
"""Bytes of the header of version 2."""
_MAX_CLUSTER_BITS = 21

_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_HEADER_3 = struct.Struct(">QQQII")
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
class Header:
    """What the header says. Offsets and sizes are bytes, as claimed."""

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


def marked_dirty(first: bytes) -> bool:
    """Whether the header, the first bytes of an image, says that it was not closed cleanly: its refcounts
    are rebuilt by whoever opens it for writing. Version 2 has no such mark."""
    return int.from_bytes(first[4:8], "big") >= 3 and bool(int.from_bytes(first[72:80], "big") & 1)


def header_of(image: Image, notes: list[str]) -> Header | None:
    """The header of an image; None where it cannot be made out. What is wrong goes to `notes`."""
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
    header = Header(
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


def _extensions(first: bytes, header: Header, notes: list[str]) -> None:
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


def facts_of(header: Header) -> dict[str, Any]:
    """What of the header is told of an image."""
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
