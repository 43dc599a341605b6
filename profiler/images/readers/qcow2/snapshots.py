"""The snapshots of a qcow2 image: a table of them, each with an L1 table of its own."""

from __future__ import annotations

import struct

from profiler.images.build import Builder, safe
from profiler.images.readers.qcow2.header import Header
from profiler.images.readers.qcow2.mapping import Mapping
from profiler.images.readers.qcow2.words import MAX_LIST_BYTES, MAX_NAMES
from profiler.images.source import Image, take, text
from profiler.units import show_count

MAX_SNAPSHOTS = 65_536
"""QEMU's own bound."""
_SNAPSHOT = struct.Struct(">QIHHIIQII")


def claim_snapshots(
    image: Image, builder: Builder, header: Header, mapping: Mapping
) -> tuple[int, list[str]]:
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
        if len(raw) < _SNAPSHOT.size or not any(raw) or at - offset > MAX_LIST_BYTES:
            builder.lacks(f"the snapshot table ends after {show_count(len(found))} of its snapshots")
            break
        l1_offset, l1_entries, id_size, name_size, *_, extra = _SNAPSHOT.unpack(raw)
        found.append((l1_offset, l1_entries))
        if len(names) < MAX_NAMES:
            names.append(safe(text(take(image, at + _SNAPSHOT.size + extra + id_size, name_size))))
        at += -(-(_SNAPSHOT.size + extra + id_size + name_size) // 8) * 8
    builder.claim("snapshot table", offset, min(at, builder.size) - offset)
    for l1_offset, l1_entries in found:
        mapping.claim_l1("snapshot L1 table", l1_offset, l1_entries)
    return len(found), names
