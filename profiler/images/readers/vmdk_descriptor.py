"""The descriptor of a VMDK, after VMware's "Virtual Disk Format": text that names the files of one disk, its
extents, and the file behind it. It is a file by itself, or lies within a sparse extent."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from profiler.images.map import Extent
from profiler.images.names import windows
from profiler.images.source import text

MAX_EXTENTS = 1000
MAX_BYTES = 1 << 20
_SECTOR = 512
_FURTHEST = 1 << 52  # sectors: what lies beyond would not stay a byte offset in 64 bits
_NO_PARENT = 0xFFFF_FFFF  # CID_NOPARENT
FLAT = frozenset(("FLAT", "VMFS", "VMFSRAW", "VMFSRDM"))
"""Extents that are the guest's bytes as they are."""
SPARSE = frozenset(("SPARSE", "VMFSSPARSE", "SESPARSE"))
"""Extents with tables: "KDMV" and "COWD", "COWD", and SESPARSE."""
_LINE = re.compile(
    rb'^[ \t]*(?:RW|RDONLY|NOACCESS)[ \t]+([0-9]{1,18})[ \t]+(\w{1,20})'
    rb'(?:[ \t]+"([^"\n]{1,1023})"(?:[ \t]+([0-9]{1,18}))?)?',
    re.MULTILINE,
)  # fmt: skip


@dataclass(frozen=True)
class Descriptor:
    """size: of the guest's disk, bytes. kind: createType. id, parent_id: the content IDs (CID), "" if there
    is none. parent: the hint of where the parent's file is. kinds: of all extents, those too that are no
    file."""

    size: int = 0
    kind: str = ""
    id: str = ""
    parent_id: str = ""
    parent: str = ""
    extents: tuple[Extent, ...] = ()
    kinds: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def parse(raw: bytes) -> Descriptor:
    """What a descriptor says; it ends at the first zero byte."""
    raw = raw[:MAX_BYTES].partition(b"\0")[0]
    pieces: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
    kinds: dict[str, None] = {}
    notes: list[str] = []
    place = 0
    for number, line in enumerate(_LINE.finditer(raw)):
        sectors, kind = int(line.group(1)), line.group(2).decode()
        kinds[kind] = None
        length = sectors * _SECTOR
        if number >= MAX_EXTENTS or place // _SECTOR + sectors > _FURTHEST:
            notes.append(f"there are more extents than can be; the first {number} are used")
            break
        name, offset = line.group(3), int(line.group(4) or 0) * _SECTOR
        if name and sectors and offset // _SECTOR <= _FURTHEST and kind in FLAT | SPARSE:
            pieces.setdefault((text(name), kind), []).append((place, offset, length))
        elif kind != "ZERO":
            notes.append("an extent that is neither flat, sparse nor zeros is left out")
        place += length
    extents = tuple(Extent(name, kind, tuple(found)) for (name, kind), found in pieces.items())
    parent_id = _content_id(raw, rb"parentCID")
    return Descriptor(
        place, _word(raw, rb"createType"), _content_id(raw, rb"CID"),
        "" if parent_id == f"{_NO_PARENT:08x}" else parent_id,
        windows(_word(raw, rb"parentFileNameHint")), extents, tuple(kinds), tuple(dict.fromkeys(notes)),
    )  # fmt: skip


def _word(raw: bytes, name: bytes) -> str:
    found = re.search(rb"^[ \t]*" + name + rb'[ \t]*=[ \t]*"([^"\n]{1,1023})"', raw, re.MULTILINE)
    return text(found.group(1)) if found else ""


def _content_id(raw: bytes, name: bytes) -> str:
    found = re.search(rb"^[ \t]*" + name + rb"[ \t]*=[ \t]*([0-9A-Fa-f]{1,8})\b", raw, re.MULTILINE)
    return f"{int(found.group(1), 16):08x}" if found else ""
