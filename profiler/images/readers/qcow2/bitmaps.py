"""The dirty bitmaps of a qcow2 image: a directory of them, each with a table of clusters."""

from __future__ import annotations

import struct

import numpy as np

from profiler.images.build import Builder, safe
from profiler.images.readers.qcow2.header import Header
from profiler.images.readers.qcow2.words import CHUNK, MAX_ENTRIES, MAX_LIST_BYTES, MAX_NAMES, OFFSET, words
from profiler.images.source import Image, take, text
from profiler.units import show_count

MAX_BITMAPS = 65_535
"""QEMU's own bound."""
_BITMAP = struct.Struct(">QIIBBHI")


def claim_bitmaps(image: Image, builder: Builder, header: Header) -> tuple[int, list[str]]:
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
    if count > MAX_BITMAPS or size > MAX_LIST_BYTES:
        builder.lacks(f"{show_count(count)} bitmaps in {show_count(size)} bytes are not possible")
        count, size = min(count, MAX_BITMAPS), min(size, MAX_LIST_BYTES)
    builder.claim("bitmap directory", offset, size)
    names: list[str] = []
    at, found, left = offset, 0, MAX_ENTRIES
    for _ in range(count):
        raw = take(image, at, min(_BITMAP.size, offset + size - at))
        if len(raw) < _BITMAP.size or not any(raw):
            builder.lacks(f"the bitmap directory ends after {show_count(found)} of its bitmaps")
            break
        table, entries, _, _, _, name_size, extra = _BITMAP.unpack(raw)
        found += 1
        if len(names) < MAX_NAMES:
            names.append(safe(text(take(image, at + _BITMAP.size + extra, name_size))))
        at += -(-(_BITMAP.size + name_size + extra) // 8) * 8
        left -= _bitmap(image, builder, header, table, entries, left)
    return found, names


def _bitmap(image: Image, builder: Builder, header: Header, offset: int, entries: int, left: int) -> int:
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
    for first in range(0, entries, CHUNK // 8):
        table = words(image, offset, entries, first)
        found = (table & OFFSET).view(np.int64)
        found = np.unique(found[found != 0])
        found = found[builder.within("bitmap data", found)]
        builder.claim_cells("bitmap data", found >> header.cluster_bits)
        if not len(table):
            break
    return entries
