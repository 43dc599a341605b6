"""Asynchronous reads whose requests and results lie in the program's memory: io_uring and the libaio ring.

The kernel is told of them by io_uring_enter(2) and io_submit(2); what they read, and how it ended, stands
in rings that the program shares with the kernel. They are read at each of those calls and when a thread
ends. A result may so be seen late: the time an operation took is an upper bound.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from profiler.capture.calls.meaning import Call, Calls
from profiler.capture.descriptors import Open

Memory = Callable[[int, int, int], bytes | None]
"""(pid, address, length) -> that part of the program's memory, None where it is not readable."""

# linux/io_uring.h
_SETUP_SQPOLL, _SETUP_SQE128, _SETUP_CQE32, _SETUP_NO_MMAP, _SETUP_NO_SQARRAY = (
    1 << 1, 1 << 10, 1 << 11, 1 << 14, 1 << 16,
)  # fmt: skip
_FEATURE_SINGLE_MMAP = 1
_OFFSET_SQ, _OFFSET_CQ, _OFFSET_SQES = 0, 0x8000000, 0x10000000
_ENTER_REGISTERED_RING, _SQE_FIXED_FILE = 1 << 4, 1
_REGISTER_FILES, _UNREGISTER_FILES, _FILES_UPDATE, _REGISTER_FILES2, _FILES_UPDATE2, _REGISTER_RING_FDS = (
    2, 3, 6, 13, 14, 20,
)  # fmt: skip
_OPS = {
    1: "uring_readv", 2: "uring_writev", 4: "uring_read_fixed", 5: "uring_write_fixed",
    22: "uring_read", 23: "uring_write",
}  # fmt: skip
_OPENAT, _CLOSE, _OPENAT2, _SPLICE = 18, 19, 28, 30
_SPLICE_FIXED_IN = 1 << 31
_SQE = struct.Struct("<BBHiQQIIQHHi")  # to splice_fd_in: 48 of 64 bytes
_CQE = struct.Struct("<Qi")
_AIO_RING = struct.Struct(
    "<8I"
)  # id, nr, head, tail, magic, compat, incompat, header length (linux: fs/aio.c)
_AIO_MAGIC, _AIO_EVENT = 0xA10A10A1, struct.Struct("<QQqq")
MAX_ENTRIES = (
    1 << 16
)  # more than any ring has (IORING_MAX_CQ_ENTRIES); the program's memory is not to be trusted


@dataclass(eq=False)
class _Uring:
    """One io_uring: where its parts lie in the program's memory."""

    entries: int
    completions: int
    flags: int
    single: bool
    sq_offsets: tuple[int, ...]
    cq_offsets: tuple[int, ...]
    sq: int = 0
    cq: int = 0
    sqes: int = 0
    seen: int | None = None  # the completion tail up to which results were taken
    files: dict[int, int] = field(default_factory=dict)  # registered file -> descriptor at the time

    @property
    def mapped(self) -> bool:
        return bool(self.sq and self.cq and self.sqes)


@dataclass
class _Sqe:
    """A request as the program wrote it, with the fields that matter here."""

    opcode: int
    flags: int
    descriptor: int
    offset: int
    address: int
    length: int
    user_data: int
    splice_from: int
    operation_flags: int


