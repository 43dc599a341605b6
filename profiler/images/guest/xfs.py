"""xfs: whose blocks are those that were read.

The layout is that of "XFS Algorithms & Data Structures" and of libxfs/xfs_format.h and xfs_da_format.h.
Everything is big-endian. Checksums are not looked at: what is wrong is left out, by its bounds.
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

Bytes = npt.NDArray[np.uint8]

_MAX_GROUPS = 1 << 16
_MAX_WRONG = 16  # groups without a header, one after another: there are no more
_CHUNK = 4 << 20
_PER_CHUNK = 64  # inodes that are allocated together
_LOCAL, _EXTENTS, _BTREE = 1, 2, 3
_FTYPE, _SPARSE, _MANY = 1, 2, 0x10  # of features_incompat, twice; of an inode's flags2: NREXT64
_REALTIME = 1
_DIRECTORY_DATA = 1 << 35  # bytes of a directory from which on there are no entries, but an index of them
_DATA_MAGICS = (b"XD2D", b"XDD3", b"XD2B", b"XDB3")
_BLOCK_MAGICS = (b"XD2B", b"XDB3")


@dataclass(frozen=True)
class _Super:
    block: int  # bytes
    blocks: int
    group: int  # blocks
    groups: int
    log: tuple[int, int]  # first block, blocks
    root: int  # inode
    sector: int
    inode: int  # bytes
    inodes_log: int  # of a block
    group_log: int
    directory: int  # bytes of a block of a directory
    version: int
    types: bool  # entries say of what type the file is
    sparse: bool

    def place(self, block: Offsets) -> Offsets:
        """Bytes from the start of the volume; -1 for a block that cannot be."""
        group, inside = block >> self.group_log, block & ((1 << self.group_log) - 1)
        good = (group >= 0) & (group < self.groups) & (inside < self.group)
        return np.where(good, (np.where(good, group, 0) * self.group + inside) * self.block, -1)


def read(volume: Image, asked: Wanted, names: bool) -> Found:
    """The pieces of an xfs file system that was asked for. names: find the paths of files too. Raises
    nothing: what is wrong becomes a note."""
    pieces = Pieces(asked, volume.size)
    head = _super(take(volume, 0, 264), pieces)
    if head is None:
        return pieces.found()
    _fixed(head, pieces)
    if not pieces.left():
        return pieces.found()
    held = Held()
    walk = _Walk(volume, head, pieces, held if names else None)
    walk.groups()
    found = pieces.found()
    if names:
        tree = Tree(found.inodes[np.isin(found.kinds, (FILE, DIRECTORY, LINK))], head.root)
        tree.walk(held.blocks(volume, _CHUNK), lambda raw: _entries(raw, head))
        found.paths = tree.paths()
        found.notes.update(tree.notes)
    return found


def _super(raw: bytes, pieces: Pieces) -> _Super | None:
    if len(raw) < 264:
        return None
    block, blocks = struct.unpack_from(">IQ", raw, 4)
    log_start, root = struct.unpack_from(">QQ", raw, 48)
    group, groups, _, log_blocks = struct.unpack_from(">4I", raw, 84)
    version, sector, inode = struct.unpack_from(">3H", raw, 100)
    block_log, _, inode_log, inodes_log, group_log = raw[120:125]
    directory_log = raw[192]
    features, incompatible = struct.unpack_from(">I", raw, 200)[0], struct.unpack_from(">I", raw, 216)[0]
    version &= 15
    possible = (
        version in (4, 5) and 9 <= block_log <= 16 and block == 1 << block_log
        and 8 <= inode_log <= 11 and inode == 1 << inode_log and inode <= block
        and inodes_log == block_log - inode_log and 512 <= sector <= 32768
        and 0 < group <= 1 << min(group_log, 31) and group_log < 32 and groups and directory_log <= 7
        and directory_log + block_log <= 16
    )  # fmt: skip
    if not possible:
        pieces.note("its superblock says what cannot be")
        return None
    if blocks * block > pieces.size:
        pieces.note("the file system is larger than what it lies in")
    present = -(-pieces.size // (group * block))
    return _Super(
        block, blocks, group, min(groups, present, _MAX_GROUPS), (min(log_start, 1 << 62), log_blocks),
        root, sector, inode, inodes_log, group_log, block << directory_log, version,
        bool(incompatible & _FTYPE if version == 5 else features & 0x200),
        version == 5 and bool(incompatible & _SPARSE),
    )  # fmt: skip


def _fixed(head: _Super, pieces: Pieces) -> None:
    groups = np.arange(head.groups, dtype=np.int64) * (head.group * head.block)
    pieces.add(KINDS.index("superblock"), groups, groups + head.sector)
    # of free space, of inodes, and the list of blocks that these may use
    pieces.add(KINDS.index("group headers"), groups + head.sector, groups + 4 * head.sector)
    if head.log[0]:  # else it lies on another device
        start = head.place(np.array([head.log[0]]))
        pieces.add(KINDS.index("journal"), start, start + head.log[1] * head.block)


class _Walk:
    """From the trees of inodes to inodes, from these to their blocks."""

    def __init__(self, volume: Image, head: _Super, pieces: Pieces, held: Held | None) -> None:
        self._volume, self._head, self._pieces, self._held = volume, head, pieces, held
        self._nodes, self._left = MAX_NODES, MAX_INODE_BYTES
        self._core = 176 if head.version == 5 else 100
        self._dtype = np.dtype({
            "names": ["magic", "mode", "version", "format", "many", "size", "extents", "more", "fork", "how",
                      "flags", "flags2", "raw"],
            "formats": ["S2", ">u2", "u1", "u1", ">u8", ">u8", ">u4", ">u2", "u1", "u1", ">u2", ">u8",
                        f"{head.inode - self._core}u1"],
            "offsets": [0, 2, 4, 5, 24, 56, 76, 80, 82, 83, 90, 120, self._core], "itemsize": head.inode,
        })  # fmt: skip

    def groups(self) -> None:
        head, wrong = self._head, 0
        for group in range(head.groups):
            start = group * head.group * head.block
            raw = take(self._volume, start + 2 * head.sector, 32)
            if len(raw) < 32 or raw[:4] != b"XAGI":
                wrong += 1
                self._pieces.note("groups of blocks without a header of their inodes")
                if wrong >= _MAX_WRONG:
                    return
                continue
            wrong = 0
            root, levels = struct.unpack_from(">II", raw, 20)
            for first, there in self._chunks(start, group, root, levels):
                self._inodes(start, group, first, there)
            if self._left < 0:
                self._pieces.note(MORE_INODES)
                return

    def _chunks(
        self, start: int, group: int, root: int, levels: int
    ) -> Iterator[tuple[Offsets, npt.NDArray[np.bool_]]]:
        """Of the tree of a group's inodes: the first inode of each chunk, and which of its 64 are in use."""
        head = self._head
        front = 56 if head.version == 5 else 16
        blocks = np.array([root], np.int64)
        for _ in range(min(levels, 8)):
            blocks = np.unique(blocks[(blocks > 0) & (blocks < head.group)])
            blocks = blocks[: max(0, self._nodes)]
            self._nodes -= len(blocks)
            if not len(blocks):
                return
            places = start + blocks * head.block
            self._pieces.add(KINDS.index("inode tree"), places, places + head.block)
            rows, _ = gather(self._volume, places, head.block)
            magic = rows[:, :4].copy().view("S4").reshape(-1)
            words = rows[:, 4:8].copy().view(">u2").astype(np.int64)
            good = np.isin(magic, (b"IAB3", b"IABT"))
            body = rows[:, front:]
            leaf = good & (words[:, 0] == 0)
            room = body.shape[1] // 16
            entries = np.ascontiguousarray(body[:, : room * 16]).view(">u4").reshape(-1, room, 4)
            used = (np.arange(room) < words[:, 1:2]) & leaf[:, None]
            found = entries[used].astype(np.int64)
            if len(found):
                free = (found[:, 2] << 32 | found[:, 3]).astype(np.uint64)
                bits = np.arange(_PER_CHUNK, dtype=np.uint64)
                there = (free[:, None] >> bits & np.uint64(1)) == 0
                if head.sparse:  # a bit for four inodes that are not allocated at all
                    holes = (found[:, 1] >> 16)[:, None] >> (np.arange(_PER_CHUNK) // 4) & 1
                    there &= holes == 0
                yield found[:, 0], there
            room = body.shape[1] // 8
            numbers = np.ascontiguousarray(body[:, : room * 8]).view(">u4").astype(np.int64)
            inner = good & (words[:, 0] > 0)
            used = (np.arange(room) < words[:, 1:2]) & inner[:, None]
            blocks = numbers[:, room : 2 * room][used]

    def _inodes(self, start: int, group: int, first: Offsets, there: npt.NDArray[np.bool_]) -> None:
        head = self._head
        size = _PER_CHUNK * head.inode
        first, once = np.unique(first, return_index=True)
        there = there[once]
        # the first inode of a chunk is that of a block, or chunks share blocks, larger than they are
        places = start + (first >> head.inodes_log) * head.block
        places = places + (first & ((1 << head.inodes_log) - 1)) * head.inode
        inside = (first >> head.inodes_log) < head.group
        places, first, there = places[inside], first[inside], there[inside]
        sparse = np.where(there.any(axis=1))[0]
        for low, high in (
            (0, 16),
            (16, 32),
            (32, 48),
            (48, 64),
        ):  # where a part is not allocated it has others
            part = there[:, low:high].any(axis=1)
            begin = places[part] + low * head.inode
            self._pieces.add(KINDS.index("inodes"), begin, begin + (high - low) * head.inode)
        places, first, there = places[sparse], first[sparse], there[sparse]
        step = max(1, _CHUNK // size)
        base = group << (head.group_log + head.inodes_log)
        for row in range(0, len(places), step):
            some = slice(row, row + step)
            self._left -= len(places[some]) * size
            if self._left < 0:
                return
            rows, _ = gather(self._volume, places[some], size)
            numbers = (base + first[some])[:, None] + np.arange(_PER_CHUNK)
            used = there[some].reshape(-1)
            self._owners(rows.reshape(-1, head.inode)[used], numbers.reshape(-1)[used])

    def _owners(self, raw: Bytes, inode: Offsets) -> None:
        """Say whose the blocks are of some inodes, a row each."""
        rows = np.ascontiguousarray(raw).view(self._dtype).reshape(-1)
        version = np.isin(rows["version"], (3,) if self._head.version == 5 else (1, 2))
        keep = (rows["magic"] == b"IN") & (rows["mode"] > 0) & version
        rows, inode = rows[keep], inode[keep]
        if not len(rows):
            return
        kind, has = of_modes(rows["mode"])
        room = rows["raw"].shape[1]
        fork = rows["fork"].astype(np.int64) * 8
        length = np.where((fork > 0) & (fork < room), fork, room)
        has &= rows["flags"] & _REALTIME == 0
        extents, more = rows["extents"].astype(np.int64), rows["more"].astype(np.int64)
        if self._head.version == 5:
            many = rows["flags2"] & _MANY > 0
            more = np.where(many, extents, more)
            extents = np.where(many, np.minimum(rows["many"], 1 << 32).astype(np.int64), extents)
        some = has & (rows["format"] == _EXTENTS)
        self._leaves(rows["raw"][some], np.minimum(extents, length // 16)[some], inode[some], kind[some])
        some = has & (rows["format"] == _BTREE)
        self._tree(rows["raw"][some], length[some], inode[some], kind[some])
        apart = np.flatnonzero(has & (fork > 0) & (fork < room) & (rows["how"] == _EXTENTS))
        for row in apart.tolist():  # attributes that have no room in the inode
            count = np.array([min(int(more[row]), (room - int(fork[row])) // 16)])
            what = np.array([KINDS.index("extended attributes")])
            self._leaves(rows["raw"][row][None, int(fork[row]) :], count, inode[row : row + 1], what)
        if self._held is not None:
            for row in np.flatnonzero((rows["format"] == _LOCAL) & (kind == DIRECTORY)).tolist():
                raw_fork = rows["raw"][row][: min(int(rows["size"][row]), int(length[row]))]
                self._held.put(int(inode[row]), raw_fork.tobytes())

    def _leaves(self, raw: Bytes, count: Offsets, inode: Offsets, kind: Offsets) -> None:
        """Extents of 16 bytes, a row of them each."""
        room = raw.shape[1] // 16 if raw.ndim == 2 else 0
        if not len(raw) or not room:
            return
        words = np.ascontiguousarray(raw[:, : room * 16]).view(">u8").reshape(len(raw), room, 2)
        row, column = np.nonzero(np.arange(room) < count[:, None])
        high, low = (words[row, column, n].astype(np.uint64) for n in range(2))
        logical = (high & np.uint64((1 << 63) - 1)) >> np.uint64(9)
        block = ((high & np.uint64(0x1FF)) << np.uint64(43) | low >> np.uint64(21)).astype(np.int64)
        length = (low & np.uint64((1 << 21) - 1)).astype(np.int64)
        start = self._head.place(block)
        end = start + length * self._head.block
        start = np.where(length > 0, start, -1)
        self._pieces.add(kind[row], start, end, inode[row])
        if self._held is not None:
            index = logical.astype(np.int64) >= _DIRECTORY_DATA // self._head.block
            good = (kind[row] == DIRECTORY) & (start >= 0) & (end <= self._volume.size) & ~index
            self._held.add(start[good], end[good], inode[row][good])

    def _tree(self, raw: Bytes, length: Offsets, inode: Offsets, kind: Offsets) -> None:
        """Follow the trees of extents whose roots stand in inodes."""
        head = self._head
        if not len(raw):
            return
        words = np.ascontiguousarray(raw[:, :4]).view(">u2").astype(np.int64)
        room = (length - 4) // 16
        width = raw.shape[1]
        # key and pointer are 8 bytes each; all keys come first, with room for as many as the fork holds
        at = 4 + room[:, None] * 8 + np.arange(max(1, int(room.max()))) * 8
        used = np.arange(at.shape[1]) < np.minimum(words[:, 1], room)[:, None]
        row, column = np.nonzero(used & (at + 8 <= width))
        where = at[row, column]
        block = np.zeros(len(row), np.int64)
        for byte in range(8):
            block = block << 8 | raw[row, where + byte].astype(np.int64)
        inode, kind = inode[row], kind[row]
        front = 72 if head.version == 5 else 24
        most = (head.block - front) // 16
        for _ in range(8):
            place = head.place(block)
            order = np.argsort(place, kind="stable")
            order = order[(place[order] > 0) & (place[order] < self._volume.size)]
            if len(order) > self._nodes:
                self._pieces.note(MORE_NODES)
            order = order[: max(0, self._nodes)]
            self._nodes -= len(order)
            if not len(order):
                return
            place, inode, kind = place[order], inode[order], kind[order]
            self._pieces.add(KINDS.index("extent tree"), place, place + head.block, inode)
            rows, _ = gather(self._volume, place, head.block)
            good = np.isin(rows[:, :4].copy().view("S4").reshape(-1), (b"BMA3", b"BMAP"))
            words = rows[:, 4:8].copy().view(">u2").astype(np.int64)
            count = np.where(good & (words[:, 0] == 0), np.minimum(words[:, 1], most), 0)
            self._leaves(rows[:, front:], count, inode, kind)
            pointers = np.ascontiguousarray(rows[:, front + most * 8 : front + most * 16]).view(">u8")
            used = (np.arange(most) < words[:, 1:2]) & (good & (words[:, 0] > 0))[:, None]
            row, column = np.nonzero(used)
            block = np.minimum(pointers[row, column], 1 << 62).astype(np.int64)
            inode, kind = inode[row], kind[row]


# ---- directories -----------------------------------------------------------------------------------------


def _entries(raw: bytes, head: _Super) -> Iterator[tuple[int, bytes, bool | None]]:
    """Inode, name and whether it is a directory (None: not said), of what stands in blocks of a directory,
    or in its inode."""
    if raw[:4] not in _DATA_MAGICS:
        yield from _short(raw, head)
        return
    for start in range(0, len(raw) - head.directory + 1, head.directory):
        magic, end = raw[start : start + 4], start + head.directory
        if magic not in _DATA_MAGICS:
            continue
        if magic in _BLOCK_MAGICS:  # an index of all entries ends the block
            end -= 8 + 8 * int.from_bytes(raw[end - 8 : end - 4], "big")
        at = start + (64 if magic[3:] == b"3" else 16)
        while at + 16 <= end:
            if raw[at : at + 2] == b"\xff\xff":  # not in use
                length = int.from_bytes(raw[at + 2 : at + 4], "big")
                if length < 8 or length % 8:
                    break
                at += length
                continue
            size = raw[at + 8]
            type_ = raw[at + 9 + size] if head.types and at + 9 + size < end else 0
            if size:
                name = raw[at + 9 : at + 9 + size]
                yield int.from_bytes(raw[at : at + 8], "big"), name, type_ == 2 if type_ else None
            at += -(-(9 + size + head.types + 2) // 8) * 8


def _short(raw: bytes, head: _Super) -> Iterator[tuple[int, bytes, bool | None]]:
    if len(raw) < 6:
        return
    width = 8 if raw[1] else 4
    at = 2 + width
    for _ in range(max(raw[0], raw[1])):
        size = raw[at] if at < len(raw) else 0
        last = at + 3 + size + head.types + width
        if not size or last > len(raw):
            return
        type_ = raw[at + 3 + size] if head.types else 0
        yield (
            int.from_bytes(raw[last - width : last], "big"),
            raw[at + 3 : at + 3 + size],
            type_ == 2 if type_ else None,
        )
        at = last
