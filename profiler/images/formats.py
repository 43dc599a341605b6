"""Which format an image has, told from its bytes as QEMU does, and the reader of each.

A new format is one module with `read(image, wanted) -> Map`, a row in `_READERS` and one in `probe`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from profiler.images import qcow2, qed, raw, vdi, vhdx, vmdk
from profiler.images.build import Wanted
from profiler.images.image import Image, take
from profiler.images.map import Map

PROBE_BYTES = 512
"""So much of a file's start decides, as in QEMU (BLOCK_PROBE_BUF_SIZE)."""

_READERS: dict[str, Callable[[Image, Wanted | None], Map]] = {
    "qcow2": qcow2.read, "raw": raw.read, "vmdk": vmdk.read, "vhdx": vhdx.read, "vdi": vdi.read,
    "qed": qed.read,
}  # fmt: skip
READ = tuple(_READERS)
"""The formats whose structures are read."""


def probe(first: bytes) -> str:
    """The format, by QEMU's name, of a file that starts with these bytes (PROBE_BYTES of them, or all).

    "raw" where no format is told by them; "vpc", "qcow", "luks", "parallels" and "bochs" are told but not
    read.
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
    if int.from_bytes(first[64:68], "little") == vdi.SIGNATURE and len(first) >= 392:
        return "vdi"
    if first[:8] == b"conectix":
        return "vpc"
    if first[:6] == b"LUKS\xba\xbe" and first[6:8] == b"\x00\x01":
        return "luks"
    if first[:16] in (b"WithoutFreeSpace", b"WithouFreSpacExt") and first[16:20] == b"\x02\0\0\0":
        return "parallels"
    if first[:32].rstrip(b"\0") == b"Bochs Virtual HD Image":
        return "bochs"
    return "raw"


def _is_descriptor(first: bytes) -> bool:
    """Text whose first line that is neither empty nor a comment says version=1, 2 or 3."""
    return re.match(rb"(?:#[^\n]*\n|[ ]*\r?\n)*version=[123]\r?\n", first) is not None


def read(image: Image, format: str | None = None, wanted: Wanted | None = None) -> Map:
    """The map of an image: of the `format` that is declared somewhere, or of the one told from its bytes.

    wanted: of which parts of the file the guest's offsets are asked for (bytes; None: of all). Raises
    nothing: what is wrong with the image becomes a note.
    """
    found = probe(take(image, 0, PROBE_BYTES))
    notes: tuple[str, ...] = ()
    if format == "raw":
        found = "raw"
    elif format and format != found:
        notes = (f"declared to be of another format than its bytes say ({found})",)
    if found not in _READERS:
        return Map(found, {}, notes=(*notes, f"the structures of the format {found} are not read"))
    made = _READERS[found](image, wanted)
    if notes:
        made = _with_notes(made, notes)
    return made


def _with_notes(made: Map, notes: tuple[str, ...]) -> Map:
    from dataclasses import replace

    return replace(made, notes=(*notes, *made.notes))
