"""VHD, which QEMU calls "vpc", after Microsoft's "Virtual Hard Disk Image Format Specification" (2006).

A fixed disk is the guest's disk with a footer behind it. Dynamic and differencing disks have a copy of the
footer, a header, a table of blocks (BAT), and blocks, each with the bitmap of its sectors before it.
XenServer's batmap is after blktap's include/libvhd.h.
"""

from __future__ import annotations

import re
import struct
import urllib.parse
import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np

from profiler.images.build import Builder, safe
from profiler.images.map import MAX_RANGES, Map, Placed
from profiler.images.names import windows
from profiler.images.ranges import painted
from profiler.images.runs import Wanted
from profiler.images.source import Image, take
from profiler.units import show_count

COOKIE = b"conectix"
KINDS = (
    "footer", "footer copy", "dynamic disk header", "parent locator", "block allocation table",
    "batmap header", "batmap", "block bitmap", "data block",
)  # fmt: skip
_FOLDS = ("block bitmap", "data block")
_SECTOR = 512
FOOTER_BYTES = 512
_FOOTER = struct.Struct(">8sIIQI4sHH4sQQHBBII16sB")
_HEADER = struct.Struct(">8sQQIIII16sI4x512s")
_LOCATOR = struct.Struct(">4sIIIQ")
_LOCATORS_AT, _LOCATORS, _HEADER_BYTES = 576, 8, 1024
_BATMAP = struct.Struct(">8sQI")
_FIXED, _DYNAMIC, _DIFFERENCING = 2, 3, 4
_TYPES = {_FIXED: "fixed", _DYNAMIC: "dynamic", _DIFFERENCING: "differencing"}
_FREE = 0xFFFF_FFFF  # an entry of the BAT without a block
_MAX_BLOCKS = 1 << 20  # 2 TiB, the most that a VHD holds, in blocks of 2 MiB
_BY_GEOMETRY = (b"vpc ", b"qemu")
"""Makers whose disks are as large as their cylinders, heads and sectors say, and not as `current_size` does
(QEMU's block/vpc.c, vpc_ignore_current_size)."""
NO_PARENT = "QEMU reads this differencing disk without its parent: what lies there it takes for zeros"
"""As block/vpc.c knows two types only, fixed and all others (tried with QEMU 7.2)."""
_LARGEST_GEOMETRY = 65535 * 16 * 255  # sectors; a disk of so many may be larger (the same)


@dataclass(frozen=True)
class _Footer:
    data_offset: int
    maker: bytes
    size: int  # bytes of the guest's disk
    type: int
    id: str
    saved: bool  # a machine was suspended on it
    sound: bool  # the checksum is right


def is_footer(raw: bytes, size: int) -> bool:
    """Whether the last bytes of a file of `size` bytes are the footer of a fixed disk: a raw image that
    happens to end with the word is none."""
    found = _footer(raw)
    if found is None or found.type != _FIXED or not found.sound:
        return False
    held = size - FOOTER_BYTES
    return found.size <= held or struct.unpack_from(">Q", raw, 48)[0] == held


def read(image: Image, wanted: Wanted | None = None) -> Map:
    """The map of a VHD. Raises nothing: what is wrong with the image becomes a note."""
    first, end = take(image, 0, FOOTER_BYTES), max(0, image.size - FOOTER_BYTES)
    last = _footer(take(image, end, FOOTER_BYTES))
    footer = _footer(first) or last
    if footer is None:
        builder = Builder(image, KINDS, _FOLDS)
        builder.note("there is no footer, neither at the start of the file nor at its end")
        return builder.finish("vpc", {})
    facts: dict[str, Any] = {
        "type": _TYPES.get(footer.type, str(footer.type)),
        "virtual_size": footer.size,
        "maker": safe(footer.maker.rstrip(b" \0").decode("latin-1")),
        "id": footer.id,
        "backing_file": "",
    }
    if footer.type == _FIXED:
        return _fixed(image, footer, facts, end)
    builder = Builder(image, KINDS, _FOLDS, wanted=wanted)
    _say(builder, footer, "footer")
    builder.claim_bytes("footer copy", np.array([0]), np.array([FOOTER_BYTES]))
    if last is None:
        builder.note("the footer at the end of the file is missing; its copy at the start is used")
    else:
        builder.claim_bytes("footer", np.array([end]), np.array([image.size]))
    backing = _dynamic(image, builder, footer, facts)
    return builder.finish("vpc", facts, backing=backing, backing_format="vpc" if backing else "")


