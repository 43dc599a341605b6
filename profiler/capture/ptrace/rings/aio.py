"""libaio's completion ring, which the kernel maps into the program (linux: fs/aio.c, struct aio_ring).

A program may take results out of it without a call. Pure but for the function that reads memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from profiler.capture.ptrace.rings.uring import MAX_ENTRIES, Read

_RING = struct.Struct("<8I")  # id, nr, head, tail, magic, compat, incompat, length of this header
_MAGIC, _EVENT = 0xA10A10A1, struct.Struct("<QQqq")


@dataclass
class AioRing:
    """One ring. seen: the tail up to which results were taken."""

    address: int
    seen: int = 0

    def results(self, read: Read) -> Iterator[tuple[int, int]]:
        """(address of the iocb, result) of the completions that were not taken yet, once each."""
        raw = read(self.address, _RING.size)
        if raw is None:
            return
        _, entries, _, tail, magic, _, _, header = _RING.unpack(raw)
        if magic != _MAGIC or not 0 < entries <= MAX_ENTRIES:
            return
        place, self.seen = self.seen % entries, tail % entries
        while place != self.seen:
            event = read(self.address + header + _EVENT.size * place, _EVENT.size)
            if event is not None:
                _, iocb, result, _ = _EVENT.unpack(event)
                yield iocb, result
            place = (place + 1) % entries
