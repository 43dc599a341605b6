"""DiskDescriptor.xml, which makes the files of a Parallels disk (a folder NAME.hdd) one, after QEMU's
docs/interop/prl-xml.txt: storages side by side, each with an image a snapshot.

XML can be made to expand without end, or to name files, by entities, which only a document type defines:
Python's xml.etree reads neither of these as safe. So no more than MAX_BYTES are read, and a document type is
refused before it is looked into.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from profiler.images.build import safe
from profiler.images.map import Extent, Map
from profiler.images.ranges import painted
from profiler.images.source import Image, take

MAX_BYTES = 256 << 10
MAX_STORAGES = 1000
MAX_LAYERS = 64
"""Snapshots behind each other."""
PLAIN, EXPANDABLE = "Plain", "Compressed"
"""Types of images: the guest's bytes as they are, and, in spite of its name, a disk with tables."""

_SECTOR = 512
_FURTHEST = 1 << 52  # sectors: what lies beyond would not stay a byte offset in 64 bits
_START = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*\?>\s*)?<Parallels_disk_image[\s>]")
_TOP = "{5fbaabe3-6958-40ff-92a7-860e329aab41}"
"""What the machine writes to, where no TopGUID says it."""
_NONE = "{00000000-0000-0000-0000-000000000000}"


class _Builder(ElementTree.TreeBuilder):
    def doctype(self, *_: object) -> None:
        raise ValueError("it has a document type, which is not read")


def is_descriptor(first: bytes) -> bool:
    """Whether a file starts so."""
    return _START.match(first) is not None


def read(image: Image) -> Map:
    """The map of a descriptor, and the files that it names. Raises nothing: what is wrong becomes a note."""
    facts: dict[str, Any] = {"subformat": "descriptor", "backing_file": ""}
    notes: dict[str, None] = {}
    extents: tuple[Extent, ...] = ()
    try:
        root = _parsed(take(image, 0, MAX_BYTES + 1))
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        notes[f"the descriptor cannot be read: {safe(str(error))}"] = None
    else:
        extents = tuple(_extents(root, notes))
        facts |= {"virtual_size": _sectors(root, "Disk_Parameters/Disk_size"), "extents": len(extents)}
        facts["cluster_size"] = _sectors(root, "StorageData/Storage/Blocksize")
        if _text(root, "Disk_Parameters/Encryption/Engine").lower() not in ("", _NONE):
            facts["encryption"] = "parallels"
        if _text(root, "Disk_Parameters/Padding") not in ("", "0"):
            notes["the disk is padded: where its data lies may be wrong"] = None
    layout = painted(image, [], "descriptor")
    return Map("parallels", facts, layout, notes=tuple(notes), extents=extents)


def _parsed(raw: bytes) -> ElementTree.Element:
    if len(raw) > MAX_BYTES:
        raise ValueError(f"it is longer than {MAX_BYTES >> 10} KiB")
    parser = ElementTree.XMLParser(target=_Builder())  # noqa: S314 - bounded, and without a document type
    parser.feed(raw)
    root: ElementTree.Element = parser.close()
    return root


def _extents(root: ElementTree.Element, notes: dict[str, None]) -> Iterator[Extent]:
    """The image of each storage that the machine writes to, with those of the snapshots behind it."""
    shots = root.findall("Snapshots/Shot")
    parents = {_text(shot, "GUID").lower(): _text(shot, "ParentGUID").lower() for shot in shots}
    top = _text(root, "Snapshots/TopGUID").lower() or _TOP
    for number, storage in enumerate(root.findall("StorageData/Storage")):
        if number >= MAX_STORAGES:
            notes[f"there are more storages than can be; the first {number} are used"] = None
            return
        start, end = _sectors(storage, "Start"), _sectors(storage, "End")
        images = {_text(one, "GUID").lower(): one for one in storage.findall("Image")}
        found = [images[one] for one in _line(top, parents, notes) if one in images]
        if not found and len(images) == 1:
            found = list(images.values())
        if not found or start >= end:
            notes["a storage without an image of the disk as it is now is left out"] = None
            continue
        extent = None
        for one in reversed(found):
            name, kind = _text(one, "File"), _text(one, "Type")
            if not name or kind not in (PLAIN, EXPANDABLE):
                notes["an image that is neither plain nor expandable is left out"] = None
                continue
            extent = Extent(name, kind, ((start, 0, end - start),), extent)
        if extent is not None:
            yield extent


def _line(top: str, parents: dict[str, str], notes: dict[str, None]) -> list[str]:
    """The snapshot on top and those behind it, by their GUIDs."""
    line: list[str] = []
    while top and top != _NONE:
        if top in line or len(line) >= MAX_LAYERS:
            notes[f"more than {MAX_LAYERS} snapshots behind each other, or a loop"] = None
            break
        line.append(top)
        top = parents.get(top, "")
    return line


def _text(element: ElementTree.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _sectors(element: ElementTree.Element, path: str) -> int:
    """A number of sectors, in bytes; 0 where there is none that can be."""
    words = _text(element, path)
    number = int(words) if re.fullmatch(r"[0-9]{1,18}", words) else 0
    return number * _SECTOR if number <= _FURTHEST else 0