def _footer(raw: bytes) -> _Footer | None:
    if len(raw) < FOOTER_BYTES or raw[:8] != COOKIE:
        return None
    (
        _, _, _, data_offset, _, maker, _, _, _, _, current, cylinders, heads, sectors, type, checksum, name,
        saved,
    ) = _FOOTER.unpack_from(raw)  # fmt: skip
    geometry = cylinders * heads * sectors
    by_geometry = maker in _BY_GEOMETRY and geometry != _LARGEST_GEOMETRY
    size = geometry * _SECTOR if by_geometry else current // _SECTOR * _SECTOR
    return _Footer(
        data_offset, maker, size, type, str(uuid.UUID(bytes=name)), saved == 1,
        checksum == _checksum(raw[:FOOTER_BYTES], 64),
    )  # fmt: skip


def _checksum(raw: bytes, at: int) -> int:
    """The complement of the sum of all bytes but those of the checksum itself, which is at `at`."""
    return ~(sum(raw) - sum(raw[at : at + 4])) & 0xFFFF_FFFF


def _say(builder: Builder, footer: _Footer, what: str) -> None:
    if not footer.sound:
        builder.note(f"the checksum of the {what} is wrong")
    if footer.saved:
        builder.note("a machine was suspended on this disk, and not resumed")


def _fixed(image: Image, footer: _Footer, facts: dict[str, Any], end: int) -> Map:
    length = min(footer.size, end)
    some = min(1, length)
    placed = Placed(np.zeros(some, np.int64), np.full(some, length), np.zeros(some, np.int64))
    notes = []
    if not footer.sound:
        notes.append("the checksum of the footer is wrong")
    if footer.size > end:
        notes.append("the file is shorter than the disk that its footer tells of")
    layout = painted(image, [(end, image.size, "footer")], "data")
    return Map("vpc", facts, layout, placed, tuple(notes))


def _dynamic(image: Image, builder: Builder, footer: _Footer, facts: dict[str, Any]) -> str:
    """Claim all of a dynamic or differencing disk; the name of the file behind it, "" for none."""
    at = footer.data_offset
    raw = take(image, at, _HEADER_BYTES)
    if len(raw) < _HEADER_BYTES or raw[:8] != b"cxsparse":
        builder.note(
            "the header of the dynamic disk is not where the footer says; the blocks are not labelled"
        )
        return ""
    builder.claim_bytes("dynamic disk header", np.array([at]), np.array([at + _HEADER_BYTES]))
    _, _, table, _, entries, block, checksum, parent, _, title = _HEADER.unpack_from(raw)
    if checksum != _checksum(raw, 36):
        builder.note("the checksum of the dynamic disk header is wrong")
    facts |= {"block_size": block, "blocks": entries}
    backing = ""
    if footer.type == _DIFFERENCING:
        facts["parent_id"] = str(uuid.UUID(bytes=parent))
        backing = _parent(image, builder, raw, title)
        facts["backing_file"] = safe(backing)
        builder.note(NO_PARENT)
    _batmap(image, builder, table, entries)
    if block % _SECTOR or not 4096 <= block <= 1 << 30:
        builder.lacks(f"blocks of {show_count(block)} bytes are not possible")
        return backing
    facts["allocated_blocks"] = _blocks(image, builder, table, entries, block)
    return backing


