"""Descriptors that come with a message from another process (unix(7), SCM_RIGHTS): pure, bytes in."""

from __future__ import annotations

import struct

_SOL_SOCKET, _SCM_RIGHTS = 1, 1  # asm-generic/socket.h, linux/socket.h
_HEADER = {4: struct.Struct("<16xII"), 8: struct.Struct("<32xQQ")}  # of a struct msghdr: control, its length
_CONTROL = {4: struct.Struct("<III"), 8: struct.Struct("<QII")}  # struct cmsghdr: length, level, type
HEADER_BYTES = {4: 28, 8: 56}
"""Bytes of a struct msghdr, by those of a word."""
MOST = 1 << 16
"""Bytes of control data that are looked at; the kernel passes 253 descriptors at most (SCM_MAX_FD)."""


def room(header: bytes, word: int) -> tuple[int, int]:
    """Where a msghdr has its control data, and how many bytes of it: at most MOST."""
    address, length = _HEADER[word].unpack_from(header)
    return address, min(length, MOST) if address else 0


def descriptors(control: bytes, word: int) -> list[int]:
    """The descriptors in the control data of a message that was received."""
    found: list[int] = []
    place, head = 0, _CONTROL[word].size
    while place + head <= len(control):
        length, level, kind = _CONTROL[word].unpack_from(control, place)
        if not head <= length <= len(control) - place:
            break
        if (level, kind) == (_SOL_SOCKET, _SCM_RIGHTS):
            count = (length - head) // 4
            found += struct.unpack_from(f"<{count}i", control, place + head)
        place += -(-length // word) * word
    return [descriptor for descriptor in found if descriptor >= 0]
