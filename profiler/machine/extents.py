"""Where files lie on their devices, as the file system tells (FIEMAP)."""

from __future__ import annotations

import fcntl
import os
import stat
import struct

import numpy as np
import pandas as pd

from profiler.trace import DATA_KINDS, EXTENT_COLUMNS, empty_table, host_paths
from profiler.units import device_name, show_count, show_path

MAX_EXTENTS_PER_FILE = 100_000
MAX_EXTENTS = 250_000
"""So much is kept in a trace: 15 MB of JSON. A badly fragmented terabyte image has some 100,000 extents."""

# linux/fs.h and linux/fiemap.h
_FS_IOC_FIEMAP = 0xC020660B
_FIEMAP = struct.Struct("=QQLLLL")  # start, length, flags, mapped extents, room for extents, reserved
_EXTENT_FIELDS = ("logical", "physical", "length", "flags")
_EXTENT = np.dtype(
    {"names": _EXTENT_FIELDS, "formats": ["u8", "u8", "u8", "u4"], "offsets": [0, 8, 16, 40], "itemsize": 56}
)
_EXTENTS_AT_ONCE = 2048  # 112 KiB a call
_LAST = 0x1  # FIEMAP_EXTENT_LAST
_NOT_PLACED = 0x2 | 0x4  # FIEMAP_EXTENT_UNKNOWN, FIEMAP_EXTENT_DELALLOC: `physical` means nothing


def extents(
    files: pd.DataFrame, per_file: int = MAX_EXTENTS_PER_FILE, in_all: int = MAX_EXTENTS
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Where the files lie on their devices: a table of `trace.EXTENT_COLUMNS`, and notes on what is missing.

    files: rows of `trace.FILE_COLUMNS`, the most important first; they are taken in that order until
    `in_all` extents are reached. Each is opened again by its path on the host, and used only if
    device and inode are still the same. Offsets are bytes from the start of the block device that the file
    system is on (the partition, the logical volume), not of the disk under it; on btrfs they are addresses
    of its own, in the same unit. A block device that was read itself lies where it lies: one extent, offset
    for offset. Files in memory, on the network or on overlay have none.
    """
    tables, notes, left = [empty_table(EXTENT_COLUMNS)], [], in_all
    columns = [files[name].tolist() for name in ("file", "path", "device", "inode", "kind")]
    for file, named, device, inode, kind, path in zip(*columns, host_paths(files), strict=True):
        if kind not in (*DATA_KINDS, "directory") or inode is pd.NA:
            continue
        if left <= 0:
            notes.append(f"places on the device are known for the first {show_count(in_all)} extents only")
            break
        rows, whole = _file_extents(path, device, inode, min(per_file, left))
        if not whole:
            first, shown = show_count(len(rows)), show_path(named)
            notes.append(f"places on the device are known for the first {first} extents of {shown} only")
        placed = rows[(rows[:, 3] & _NOT_PLACED) == 0]
        if len(placed) < len(rows):
            notes.append(f"parts of {show_path(named)} had no place on the device yet (not written back)")
        if len(placed):
            made = pd.DataFrame(placed, columns=["logical", "physical", "length", "flags"])
            made.insert(0, "file", np.full(len(placed), file, np.int32))
            tables.append(made)
            left -= len(placed)
    return pd.concat(tables, ignore_index=True).astype(EXTENT_COLUMNS), tuple(notes)


_Rows = np.ndarray[tuple[int, int], np.dtype[np.int64]]
"""Extents, a row each: logical, physical, length (bytes), flags."""


def _file_extents(path: bytes, device: str, inode: int, limit: int) -> tuple[_Rows, bool]:
    """The first `limit` extents of a file, and whether they are all. None where there is no such thing."""
    nothing = np.empty((0, 4), np.int64)
    try:
        # Looked at before it is opened: to open a device or FIFO that took the file's place could have
        # effects.
        if not _is_same(os.stat(path), device, inode):
            return nothing, True
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return nothing, True
    try:
        facts = os.fstat(descriptor)
        if not _is_same(facts, device, inode):
            return nothing, True
        if stat.S_ISBLK(facts.st_mode):
            return np.array([[0, 0, os.lseek(descriptor, 0, os.SEEK_END), _LAST]]), True
        return fiemap(descriptor, limit)
    except OSError:  # no FIEMAP on this file system: EOPNOTSUPP, ENOTTY, EINVAL, EBADR, by its taste
        return nothing, True
    finally:
        os.close(descriptor)


def _is_same(facts: os.stat_result, device: str, inode: int) -> bool:
    """Whether this is the regular file, directory or block device that was seen as `device` and `inode`."""
    if stat.S_ISBLK(facts.st_mode):
        return facts.st_ino == inode and device in (device_name(facts.st_rdev), device_name(facts.st_dev))
    known = stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode)
    return known and facts.st_ino == inode and device_name(facts.st_dev) == device


def fiemap(descriptor: int, limit: int) -> tuple[_Rows, bool]:
    """Ask FS_IOC_FIEMAP (Documentation/filesystems/fiemap.rst) again and again until the last extent.

    Without FIEMAP_FLAG_SYNC: an observer does not make the system write. What is not yet written back has no
    place then, and carries a flag that says so.
    """
    parts, start, got = [np.empty((0, 4), np.int64)], 0, 0
    while got < limit:
        room = min(_EXTENTS_AT_ONCE, limit - got)
        answer = bytearray(_FIEMAP.size + room * _EXTENT.itemsize)
        _FIEMAP.pack_into(answer, 0, start, 2**64 - 1 - start, 0, 0, room, 0)
        fcntl.ioctl(descriptor, _FS_IOC_FIEMAP, answer, True)
        count = _FIEMAP.unpack_from(answer)[3]
        found = np.frombuffer(answer, _EXTENT, count, _FIEMAP.size)
        if not count:
            return np.concatenate(parts), True
        parts.append(np.stack([found[name].astype(np.int64) for name in _EXTENT_FIELDS], axis=1))
        got += count
        if found["flags"][-1] & _LAST:
            return np.concatenate(parts), True
        start = int(found["logical"][-1] + found["length"][-1])
    return np.concatenate(parts), False
