"""VDI, VirtualBox's format: a header, one table of all blocks, and the blocks (QEMU's block/vdi.c).

A differencing image knows its parent by an ID only: which file has that ID stands in VirtualBox's registry.
"""

from __future__ import annotations

import struct
import uuid
from typing import Any

import numpy as np

from profiler.images.build import Builder, cut_short
from profiler.images.map import Map
from profiler.images.runs import Wanted
from profiler.images.source import Image, take
from profiler.units import show_count

SIGNATURE = 0xBEDA107F  # at byte 64
KINDS = ("header", "block map", "data block")
_FOLDS = ("data block",)
_MAX_BLOCKS = 64 << 20  # 64 TiB in blocks of 1 MiB
_CHUNK = 1 << 20  # entries
_NO_BLOCK = 0xFFFF_FFFE  # this and above: never written, or given back


def read(image: Image, wanted: Wanted | None = None) -> Map:
    """The map of a VDI image. Raises nothing: what is wrong with the image becomes a note."""
    raw = take(image, 0, 512)
    if len(raw) < 0x1C8:
        return cut_short(image, "vdi", KINDS, _FOLDS)
    version, _, kind, _ = struct.unpack_from("<IIII", raw, 0x44)
    table, data = struct.unpack_from("<II", raw, 0x154)
    size, block, extra, count, allocated = struct.unpack_from("<QIIII", raw, 0x170)
    facts: dict[str, Any] = {
        "version": f"{version >> 16}.{version & 0xFFFF}",
        "type": {1: "dynamic", 2: "static", 3: "undo", 4: "differencing"}.get(kind, str(kind)),
        "virtual_size": size,
        "block_size": block,
        "blocks": count,
        "allocated_blocks": allocated,
    }
    # of itself (uuid_image), of the parent and of the state in which the parent was (uuid_link, uuid_parent)
    facts["id"] = str(uuid.UUID(bytes_le=raw[0x188:0x198]))
    if any(raw[0x1A8:0x1B8]):
        facts["parent_id"] = str(uuid.UUID(bytes_le=raw[0x1A8:0x1B8]))
    if not 4096 <= block <= 1 << 30 or extra > 1 << 20 or data < 512:
        builder = Builder(image, KINDS, _FOLDS)
        builder.lacks(f"blocks of {show_count(block)} bytes from offset {show_count(data)} are not possible")
        builder.claim("header", 0, 512)
        return builder.finish("vdi", facts)
    unit = block + extra
    builder = Builder(image, KINDS, _FOLDS, unit=unit, base=data, wanted=wanted)
    header_end = min(table, data) if table >= 512 else 512
    builder.claim_bytes("header", np.array([0]), np.array([header_end]))
    builder.claim_bytes("block map", np.array([table]), np.array([min(table + 4 * count, data)]))
    if count > _MAX_BLOCKS or table + 4 * count > data:
        builder.lacks(f"a block map of {show_count(count)} entries does not fit; the first are used")
        count = max(0, min(count, _MAX_BLOCKS, (data - table) // 4))
    found_blocks = 0
    for first in range(0, count, _CHUNK):
        wanted_entries = min(_CHUNK, count - first)
        found = take(image, table + 4 * first, 4 * wanted_entries)
        entries = np.frombuffer(found, "<u4", len(found) // 4).astype(np.int64)
        if len(entries) < wanted_entries:
            builder.lacks("the file ends within its block map")
        at = np.flatnonzero(entries < _NO_BLOCK)
        cells = entries[at]
        good = builder.within("data block", cells * unit + data, aligned=False)
        cells, at = cells[good], at[good]
        found_blocks += len(cells)
        free = builder.claim_cells("data block", cells)
        cells, guest = cells[free], (at[free] + first) * block
        builder.place(cells * unit + data + extra, block, guest)
        if not len(entries):
            break
    if found_blocks != allocated:
        builder.note(
            f"the header counts {show_count(allocated)} blocks, the block map {show_count(found_blocks)}"
        )
    return builder.finish("vdi", facts)
