"""The stops that a program makes by the ten thousand: a wanted call begins, and has returned.

While a thread is stopped it waits for us: this is the slow-down of the traced program. So a thread goes on
as soon as it may, and what is left to do is done while it runs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from profiler.calls import CALLS, MADVICE
from profiler.capture import confined
from profiler.capture.calls.call import Call
from profiler.capture.ptrace import abi as abis
from profiler.capture.ptrace import stops
from profiler.capture.ptrace.cloning import CLONE_UNTRACED, flags_of, reveal
from profiler.capture.ptrace.program import Program, Task
from profiler.capture.ptrace.rings.watch import Rings
from profiler.machine import procfs

_FORKS = ("fork", "vfork", "clone", "clone3")
_RECEIVES = ("recvmsg", "recvmmsg", "recvmmsg_time64")
_EXECS = ("execve", "execveat")
_MAPS = ("mmap", "mmap2")
_LOOKED_BEFORE = ("munmap",)
"""What was mapped in is looked up before it goes."""
_ON_DESCRIPTOR = frozenset(row.name for row in CALLS if row.on_one_file)
"""Calls on one descriptor that need not be followed if it names no file."""
_SELF_CONTAINED = frozenset(row.name for row in CALLS if row.self_contained)
"""Those of them whose arguments and result say it all: nothing is looked up in the program's memory."""
_UINT = 0xFFFFFFFF

_Row = tuple[str, abis.Abi, abis.Decode]
"""What is known of a call by its number: name, way of calling, how to read its arguments."""


