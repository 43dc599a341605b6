"""The memory of a task that is traced, read and written without stopping to ask it word by word."""

from __future__ import annotations

import ctypes
from collections.abc import Callable


class _Range(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


_PAGE = 4096  # or a multiple of it
_libc = ctypes.CDLL(None, use_errno=True)


def read(task: int, address: int, length: int) -> bytes | None:
    """`length` bytes of a task's memory (process_vm_readv(2)); None if they are not all there."""
    if not 0 < address < 2**63 or not 0 < length <= 1 << 20:
        return None
    held = ctypes.create_string_buffer(length)
    return held.raw if _copy(_libc.process_vm_readv, task, address, held) else None


def text(task: int, address: int, most: int = 4096) -> bytes:
    """The bytes before the first NUL at an address of a task's memory; b"" if there is none within `most`
    bytes (PATH_MAX), or it cannot be read."""
    found = b""
    while len(found) < most:
        here = min(_PAGE - address % _PAGE, most - len(found))  # the next page may not be there
        raw = read(task, address, here)
        if raw is None:
            return b""
        before, end, _ = raw.partition(b"\0")
        found += before
        if end:
            return found
        address += here
    return b""


def write(task: int, address: int, data: bytes) -> bool:
    """Put `data` into a task's memory (process_vm_writev(2)); whether all of it was."""
    if not 0 < address < 2**63:
        return False
    return _copy(_libc.process_vm_writev, task, address, ctypes.create_string_buffer(data, len(data)))


def _copy(how: Callable[..., int], task: int, address: int, held: ctypes.Array[ctypes.c_char]) -> bool:
    local, remote = _Range(ctypes.addressof(held), len(held)), _Range(address, len(held))
    return how(task, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0) == len(held)
