"""An io_uring in the program's memory: where its parts lie, the requests in it, and the results.

Pure but for the function that reads memory, which is not to be trusted: whatever stands there, nothing more
is read than a ring can have. Written for linux/io_uring.h.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Read = Callable[[int, int], bytes | None]
"""(address, length) -> that part of the program's memory, None where it is not readable."""

SETUP_SQPOLL, SETUP_REGISTERED_FD_ONLY = 1 << 1, 1 << 15
_SETUP_SQE128, _SETUP_CQE32, _SETUP_NO_MMAP, _SETUP_NO_SQARRAY = 1 << 10, 1 << 11, 1 << 14, 1 << 16
_SETUP_CQE_MIXED, _SETUP_SQE_MIXED, _SETUP_SQ_REWIND = 1 << 18, 1 << 19, 1 << 20
UNREADABLE_SETUPS = _SETUP_SQE_MIXED | _SETUP_SQ_REWIND
"""Layouts that are not read: their requests are unseen."""
_FEATURE_SINGLE_MMAP = 1
_OFFSET_SQ, _OFFSET_CQ, _OFFSET_SQES = 0, 0x8000000, 0x10000000
_CQE_MORE, _CQE_NOTIFICATION, _CQE_SKIP, _CQE_LARGE = 1 << 1, 1 << 3, 1 << 5, 1 << 15
_SQE = struct.Struct("<BBHiQQIIQHHiQ")  # 56 of 64 bytes
_CQE = struct.Struct("<QiI")
PARAMS_BYTES = 120
MAX_ENTRIES = 1 << 16  # more than any ring has (IORING_MAX_CQ_ENTRIES)


@dataclass(frozen=True, slots=True)
class Sqe:
    """A request as the program wrote it (struct io_uring_sqe). operation_flags: the union that begins with
    rw_flags; index: the one of splice_fd_in and file_index."""

    opcode: int
    flags: int
    descriptor: int
    offset: int
    address: int
    length: int
    operation_flags: int
    user_data: int
    index: int


@dataclass(frozen=True, slots=True)
class Cqe:
    """A result. more: others for the same request will follow; notification: one that is no result."""

    user_data: int
    result: int
    more: bool
    notification: bool


@dataclass(eq=False)
class Uring:
    """One ring. sq, cq, sqes: addresses of its parts, 0: not mapped yet. seen: the tail of the completions
    up to which results were taken."""

    entries: int
    completions: int
    flags: int
    single: bool
    sq_offsets: tuple[int, ...]
    cq_offsets: tuple[int, ...]
    sq: int = 0
    cq: int = 0
    sqes: int = 0
    seen: int = 0

    @classmethod
    def of(cls, params: bytes) -> Uring:
        """The ring that io_uring_setup has made, by its struct io_uring_params."""
        entries, completions, flags, _, _, features = struct.unpack_from("<6I", params)
        sq, cq = struct.unpack_from("<8IQ", params, 40), struct.unpack_from("<8IQ", params, 80)
        ring = cls(
            min(entries, MAX_ENTRIES), min(completions, MAX_ENTRIES), flags,
            bool(features & _FEATURE_SINGLE_MMAP), sq, cq,
        )  # fmt: skip
        if flags & _SETUP_NO_MMAP:
            ring.sq = ring.cq = cq[8]
            ring.sqes = sq[8]
        return ring

    def resized(self, params: bytes) -> None:
        """IORING_REGISTER_RESIZE_RINGS: other numbers of entries; the program maps it again."""
        self.entries, self.completions = (
            min(count, MAX_ENTRIES) for count in struct.unpack_from("<2I", params)
        )

    @property
    def mapped(self) -> bool:
        return bool(self.sq and self.cq and self.sqes)

    def map(self, part: int, address: int) -> None:
        """The program has mapped the part at offset `part` of the ring's descriptor to `address`."""
        if part == _OFFSET_SQ:
            self.sq = address
            if self.single:
                self.cq = address
        elif part == _OFFSET_CQ:
            self.cq = address
        elif part == _OFFSET_SQES:
            self.sqes = address

    def requests(self, read: Read, count: int) -> list[Sqe] | None:
        """Up to `count` requests that wait in the submission queue; None if they cannot be read."""
        head_at, tail_at, _, _, _, _, array_at, *_ = self.sq_offsets
        head, tail = _word(read, self.sq + head_at), _word(read, self.sq + tail_at)
        if head is None or tail is None or not self.entries:
            return None
        count = min((tail - head) & 0xFFFFFFFF, count, self.entries)
        mask, size = self.entries - 1, 128 if self.flags & _SETUP_SQE128 else 64
        found = []
        for number in range(head, head + count):
            entry: int | None = number & mask
            if not self.flags & _SETUP_NO_SQARRAY:
                entry = _word(read, self.sq + array_at + 4 * (number & mask))
            raw = None if entry is None else read(self.sqes + size * (entry & mask), _SQE.size)
            if raw is None:
                return None
            opcode, flags, _, fd, offset, address, length, union, data, _, _, index, _ = _SQE.unpack(raw)
            found.append(Sqe(opcode, flags, fd, offset, address, length, union, data, index))
        return found

    def results(self, read: Read) -> Iterator[Cqe]:
        """The completions that were not taken yet, once each."""
        _, tail_at, _, _, _, cqes_at, *_ = self.cq_offsets
        tail = _word(read, self.cq + tail_at)
        if tail is None or not self.completions:
            return
        new = min((tail - self.seen) & 0xFFFFFFFF, self.completions)
        self.seen = tail
        size, number = 32 if self.flags & _SETUP_CQE32 else 16, tail - new
        while number < tail:
            raw = read(self.cq + cqes_at + size * (number & (self.completions - 1)), _CQE.size)
            number += 1
            if raw is None:
                continue
            user_data, result, flags = _CQE.unpack(raw)
            if self.flags & _SETUP_CQE_MIXED:
                if flags & _CQE_SKIP:
                    continue
                number += bool(flags & _CQE_LARGE)
            yield Cqe(user_data, result, bool(flags & _CQE_MORE), bool(flags & _CQE_NOTIFICATION))


def _word(read: Read, address: int) -> int | None:
    raw = read(address, 4)
    return None if raw is None else int.from_bytes(raw, "little")
