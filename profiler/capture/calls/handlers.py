"""What each system call does, by its name: one function for all that move data, by their rows, and one for
each other.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from profiler.calls import (
    AIO_OPS,
    CALLS,
    F_DUPFD,
    F_DUPFD_CLOEXEC,
    F_SETFD,
    F_SETFL,
    FIOCLEX,
    FIONCLEX,
    MAP_ANONYMOUS,
    Row,
)
from profiler.capture.calls.call import Call
from profiler.capture.calls.descriptors import Open
from profiler.capture.calls.flags import (
    CLONE_FILES,
    CLOSE_RANGE_CLOEXEC,
    CLOSE_RANGE_UNSHARE,
    FADVICE,
    FD_CLOEXEC,
    O_APPEND,
    O_CLOEXEC,
    O_DIRECT,
    PROT_EXEC,
)

if TYPE_CHECKING:
    from profiler.capture.calls.meaning import Calls

Handler = Callable[["Calls", Call], None]

_UINT = 0xFFFFFFFF


def _moves(row: Row) -> Handler:
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


def _open(path_argument: int | None, flags_argument: int | None, default_flags: int = 0) -> Handler:
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


HANDLERS: dict[str, Handler] = {
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
