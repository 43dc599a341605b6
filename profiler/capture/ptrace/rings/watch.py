"""All rings of one run, watched through the calls that the program makes about them.

The kernel is told of requests by io_uring_enter(2) and io_submit(2); what they read, and how it ended,
stands in memory that the program shares with the kernel. It is read at each of those calls and when a thread
ends. A result may so be seen late: the time an operation took is an upper bound.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import partial

from profiler.capture.calls.call import Call
from profiler.capture.calls.descriptors import Open
from profiler.capture.calls.meaning import Calls
from profiler.capture.ptrace import memory as memories
from profiler.capture.ptrace.rings.aio import AioRing
from profiler.capture.ptrace.rings.requests import Memory, Requests
from profiler.capture.ptrace.rings.uring import (
    MAX_ENTRIES,
    PARAMS_BYTES,
    SETUP_REGISTERED_FD_ONLY,
    SETUP_SQPOLL,
    UNREADABLE_SETUPS,
    Sqe,
    Uring,
)

_ENTER_REGISTERED_RING, _REGISTER_USE_REGISTERED_RING = 1 << 4, 1 << 31
_REGISTER_FILES, _UNREGISTER_FILES, _FILES_UPDATE, _REGISTER_FILES2, _FILES_UPDATE2 = 2, 3, 6, 13, 14
_REGISTER_RING_FDS, _UNREGISTER_RING_FDS, _RESIZE_RINGS = 20, 21, 33


@dataclass(eq=False)
class _Ring:
    """A ring and the requests in it. pids: the processes that have mapped it or made it."""

    layout: Uring
    requests: Requests
    pids: set[int] = field(default_factory=set)


class Rings:
    """All rings of one run. Wants to see the calls of HANDLED, at entry and exit, and threads that end."""

    HANDLED = ("io_uring_setup", "io_uring_enter", "io_uring_register", "io_setup")

    def __init__(self, calls: Calls, memory: Memory = memories.read) -> None:
        self._calls = calls
        self._memory = memory
        self._rings: dict[Open, _Ring] = {}
        self._registered: dict[int, dict[int, Open]] = {}  # task -> index -> the ring registered there
        self._aio: dict[int, dict[int, AioRing]] = {}  # process -> address -> ring
        self._entered: dict[int, tuple[_Ring, list[Sqe]]] = {}  # task -> what it is about to submit
        self._unknown_opcodes: set[int] = set()
        self._left = 0  # requests of rings that are gone, whose end was not seen

    def close(self) -> int:
        """No more will be seen: gives the number of reads and writes whose end was not."""
        for pid in {pid for ring in self._rings.values() for pid in ring.pids}:
            self.forget(pid)
        if self._unknown_opcodes:
            opcodes = ", ".join(map(str, sorted(self._unknown_opcodes)))
            self._calls.recorder.unseen.add("io_uring")
            self._calls.recorder.notes.append(
                f"io_uring requests of kinds that are not known here (opcode {opcodes}): if they read, "
                f"that is missing"
            )
        return self._left

    # -- what the tracer tells ---------------------------------------------------------------------------

    def entering(self, call: Call) -> None:
        """A call is about to be made: io_uring_enter's requests must be read before the kernel takes
        them."""
        if call.name == "io_uring_enter":
            self._entered.pop(call.tid, None)
            ring = self._ring(call, call.args[0], bool(call.args[3] & _ENTER_REGISTERED_RING))
            if ring is None or not ring.layout.mapped:
                self._calls.recorder.unseen.add("io_uring")
                return
            self._take(call.tid, ring, call.time_ns)
            self._entered[call.tid] = ring, self._requests(call, ring.layout)
        elif call.name == "io_submit":
            self.collect(call.pid, call.tid, call.time_ns)

    def finish(self, call: Call) -> None:
        """A call of HANDLED has ended."""
        end_ns = call.time_ns + call.duration_ns
        if call.name == "io_uring_setup" and call.result >= 0:
            self._set_up(call)
        elif call.name == "io_uring_enter":
            ring, sqes = self._entered.pop(call.tid, (None, []))
            if ring is not None:
                ring.requests.submit(call, sqes[: max(0, call.result)])
                self._take(call.tid, ring, end_ns)
        elif call.name == "io_uring_register" and call.result >= 0:
            self._register(call)
        elif call.name == "io_setup" and call.result == 0:
            address = self._calls.source.value_at(call, 1)
            if address:
                address &= 2**64 - 1
                self._aio.setdefault(call.pid, {})[address] = AioRing(address)

    def mapped(self, call: Call) -> None:
        """A file was mapped: perhaps one of the parts of a ring."""
        opened = self._calls.descriptors.get(call.tid, call.args[4]) if self._rings else None
        ring = self._rings.get(opened) if opened is not None else None
        if ring is not None and not -4096 < call.result < 0:
            ring.layout.map(call.args[5], call.result)
            ring.pids.add(call.pid)

    def collect(self, pid: int, tid: int, now_ns: int) -> None:
        """Take what has ended by now from all rings of a process; `tid`, one of its tasks, is stopped."""
        for ring in [ring for ring in self._rings.values() if pid in ring.pids]:
            self._take(tid, ring, now_ns)
        for aio in self._aio.get(pid, {}).values():
            for iocb, result in aio.results(partial(self._memory, tid)):
                self._calls.completed(pid, iocb, result, now_ns)

    def forget(self, pid: int) -> None:
        """The process has ended or become another program: what it had mapped is gone."""
        self._aio.pop(pid, None)
        for opened, ring in list(self._rings.items()):
            ring.pids.discard(pid)
            if not ring.pids:
                self._left += ring.requests.finish()
                self._unknown_opcodes |= ring.requests.unknown_opcodes
                del self._rings[opened]

    # -- io_uring ----------------------------------------------------------------------------------------

    def _set_up(self, call: Call) -> None:
        params = self._memory(call.tid, call.args[1], PARAMS_BYTES)
        if params is None:
            self._calls.recorder.unseen.add("io_uring")
            return
        layout = Uring.of(params)
        if layout.flags & SETUP_SQPOLL:
            self._calls.recorder.unseen.add("sqpoll")
        if layout.flags & UNREADABLE_SETUPS:
            self._calls.recorder.unseen.add("io_uring")
        requests = Requests(self._calls, self._memory)
        ring = _Ring(layout, requests, {call.pid})
        if layout.flags & SETUP_REGISTERED_FD_ONLY:  # the result is no descriptor
            opened = Open(-1, -1, None, data=False)
            self._registered.setdefault(call.tid, {})[call.result] = opened
        else:
            opened = self._calls.appeared(call, call.result)
        self._rings[opened] = ring

    def _ring(self, call: Call, number: int, registered: bool) -> _Ring | None:
        """The ring that a call names, by its descriptor or where the task has registered it."""
        if registered:
            opened = self._registered.get(call.tid, {}).get(number)
        else:
            opened = self._calls.descriptors.get(call.tid, number)
        return self._rings.get(opened) if opened is not None else None

    def _requests(self, call: Call, layout: Uring) -> list[Sqe]:
        """What this call is about to submit."""
        if layout.flags & (SETUP_SQPOLL | UNREADABLE_SETUPS):
            return []
        found = layout.requests(partial(self._memory, call.tid), call.args[1])
        if found is None:
            self._calls.recorder.unseen.add("io_uring")
        return found or []

    def _take(self, tid: int, ring: _Ring, now_ns: int) -> None:
        if ring.layout.mapped:
            for cqe in ring.layout.results(partial(self._memory, tid)):
                ring.requests.complete(cqe, now_ns)

    def _register(self, call: Call) -> None:
        """io_uring_register has succeeded: files, or the ring itself, have got a number."""
        operation, address, count = call.args[1], call.args[2], min(call.args[3], MAX_ENTRIES)
        ring = self._ring(call, call.args[0], bool(operation & _REGISTER_USE_REGISTERED_RING))
        operation &= ~_REGISTER_USE_REGISTERED_RING
        if operation in (_REGISTER_RING_FDS, _UNREGISTER_RING_FDS):
            self._register_rings(call, address, count, operation == _REGISTER_RING_FDS)
            return
        if ring is None:
            return
        requests = ring.requests
        if operation == _UNREGISTER_FILES:
            requests.files.clear()
        elif operation == _REGISTER_FILES:
            requests.register(call, 0, requests.numbers(call, address, count))
        elif operation == _RESIZE_RINGS:
            params = self._memory(call.tid, address, PARAMS_BYTES)
            if params is not None:
                ring.layout.resized(params)
        elif operation in (_FILES_UPDATE, _REGISTER_FILES2, _FILES_UPDATE2):
            raw = self._memory(call.tid, address, 16 if operation == _FILES_UPDATE else 32)
            if raw is None:
                self._calls.recorder.unseen.add("io_uring")
                return
            if operation == _REGISTER_FILES2:  # struct io_uring_rsrc_register
                (first, (number, _, _, data)) = 0, struct.unpack_from("<IIQQ", raw)
            elif operation == _FILES_UPDATE:  # struct io_uring_files_update
                (first, _, data), number = struct.unpack("<IIQ", raw), count
            else:  # struct io_uring_rsrc_update2
                first, _, data, _, number = struct.unpack_from("<IIQQI", raw)
            requests.register(call, first, requests.numbers(call, data, min(number, MAX_ENTRIES)))

    def _register_rings(self, call: Call, address: int, count: int, appear: bool) -> None:
        known = self._registered.setdefault(call.tid, {})
        for place in range(min(count, 16)):  # IO_RINGFD_REG_MAX; struct io_uring_rsrc_update
            raw = self._memory(call.tid, address + 16 * place, 16)
            if raw is None:
                continue
            index, _, descriptor = struct.unpack("<IIQ", raw)
            opened = self._calls.descriptors.get(call.tid, descriptor & 0xFFFFFFFF) if appear else None
            if opened is not None:
                known[index] = opened
            else:
                known.pop(index, None)
