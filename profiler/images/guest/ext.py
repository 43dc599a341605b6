"""ext2, ext3 and ext4: whose blocks are those that were read.

The layout is that of the kernel's Documentation/filesystems/ext4. Checksums are not looked at: what is wrong
is left out, by its bounds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profiler.images.guest.names import Held, Tree
from profiler.images.guest.pieces import (
    DIRECTORY,
    FILE,
    KINDS,
    LINK,
    MAX_INODE_BYTES,
    MAX_NODES,
    MORE_INODES,
    MORE_NODES,
    Found,
    Pieces,
    of_modes,
)
from profiler.images.runs import Wanted
from profiler.images.source import Image, Offsets, gather, take
from profiler.units import show_count

_MAX_GROUPS = 1 << 20  # 128 TiB in groups of 128 MiB
_MAX_DESCRIPTORS = 64 << 20  # bytes of them
_CHUNK = 4 << 20
_ROOT, _RESIZE, _JOURNAL = 2, 7, 8
_GDT_CSUM, _METADATA_CSUM, _SPARSE_SUPER, _SPARSE_SUPER2 = 0x10, 0x400, 1, 0x200
_RECOVER, _META_BG, _64BIT, _ENCRYPTS = 4, 0x10, 0x80, 0x800
_INODE_UNINIT, _EXTENTS, _INLINE, _EA_INODE = 1, 0x80000, 0x10000000, 0x200000
_LEAF = np.dtype({"names": ["block", "len", "hi", "lo"], "formats": ["<u4", "<u2", "<u2", "<u4"]})
_NODE = np.dtype({"names": ["block", "lo", "hi"], "formats": ["<u4", "<u4", "<u2"], "itemsize": 12})
_MAGIC = 0xF30A


@dataclass(frozen=True)
class _Super:
    block: int  # bytes
    blocks: int
    first: int  # block of group 0
    per_group: int
    inodes_per_group: int
    inode: int  # bytes
    first_inode: int  # that is no file system's own
    journal: int
    descriptor: int  # bytes
    reserved: int  # blocks for more descriptors
    meta_from: int  # first of the meta groups
    backups: tuple[int, int]
    compatible: int
    incompatible: int
    read_only: int

    @property
    def groups(self) -> int:
        return -(-(self.blocks - self.first) // self.per_group)


def read(volume: Image, asked: Wanted, names: bool) -> Found:
    """The pieces of an ext file system that was asked for. names: find the paths of files too. Raises
    nothing: what is wrong becomes a note."""
    pieces = Pieces(asked, volume.size)
    head = _super(take(volume, 1024, 1024), pieces)
    if head is None:
        return pieces.found()
    if head.incompatible & _RECOVER:
        pieces.note("its journal holds changes that are not in place yet: what is new may be named wrongly")
    groups = _descriptors(volume, head, pieces)
    if groups is None:
        return pieces.found()
    _fixed(head, groups, pieces)
    if not pieces.left():
        return pieces.found()
    held = Held()
    _inodes(volume, head, groups, pieces, held if names else None)
    found = pieces.found()
    if names:
        tree = Tree(found.inodes[np.isin(found.kinds, (FILE, DIRECTORY, LINK))], _ROOT)
        tree.walk(held.blocks(volume, _CHUNK), lambda raw: _entries(raw, min(head.block, len(raw))))
        found.paths = tree.paths()
        found.notes.update(tree.notes)
    return found


def _super(raw: bytes, pieces: Pieces) -> _Super | None:
    if len(raw) < 1024:
        return None
    inodes, low, _, _, _, first, log, _ = struct.unpack_from("<8I", raw, 0)
    per_group, _, inodes_per_group = struct.unpack_from("<3I", raw, 32)
    compatible, incompatible, read_only = struct.unpack_from("<3I", raw, 92)
    revised = struct.unpack_from("<I", raw, 76)[0] > 0
    first_inode, inode = struct.unpack_from("<IH", raw, 84) if revised else (11, 128)
    wide = bool(incompatible & _64BIT)
    blocks = low | (struct.unpack_from("<I", raw, 336)[0] << 32 if wide else 0)
    descriptor = struct.unpack_from("<H", raw, 254)[0] if wide else 32
    block = 1024 << min(log, 32)
    possible = (
        log <= 6 and per_group and inodes_per_group and first < blocks and first <= 1 and inodes
        and per_group <= 8 * block * 16384 and inodes_per_group <= 8 * block
        and 128 <= inode <= block and not inode & (inode - 1)
        and 32 <= descriptor <= 1024 and not descriptor & (descriptor - 1)
    )  # fmt: skip
    if not possible:
        pieces.note("its superblock says what cannot be")
        return None
    if blocks * block > pieces.size:
        pieces.note("the file system is larger than what it lies in")
    found = _Super(
        block, blocks, first, per_group, inodes_per_group, inode, first_inode,
        struct.unpack_from("<I", raw, 224)[0] or _JOURNAL, descriptor,
        struct.unpack_from("<H", raw, 206)[0], struct.unpack_from("<I", raw, 260)[0],
        struct.unpack_from("<II", raw, 0x24C), compatible, incompatible, read_only,
    )  # fmt: skip
    if found.groups > _MAX_GROUPS or found.groups * descriptor > _MAX_DESCRIPTORS:
        pieces.note(f"{show_count(found.groups)} groups of blocks are not possible")
        return None
    return found


@dataclass(frozen=True)
class _Groups:
    """Of each group: blocks of its bitmaps and its inode table, and how many inodes of this are in use."""

    block_bitmap: Offsets
    inode_bitmap: Offsets
    table: Offsets
    used: Offsets


def _descriptors(volume: Image, head: _Super, pieces: Pieces) -> _Groups | None:
    per_block = head.block // head.descriptor
    count = -(-head.groups // per_block)
    places = np.arange(count, dtype=np.int64) + head.first + 1
    if head.incompatible & _META_BG:  # from here on each is in the first group of those that it describes
        group = np.arange(count, dtype=np.int64) * per_block
        has_super = np.isin(group, _with_super(head))
        moved = head.first + group * head.per_group + has_super
        places = np.where(np.arange(count) >= head.meta_from, moved, places)
    inside = places * head.block < volume.size
    rows, _ = gather(volume, np.where(inside, places, 0) * head.block, head.block)
    rows[~inside] = 0
    flat = rows.reshape(-1, head.descriptor)[: head.groups]

    def word(at: int, form: str = "<u4") -> Offsets:
        width = np.dtype(form).itemsize
        if at + width > head.descriptor:
            return np.zeros(len(flat), np.int64)
        return flat[:, at : at + width].copy().view(form).reshape(-1).astype(np.int64)

    wide = [word(at + 32) << 32 if head.descriptor >= 64 else 0 for at in (0, 4, 8)]
    unused = word(28, "<u2") | word(50, "<u2") << 16
    if not head.read_only & (_GDT_CSUM | _METADATA_CSUM):
        unused = np.zeros(len(flat), np.int64)
    used = np.clip(head.inodes_per_group - unused, 0, head.inodes_per_group)
    if head.read_only & (_GDT_CSUM | _METADATA_CSUM):
        used[word(18, "<u2") & _INODE_UNINIT > 0] = 0
    pieces.add(KINDS.index("group descriptors"), places * head.block, (places + 1) * head.block)
    return _Groups(word(0) | wide[0], word(4) | wide[1], word(8) | wide[2], used)


def _with_super(head: _Super) -> Offsets:
    """The groups that hold a copy of the superblock."""
    count = head.groups
    if head.compatible & _SPARSE_SUPER2:
        some = [0, *(group for group in head.backups if 0 < group < count)]
    elif head.read_only & _SPARSE_SUPER:
        some = [0, 1]
        for base in (3, 5, 7):
            power = base
            while power < count:
                some.append(power)
                power *= base
    else:
        return np.arange(count, dtype=np.int64)
    return np.unique(np.array([group for group in some if group < count], np.int64))


def _fixed(head: _Super, groups: _Groups, pieces: Pieces) -> None:
    """What lies where the superblock and the descriptors say."""
    block = head.block
    copies = (head.first + _with_super(head) * head.per_group) * block
    starts = copies.copy()
    starts[0] = 1024
    pieces.add(KINDS.index("superblock"), starts, np.where(copies == 0, max(block, 2048), copies + block))
    if not head.incompatible & _META_BG:
        length = (-(-head.groups // (block // head.descriptor)) + head.reserved) * block
        pieces.add(KINDS.index("group descriptors"), copies + block, copies + block + length)
    for kind, places in (("block bitmap", groups.block_bitmap), ("inode bitmap", groups.inode_bitmap)):
        good = (places > 0) & (places < head.blocks)
        pieces.add(KINDS.index(kind), places[good] * block, (places[good] + 1) * block)
    good = (groups.table > 0) & (groups.table < head.blocks)
    length = -(-head.inodes_per_group * head.inode // block) * block
    pieces.add(KINDS.index("inode table"), groups.table[good] * block, groups.table[good] * block + length)


# ---- inodes ----------------------------------------------------------------------------------------------


def _inodes(volume: Image, head: _Super, groups: _Groups, pieces: Pieces, held: Held | None) -> None:
    """Say whose the blocks are, of all inodes in use, some at a time."""
    left = MAX_INODE_BYTES
    whole = head.inodes_per_group * head.inode
    order = np.argsort(groups.table, kind="stable")
    reached = 0
    walk = _Walk(volume, head, pieces, held)
    for group in order.tolist():
        start = int(groups.table[group]) * head.block
        count = int(groups.used[group])
        if not count or start <= 0 or start < reached or start >= volume.size:
            continue  # tables that overlap would be read again and again
        reached = start + whole
        for first in range(0, count, _CHUNK // head.inode):
            number = min(_CHUNK // head.inode, count - first)
            left -= number * head.inode
            if left < 0:
                pieces.note(MORE_INODES)
                return
            raw = take(volume, start + first * head.inode, number * head.inode)
            walk.inodes(raw, group * head.inodes_per_group + first + 1)


class _Walk:
    """From inodes to their blocks."""

    def __init__(self, volume: Image, head: _Super, pieces: Pieces, held: Held | None) -> None:
        self._volume, self._head, self._pieces, self._held = volume, head, pieces, held
        self._nodes = MAX_NODES
        self._dtype = np.dtype({
            "names": ["mode", "size", "dtime", "flags", "block", "acl", "acl_hi"],
            "formats": ["<u2", "<u4", "<u4", "<u4", "60u1", "<u4", "<u2"],
            "offsets": [0, 4, 20, 32, 40, 104, 118], "itemsize": head.inode,
        })  # fmt: skip

    def inodes(self, raw: bytes, first: int) -> None:
        """Those that lie side by side from inode `first` on."""
        head = self._head
        rows = np.frombuffer(raw, self._dtype, len(raw) // head.inode)
        at = np.flatnonzero((rows["mode"] > 0) & (rows["dtime"] == 0))
        rows, inode = rows[at], at.astype(np.int64) + first
        flags = rows["flags"].astype(np.int64)
        kind, has = of_modes(rows["mode"])
        is_directory, is_link = kind == DIRECTORY, kind == LINK
        kind[(inode < head.first_inode) & (inode != _ROOT)] = KINDS.index("metadata")
        kind[inode == head.journal] = KINDS.index("journal")
        kind[inode == _RESIZE] = KINDS.index("group descriptors")
        kind[flags & _EA_INODE > 0] = KINDS.index("extended attributes")
        acl = rows["acl"].astype(np.int64) | rows["acl_hi"].astype(np.int64) << 32
        some = acl > 0
        self._add(
            KINDS.index("extended attributes"), acl[some], np.ones(len(acl[some]), np.int64), inode[some]
        )
        has &= flags & _INLINE == 0
        by_extents = has & (flags & _EXTENTS > 0)
        self._extents(rows["block"][by_extents], inode[by_extents], kind[by_extents])
        fast = is_link & (rows["size"] < 60)  # its target stands in the inode
        by_pointers = has & ~by_extents & ~fast
        self._pointers(rows["block"][by_pointers], inode[by_pointers], kind[by_pointers])
        if self._held is not None:
            size = head.inode
            for row in np.flatnonzero(is_directory & (flags & _INLINE > 0)).tolist():
                start = int(at[row]) * size
                self._held.put(int(inode[row]), _inline(raw[start : start + size]))

    def _add(self, kind: Offsets | int, block: Offsets, count: Offsets, inode: Offsets) -> None:
        good = (block > 0) & (block < self._head.blocks)
        starts, ends = block[good] * self._head.block, (block[good] + count[good]) * self._head.block
        kinds = kind[good] if isinstance(kind, np.ndarray) else kind
        self._pieces.add(kinds, starts, ends, inode[good])
        if self._held is not None and isinstance(kinds, np.ndarray):
            of_directories = (kinds == DIRECTORY) & (ends <= self._volume.size)
            self._held.add(starts[of_directories], ends[of_directories], inode[good][of_directories])

    def _extents(self, raw: npt.NDArray[np.uint8], inode: Offsets, kind: Offsets) -> None:
        """Follow extent trees level by level; raw: a node a row."""
        level = 5
        while len(raw) and level >= 0:
            words = np.ascontiguousarray(raw[:, :12]).view("<u2")
            room = (raw.shape[1] - 12) // 12
            entries = np.minimum(words[:, 1].astype(np.int64), room)
            depth = words[:, 3].astype(np.int64)
            good = (words[:, 0] == _MAGIC) & (depth <= level)
            body = np.ascontiguousarray(raw[:, 12 : 12 + room * 12])
            used = (np.arange(room) < entries[:, None]) & good[:, None]
            row, column = np.nonzero(used & (depth == 0)[:, None])
            leaf = body.view(_LEAF)[row, column]
            length = leaf["len"].astype(np.int64)
            length = np.where(length > 32768, length - 32768, length)
            self._add(
                kind[row],
                leaf["lo"].astype(np.int64) | leaf["hi"].astype(np.int64) << 32,
                length,
                inode[row],
            )
            row, column = np.nonzero(used & (depth > 0)[:, None])
            node = body.view(_NODE)[row, column]
            block = node["lo"].astype(np.int64) | node["hi"].astype(np.int64) << 32
            raw, keep = self._next(block, inode[row])
            inode, kind = inode[row][keep], kind[row][keep]
            level = min(level - 1, int(depth.max(initial=0)) - 1)

    def _pointers(self, raw: npt.NDArray[np.uint8], inode: Offsets, kind: Offsets) -> None:
        """Blocks that are named one by one: twelve in the inode, the others in blocks of numbers."""
        words = np.ascontiguousarray(raw).view("<u4").astype(np.int64)
        self._each(words[:, :12], inode, kind)
        for depth in (1, 2, 3):
            block, owner, what = words[:, 11 + depth], inode, kind
            for deeper in range(depth, 0, -1):
                some = block > 0
                block, owner, what = block[some], owner[some], what[some]
                rows, keep = self._next(block, owner)
                numbers = rows.view("<u4").astype(np.int64) if len(rows) else np.empty((0, 1), np.int64)
                owner, what = owner[keep], what[keep]
                if deeper == 1:
                    self._each(numbers, owner, what)
                    break
                width = numbers.shape[1]
                block, owner, what = numbers.reshape(-1), np.repeat(owner, width), np.repeat(what, width)

    def _each(self, blocks: npt.NDArray[np.int64], inode: Offsets, kind: Offsets) -> None:
        """Blocks, a row of them an inode; neighbours in a row are one piece."""
        width = blocks.shape[1]
        flat, owner, what = blocks.reshape(-1), np.repeat(inode, width), np.repeat(kind, width)
        some = flat > 0
        flat, owner, what = flat[some], owner[some], what[some]
        if not len(flat):
            return
        joined = (flat[1:] == flat[:-1] + 1) & (owner[1:] == owner[:-1])
        fresh = np.flatnonzero(np.concatenate([np.ones(1, bool), ~joined]))
        length = np.diff(np.append(fresh, len(flat))).astype(np.int64)
        self._add(what[fresh], flat[fresh], length, owner[fresh])

    def _next(self, block: Offsets, inode: Offsets) -> tuple[npt.NDArray[np.uint8], Offsets]:
        """Read blocks that say where others lie: a row each, and which of `block` they are."""
        size = self._head.block
        order = np.argsort(block, kind="stable")
        good = (block[order] > 0) & (block[order] < min(self._head.blocks, self._volume.size // size))
        order = order[good]
        if len(order) > self._nodes:
            self._pieces.note(MORE_NODES)
        order = order[: max(0, self._nodes)]
        self._nodes -= len(order)
        self._add(KINDS.index("extent tree"), block[order], np.ones(len(order), np.int64), inode[order])
        rows, _ = gather(self._volume, block[order] * size, size)
        return rows, order.astype(np.int64)


def _inline(inode: bytes) -> bytes:
    """A directory that stands in its inode: behind the number of the one above it the 56 bytes left of what
    else are the places of its blocks, and the value of the attribute "system.data"."""
    found = inode[44:100]
    extra = int.from_bytes(inode[128:130], "little") if len(inode) > 130 else 0
    first = 128 + extra + 4
    if inode[first - 4 : first] != b"\0\0\x02\xea":
        return found
    at = first
    while at + 16 <= len(inode) and any(inode[at : at + 4]):
        length, space, place, _, size = struct.unpack_from("<BBHII", inode, at)
        if space == 7 and inode[at + 16 : at + 16 + length] == b"data":
            return found + inode[first + place : first + place + size]
        at += 16 + -(-length // 4) * 4
    return found


# ---- directories -----------------------------------------------------------------------------------------


def _entries(raw: bytes, block: int) -> Iterator[tuple[int, bytes, bool | None]]:
    """Inode, name and whether it is a directory (None: not said), of the entries in blocks of one."""
    for start in range(0, len(raw) - block + 1, block):
        at, end = start, start + block
        while at + 12 <= end:
            inode, length, size, kind = struct.unpack_from("<IHBB", raw, at)
            if block == 65536 and length in (0, 65535):
                length = 65536
            if length < 8 + size or length % 4 or length < 12 or at + length > end:
                break
            # without the feature `filetype` the last byte is the high one of the size, which is 0
            if inode and size:
                yield inode, raw[at + 8 : at + 8 + size], None if kind == 0 else kind == 2
            at += length