def _batmap(image: Image, builder: Builder, table: int, entries: int) -> None:
    builder.claim_bytes("block allocation table", np.array([min(table, builder.size)]),
                        np.array([min(table + 4 * entries, builder.size)]))  # fmt: skip
    at = -(-(table + 4 * entries) // _SECTOR) * _SECTOR
    raw = take(image, at, _SECTOR)
    if len(raw) == _SECTOR and raw[:8] == b"tdbatmap":
        _, start, sectors = _BATMAP.unpack_from(raw)
        builder.claim_bytes("batmap header", np.array([at]), np.array([at + _SECTOR]))
        if start < builder.size:
            end = min(start + sectors * _SECTOR, builder.size)
            builder.claim_bytes("batmap", np.array([start]), np.array([end]))


def _blocks(image: Image, builder: Builder, table: int, entries: int, block: int) -> int:
    if entries > _MAX_BLOCKS:
        builder.lacks(f"of {show_count(entries)} blocks the first {show_count(_MAX_BLOCKS)} are looked up")
        entries = _MAX_BLOCKS
    raw = take(image, table, 4 * entries)
    words = np.frombuffer(raw, ">u4", len(raw) // 4).astype(np.int64)
    if len(words) < entries:
        builder.lacks("the file ends within its block allocation table")
    number = np.flatnonzero(words != _FREE)
    starts = words[number] * _SECTOR
    # a bit for each sector, whole sectors of them: before the block
    bitmap = -(-block // _SECTOR // 8 // _SECTOR) * _SECTOR
    good = builder.within("data block", starts + bitmap, aligned=False)
    starts, number = starts[good], number[good]
    allocated = len(starts)
    order = np.argsort(starts, kind="stable")
    starts, number = starts[order], number[order]
    apart = np.concatenate([np.ones(min(1, len(starts)), bool), np.diff(starts) >= bitmap + block])
    if not apart.all():
        wrong = len(apart) - int(np.count_nonzero(apart))
        builder.note(f"data blocks that start within the one before: {show_count(wrong)}")
        starts, number = starts[apart], number[apart]
    if len(starts) <= MAX_RANGES // 2:
        builder.claim_bytes("block bitmap", starts, starts + bitmap)
        builder.claim_bytes("data block", starts + bitmap, starts + bitmap + block)
    elif len(starts):
        builder.lacks("there are so many blocks that their bitmaps are shown with them as one")
        fresh = np.flatnonzero(np.concatenate([[True], np.diff(starts) != bitmap + block]))
        last = np.append(fresh[1:], len(starts)) - 1
        builder.claim_bytes("data block", starts[fresh], starts[last] + bitmap + block)
    builder.place(starts + bitmap, block, number * block)
    return allocated


def _parent(image: Image, builder: Builder, header: bytes, title: bytes) -> str:
    """The name of the parent, from the locators: relative ones first."""
    names: dict[bytes, str] = {}
    for number in range(_LOCATORS):
        code, space, length, _, at = _LOCATOR.unpack_from(header, _LOCATORS_AT + _LOCATOR.size * number)
        if code == bytes(4) or not at:
            continue
        # sectors after the specification, bytes after what most write (blktap: vhd_parent_locator_size)
        room = space * _SECTOR if space < _SECTOR else space
        if at >= builder.size:
            builder.note("a parent locator lies past the end of the file")
            continue
        builder.claim_bytes("parent locator", np.array([at]), np.array([min(at + room, builder.size)]))
        raw = take(image, at, min(length, 4096))
        if code in (b"W2ru", b"W2ku"):
            names[code] = windows(raw.decode("utf-16-le", "replace").partition("\0")[0])
        elif code == b"MacX":
            names[code] = _from_url(raw.partition(b"\0")[0].decode("utf-8", "surrogateescape"))
    names[b""] = windows(title.decode("utf-16-be", "replace").partition("\0")[0])
    found = next((names[code] for code in (b"W2ru", b"MacX", b"W2ku", b"") if names.get(code)), "")
    if not found:
        builder.note("a differencing disk that does not name its parent")
    return found


def _from_url(url: str) -> str:
    """The path of a file: URL; of `file://./base.vhd`, as XenServer writes it, `./base.vhd`."""
    path = re.sub(r"^file://(localhost(?=/))?", "", url)
    return urllib.parse.unquote(path, errors="surrogateescape")
