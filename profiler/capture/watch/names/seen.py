"""What is seen of a file through a descriptor of it."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from dataclasses import dataclass

from profiler.capture.watch.names.mounts import kernel_device
from profiler.machine import procfs
from profiler.trace import FileFacts
from profiler.units import device_name

# linux/stat.h
_EMPTY_PATH, _WITHOUT_SYNC = 0x1000, 0x4000
_BASIC, _BTIME, _MOUNT = 0x7FF, 0x800, 0x1000
_libc = ctypes.CDLL(None, use_errno=True)


class Seen:
    """What statx(2) tells of a descriptor's file. made: when, seconds and ns; () if its file system does not
    say. mount: the number of the mount that it was opened through, -1 before Linux 5.8. Raises OSError."""

    __slots__ = ("device", "identity", "inode", "kernel_device", "made", "mode", "mount", "mtime_ns", "size")

    def __init__(self, descriptor: int) -> None:
        held = ctypes.create_string_buffer(256)
        if _libc.statx(descriptor, b"", _EMPTY_PATH | _WITHOUT_SYNC, _BASIC | _BTIME | _MOUNT, held) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        (mask,) = struct.unpack_from("<I", held)
        self.mode, self.inode, self.size = struct.unpack_from("<H2xQQ", held, 28)
        is_file = stat.S_ISREG(self.mode)
        self.made = struct.unpack_from("<qI", held, 80) if mask & _BTIME and is_file else ()
        seconds, ns = struct.unpack_from("<qI", held, 112)
        self.mtime_ns = seconds * 10**9 + ns
        major, minor, mount = struct.unpack_from("<IIQ", held, 136)
        self.device = os.makedev(major, minor)
        self.identity = self.device, self.inode
        self.kernel_device = kernel_device(major, minor)
        self.mount = mount if mask & _MOUNT else -1


@dataclass(frozen=True, slots=True)
class Inner:
    """An open that may be one of overlayfs itself, and what would be told of it if it is not."""

    time_ns: int
    batch: int
    is_exec: bool
    seen: Seen
    key: object
    facts: FileFacts


def identify(descriptor: int, seen: Seen) -> tuple[object, FileFacts]:
    """As `procfs.identify`, whose key it is, with fewer calls for most files. Raises OSError."""
    if not seen.made or seen.inode >= 2**63:
        return procfs.identify(os.getpid(), descriptor)
    path = os.readlink(b"/proc/self/fd/%d" % descriptor)
    device = device_name(seen.device)
    facts = FileFacts(path, device, seen.inode, seen.size, max(0, seen.mtime_ns), "regular")
    return (seen.device, seen.inode, seen.made), facts
