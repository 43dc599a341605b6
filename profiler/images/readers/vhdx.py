"""VHDX, after Microsoft's MS-VHDX: headers, region table, metadata, log, block allocation table (BAT) and
the blocks. A log that has not been played back is not looked into: a note says that there is one. The parent
of a differencing disk is found by the parent locator.
"""

from __future__ import annotations

import struct
import uuid
from typing import Any

import numpy as np

from profiler.images.build import Builder, safe
from profiler.images.map import Map
from profiler.images.names import windows
from profiler.images.runs import Wanted
from profiler.images.source import Image, take
from profiler.units import show_count

MAGIC = b"vhdxfile"
KINDS = (
    "file identifier", "header", "region table", "log", "metadata", "block allocation table",
    "sector bitmap block", "payload block",
)  # fmt: skip
_FOLDS = ("sector bitmap block", "payload block")
_MIB = 1 << 20
_KIB_64 = 64 << 10
_MAX_ENTRIES = 64 << 20  # of the BAT
_CHUNK = 1 << 19  # entries
_BAT = uuid.UUID("2dc27766-f623-4200-9d64-115e9bfd4a08").bytes_le
_METADATA = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e").bytes_le
_ITEMS = {
    uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b").bytes_le: "parameters",
    uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8").bytes_le: "size",
    uuid.UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f").bytes_le: "sector",
    uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le: "parent",
}
_LOCATOR = uuid.UUID("b04aefb7-d19e-4a81-b789-25b8e9445913").bytes_le  # the one type of parent locator
_PATHS = ("relative_path", "absolute_win32_path", "volume_path")  # its keys that name the parent, in MS-VHDX
_MAX_LOCATOR = 64 << 10
_PRESENT = (6, 7)  # fully, in part


def read(image: Image, wanted: Wanted | None = None) -> Map:
    """The map of a VHDX image. Raises nothing: what is wrong with the image becomes a note."""
    builder = Builder(image, KINDS, _FOLDS, unit=_MIB, wanted=wanted)
    for kind, start, end in (
        ("file identifier", 0, 1), ("header", 1, 3), ("region table", 3, 5),
    ):  # fmt: skip
        builder.claim_bytes(kind, np.array([start * _KIB_64]), np.array([end * _KIB_64]))
    facts: dict[str, Any] = _log(image, builder)
    regions = _regions(image, builder)
    backing = ""
    if _METADATA in regions:
        found, locator = _metadata(image, builder, *regions[_METADATA])
        facts |= found
        if found.get("has_parent"):
            backing, facts["parent_id"] = _parent(locator)
            facts["backing_file"] = safe(backing)
            if not backing:
                builder.note("a differencing disk that does not name its parent")
    if _BAT in regions and {"block_size", "virtual_size", "sector_size"} <= set(facts):
        _bat(image, builder, facts, *regions[_BAT])
    else:
        builder.lacks("the block allocation table cannot be made out; the blocks are not labelled")
    return builder.finish("vhdx", facts, backing=backing, backing_format="vhdx" if backing else "")


def _log(image: Image, builder: Builder) -> dict[str, Any]:
    """Claim the log; the ID of the disk's data, and whether the log is to be played back.

    The header in force is the one of the two with the higher sequence number.
    """
    headers = [take(image, offset, 80) for offset in (_KIB_64, 2 * _KIB_64)]
    found = [raw for raw in headers if len(raw) == 80 and raw[:4] == b"head"]
    if not found:
        builder.lacks("neither of the two headers is there")
        return {}
    newest = max(found, key=lambda raw: struct.unpack_from("<Q", raw, 8))
    length, offset = struct.unpack_from("<IQ", newest, 68)
    builder.claim("log", offset, length)
    dirty = any(newest[48:64])
    if dirty:
        builder.lacks("the log holds changes that are not made yet: the map shows what was before them")
    return {"id": str(uuid.UUID(bytes_le=newest[32:48])), "dirty": dirty}


def _regions(image: Image, builder: Builder) -> dict[bytes, tuple[int, int]]:
    for copy in (3 * _KIB_64, 4 * _KIB_64):
        raw = take(image, copy, _KIB_64)
        if len(raw) == _KIB_64 and raw[:4] == b"regi":
            break
    else:
        builder.lacks("neither of the two region tables is there")
        return {}
    count = struct.unpack_from("<I", raw, 8)[0]
    if count > 2047:
        builder.lacks(f"a region table of {show_count(count)} entries is not possible")
    found: dict[bytes, tuple[int, int]] = {}
    for number in range(min(count, 2047)):
        name, offset, length = struct.unpack_from("<16sQI", raw, 16 + 32 * number)
        if name in (_BAT, _METADATA) and name not in found:
            found[name] = (offset, length)
            builder.claim("block allocation table" if name == _BAT else "metadata", offset, length)
    return found


