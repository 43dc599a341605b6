"""The kernel's notifications of opened files (fanotify(7)): whoever opens one is not stopped by them."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from profiler.errors import ColdseekError

# linux/fanotify.h
OPENED, EXECUTED, OVERFLOWED = 0x20, 0x1000, 0x4000
_CLOEXEC, _NONBLOCK, _UNLIMITED_QUEUE, _UNLIMITED_MARKS, _REPORT_TID = 0x1, 0x2, 0x10, 0x20, 0x100
_REPORT_FD_ERROR = 0x2000  # since Linux 6.13: an event whose file cannot be opened is told all the same
_MARK_ADD, _MARK_FILESYSTEM = 0x1, 0x100
_AT_FDCWD = -100  # linux/fcntl.h
_LARGEFILE, _NOATIME = 0o100000, 0o1000000  # asm-generic/fcntl.h; the first is none on 64 bits, and allowed
_EVENT = struct.Struct("=IBBHQii")  # struct fanotify_event_metadata
_VERSION = 3  # FANOTIFY_METADATA_VERSION
EVENTS_A_READ = 256
"""As each has a descriptor, of which there may be 1024 (RLIMIT_NOFILE)."""

_REMEDY = "run as root, or use --tracer ptrace"

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fanotify_mark.argtypes = [ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p]


@dataclass(frozen=True, slots=True)
class Event:
    """A file was opened. mask: bits of OPENED, EXECUTED, OVERFLOWED; descriptor: of the file, to be closed
    by whoever has the event, or negative: there is none; tid: in our numbers, 0 if we have none for it."""

    mask: int
    descriptor: int
    tid: int


def begin() -> int:
    """A descriptor for notifications, which does not block. Raises ColdseekError."""
    flags = _CLOEXEC | _NONBLOCK | _UNLIMITED_QUEUE | _UNLIMITED_MARKS | _REPORT_TID
    how = os.O_RDONLY | os.O_CLOEXEC | _LARGEFILE | _NOATIME
    for more in (_REPORT_FD_ERROR, 0):
        descriptor = int(_libc.fanotify_init(flags | more, how))
        if descriptor >= 0:
            return descriptor
        number = ctypes.get_errno()
        if number != errno.EINVAL:
            break
    why = "this kernel has no fanotify" if number == errno.ENOSYS else os.strerror(number)
    raise ColdseekError(f"which files are opened is not told ({why}); {_REMEDY}")


def mark(notifications: int, place: int) -> int:
    """Ask for the opens on the whole file system of `place`, a descriptor that may be O_PATH; 0, or the
    errno of what went wrong."""
    path = b"/proc/self/fd/%d" % place  # fanotify_mark(2) takes no O_PATH descriptor without a path
    if _libc.fanotify_mark(notifications, _MARK_ADD | _MARK_FILESYSTEM, OPENED | EXECUTED, _AT_FDCWD, path):
        return ctypes.get_errno()
    return 0


def read(notifications: int) -> list[Event]:
    """The events that are there, EVENTS_A_READ at most.

    Raises BlockingIOError if there is none; another OSError: the file of one could not be opened, and that
    event is gone.
    """
    return list(parsed(os.read(notifications, EVENTS_A_READ * _EVENT.size)))


def parsed(data: bytes) -> Iterator[Event]:
    """The events in what was read."""
    at = 0
    while at + _EVENT.size <= len(data):
        length, version, _, _, mask, descriptor, tid = _EVENT.unpack_from(data, at)
        if version != _VERSION or length < _EVENT.size:
            return
        yield Event(mask, descriptor, tid)
        at += length


def fault() -> str:
    """Why opens are not told here; "" if they are."""
    try:
        notifications = begin()
    except ColdseekError as error:
        return str(error)
    try:
        root = os.open("/", os.O_PATH | os.O_CLOEXEC)
        try:
            number = mark(notifications, root)
        finally:
            os.close(root)
    finally:
        os.close(notifications)
    return f"the opens of a file system are not told ({os.strerror(number)}); {_REMEDY}" if number else ""
