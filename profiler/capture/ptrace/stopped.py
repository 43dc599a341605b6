"""What a stopped task's memory and /proc answer to `calls.handlers`.

Everything is asked by task, never by process: where the first thread of a process has ended, the process
answers no more, and the others go on.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator

from profiler.calls import BY_NAME
from profiler.capture.calls import passed
from profiler.capture.calls.call import Call, Identity, Iocb
from profiler.capture.ptrace import memory
from profiler.machine import procfs

_WORDS = {4: "I", 8: "Q"}
_MOST_IOVECS = 1024  # UIO_MAXIOV (linux/uio.h): more is an error
_MOST_IOCBS = 1 << 14
_MOST_MESSAGES = 1024  # of recvmmsg (linux: net/socket.c)
_AT_FDCWD = procfs.AT_FDCWD
_OPENS = ("open", "openat", "openat2", "creat", "open_by_handle_at")


class Stopped:
    """A `call.Source`. word_of: task -> bytes of a pointer in the call that it is in."""

    def __init__(self, word_of: Callable[[int], int]) -> None:
        self._word_of = word_of

    def identify(self, call: Call, descriptor: int) -> Identity:
        key, facts = procfs.identify(call.tid, descriptor)
        if facts.path.endswith(procfs.HIDDEN):  # one name, which may mean another file at any time
            key = facts.path, call.tid, call.time_ns
            if call.name in (*_OPENS, "openat2"):
                facts.kind = "regular"  # as most that have names are: its reads shall not go uncounted
        if call.name in _OPENS:  # the call says it itself
            return Identity(key, facts)
        return Identity(key, facts, *procfs.position_and_flags(call.tid, descriptor))

    def same_open(self, task: int, descriptor: int, other: int, other_descriptor: int) -> bool:
        return procfs.same_open(task, descriptor, other, other_descriptor)

    def vector_bytes(self, call: Call, address: int, count: int) -> int:
        word = self._word_of(call.tid)
        if not 0 < count <= _MOST_IOVECS:
            return 0
        raw = memory.read(call.tid, address, 2 * word * count)
        return 0 if raw is None else sum(struct.unpack(f"<{2 * count}{_WORDS[word]}", raw)[1::2])

    def value_at(self, call: Call, argument: int) -> int | None:
        kind = BY_NAME[call.name].arguments[argument].kind
        size = self._word_of(call.tid) if kind == "ptr:long" else 8
        raw = memory.read(call.tid, call.args[argument], size)
        return None if raw is None else int.from_bytes(raw, "little", signed=True)

    def path_at(self, call: Call, argument: int, directory: int | None) -> bytes | None:
        path = memory.text(call.tid, call.args[argument])
        if not path or path.startswith(b"/"):
            return path or None
        base = _AT_FDCWD if directory is None else call.args[directory]
        above = procfs.directory(call.tid, base & 0xFFFFFFFF)
        return os.path.normpath(os.path.join(above, path)) if above else None

    def iocbs(self, call: Call) -> list[Iocb]:
        word = self._word_of(call.tid)
        count = min(call.result, _MOST_IOCBS)
        pointers = memory.read(call.tid, call.args[2], word * count)
        iocbs = []
        for address in struct.unpack(f"<{count}{_WORDS[word]}", pointers) if pointers else ():
            raw = memory.read(call.tid, address, 64)
            if raw is not None:  # struct iocb of linux/aio_abi.h
                opcode, _, descriptor, buffer, length, offset = struct.unpack_from("<HhIQQq", raw, 16)
                if opcode in (7, 8):
                    length = self.vector_bytes(call, buffer, length)
                iocbs.append(Iocb(address, opcode, descriptor, length, offset))
        return iocbs

    def io_events(self, call: Call) -> list[tuple[int, int]]:
        # io_getevents(context, least, most, events, timeout); struct io_event: data, obj, res, res2
        raw = memory.read(call.tid, call.args[3], 32 * min(call.result, _MOST_IOCBS))
        return (
            [] if raw is None else [(obj, result) for _, obj, result, _ in struct.iter_unpack("<QQqq", raw)]
        )

    def received(self, call: Call) -> list[int]:
        word = self._word_of(call.tid)
        descriptors = []
        for header in self._messages(call):
            address, length = passed.room(header, word)
            control = memory.read(call.tid, address, length) if length else None
            descriptors += passed.descriptors(control or b"", word)
        return descriptors

    def may_receive(self, call: Call) -> bool:
        """Whether a call that begins to receive messages leaves room for descriptors in them."""
        word = self._word_of(call.tid)
        return any(passed.room(header, word)[1] for header in self._messages(call))

    def _messages(self, call: Call) -> Iterator[bytes]:
        """The struct msghdr of the messages that recvmsg or recvmmsg is about."""
        word = self._word_of(call.tid)
        size = passed.HEADER_BYTES[word]
        several = call.name != "recvmsg"  # then each is followed by its length, aligned like a word
        count = min(call.args[2], _MOST_MESSAGES) if several else 1
        step = size + word if several else size
        raw = memory.read(call.tid, call.args[1], step * count) or b""
        return (raw[place : place + size] for place in range(0, len(raw), step))
