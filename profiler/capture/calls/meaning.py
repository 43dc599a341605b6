"""The meaning of each system call that reads files or moves descriptors, for all tracers.

A tracer decodes a finished call into a `Call` and hands it to `Calls.finish`, which changes the descriptors
and records the events. Whatever only the tracer can know (what a new descriptor names, what lies in the
program's memory) it answers through `Source`.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from profiler.calls import (
    AIO_OPS,
    CALLS,
    ERRORS,
    F_DUPFD,
    F_DUPFD_CLOEXEC,
    F_SETFD,
    F_SETFL,
    FIOCLEX,
    FIONCLEX,
    LARGEST,
    MAP_ANONYMOUS,
    MAX_RW_COUNT,
    WITHOUT_EFFECT,
    Row,
)
from profiler.capture.calls.descriptors import Descriptors, Open
from profiler.capture.calls.event_log import OP_CODES, UNKNOWN, Recorder
from profiler.machine import links
from profiler.trace import DATA_KINDS, FileFacts

O_APPEND = os.O_APPEND
O_CLOEXEC = os.O_CLOEXEC
O_DIRECT = os.O_DIRECT
O_PATH = os.O_PATH

FD_CLOEXEC = 1  # linux/fcntl.h
# linux/close_range.h, linux/sched.h
CLOSE_RANGE_UNSHARE, CLOSE_RANGE_CLOEXEC = 2, 4
CLONE_VM, CLONE_FILES, CLONE_THREAD = 0x100, 0x400, 0x10000
PROT_EXEC = 0x4  # asm-generic/mman-common.h
# linux/fadvise.h
MOST_ASKED = 20_000
"""So many names are kept of files that are not there, or that symbolic links lead to."""

FADVICE = ("normal", "random", "sequential", "willneed", "dontneed", "noreuse")


@dataclass(slots=True)
class Call:
    """A system call that has ended. args: as in the manual page, numbers and addresses, up to six.

    result: what the kernel returned, -errno on failure. Offsets that a 32-bit program passes in two halves
    are one argument here.
    """

    time_ns: int
    duration_ns: int
    pid: int
    tid: int
    name: str
    args: Sequence[int]
    result: int


@dataclass(slots=True)
class Iocb:
    """One entry of io_submit(2): its address, what it does, on which descriptor, where and how much."""

    address: int
    opcode: int
    descriptor: int
    requested: int
    offset: int | None  # None: not known


@dataclass(slots=True)
class Identity:
    """What a descriptor names: a key for `Recorder.file` and the facts; where the next read starts (bytes;
    None: not known), and the flags of open(2)."""

    key: object
    facts: FileFacts
    position: int | None = None
    flags: int = 0


class Source(Protocol):
    """What only the tracer can answer, asked while the call that has ended is at hand."""

    def identify(self, call: Call, descriptor: int) -> Identity:
        """What `descriptor` names after the call."""

    def same_open(self, task: int, descriptor: int, other: int, other_descriptor: int) -> bool:
        """Whether descriptors of two tasks are one open file, as dup and fork make them. False: not
        known."""

    def received(self, call: Call) -> list[int]:
        """The descriptors that another process has passed with what recvmsg or recvmmsg has received."""

    def vector_bytes(self, call: Call, address: int, count: int) -> int:
        """Sum of the lengths in an array of `count` iovec structures."""

    def value_at(self, call: Call, argument: int) -> int | None:
        """The number that argument number `argument` points to, after the call; None for NULL, and if it
        cannot be looked at."""

    def path_at(self, call: Call, argument: int, directory: int | None) -> bytes | None:
        """The path in argument number `argument`, from the root on; `directory`: the argument with what it
        is relative to, None: the working directory. None: not known."""

    def iocbs(self, call: Call) -> list[Iocb]:
        """The entries of io_submit that the kernel accepted."""

    def io_events(self, call: Call) -> list[tuple[int, int]]:
        """What io_getevents gave: (address of the iocb, result)."""


class Calls:
    """Finished calls in, events and descriptor changes out. One per run."""

    def __init__(self, recorder: Recorder, descriptors: Descriptors, source: Source) -> None:
        self.recorder = recorder
        self.descriptors = descriptors
        self.source = source
        self._asked: set[bytes] = set()  # names of files that are not there, or that lead over links
        self._submitted: dict[tuple[int, object], deque[int]] = {}  # (pid, key) -> events, oldest first

    def finish(self, call: Call) -> None:
        """Take in one finished call; its name must be in HANDLERS."""
        if call.result not in WITHOUT_EFFECT:
            HANDLERS[call.name](self, call)

    # -- descriptors
    # ------------------------------------------------------------------------------------------

    def appeared(self, call: Call, descriptor: int, flags: int = 0, position: int | None = None) -> Open:
        """Register the open that `descriptor` names from now on, made by this call with these flags."""
        identity = self.source.identify(call, descriptor)
        return self._register(call, descriptor, Identity(identity.key, identity.facts, position, flags))

    def met(self, call: Call, descriptor: int, moved: int = 0) -> Open:
        """Register what `descriptor` names, which was open before, or was passed by another process.

        moved: bytes by which this very call moved the position that the source reports.
        """
        identity = self.source.identify(call, descriptor)
        if identity.position is not None:
            identity.position = max(0, identity.position - moved)
        number = self.recorder.known(identity.key)
        if number is not None and identity.facts.kind in DATA_KINDS:
            shared = self.shared(call.tid, descriptor, number)
            if shared is not None:
                self.descriptors.open(call.tid, descriptor, shared, bool(identity.flags & O_CLOEXEC))
                return shared
        return self._register(call, descriptor, identity)

    def shared(self, task: int, descriptor: int, file: int) -> Open | None:
        """The open of this file that `descriptor` shares with another one that is known."""
        tables = {id(table): (other, table) for other, table in self.descriptors.tables.items()}
        for other, table in tables.values():
            for known, opened in table.opens.items():
                if opened.file == file and self.source.same_open(task, descriptor, other, known):
                    return opened
        return None

    def opened(self, identity: Identity) -> Open:
        """A new open, which need not have a descriptor: io_uring has open files of its own."""
        facts, flags = identity.facts, identity.flags
        data = facts.kind in DATA_KINDS or facts.kind == "unknown"
        return Open(
            self.recorder.file(identity.key, facts), self.recorder.handle(), identity.position,
            bool(flags & O_APPEND), bool(flags & O_DIRECT),
            data and not flags & O_PATH, flags & os.O_ACCMODE != os.O_RDONLY,
        )  # fmt: skip

    def _register(self, call: Call, descriptor: int, identity: Identity) -> Open:
        opened = self.opened(identity)
        self.descriptors.open(call.tid, descriptor, opened, bool(identity.flags & O_CLOEXEC))
        return opened

    def followed(self, call: Call, path: bytes) -> None:
        """Record the symbolic links on the way to what is called `path`, the first time that it is."""
        if path in self._asked or len(self._asked) >= MOST_ASKED:
            return
        self._asked.add(path)
        for link in links.followed(path, b"/proc/%d/root" % call.tid):
            facts = FileFacts(link.path, link.device, link.inode, kind="link")
            self.happened(call, "lookup", Open(self.recorder.file(("link", link), facts), -1))

    def absent(self, path: bytes) -> Open | None:
        """What stands for a file that was looked for and is not there; None once there are too many."""
        if path not in self._asked and len(self._asked) >= MOST_ASKED:
            return None
        self._asked.add(path)
        return Open(self.recorder.file(("absent", path), FileFacts(path, kind="absent")), -1)

    def find(self, call: Call, descriptor: int, moved: int = 0) -> Open:
        """The open behind a descriptor, asked of the source if it was never seen before."""
        opened = self.descriptors.get(call.tid, descriptor)
        return self.met(call, descriptor, moved) if opened is None else opened

    def is_file(self, opened: Open) -> None:
        """The descriptor has proved to be seekable: an unknown kind of file is a regular one."""
        facts = self.recorder.files[opened.file]
        if facts.kind == "unknown":
            facts.kind = "regular"

    # -- events
    # -----------------------------------------------------------------------------------------------

    def moved_data(
        self,
        call: Call,
        op: str,
        opened: Open,
        offset: int | None,
        requested: int,
        result: int | None = None,
        took_ns: int | None = None,
    ) -> None:
        """Record a read or write of `opened` that ended with `result` bytes or -errno, and took so long
        (default of both: the call's)."""
        got = call.result if result is None else result
        took = call.duration_ns if took_ns is None else took_ns
        self.recorder.add(
            call.time_ns, took, call.pid, call.tid, OP_CODES[op], opened.file, opened.handle,
            _place(offset), _amount(requested),
            got if got >= 0 else UNKNOWN, -got if got < 0 else 0, opened.direct,
        )  # fmt: skip

    def happened(
        self, call: Call, op: str, opened: Open | None, offset: int | None = None, requested: int = 0
    ) -> None:
        """Record something that moves no data itself: open, lseek, mmap, advice."""
        self.recorder.add(
            call.time_ns, call.duration_ns, call.pid, call.tid, OP_CODES[op],
            -1 if opened is None else opened.file, -1 if opened is None else opened.handle,
            _place(offset), _amount(requested), UNKNOWN,
            -call.result if -4096 < call.result < 0 else 0, opened is not None and opened.direct,
        )  # fmt: skip

    def unended(self, call: Call, op: str, opened: Open, offset: int | None, requested: int) -> int:
        """Record a read or write whose end was not seen, or not yet; gives the event's number."""
        return self.recorder.add(
            call.time_ns, UNKNOWN, call.pid, call.tid, OP_CODES[op], opened.file, opened.handle,
            _place(offset), _amount(requested), UNKNOWN, 0, opened.direct,
        )  # fmt: skip

    def submitted(
        self, call: Call, key: object, op: str, opened: Open, offset: int | None, requested: int
    ) -> None:
        """Record an asynchronous operation at its start; `completed` with the same key fills in the
        result."""
        event = self.unended(call, op, opened, offset, requested)
        # programs use a key again as soon as its operation has ended, and some give all the same one
        self._submitted.setdefault((call.pid, key), deque()).append(event)

    def completed(self, pid: int, key: object, result: int, end_ns: int) -> None:
        """An operation submitted before has ended with `result` bytes or -errno. Nothing happens if none is
        known by `key`."""
        waiting = self._submitted.get((pid, key))
        if not waiting:
            return
        event = waiting.popleft()
        # it stood in the program's memory, where anything may stand
        if not -ERRORS < result <= MAX_RW_COUNT:
            self.recorder.complete(event, UNKNOWN, 0, end_ns)
        else:
            self.recorder.complete(event, result if result >= 0 else UNKNOWN, max(0, -result), end_ns)

    @property
    def pending(self) -> int:
        """Operations submitted whose end was not seen."""
        return sum(len(waiting) for waiting in self._submitted.values())


_UINT = 0xFFFFFFFF


def _place(offset: int | None) -> int:
    return offset if offset is not None and 0 <= offset <= LARGEST else UNKNOWN


def _amount(requested: int) -> int:
    return requested if 0 <= requested <= LARGEST else LARGEST  # size_t: a program may ask for all there is


# -- one function for all that moves data, then those that move descriptors, then the table
# ---------------------------------------------------------------------------------------------------------


def _moves(row: Row) -> Callable[[Calls, Call], None]:
    """What a call does that moves data, by its row: see `profiler.calls.Move`."""
    ends = [
        (move, row.at(move.descriptor), row.at(move.offset) if move.offset else -1,
         row.at(move.pointer) if move.pointer else -1)
        for move in row.moves
    ]  # fmt: skip
    vector, count = row.at(row.vector) if row.vector else -1, row.at(row.count) if row.count else -1

    def handle(calls: Calls, call: Call) -> None:
        size = max(0, call.result)
        requested: int | None = None
        for move, descriptor, offset_at, pointer_at in ends:
            offset, hidden = None, False
            if offset_at >= 0:
                offset = call.args[offset_at]
                if offset == -1 and move.or_position:
                    offset = None
            elif pointer_at >= 0:
                after = calls.source.value_at(call, pointer_at)
                offset = None if after is None else after - size
                hidden = after is None and call.args[pointer_at] != 0
            at_position = offset is None and not hidden
            opened = calls.find(call, call.args[descriptor], moved=size if at_position else 0)
            if not opened.data:
                continue
            if requested is None:
                asked = (
                    call.args[count]
                    if vector < 0
                    else calls.source.vector_bytes(call, call.args[vector], call.args[vector + 1])
                )
                requested = max(size, asked)
            if at_position:
                if move.writes and opened.append:
                    opened.position = None  # the kernel moved it to the end of the file, wherever that is
                offset = opened.advance(size)
            elif call.result >= 0:
                calls.is_file(opened)
            calls.moved_data(call, move.op, opened, offset, requested)

    return handle


def _open(
    path_argument: int | None, flags_argument: int | None, default_flags: int = 0
) -> Callable[[Calls, Call], None]:
    def handle(calls: Calls, call: Call) -> None:
        if call.result < 0:
            _not_opened(calls, call, path_argument)
            return
        flags = default_flags if flags_argument is None else call.args[flags_argument]
        opened = calls.appeared(call, call.result, flags, position=0)
        if opened.data:
            calls.happened(call, "open", opened)
        if path_argument is not None:
            _followed(calls, call, path_argument, opened)

    return handle


def _openat2(calls: Calls, call: Call) -> None:
    if call.result < 0:
        _not_opened(calls, call, 1)
        return
    flags = calls.source.value_at(call, 2) or 0  # struct open_how begins with its flags, 64 bits
    opened = calls.appeared(call, call.result, flags, position=0)
    if opened.data:
        calls.happened(call, "open", opened)
    _followed(calls, call, 1, opened)


def _followed(calls: Calls, call: Call, path_argument: int, opened: Open) -> None:
    """A file that was asked for by another name than its own."""
    path = calls.source.path_at(call, path_argument, path_argument - 1 if path_argument else None)
    if path is not None and path != calls.recorder.files[opened.file].path:
        calls.followed(call, path)


def _not_opened(calls: Calls, call: Call, path_argument: int | None) -> None:
    """That there is no such file had to be looked up too."""
    path = None
    if call.result in (-errno.ENOENT, -errno.ENOTDIR) and path_argument is not None:
        path = calls.source.path_at(call, path_argument, path_argument - 1 if path_argument else None)
    calls.happened(call, "open", None if path is None else calls.absent(path))


def _close(calls: Calls, call: Call) -> None:
    # the descriptor is gone whatever the result, unless it never was one (close(2), NOTES)
    calls.descriptors.close(call.tid, call.args[0])


def _close_range(calls: Calls, call: Call) -> None:
    if call.result < 0:
        return
    first, last, flags = call.args[0] & _UINT, call.args[1] & _UINT, call.args[2]
    if flags & CLOSE_RANGE_UNSHARE:
        calls.descriptors.unshare(call.tid)
    if flags & CLOSE_RANGE_CLOEXEC:
        calls.descriptors.set_close_on_exec_range(call.tid, first, last)
    else:
        calls.descriptors.close_range(call.tid, first, last)


def _dup(calls: Calls, call: Call) -> None:
    if call.result >= 0:
        close_on_exec = call.name == "dup3" and bool(call.args[2] & O_CLOEXEC)
        _duplicate(calls, call, call.args[0], call.result, close_on_exec)


def _fcntl(calls: Calls, call: Call) -> None:
    if call.result < 0:
        return
    descriptor, command = call.args[0], call.args[1]
    if command in (F_DUPFD, F_DUPFD_CLOEXEC):
        _duplicate(calls, call, descriptor, call.result, command == F_DUPFD_CLOEXEC)
    elif command == F_SETFD:
        calls.descriptors.set_close_on_exec(call.tid, descriptor, bool(call.args[2] & FD_CLOEXEC))
    elif command == F_SETFL:
        opened = calls.find(call, descriptor)
        flags = call.args[2]
        calls.descriptors.set_flags(opened, bool(flags & O_APPEND), bool(flags & O_DIRECT))


def _ioctl(calls: Calls, call: Call) -> None:
    if call.result >= 0 and call.args[1] in (FIOCLEX, FIONCLEX):
        calls.descriptors.set_close_on_exec(call.tid, call.args[0], call.args[1] == FIOCLEX)


def _duplicate(calls: Calls, call: Call, old: int, new: int, close_on_exec: bool) -> None:
    calls.find(call, old)
    calls.descriptors.dup(call.tid, old, new, close_on_exec)


def _lseek(calls: Calls, call: Call) -> None:
    if call.result >= 0:
        opened = calls.find(call, call.args[0])
        if opened.data:
            opened.seek(call.result)
            calls.is_file(opened)
            calls.happened(call, "lseek", opened, call.result)


def _llseek(calls: Calls, call: Call) -> None:
    """32-bit programs: the resulting position is written to where the fourth argument points."""
    if call.result == 0:
        position = calls.source.value_at(call, 3)
        if position is not None:
            call.result = position
            _lseek(calls, call)


def _mmap(calls: Calls, call: Call) -> None:
    length, protection, flags, descriptor, offset = call.args[1:6]
    if flags & MAP_ANONYMOUS or descriptor == -1 or -4096 < call.result < 0:
        return
    opened = calls.find(call, descriptor)
    if opened.data:
        call.result = 0  # an address, of no interest
        calls.happened(call, "mmap_exec" if protection & PROT_EXEC else "mmap", opened, offset, length)
        calls.recorder.unseen.add("mmap")


def _fadvise(calls: Calls, call: Call) -> None:
    descriptor, offset, length, advice = call.args[:4]
    if call.result == 0 and 0 <= advice < len(FADVICE):
        opened = calls.find(call, descriptor)
        if opened.data:
            calls.happened(call, f"fadvise_{FADVICE[advice]}", opened, offset, length)


def _readahead(calls: Calls, call: Call) -> None:
    if call.result == 0:
        opened = calls.find(call, call.args[0])
        if opened.data:
            calls.happened(call, "readahead", opened, call.args[1], call.args[2])


def _io_submit(calls: Calls, call: Call) -> None:
    if call.result <= 0:
        return
    iocbs = calls.source.iocbs(call)[: call.result]
    if len(iocbs) < call.result:
        calls.recorder.unseen.add("aio")
    for iocb in iocbs:
        op = AIO_OPS.get(iocb.opcode)
        if op is not None:
            opened = calls.find(call, iocb.descriptor)
            if opened.data:
                calls.is_file(opened)
                calls.submitted(call, iocb.address, op, opened, iocb.offset, iocb.requested)


def _io_getevents(calls: Calls, call: Call) -> None:
    if call.result > 0:
        for address, result in calls.source.io_events(call):
            calls.completed(call.pid, address, result, call.time_ns + max(0, call.duration_ns))


def _unshare(calls: Calls, call: Call) -> None:
    if call.result == 0 and call.args[0] & CLONE_FILES:
        calls.descriptors.unshare(call.tid)


def _received(calls: Calls, call: Call) -> None:
    if call.result >= 0:
        for descriptor in calls.source.received(call):
            _passed(calls, call, descriptor)


def _pidfd_getfd(calls: Calls, call: Call) -> None:
    if call.result >= 0:
        _passed(calls, call, call.result)


def _passed(calls: Calls, call: Call, descriptor: int) -> None:
    calls.descriptors.close(call.tid, descriptor)  # whatever it was before is gone, seen or not
    calls.met(call, descriptor)


HANDLERS: dict[str, Callable[[Calls, Call], None]] = {
    **{row.name: _moves(row) for row in CALLS if row.moves},
    "open": _open(0, 1),
    "openat": _open(1, 2),
    "open_by_handle_at": _open(None, 2),
    "creat": _open(0, None, os.O_CREAT | os.O_WRONLY | os.O_TRUNC),
    "openat2": _openat2,
    "close": _close,
    "close_range": _close_range,
    "dup": _dup,
    "dup2": _dup,
    "dup3": _dup,
    "fcntl": _fcntl,
    "fcntl64": _fcntl,
    "ioctl": _ioctl,
    "lseek": _lseek,
    "_llseek": _llseek,
    "mmap": _mmap,
    "mmap2": _mmap,
    "fadvise64": _fadvise,
    "fadvise64_64": _fadvise,
    "readahead": _readahead,
    "io_submit": _io_submit,
    "io_getevents": _io_getevents,
    "io_pgetevents": _io_getevents,
    "io_pgetevents_time64": _io_getevents,
    "unshare": _unshare,
    "recvmsg": _received,
    "recvmmsg": _received,
    "recvmmsg_time64": _received,
    "pidfd_getfd": _pidfd_getfd,
}
"""Name of the system call -> what it means. Those that move data need no more than their row."""
