"""What the requests of one io_uring mean: which file each is about, and what its result does.

A request is kept from its submission to its completion, whatever it asks for: programs give many requests
one `user_data`, 0 perhaps, and the result of a close must not be taken for that of a read. What it is
about is looked up when it is issued: for a request that is linked to one before it, that is when the one
before has ended.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from profiler.calls import ERRORS, LARGEST, MAX_RW_COUNT, URING_OPS
from profiler.capture.calls.call import Call, Identity
from profiler.capture.calls.descriptors import Open
from profiler.capture.calls.event_log import UNKNOWN
from profiler.capture.calls.flags import FADVICE
from profiler.capture.calls.meaning import Calls
from profiler.capture.ptrace.rings.uring import MAX_ENTRIES, Cqe, Sqe
from profiler.machine import procfs

# IOSQE_*: a descriptor is a slot; waits for all before; the next waits for this; the kernel chooses the
# buffers; no completion if it succeeds
_FIXED_FILE, _DRAIN, _LINK, _HARDLINK, _BUFFER_SELECT, _SKIP_SUCCESS = 1, 2, 4, 8, 32, 64
_ACCEPT, _OPENAT, _CLOSE, _FILES_UPDATE, _FADVISE, _OPENAT2, _SPLICE, _MSG_RING, _SOCKET, _INSTALL = (
    13, 18, 19, 20, 24, 28, 30, 40, 45, 54,
)  # fmt: skip
_MAKE_SLOTS = (_ACCEPT, _OPENAT, _OPENAT2, _SOCKET)
_LAST_KNOWN = 64  # IORING_OP_URING_CMD128, of Linux 6.19
_VECTORS = frozenset(op for op in URING_OPS.values() if "readv" in op or "writev" in op)
_ALLOCATE = 0xFFFFFFFF  # IORING_FILE_INDEX_ALLOC: the kernel chooses the slot, and gives it as the result
_SPLICE_FIXED_IN, _NO_CLOEXEC, _MSG_SEND_FD = 1 << 31, 1, 1
_POSITION = 2**64 - 1  # an offset of -1
_CANCELED = -125  # ECANCELED: a link before it has failed
_TEXT_STEP, _LONGEST_PATH = 256, 4096

Memory = Callable[[int, int, int], bytes | None]
"""(task, address, length) -> that part of its memory, None where it is not readable."""


@dataclass(eq=False, slots=True)
class Request:
    """A request that was submitted. opened: what it is about; None: not known yet, or nothing. chain: those
    that wait for each other have one number. size: bytes asked for."""

    sqe: Sqe
    call: Call
    chain: int
    op: str = ""
    opened: Open | None = None
    at_position: bool = False
    offset: int = 0
    size: int = 0
    path: bytes = b""
    slots: tuple[int, ...] = ()


@dataclass
class Requests:
    """All requests of one ring, and the files that are registered with it: slot -> open."""

    calls: Calls
    memory: Memory
    files: dict[int, Open] = field(default_factory=dict)
    unknown_opcodes: set[int] = field(default_factory=set)
    _waiting: dict[int, deque[Request]] = field(default_factory=dict)
    _chains: int = 0

    # -- submitted ---------------------------------------------------------------------------------------

    def submit(self, call: Call, sqes: list[Sqe]) -> None:
        """Requests that the kernel has taken, in order. call: the io_uring_enter, of a stopped task."""
        linked = False
        for sqe in sqes:
            if not linked:
                self._chains += 1
            request = Request(sqe, call, self._chains)
            self._read(request)
            if not linked and not sqe.flags & _DRAIN:
                self._resolve(request)
            self._waiting.setdefault(sqe.user_data, deque()).append(request)
            linked = bool(sqe.flags & (_LINK | _HARDLINK))

    def _read(self, request: Request) -> None:
        """Take from memory what a request needs, while it is still there."""
        sqe, call = request.sqe, request.call
        if sqe.opcode > _LAST_KNOWN and sqe.opcode not in URING_OPS:
            self.unknown_opcodes.add(sqe.opcode)
        request.op = URING_OPS.get(sqe.opcode, "")
        if request.op:
            offset = sqe.address if sqe.opcode == _SPLICE else sqe.offset  # splice_off_in
            request.at_position, request.offset, request.size = offset == _POSITION, offset, sqe.length
            if request.op in _VECTORS:
                request.size = self.calls.source.vector_bytes(call, sqe.address, sqe.length)
        elif sqe.opcode in (_OPENAT, _OPENAT2):
            request.path = self._text(call.tid, sqe.address)
        elif sqe.opcode == _FILES_UPDATE:
            request.slots = self.numbers(call, sqe.address, min(sqe.length, MAX_ENTRIES))

    def _resolve(self, request: Request) -> None:
        """Find out which file a request to read or write is about."""
        sqe = request.sqe
        if not request.op or request.opened is not None:
            return
        fixed, number = bool(sqe.flags & _FIXED_FILE), sqe.descriptor
        if sqe.opcode == _SPLICE:
            fixed, number = bool(sqe.operation_flags & _SPLICE_FIXED_IN), sqe.index
        if fixed:
            request.opened = self.files.get(number)
        else:
            request.opened = self.calls.find(request.call, number)

    # -- completed ---------------------------------------------------------------------------------------

    def complete(self, cqe: Cqe, end_ns: int) -> None:
        """A request has ended, at the latest at `end_ns`."""
        waiting = self._waiting.get(cqe.user_data)
        if not waiting or cqe.notification:
            return
        request, sure = _whose(waiting, cqe.result)
        if not cqe.more:
            waiting.remove(request)
            if not waiting:
                del self._waiting[cqe.user_data]
        result = cqe.result if -ERRORS < cqe.result <= MAX_RW_COUNT else None  # in memory anything may stand
        self._end(request, result if sure else None, end_ns)

    def finish(self) -> int:
        """No more will be seen. Requests that were to be silent if they succeed have succeeded, as a failure
        would have been told; gives the number of reads and writes of which nothing is known."""
        left = 0
        for request in [request for waiting in self._waiting.values() for request in waiting]:
            silent = bool(request.sqe.flags & _SKIP_SUCCESS)
            if request.op and not silent:
                left += 1
            self._end(request, request.size if silent else None, None)
        self._waiting.clear()
        return left

    def _end(self, request: Request, result: int | None, end_ns: int | None) -> None:
        sqe, call = request.sqe, request.call
        if request.op:
            self._moved(request, result, end_ns)
        elif result is None or result < 0:
            return
        elif sqe.opcode == _CLOSE:
            if sqe.index:
                self.files.pop(sqe.index - 1, None)
            else:
                self.calls.descriptors.close(call.tid, sqe.descriptor)
        elif sqe.opcode in _MAKE_SLOTS:
            self._made(request, result)
        elif sqe.opcode == _FILES_UPDATE:
            self.register(call, sqe.offset, request.slots[:result])
        elif sqe.opcode == _INSTALL and sqe.descriptor in self.files:
            opened, kept = self.files[sqe.descriptor], sqe.operation_flags & _NO_CLOEXEC
            self.calls.descriptors.open(call.tid, result, opened, not kept)
        elif sqe.opcode == _FADVISE:
            self._advised(request, result)
        elif sqe.opcode == _MSG_RING and sqe.address == _MSG_SEND_FD:
            self.calls.recorder.unseen.add("io_uring")  # some slot of another ring

    def _moved(self, request: Request, result: int | None, end_ns: int | None) -> None:
        """A read or write has ended."""
        self._resolve(request)
        opened, call = request.opened, request.call
        if opened is None:
            if result != _CANCELED:
                self.calls.recorder.unseen.add("io_uring")
            return
        if not opened.data or result == _CANCELED:
            return
        size, offset = max(0, result or 0), request.offset if request.offset <= LARGEST else None
        if request.at_position:
            # which of several at once was first, only the kernel knows
            alone = result is not None and not any(
                other.at_position and other.opened is opened and other.chain != request.chain
                for waiting in self._waiting.values()
                for other in waiting
            )
            if not alone:
                opened.position = None
            offset = opened.advance(size)
        elif result is not None and result >= 0:
            self.calls.is_file(opened)
        if result is None:
            self.calls.unended(call, request.op, opened, offset, request.size)
            return
        took = UNKNOWN if end_ns is None else max(0, end_ns - call.time_ns)
        self.calls.moved_data(call, request.op, opened, offset, max(request.size, size), result, took)

    def _made(self, request: Request, result: int) -> None:
        """A request has made a descriptor, or put an open into a slot."""
        sqe, call = request.sqe, request.call
        flags = sqe.operation_flags
        if sqe.opcode == _OPENAT2:  # struct open_how begins with its flags; it may have changed by now
            flags = os.O_RDONLY
        direct = sqe.index & _ALLOCATE
        if not direct:
            self.calls.descriptors.close(call.tid, result)
            if sqe.opcode in (_OPENAT, _OPENAT2):
                self.calls.appeared(call, result, flags, position=0)
            return
        slot = result if direct == _ALLOCATE else direct - 1
        self.files.pop(slot, None)
        if sqe.opcode in (_OPENAT, _OPENAT2):
            named = procfs.identify_path(call.tid, sqe.descriptor, request.path)
            if named is not None:
                opened = self.files[slot] = self.calls.opened(Identity(*named, 0, flags))
                self.calls.descriptors.know(opened)

    def _advised(self, request: Request, result: int) -> None:
        sqe, call = request.sqe, request.call
        opened = self.files.get(sqe.descriptor) if sqe.flags & _FIXED_FILE else None
        if opened is None and not sqe.flags & _FIXED_FILE:
            opened = self.calls.find(call, sqe.descriptor)
        if opened is not None and opened.data and sqe.operation_flags < len(FADVICE) and result == 0:
            advice = FADVICE[sqe.operation_flags]
            self.calls.happened(call, f"fadvise_{advice}", opened, sqe.offset, sqe.length)

    # -- registered files --------------------------------------------------------------------------------

    def numbers(self, call: Call, address: int, count: int) -> tuple[int, ...]:
        """`count` numbers of 32 bits in the program's memory; none if they cannot be read."""
        raw = self.memory(call.tid, address, 4 * count) if address and count else None
        return () if raw is None else struct.unpack(f"<{count}i", raw)

    def _text(self, tid: int, address: int) -> bytes:
        """A path in the program's memory, as far as it can be read."""
        found = b""
        while len(found) < _LONGEST_PATH:
            step = _TEXT_STEP - (address + len(found)) % _TEXT_STEP  # never over the end of a page
            raw = self.memory(tid, address + len(found), step)
            found += raw or b"\0"
            if b"\0" in found:
                break
        return found.partition(b"\0")[0]

    def register(self, call: Call, first: int, descriptors: tuple[int, ...]) -> None:
        """Put the files behind descriptors into slots from `first` on; -1 empties a slot, -2 leaves it."""
        for slot, descriptor in enumerate(descriptors, first):
            if descriptor >= 0:
                self.files[slot] = self.calls.find(call, descriptor)
            elif descriptor == -1:
                self.files.pop(slot, None)


def _whose(waiting: deque[Request], result: int) -> tuple[Request, bool]:
    """Of the requests with one user_data that whose result this is, and whether that is sure.

    Of requests that wait for each other only the first can have ended. A result that is larger than what
    was asked for, or other than 0 for a request that gives nothing, is not theirs.
    """
    if len(waiting) == 1:
        return waiting[0], True
    heads = list({request.chain: request for request in reversed(waiting)}.values())[::-1]
    likely = [request for request in heads if _fits(request, result)] or heads
    exact = [request for request in likely if request.op and request.size == result]
    chosen = (exact or likely)[0]
    same = {(request.op, id(request.opened), request.size) for request in likely}
    return chosen, len(likely) == 1 or bool(exact) or len(same) == 1 or not chosen.op


def _fits(request: Request, result: int) -> bool:
    if result < 0:
        return True
    if request.op:
        return result <= request.size or bool(request.sqe.flags & _BUFFER_SELECT)
    return result == 0 or request.sqe.opcode not in (0, _CLOSE, _FADVISE)