class Rings:
    """All rings of one run. Wants to see the calls of HANDLED, at entry and exit, and threads that end."""

    HANDLED = ("io_uring_setup", "io_uring_enter", "io_uring_register", "io_setup")

    def __init__(self, calls: Calls, memory: Memory) -> None:
        self._calls = calls
        self._memory = memory
        self._urings: dict[int, dict[Open, _Uring]] = {}  # pid -> its rings
        self._registered: dict[int, dict[int, Open]] = {}  # pid -> registered ring -> the ring's descriptor
        self._aio: dict[int, dict[int, int]] = {}  # pid -> address of the ring -> tail seen
        self._entered: dict[int, tuple[_Uring, list[_Sqe]]] = {}  # tid -> what it is about to submit

    # -- what the tracer tells
    # --------------------------------------------------------------------------------

    def entering(self, call: Call) -> None:
        """A call is about to be made: io_uring_enter's requests must be read before the kernel takes
        them."""
        if call.name == "io_uring_enter":
            ring = self._ring(call)
            if ring is not None:
                self._take_completions(call.pid, ring, call.time_ns)
                self._entered[call.tid] = (ring, self._requests(call, ring))
        elif call.name == "io_submit":
            self.collect(call.pid, call.time_ns)

    def finish(self, call: Call) -> None:
        """A call of HANDLED has ended."""
        end_ns = call.time_ns + call.duration_ns
        if call.name == "io_uring_setup" and call.result >= 0:
            self._set_up(call)
        elif call.name == "io_uring_enter":
            ring, requests = self._entered.pop(call.tid, (None, []))
            if ring is not None:
                for request in requests[: max(0, call.result)]:
                    self._submit(call, ring, request)
                self._take_completions(call.pid, ring, end_ns)
        elif call.name == "io_uring_register" and call.result >= 0:
            self._register(call)
        elif call.name == "io_setup" and call.result == 0:
            address = self._calls.source.value_at(call, 1)
            if address:
                self._aio.setdefault(call.pid, {})[address] = 0

    def mapped(self, call: Call) -> None:
        """A file was mapped: perhaps one of the parts of a ring."""
        rings = self._urings.get(call.pid)
        opened = self._calls.descriptors.get(call.tid, call.args[4]) if rings else None
        ring = rings.get(opened) if rings and opened else None
        if ring is None or -4096 < call.result < 0:
            return
        part = call.args[5]
        if part == _OFFSET_SQ:
            ring.sq = call.result
            if ring.single:
                ring.cq = call.result
        elif part == _OFFSET_CQ:
            ring.cq = call.result
        elif part == _OFFSET_SQES:
            ring.sqes = call.result

    def collect(self, pid: int, now_ns: int) -> None:
        """Take what has ended by now from all rings of a process."""
        for ring in self._urings.get(pid, {}).values():
            self._take_completions(pid, ring, now_ns)
        for address in self._aio.get(pid, ()):
            self._take_aio(pid, address, now_ns)

    def forget(self, pid: int) -> None:
        """The process has ended or become another program."""
        self._urings.pop(pid, None)
        self._registered.pop(pid, None)
        self._aio.pop(pid, None)

    # -- io_uring
    # ---------------------------------------------------------------------------------------------

    def _set_up(self, call: Call) -> None:
        raw = self._memory(call.pid, call.args[1], 120)
        if raw is None:
            self._calls.recorder.unseen.add("io_uring")
            return
        entries, completions, flags, _, _, features = struct.unpack_from("<6I", raw)
        sq = struct.unpack_from("<8IQ", raw, 40)
        cq = struct.unpack_from("<8IQ", raw, 80)
        if flags & _SETUP_SQPOLL:
            self._calls.recorder.unseen.add("sqpoll")
        ring = _Uring(
            min(entries, MAX_ENTRIES), min(completions, MAX_ENTRIES), flags,
            bool(features & _FEATURE_SINGLE_MMAP), sq, cq,
        )  # fmt: skip
        if flags & _SETUP_NO_MMAP:
            ring.sq = ring.cq = cq[8]
            ring.sqes = sq[8]
        opened = self._calls.appeared(call, call.result)
        self._urings.setdefault(call.pid, {})[opened] = ring

    def _ring(self, call: Call) -> _Uring | None:
        """The ring that io_uring_enter is about, if it can be read."""
        rings = self._urings.get(call.pid, {})
        if call.args[3] & _ENTER_REGISTERED_RING:
            opened = self._registered.get(call.pid, {}).get(call.args[0])
        else:
            opened = self._calls.descriptors.get(call.tid, call.args[0])
        ring = rings.get(opened) if opened is not None else None
        if ring is None or not ring.mapped:
            self._calls.recorder.unseen.add("io_uring")
            return None
        return ring

    def _requests(self, call: Call, ring: _Uring) -> list[_Sqe]:
        """The submission queue entries from its head on, as many as the call asks to submit."""
        if ring.flags & _SETUP_SQPOLL:
            return []
        pid, (head_at, tail_at, _, _, _, _, array_at, *_) = call.pid, ring.sq_offsets
        head, tail = self._word(pid, ring.sq + head_at), self._word(pid, ring.sq + tail_at)
        if head is None or tail is None:
            self._calls.recorder.unseen.add("io_uring")
            return []
        count = min((tail - head) & 0xFFFFFFFF, call.args[1] & 0xFFFFFFFF, ring.entries)
        mask, size = ring.entries - 1, 128 if ring.flags & _SETUP_SQE128 else 64
        found = []
        for at in range(head, head + count):
            index: int | None = at & mask
            if not ring.flags & _SETUP_NO_SQARRAY:
                index = self._word(pid, ring.sq + array_at + 4 * (at & mask))
            raw = None if index is None else self._memory(pid, ring.sqes + size * (index & mask), _SQE.size)
            if raw is None:
                self._calls.recorder.unseen.add("io_uring")
                continue
            opcode, flags, _, descriptor, offset, address, length, op_flags, user_data, _, _, splice_from = (
                _SQE.unpack(raw)
            )
            found.append(
                _Sqe(opcode, flags, descriptor, offset, address, length, user_data, splice_from, op_flags)
            )
        return found

    def _submit(self, call: Call, ring: _Uring, request: _Sqe) -> None:
        key = (id(ring), request.user_data)
        if request.opcode == _CLOSE:
            self._calls.descriptors.close(call.tid, request.descriptor)
            return
        if request.opcode in (_OPENAT, _OPENAT2):
            return  # the new descriptor is identified when it is first used
        op, descriptor, fixed = (
            _OPS.get(request.opcode),
            request.descriptor,
            bool(request.flags & _SQE_FIXED_FILE),
        )
        offset, requested = request.offset, request.length
        if (
            request.opcode == _SPLICE
        ):  # reads from splice_fd_in at `addr`, the field that splice_off_in shares
            op, descriptor, offset = "uring_splice", request.splice_from, request.address
            fixed = bool(request.operation_flags & _SPLICE_FIXED_IN)
        if op is None:
            return
        if fixed:
            if descriptor not in ring.files:
                self._calls.recorder.unseen.add("io_uring")
                return
            descriptor = ring.files[descriptor]
        if op in ("uring_readv", "uring_writev"):
            requested = self._calls.source.vector_bytes(call, request.address, request.length)
        opened = self._calls.find(call, descriptor)
        if opened.data:
            self._calls.submitted(call, key, op, opened, offset, requested, at_position=offset == 2**64 - 1)

    def _take_completions(self, pid: int, ring: _Uring, now_ns: int) -> None:
        if not ring.mapped:
            return
        _, tail_at, _, _, _, cqes_at, *_ = ring.cq_offsets
        tail = self._word(pid, ring.cq + tail_at)
        if tail is None:
            return
        if ring.seen is None:
            ring.seen = 0
        new = min((tail - ring.seen) & 0xFFFFFFFF, ring.completions)
        size = 32 if ring.flags & _SETUP_CQE32 else 16
        for at in range(tail - new, tail):
            raw = self._memory(pid, ring.cq + cqes_at + size * (at & (ring.completions - 1)), _CQE.size)
            if raw is not None:
                user_data, result = _CQE.unpack(raw)
                self._calls.completed(pid, (id(ring), user_data), result, now_ns)
        ring.seen = tail

    def _register(self, call: Call) -> None:
        operation, address, count = call.args[1] & 0x7FFFFFFF, call.args[2], min(call.args[3], MAX_ENTRIES)
        if operation == _REGISTER_RING_FDS:
            for at in range(count):  # struct io_uring_rsrc_update: offset, 0, descriptor
                raw = self._memory(call.pid, address + 16 * at, 16)
                if raw is not None:
                    index, _, descriptor = struct.unpack("<IIQ", raw)
                    opened = self._calls.descriptors.get(call.tid, descriptor)
                    if opened is not None:
                        self._registered.setdefault(call.pid, {})[index] = opened
            return
        opened = self._calls.descriptors.get(call.tid, call.args[0])
        ring = self._urings.get(call.pid, {}).get(opened) if opened is not None else None
        if ring is None:
            return
        if operation == _REGISTER_FILES:
            self._register_files(call, ring, 0, address, count)
        elif operation == _UNREGISTER_FILES:
            ring.files.clear()
        elif operation == _FILES_UPDATE:
            raw = self._memory(call.pid, address, 16)
            if raw is not None:
                first, _, descriptors = struct.unpack("<IIQ", raw)
                self._register_files(call, ring, first, descriptors, count)
        elif operation in (_REGISTER_FILES2, _FILES_UPDATE2):
            raw = self._memory(call.pid, address, 32)  # struct io_uring_rsrc_register or ..._update2
            if raw is not None:
                number, _, _, data, _ = struct.unpack("<IIQQQ", raw)
                if operation == _REGISTER_FILES2:
                    self._register_files(call, ring, 0, data, min(number, MAX_ENTRIES))
                else:
                    first, _, data, _, number, _ = struct.unpack("<IIQQII", raw)
                    self._register_files(call, ring, first, data, min(number, MAX_ENTRIES))

    def _register_files(self, call: Call, ring: _Uring, first: int, address: int, count: int) -> None:
        raw = self._memory(call.pid, address, 4 * count) if address and count else None
        if raw is not None:
            for at, descriptor in enumerate(struct.unpack(f"<{count}i", raw)):
                if descriptor >= 0:
                    ring.files[first + at] = descriptor
                elif descriptor == -1:
                    ring.files.pop(first + at, None)

    # -- libaio
    # -----------------------------------------------------------------------------------------------

    def _take_aio(self, pid: int, address: int, now_ns: int) -> None:
        raw = self._memory(pid, address, _AIO_RING.size)
        if raw is None:
            return
        _, entries, _, tail, magic, _, _, header = _AIO_RING.unpack(raw)
        if magic != _AIO_MAGIC or not 0 < entries <= MAX_ENTRIES:
            return
        at = self._aio[pid][address]
        while at != tail % entries:
            event = self._memory(pid, address + header + _AIO_EVENT.size * at, _AIO_EVENT.size)
            if event is not None:
                _, iocb, result, _ = _AIO_EVENT.unpack(event)
                self._calls.completed(pid, iocb, result, now_ns)
            at = (at + 1) % entries
        self._aio[pid][address] = at

    def _word(self, pid: int, address: int) -> int | None:
        raw = self._memory(pid, address, 4)
        return None if raw is None else int.from_bytes(raw, "little")
