"""Symbolic links on the way to a file: each is an inode of its own to be read, in directories of its own."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from profiler.units import device_name

_MOST = 40
"""The kernel follows no more (linux/namei.h: MAXSYMLINKS)."""
_EXEC_BYTES = 4096
_PT_INTERP = 3


@dataclass(frozen=True)
class Link:
    """A symbolic link. path: where it lies, all links before it resolved."""

    path: bytes
    device: str
    inode: int


def followed(path: bytes, root: bytes = b"") -> list[Link]:
    """The links that are followed to open `path`, in that order; root: where it is seen from, "/" if empty.

    They are as they are now, and none behind what is not there.
    """
    found: list[Link] = []
    rest, here = [part for part in path.split(b"/") if part], b""
    while rest and len(found) < _MOST:
        name, *rest = rest
        if name == b"..":
            here = os.path.dirname(here).rstrip(b"/")
            continue
        here += b"/" + name if name != b"." else b""
        try:
            facts = os.lstat(root + here)
            if not stat.S_ISLNK(facts.st_mode):
                continue
            target = os.readlink(root + here)
        except (OSError, ValueError):
            return found
        found.append(Link(here, device_name(facts.st_dev), facts.st_ino))
        here = b"" if target.startswith(b"/") else os.path.dirname(here).rstrip(b"/")
        rest = [*(part for part in target.split(b"/") if part), *rest]
    return found


def loader(program: bytes) -> bytes:
    """The path of the loader that an ELF program asks for (elf(5): PT_INTERP); b"": it asks for none."""
    try:
        with open(program, "rb", opener=_opened) as file:
            head = file.read(_EXEC_BYTES)
    except (OSError, ValueError):
        return b""
    if head[:4] != b"\x7fELF" or head[5:6] != b"\x01":
        return b""
    is_64 = head[4:5] == b"\x02"

    def number(at: int, size: int) -> int:
        return int.from_bytes(head[at : at + size], "little")

    at_table, at_size, at_count, at_start, at_length, word = (
        (32, 54, 56, 8, 32, 8) if is_64 else (28, 42, 44, 4, 16, 4)
    )
    table, size, count = number(at_table, word), max(number(at_size, 2), 1), number(at_count, 2)
    for at in range(table, min(table + size * count, len(head)), size):
        if number(at, 4) == _PT_INTERP:
            start, length = number(at + at_start, word), number(at + at_length, word)
            return head[start : start + length].split(b"\0")[0] if start + length <= len(head) else b""
    return b""


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
