"""Which format an image has, told from its bytes as QEMU does, and the reader of each.

A new format is one module with `read(image, wanted) -> Map`, a row in `_READERS` and one in `probe`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from profiler.images.map import Map
from profiler.images.readers import (
    parallels,
    parallels_descriptor,
    qcow1,
    qcow2,
    qed,
    raw,
    vdi,
    vhdx,
    vmdk,
    vmdk_sesparse,
    vpc,
)
from profiler.images.runs import Wanted
from profiler.images.source import Image, take

PROBE_BYTES = 512
"""So much of a file's start decides, as in QEMU (BLOCK_PROBE_BUF_SIZE)."""

_READERS: dict[str, Callable[[Image, Wanted | None], Map]] = {
    "qcow2": qcow2.read, "raw": raw.read, "vmdk": vmdk.read, "vhdx": vhdx.read, "vdi": vdi.read,
    "qed": qed.read, "vpc": vpc.read, "qcow": qcow1.read, "parallels": parallels.read,
}  # fmt: skip
_CLOOP = b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n"
READ = tuple(_READERS)
"""The formats whose structures are read."""


def probe(first: bytes) -> str:
    """The format, by QEMU's name, of a file that starts with these bytes (PROBE_BYTES of them, or all).

    "raw" where no format is told by them; "luks", "bochs" and "cloop" are told but not read.
    """
    magic, word = first[:4], int.from_bytes(first[4:8], "big")
    if magic == qcow2.MAGIC and word >= 2 and len(first) >= 72:
        return "qcow2"
    if magic == qcow2.MAGIC and word == 1:
        return "qcow"
    if magic == qed.MAGIC and len(first) >= 64:
        return "qed"
    if first[:8] == vhdx.MAGIC:
        return "vhdx"
    if magic in (vmdk.MAGIC, vmdk.MAGIC_ESX) or _is_descriptor(first):
        return "vmdk"
    if first[:16] == vmdk_sesparse.MAGIC:  # QEMU takes one only where a descriptor names it
        return "vmdk"
    if int.from_bytes(first[64:68], "little") == vdi.SIGNATURE and len(first) >= 392:
        return "vdi"
    if first[:8] == vpc.COOKIE:
        return "vpc"
    if first[:6] == b"LUKS\xba\xbe" and first[6:8] == b"\x00\x01":
        return "luks"
    if first[:16] in parallels.MAGICS and first[16:20] == b"\x02\0\0\0":
        return "parallels"
    if parallels_descriptor.is_descriptor(first):  # no QEMU reads it
        return "parallels"
    if first[:32].rstrip(b"\0") == b"Bochs Virtual HD Image":
        return "bochs"
    if first.startswith(_CLOOP):
        return "cloop"
    return "raw"


def told(image: Image) -> str:
    """The format of an image, by QEMU's name: from its first bytes, and where these tell none, from its last
    (PROBE_BYTES): a fixed VHD and a DMG are told by what is behind them. QEMU calls these raw, unless it is
    told otherwise."""
    found = probe(take(image, 0, PROBE_BYTES))
    if found == "raw" and image.size > PROBE_BYTES:
        last = take(image, image.size - PROBE_BYTES, PROBE_BYTES)
        if vpc.is_footer(last, image.size):
            return "vpc"
        if last[:4] == b"koly" and last[4:12] == b"\0\0\0\4\0\0\2\0":  # version 4, of 512 bytes
            return "dmg"
    return found


def _is_descriptor(first: bytes) -> bool:
    """Text whose first line that is neither empty nor a comment says version=1, 2 or 3."""
    return re.match(rb"(?:#[^\n]*\n|[ ]*\r?\n)*version=[123]\r?\n", first) is not None


def read(image: Image, format: str | None = None, wanted: Wanted | None = None) -> Map:
    """The map of an image: of the `format` that is declared somewhere, or of the one told from its bytes.

    wanted: of which parts of the file the guest's offsets are asked for (bytes; None: of all). Raises
    nothing: what is wrong with the image becomes a note.
    """
    found = told(image)
    notes: tuple[str, ...] = ()
    if format == "raw":
        found = "raw"
    elif format and format != found:
        notes = (f"declared to be of another format than its bytes say ({found})",)
    if found not in _READERS:
        return Map(found, {}, notes=(*notes, f"the structures of the format {found} are not read"))
    made = _READERS[found](image, wanted)
    if notes:
        made = replace(made, notes=(*notes, *made.notes))
    return made