class CallStops:
    """What to do at the stops of calls. wanted: the names of those that stop, for each way of calling."""

    def __init__(self, program: Program) -> None:
        self._program = program
        native = program.abis[0]
        names = [row.name for row in CALLS]
        self.wanted = [
            (abi, [name for name in names if abi is not native or name not in program.reads.leave])
            for abi in program.abis
        ]
        self._rows: dict[tuple[int, int], _Row] = {
            (abi.audit, abi.numbers[name]): (name, abi, abi.decode[name])
            for abi, names in self.wanted
            for name in names
            if name in abi.numbers
        }
        self._info = ctypes.create_string_buffer(stops.INFO_BYTES)
        self._info_at = ctypes.addressof(self._info)

    def handler(self) -> Callable[[Task, int, int, int], bool]:
        """What to do at a stop of this task, of this status of waitpid, now (ns): a function that says
        whether it has dealt with it. All that it needs is at hand in local names."""
        program, entered, returned = self._program, self._entered, self._returned
        resume = program.resume
        ptrace, tables, finish = program.ptrace, program.descriptors.tables, program.calls.finish
        head, result = stops.HEAD.unpack_from, stops.RESULT.unpack_from
        info, info_at, native = self._info, self._info_at, program.abis[0]
        ours, our_filter, failed = native.audit, stops.OUR_FILTER, stops.FAILED
        begins, returns, cont, syscall = stops.CALL_BEGINS, stops.CALL_RETURNED, stops.CONT, stops.SYSCALL
        get_info, info_bytes = stops.GET_SYSCALL_INFO, stops.INFO_BYTES
        arguments_at, result_at = stops.ARGUMENTS_AT, stops.RESULT_AT
        calls = {native.numbers[name]: (name, native.decode[name]) for name in _ON_DESCRIPTOR
                 if name in native.numbers}  # fmt: skip

        def deal(task: Task, tid: int, status: int, now: int) -> bool:
            if status == begins:
                if ptrace(get_info, tid, info_bytes, info_at) == failed:
                    raise stops.last_error()
                audit, number, descriptor, word = head(info)
                known = calls.get(number)
                if known is None or audit != ours or word != our_filter or not program.start_ns:
                    entered(task, tid, now)
                    return True
                opened = tables[tid].opens.get(descriptor)
                followed = opened is None or opened.data
                if ptrace(syscall if followed else cont, tid, 0, 0) == failed:
                    raise stops.last_error()
                task.call = None
                if followed:
                    name, decode = known
                    args = decode(info, arguments_at)
                    task.call = Call(now - program.start_ns, 0, task.pid, tid, name, args, 0)
                return True
            if status == returns:
                call = task.call
                if call is None:
                    resume(cont, tid)
                    return True
                task.call = None
                if ptrace(get_info, tid, info_bytes, info_at) == failed:
                    raise stops.last_error()
                call.duration_ns = now - program.start_ns - call.time_ns
                (call.result,) = result(info, result_at)
                if call.name in _SELF_CONTAINED and call.args[0] in tables[tid].opens:
                    if ptrace(cont, tid, 0, 0) == failed:
                        raise stops.last_error()
                    finish(call)
                else:
                    returned(call)
                    resume(cont, tid)
                return True
            return False

        return deal

    def _entered(self, task: Task, tid: int, now: int) -> None:
        """One of the less frequent calls begins, described in `_info`."""
        program = self._program
        audit, number, _, word = stops.HEAD.unpack_from(self._info)
        task.call = None
        if word != stops.OUR_FILTER:
            stops.refuse(program.ptrace, tid)
            program.recorder.note_once(confined.FILTER)
            program.resume(stops.CONT, tid)
            return
        row = self._rows.get((audit, number))
        if row is None or not program.start_ns:
            if program.start_ns:  # before, it is still coldseek's own code on its way to exec
                program.recorder.unseen.add("abi")
            program.resume(stops.CONT, tid)
            return
        name, task.abi, decode = row
        args = decode(self._info, stops.ARGUMENTS_AT)
        call = task.call = Call(now - program.start_ns, 0, task.pid, tid, name, args, 0)
        program.resume(stops.SYSCALL if self._rare_call(task, call) else stops.CONT, tid)

    def _rare_call(self, task: Task, call: Call) -> bool:
        """A call begins that is done with here, or whose memory must be read before.

        True if it has to be seen returning.
        """
        program = self._program
        if call.name == "close":
            # by the time it returned another thread might own the number again
            task.call = None
            program.reads.closing(program.calls, call.tid, call.args[0])
            program.calls.finish(call)
        elif call.name in ("dup2", "dup3"):
            program.reads.closing(program.calls, call.tid, call.args[1])
        elif call.name == "close_range":
            first, last = call.args[0] & _UINT, call.args[1] & _UINT
            program.reads.closing_all(program.calls, call.tid, first, last)
        elif call.name in _MAPS or call.name in _LOOKED_BEFORE:
            program.spaces.leaves(call)
            if call.name in _LOOKED_BEFORE:
                task.call = None
        elif call.name in _EXECS:
            task.call, task.exec_ns = None, call.time_ns
            program.spaces.executes(call.tid, call.time_ns)
            program.reads.closing_all(program.calls, call.tid)
        elif call.name in _FORKS:  # each of them, so that no flags outlive their call
            self._forks(task, call)
        elif call.name in _RECEIVES and not program.source.may_receive(call):
            task.call = None
        elif call.name in ("io_uring_enter", "io_submit"):
            program.rings.entering(call)
        return task.call is not None

    def _forks(self, task: Task, call: Call) -> None:
        """A task is about to make another: with which flags? fork and vfork have none."""
        task.call = task.hidden = None
        task.clone_flags = flags_of(call.tid, call.name, call.args)
        flags = task.clone_flags or 0
        if flags & CLONE_UNTRACED:
            task.hidden = reveal(self._program.ptrace, call.tid, call.name, call.args, flags, task.abi.word)
            if task.hidden is None:
                self._program.recorder.unseen.add("untraced")
            else:
                task.call = call  # to be seen returning, with a child or without

    def _returned(self, call: Call) -> None:
        """A call has returned whose meaning lies in the program's memory, or in what /proc shows now."""
        program = self._program
        if call.name in Rings.HANDLED:
            program.rings.finish(call)
            return
        if call.name == "madvise":
            self._advised(call)
            return
        if call.name in _FORKS:
            program.restored(call.tid)
            return
        if call.name in confined.CALLS:
            if confined.asks(call.name, call.args):
                program.recorder.note_once(confined.refused(call.name, call.result))
            return
        if call.name in _MAPS:
            self._mapped(call)
        else:
            program.calls.finish(call)

    def _mapped(self, call: Call) -> None:
        """A file was mapped, or could not be."""
        program = self._program
        address = call.result
        program.rings.mapped(call)
        program.calls.finish(call)
        if -4096 < address < 0:
            return
        opened = program.descriptors.get(call.tid, call.args[4])
        if opened is not None and opened.data:
            program.spaces.mapped(call, address, opened)

    def _advised(self, call: Call) -> None:
        """madvise has returned: what it says of mapped files is advice on those."""
        start, length, advice = call.args[0], call.args[1], call.args[2]
        if call.result == 0:
            for mapping in procfs.mappings(call.tid):
                low, high = max(start, mapping.start), min(start + length, mapping.end)
                if low < high:
                    self._program.happened(call, f"madvise_{MADVICE[advice]}", mapping, -1, low, high)