def _metadata(image: Image, builder: Builder, offset: int, length: int) -> tuple[dict[str, int], bytes]:
    """What the metadata says of the disk, and the parent locator."""
    raw = take(image, offset, _KIB_64)
    if len(raw) < _KIB_64 or raw[:8] != b"metadata":
        builder.note("the metadata table is not where the region table says")
        return {}, b""
    facts: dict[str, int] = {}
    locator = b""
    for number in range(min(struct.unpack_from("<H", raw, 10)[0], 2047)):
        name, place, size = struct.unpack_from("<16sII", raw, 32 + 32 * number)
        if place + size > length:
            continue
        if _ITEMS.get(name) == "parent":
            locator = take(image, offset + place, min(size, _MAX_LOCATOR))
        item = take(image, offset + place, min(size, 8))
        if _ITEMS.get(name) == "parameters" and len(item) == 8:
            facts["block_size"], flags = struct.unpack("<II", item)
            facts["has_parent"] = flags >> 1 & 1
        elif _ITEMS.get(name) == "size" and len(item) == 8:
            facts["virtual_size"] = int.from_bytes(item, "little")
        elif _ITEMS.get(name) == "sector" and len(item) == 4:
            facts["sector_size"] = int.from_bytes(item, "little")
    return facts, locator


def _parent(locator: bytes) -> tuple[str, str]:
    """The name of the parent, and the ID that its data had: "" where they are not told."""
    if len(locator) < 20 or locator[:16] != _LOCATOR:
        return "", ""
    said: dict[str, str] = {}
    for number in range(min(struct.unpack_from("<H", locator, 18)[0], (len(locator) - 20) // 12, 100)):
        key_at, value_at, key_length, value_length = struct.unpack_from("<IIHH", locator, 20 + 12 * number)
        key, value = (locator[at : at + length].decode("utf-16-le", "replace").partition("\0")[0]
                      for at, length in ((key_at, key_length), (value_at, value_length)))  # fmt: skip
        said.setdefault(key, value)
    name = next((windows(said[key]) for key in _PATHS if said.get(key)), "")
    return name, safe(said.get("parent_linkage", "").strip("{}").lower()[:36])


def _bat(image: Image, builder: Builder, facts: dict[str, Any], offset: int, length: int) -> None:
    block, size, sector = facts["block_size"], facts["virtual_size"], facts["sector_size"]
    if block % _MIB or not _MIB <= block <= 256 * _MIB or block & (block - 1) or sector not in (512, 4096):
        builder.note(
            f"blocks of {show_count(block)} bytes in sectors of {show_count(sector)} are impossible"
        )
        return
    ratio = (sector << 23) // block  # payload blocks for each block with the bitmap of their sectors
    blocks = -(-size // block)
    chunks = -(-blocks // ratio)
    count = chunks * (ratio + 1) if facts.get("has_parent") else blocks + max(0, chunks - 1)
    if count > min(length // 8, _MAX_ENTRIES):
        builder.lacks(f"a block allocation table of {show_count(count)} entries does not fit")
        count = min(length // 8, _MAX_ENTRIES)
    allocated = 0
    for first in range(0, count, _CHUNK):
        expected = min(_CHUNK, count - first)
        raw = take(image, offset + 8 * first, 8 * expected)
        words = np.frombuffer(raw, "<u8", len(raw) // 8)
        if len(words) < expected:
            builder.lacks("the file ends within its block allocation table")
        present = np.flatnonzero(np.isin(words & np.uint64(7), _PRESENT))
        number = present + first
        places = (words[present] & ~np.uint64(_MIB - 1)).view(np.int64)
        bitmaps = (number + 1) % (ratio + 1) == 0
        for kind, chosen, each in (
            ("sector bitmap block", bitmaps, 1),
            ("payload block", ~bitmaps, block // _MIB),
        ):
            host, at = places[chosen], number[chosen]
            good = builder.within(kind, host)
            host, at = host[good], at[good]
            free = builder.claim_blocks(kind, host // _MIB, each)
            if kind == "payload block":
                allocated += len(host)
                builder.place(host[free], block, (at - at // (ratio + 1))[free] * block)
        if not len(words):
            break
    facts["allocated_blocks"] = allocated
