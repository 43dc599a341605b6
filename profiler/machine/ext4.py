"""Where an ext4 file system keeps its inodes, as it tells everybody (FS_IOC_GETFSMAP, since Linux 4.13).

ext2 and ext3 lie in the same way. The device itself is not read. See ioctl_getfsmap(2), and linux:
fs/ext4/fsmap.h for the owners.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterable

from profiler.facts.host import Inodes

KINDS = frozenset({"ext2", "ext3", "ext4"})

MAX_GROUPS = 4096
"""Of so many block groups the places of the inodes are looked up."""

_GETFSMAP = 0xC0C0583B
_HEAD = struct.Struct("=4I48x")  # flags, flags of the answer, room for records, records
_RECORD = struct.Struct("=2I4Q24x")  # device, flags, physical, owner, offset, length (bytes)
_MOST = 2**64 - 1
_RECORDS = 16  # superblock, descriptors, room for more, two bitmaps and the table come first in a group
_INODES = 0x58 << 32 | 5  # EXT4_FMR_OWN_INODES
_READ_AHEAD = 32  # EXT4_DEF_INODE_READAHEAD_BLKS
_INODE = 256  # mke2fs.conf: inode_size, since 2008
_FLEX = 16  # mke2fs.c: the tables of so many groups lie together in the first of them


def geometry(name: str, size: int, inodes: Iterable[int], mounted: bytes) -> Inodes | None:
    """Where inodes lie; None where not even their number is known.

    name, size: of the block device, as in /sys/class/block, and in bytes. inodes: those in question.
    mounted: a file or directory on it, which is opened. An inode's size is taken to be the usual one.
    """
    try:
        descriptor = os.open(mounted, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        facts = os.fstatvfs(descriptor)
        block = facts.f_frsize
        blocks_per_group = 8 * block  # a bitmap is a block
        groups = -(-size // (blocks_per_group * block)) if block >= 1024 else 0
        inodes_per_group = facts.f_files // groups if groups else 0
        if not inodes_per_group:
            return None
        width = -(-inodes_per_group * _INODE // block)
        wanted = sorted({(inode - 1) // inodes_per_group for inode in inodes if inode > 0})[:MAX_GROUPS]
        found: dict[int, int | None] = {}
        for group in wanted:
            found[group] = _table(descriptor, group, blocks_per_group, block, width)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    tables = {
        group: _usual(group, blocks_per_group, width) if table is None else table
        for group, table in found.items()
    }
    source = "worked out" if None in found.values() else "file system"
    return Inodes(source, block, _INODE, blocks_per_group, inodes_per_group, _read_ahead(name), tables)


def _table(descriptor: int, group: int, blocks_per_group: int, block: int, width: int) -> int | None:
    """The first block of a group's inode table: in the group itself, or with those of its neighbours."""
    for first in (group, group // _FLEX * _FLEX):
        for start, length in _inodes_from(descriptor, first * blocks_per_group * block):
            start, length = start // block, length // block
            if first == group and start // blocks_per_group == group:
                return start
            if first != group and length >= (group - first + 1) * width:
                return start + (group - first) * width
    return None


def _inodes_from(descriptor: int, begin: int) -> list[tuple[int, int]]:
    """Physical start and length (bytes) of inode tables among the first records from `begin` on."""
    head = _HEAD.pack(0, 0, _RECORDS, 0)
    device = os.fstat(descriptor).st_dev & 0xFFFFFFFF
    low = _RECORD.pack(device, 0, begin, 0, 0, 0)
    high = _RECORD.pack(0xFFFFFFFF, 0xFFFFFFFF, _MOST, _MOST, _MOST, 0)
    answer = bytearray(head + low + high + bytes(_RECORDS * _RECORD.size))
    try:
        fcntl.ioctl(descriptor, _GETFSMAP, answer, True)
    except OSError:  # older kernels, other drivers
        return []
    start = _HEAD.size + 2 * _RECORD.size
    records = (_RECORD.unpack_from(answer, start + row * _RECORD.size) for row in range(_RECORDS))
    chosen = list(records)[: _HEAD.unpack_from(answer)[3]]
    return [(physical, length) for _, _, physical, owner, _, length in chosen if owner == _INODES]


def _usual(group: int, blocks_per_group: int, width: int) -> int:
    return group // _FLEX * _FLEX * blocks_per_group + 2 * _FLEX + group % _FLEX * width


def _read_ahead(name: str) -> int:
    try:
        with open(f"/sys/fs/ext4/{name}/inode_readahead_blks", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return _READ_AHEAD
