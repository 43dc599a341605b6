"""The ptrace tracer: an event loop over python-ptrace's bindings that stops a program only at the calls we
want.

A seccomp filter (see seccomp.py) makes the kernel stop a thread as it enters one of these calls. Calls on
pipes, eventfds and the like go on at once; the others stop a second time as they return, and are handed to
`Calls`. Every stop that a thread can be in is told apart by the status that waitpid gives (ptrace(2),
"Stopped states"):

  status >> 8                          what it is, and how the thread goes on
  SIGTRAP | PTRACE_EVENT_SECCOMP << 8  a wanted call begins: PTRACE_SYSCALL, to stop again when it returns
  SIGTRAP | 0x80                       a wanted call has returned: PTRACE_CONT
  SIGTRAP | PTRACE_EVENT_CLONE.. << 8  a new task, known by PTRACE_GETEVENTMSG: PTRACE_CONT
  SIGTRAP | PTRACE_EVENT_EXEC << 8     a new program: PTRACE_CONT
  SIGTRAP | PTRACE_EVENT_EXIT << 8     about to end, memory still there: PTRACE_CONT
  SIGTRAP | PTRACE_EVENT_STOP << 8     first stop of a new task, or SIGCONT came: PTRACE_CONT
  other | PTRACE_EVENT_STOP << 8       stopped by SIGSTOP and its like: PTRACE_LISTEN, it must stay stopped
  a signal                             about to be delivered: PTRACE_CONT with that signal
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from profiler.calls import CALLS, MADVICE
from profiler.capture import confined
from profiler.capture.calls.descriptors import Descriptors, Open
from profiler.capture.calls.event_log import OP_CODES, UNKNOWN, Recorder
from profiler.capture.calls.history import Journal
from profiler.capture.calls.meaning import CLONE_FILES, CLONE_THREAD, CLONE_VM, Call, Calls
from profiler.capture.leaving import Leaving
from profiler.capture.mapped.spaces import Spaces
from profiler.capture.ptrace import abi as abis
from profiler.capture.ptrace import seccomp, stops
from profiler.capture.ptrace.cloning import CLONE_UNTRACED, Hidden, flags_of, reveal
from profiler.capture.ptrace.patience import WINDOW, Patience
from profiler.capture.ptrace.rings.watch import Rings
from profiler.capture.ptrace.stopped import Stopped
from profiler.capture.recording import Recording
from profiler.capture.tasks import Family
from profiler.capture.watch.whom.waits import Waits
from profiler.errors import ColdseekError
from profiler.machine import procfs
from profiler.machine.finish.finish import Finish
from profiler.machine.links import loader
from profiler.machine.probe import Probe
from profiler.machine.processes import launch
from profiler.machine.processes.interrupts import Interrupts
from profiler.machine.procfs import Mapping
from profiler.trace import DATA_KINDS, Meta, Trace
from profiler.units import show_path, show_plural
from profiler.version import __version__

if TYPE_CHECKING:
    from profiler.files.owner import Owner

_FORKS = ("fork", "vfork", "clone", "clone3")
_RECEIVES = ("recvmsg", "recvmmsg", "recvmmsg_time64")
_EXECS = ("execve", "execveat")
_MAPS = ("mmap", "mmap2")
_LOOKED_BEFORE = ("munmap",)
"""What was mapped in is looked up before it goes."""
_HEAD_BYTES = 256  # of a program, read by the kernel to see what it is (linux/binfmts.h: BINPRM_BUF_SIZE)
_ON_DESCRIPTOR = frozenset(row.name for row in CALLS if row.on_one_file)
"""Calls on one descriptor that need not be followed if it names no file."""
_SELF_CONTAINED = frozenset(row.name for row in CALLS if row.self_contained)
"""Those of them whose arguments and result say it all: nothing is looked up in the program's memory."""


@dataclass(slots=True)
class _Task:
    """A thread of the traced program, between two of its stops."""

    pid: int
    abi: abis.Abi
    call: Call | None = None  # begun and not yet returned
    clone_flags: int | None = 0  # of the latest clone or fork that has begun; None: they are hidden
    hidden: Hidden | None = None  # that clone, if its child was not to be traced
    exec_ns: int | None = None  # when the latest exec began


_Row = tuple[str, abis.Abi, abis.Decode]
"""What is known of a call by its number: name, way of calling, how to read its arguments."""


def make(owner: Owner | None = None) -> Ptrace:
    """A new tracer; it traces one run. owner: see `Ptrace`."""
    return Ptrace(owner=owner)


def probe() -> Probe:
    """Whether the tracer works here, by tracing a program."""
    try:
        anything = shutil.which("true") or shutil.which("true", path=os.defpath) or sys.executable
        Ptrace().record(Recording([anything], silent=True))  # silent: python without arguments ends at once
    except ColdseekError as error:
        return Probe(False, str(error), "allow ptrace (kernel.yama.ptrace_scope below 3; in a container "
                     "--cap-add=SYS_PTRACE), or use --tracer strace")  # fmt: skip
    return Probe(True, "sees every read call with offset and size, needs no privileges")


class Ptrace:
    """Launches one program and records its file reads. See `tracer.Tracer`.

    leave: calls of the machine's own kind that do not stop, because the kernel tracer sees them otherwise;
    it needs the `journal` for that. attached: called with the process id before the program starts. born:
    called by the program's process before that. owner:
    the user whom the program is to run as; None: the one who runs coldseek.
    """

    name = "ptrace"

    def __init__(
        self,
        *,
        leave: Collection[str] = (),
        journal: Journal | None = None,
        attached: Callable[[int], None] = lambda pid: None,
        born: Callable[[], None] = lambda: None,
        owner: Owner | None = None,
    ) -> None:
        self.recorder = self._recorder = Recorder()
        self._journal = journal
        self._descriptors = Descriptors() if journal is None else journal
        self._leave = leave
        self._attached = attached
        self._born = born
        self._owner = owner
        self.processes: dict[int, int] = {}  # each task there was -> its process
        self.forks: list[tuple[int, int, int]] = []  # when, by which task, which task was made
        self._tasks: dict[int, _Task] = {}
        self._family = Family(self._recorder)
        self._newborn: set[int] = set()  # stopped before the event that tells whose child they are
        self._stillborn: set[int] = set()  # ended before it
        self._ending = False  # everything is to end: no new task may run
        self._over_now = False  # the observation is to end, nothing else
        self._rows: dict[tuple[int, int], _Row] = {}
        self._device_bytes: int | None = None
        self._unloaded = 0  # programs of which it could not be seen what was mapped to start them
        self._source = Stopped(lambda tid: self._tasks[tid].abi.word)
        self._calls = Calls(self._recorder, self._descriptors, self._source)
        self._rings = Rings(self._calls)
        self._spaces = Spaces(self.recorder)
        self._main = 0
        self._recording = Recording(())
        self._then_read: int | None = None  # bytes from devices, when the run was over
        self._launched: launch.Launched
        self._start_ns = 0  # of the program, once it runs; 0: not yet
        self._end_ns = 0
        self._exit_status: int | None = None
        self._info = ctypes.create_string_buffer(stops.INFO_BYTES)
        self._info_at = ctypes.addressof(self._info)
        self._message = ctypes.c_ulong()

    def record(self, recording: Recording) -> Trace:
        """Run the program to its end and give what was seen. See `tracer.Tracer.record`."""
        return self._recorder.trace(self.run(recording))

    def run(self, recording: Recording, observed: Callable[[], None] = lambda: None) -> Meta:
        """`record` without making a Trace of what is in `recorder` then. observed: called when nothing more
        is observed, which may be long before the program ends."""
        self._ptrace, self._recording = _binding(), recording
        command, silent = recording.command, recording.silent
        leaving, finish = recording.leaving, recording.finish
        known = abis.native()
        self._native = known[0]
        names = [row.name for row in CALLS]
        wanted = [
            (one, [name for name in names if one is not known[0] or name not in self._leave])
            for one in known
        ]
        self._rows = {
            (one.audit, one.numbers[name]): (name, one, one.decode[name])
            for one, names in wanted
            for name in names
            if name in one.numbers
        }
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        code = seccomp.program(wanted)
        launched = self._launched = launch.launch(
            command, self._attach, partial(seccomp.install, code), silent, self._owner, self._born,
            recording.streams,
        )  # fmt: skip
        self._main = launched.pid
        self._began(launched.pid, launched.pid, known[0])
        end = self._kill if leaving is None else self._let_go
        with Interrupts(launched.pid, end, once=silent, leaves=leaving is not None) as interrupts:
            try:
                recording.begins(self._recorder)
                if finish is not None:
                    finish.begin(launched.pid, self._finished)
                with Waits(launched.pid) as waits:
                    self._loop(interrupts)
                self._recorder.note_once(waits.told())
                if finish is not None and not finish.over and not self._tasks:
                    interrupts.main_ended(1)  # Ctrl-C is for who waits now
                    recording.wait_out(lambda: self._over_now or interrupts.partial)
            finally:
                self._family.look_at(list(self._tasks))
                self._spaces.stop(time.monotonic_ns() - self._start_ns)
                if leaving is not None and self._over_now and self._tasks:
                    observed()
                    self._take_leave(leaving, interrupts)
                else:
                    self._abandon()
        failure = launched.failure(command)
        if failure is not None:
            raise failure
        if not self._start_ns:
            raise ColdseekError("the program ended before it began; run it without coldseek to see why")
        self._note_gaps()
        meta = Meta(
            command=tuple(command),
            cwd=launch.working_directory(),
            started_at=started_at,
            tracer=self.name,
            tracer_version=__version__,
            wall_s=((self._end_ns or time.monotonic_ns()) - self._start_ns) / 1e9,
            exit_status=self._exit_status,
            device_read_bytes=self._device_bytes,
            partial=interrupts.partial,
            unseen=("exec", "readahead") if self._unloaded else ("readahead",),
        )
        return meta if finish is None else dataclasses.replace(meta, **self._facts(finish, meta))

    def _facts(self, finish: Finish, meta: Meta) -> dict[str, Any]:
        """What is otherwise where the run was over before its last process ended."""
        facts = finish.facts(self._start_ns)
        if meta.partial:
            facts.pop("partial", None)
        if self._then_read is not None:
            facts["device_read_bytes"] = self._then_read
        return facts

    @property
    def main(self) -> int:
        """The program's process."""
        return self._main

    @property
    def start_ns(self) -> int:
        """When the program began, on the monotonic clock: the zero of all recorded times."""
        return self._start_ns

    def _began(self, tid: int, pid: int, abi: abis.Abi) -> None:
        self._tasks[tid] = _Task(pid, abi)
        self.processes[tid] = pid

    def _attach(self, pid: int) -> None:
        self._attached(pid)  # first: where it fails, a traced child would stop on its way out
        if self._ptrace(stops.SEIZE, pid, 0, stops.OPTIONS) == stops.FAILED:
            raise ColdseekError(f"the kernel does not allow tracing ({stops.last_error().strerror})")

    # -- the loop ----------------------------------------------------------------------------------------

    def _loop(self, interrupts: Interrupts) -> None:
        """Wait for stops until the last task is gone."""
        clock, tasks, frequent = time.monotonic_ns, self._tasks, self._frequent_stops()
        patience = Patience(len(os.sched_getaffinity(0)))
        while True:
            wait = patience.next(clock())
            for _ in range(WINDOW):
                try:
                    tid, status = wait()
                except ChildProcessError:
                    return
                task = tasks.get(tid)
                try:
                    if task is None:
                        self._unknown(tid, status)
                    elif not frequent(task, tid, status, clock()):
                        if status & 0xFF == 0x7F:
                            self._stopped(tid, status >> 16, status >> 8 & 0xFF, clock())
                        else:  # ended, by exit or by signal
                            self._gone(tid, status, clock(), interrupts)
                except ProcessLookupError:
                    pass  # killed while it was stopped: its end is reported by waitpid
                if not tasks or self._over_now:
                    return

    def _frequent_stops(self) -> Callable[[_Task, int, int, int], bool]:
        """What to do at the stops that a program makes by the ten thousand: a wanted call begins or returns.

        While a thread is stopped it waits for us: this is the slow-down of the traced program. So a thread
        goes on as soon as it may, what is left to do is done while it runs, and all that is needed is at
        hand in local names. Gives a function that says whether it has dealt with the stop.
        """
        ptrace, tables, finish = self._ptrace, self._descriptors.tables, self._calls.finish
        head, result = stops.HEAD.unpack_from, stops.RESULT.unpack_from
        info, info_at, native = self._info, self._info_at, self._native
        calls = {native.numbers[name]: (name, native.decode[name]) for name in _ON_DESCRIPTOR
                 if name in native.numbers}  # fmt: skip

        def deal(task: _Task, tid: int, status: int, now: int) -> bool:
            if status == stops.CALL_BEGINS:
                if ptrace(stops.GET_SYSCALL_INFO, tid, stops.INFO_BYTES, info_at) == stops.FAILED:
                    raise stops.last_error()
                audit, number, descriptor, word = head(info)
                known = calls.get(number)
                if known is None or audit != native.audit or word != stops.OUR_FILTER or not self._start_ns:
                    self._entered(task, tid, now)
                    return True
                opened = tables[tid].opens.get(descriptor)
                followed = opened is None or opened.data
                if ptrace(stops.SYSCALL if followed else stops.CONT, tid, 0, 0) == stops.FAILED:
                    raise stops.last_error()
                task.call = None
                if followed:
                    name, decode = known
                    args = decode(info, stops.ARGUMENTS_AT)
                    task.call = Call(now - self._start_ns, 0, task.pid, tid, name, args, 0)
                return True
            if status == stops.CALL_RETURNED:
                call = task.call
                if call is None:
                    self._resume(stops.CONT, tid)
                    return True
                task.call = None
                if ptrace(stops.GET_SYSCALL_INFO, tid, stops.INFO_BYTES, info_at) == stops.FAILED:
                    raise stops.last_error()
                call.duration_ns = now - self._start_ns - call.time_ns
                (call.result,) = result(info, stops.RESULT_AT)
                if call.name in _SELF_CONTAINED and call.args[0] in tables[tid].opens:
                    if ptrace(stops.CONT, tid, 0, 0) == stops.FAILED:
                        raise stops.last_error()
                    finish(call)
                else:
                    self._returned(call)
                    self._resume(stops.CONT, tid)
                return True
            return False

        return deal

    def _resume(self, request: int, tid: int, number: int = 0) -> None:
        if self._ptrace(request, tid, 0, number) == stops.FAILED:
            raise stops.last_error()

    def _entered(self, task: _Task, tid: int, now: int) -> None:
        """One of the less frequent calls begins, described in `_info`."""
        audit, number, _, word = stops.HEAD.unpack_from(self._info)
        task.call = None
        if word != stops.OUR_FILTER:
            stops.refuse(self._ptrace, tid)
            self._recorder.note_once(confined.FILTER)
            self._resume(stops.CONT, tid)
            return
        row = self._rows.get((audit, number))
        if row is None or not self._start_ns:
            if self._start_ns:  # before, it is still coldseek's own code on its way to exec
                self._recorder.unseen.add("abi")
            self._resume(stops.CONT, tid)
            return
        name, task.abi, decode = row
        args = decode(self._info, stops.ARGUMENTS_AT)
        call = task.call = Call(now - self._start_ns, 0, task.pid, tid, name, args, 0)
        self._resume(stops.SYSCALL if self._rare_call(task, call) else stops.CONT, tid)

    def _rare_call(self, task: _Task, call: Call) -> bool:
        """A call begins that is done with here, or whose memory must be read before.

        True if it has to be seen returning.
        """
        if call.name == "close":
            # by the time it returned another thread might own the number again
            task.call = None
            self._overlooked(call.tid, [call.args[0]])
            self._calls.finish(call)
        elif call.name in ("dup2", "dup3"):
            self._overlooked(call.tid, [call.args[1]])
        elif call.name == "close_range":
            first, last = call.args[0] & 0xFFFFFFFF, call.args[1] & 0xFFFFFFFF
            open_now = procfs.descriptors(call.tid) if self._journal is not None else None
            self._overlooked(call.tid, [one for one in open_now or () if first <= one <= last])
        elif call.name in _MAPS or call.name in _LOOKED_BEFORE:
            self._spaces.leaves(call)
            if call.name in _LOOKED_BEFORE:
                task.call = None
        elif call.name in _EXECS:
            task.call, task.exec_ns = None, call.time_ns
            self._spaces.executes(call.tid, call.time_ns)
            if self._journal is not None:
                self._overlooked(call.tid, procfs.descriptors(call.tid) or ())
        elif call.name in _FORKS:  # each of them, so that no flags outlive their call
            self._forks(task, call)
        elif call.name in _RECEIVES and not self._source.may_receive(call):
            task.call = None
        elif call.name in ("io_uring_enter", "io_submit"):
            self._rings.entering(call)
        return task.call is not None

    def _forks(self, task: _Task, call: Call) -> None:
        """A task is about to make another: with which flags? fork and vfork have none."""
        task.call = task.hidden = None
        task.clone_flags = flags_of(call.tid, call.name, call.args)
        flags = task.clone_flags or 0
        if flags & CLONE_UNTRACED:
            task.hidden = reveal(self._ptrace, call.tid, call.name, call.args, flags, task.abi.word)
            if task.hidden is None:
                self._recorder.unseen.add("untraced")
            else:
                task.call = call  # to be seen returning, with a child or without

    def _returned(self, call: Call) -> None:
        """A call has returned whose meaning lies in the program's memory, or in what /proc shows now."""
        if call.name in Rings.HANDLED:
            self._rings.finish(call)
            return
        if call.name == "madvise":
            self._advised(call)
            return
        if call.name in _FORKS:
            self._restored(call.tid)
            return
        if call.name in confined.CALLS:
            if confined.asks(call.name, call.args):
                self._recorder.note_once(confined.refused(call.name, call.result))
            return
        if call.name in _MAPS:
            self._mapped(call)
        else:
            self._calls.finish(call)

    def _mapped(self, call: Call) -> None:
        """A file was mapped, or could not be."""
        address = call.result
        self._rings.mapped(call)
        self._calls.finish(call)
        if -4096 < address < 0:
            return
        opened = self._descriptors.get(call.tid, call.args[4])
        if opened is not None and opened.data:
            self._spaces.mapped(call, address, opened)

    def _advised(self, call: Call) -> None:
        """madvise has returned: what it says of mapped files is advice on those."""
        start, length, advice = call.args[0], call.args[1], call.args[2]
        if call.result == 0:
            for one in procfs.mappings(call.tid):
                low, high = max(start, one.start), min(start + length, one.end)
                if low < high:
                    self._happened(call, f"madvise_{MADVICE[advice]}", one, -1, low, high)

    def _happened(self, call: Call, op: str, mapping: Mapping, handle: int, low: int, high: int) -> None:
        """Record something about the addresses [low, high) of a mapping."""
        self._recorder.add(
            call.time_ns, call.duration_ns, call.pid, call.tid, OP_CODES[op],
            self._recorder.file(mapping.key, mapping.facts), handle,
            mapping.offset + low - mapping.start, high - low, UNKNOWN,
        )  # fmt: skip

    def _stopped(self, tid: int, event: int, number: int, now: int) -> None:
        """One of the rare stops; see the table at the top."""
        if event == 0:
            self._resume(stops.CONT, tid, number)
        elif event == stops.EVENT_STOP and number in stops.JOB_STOPS:
            self._resume(stops.LISTEN, tid)
        else:
            self._event(tid, event, now)
            self._resume(stops.CONT if self._tasks[tid].call is None else stops.SYSCALL, tid)

    def _event(self, tid: int, event: int, now: int) -> None:
        task = self._tasks[tid]
        if event in stops.NEW_TASK:
            # the kernel names the event by the signal at the child's end: any of them may share descriptors
            child, flags = self._event_message(tid), task.clone_flags
            if flags is None:  # what they share nobody knows, but threads do as a rule
                flags = CLONE_THREAD | CLONE_FILES | CLONE_VM if procfs.is_thread(child) else 0
            self._adopt(child, tid, flags, now)
        elif event == stops.EVENT_STOP:  # perhaps the first stop of a new task
            self._restored(tid)
        elif event == stops.EVENT_EXEC:
            self._executed(tid, self._event_message(tid), now)
        elif event == stops.EVENT_EXIT:
            self._family.ending(tid)
            self._rings.collect(task.pid, tid, now - self._start_ns)
            if self._start_ns:
                self._spaces.ending(tid, now - self._start_ns)
            if self._journal is not None and self._start_ns:
                self._overlooked(tid, procfs.descriptors(tid) or ())
            read = procfs.device_bytes_read(task.pid, tid)
            if read is not None and self._start_ns:
                self._device_bytes = read + (self._device_bytes or 0)

    def _event_message(self, tid: int) -> int:
        if self._ptrace(stops.GETEVENTMSG, tid, 0, ctypes.addressof(self._message)) == stops.FAILED:
            raise stops.last_error()
        return int(self._message.value)

    # -- tasks that come and go --------------------------------------------------------------------------

    def _adopt(self, child: int, parent: int, flags: int, now: int) -> None:
        """`parent` has made `child`; if that has stopped already it waits for this."""
        if child in self._stillborn:
            self._stillborn.discard(child)
            return
        if flags & CLONE_FILES:
            self._descriptors.share(parent, child)
        else:
            self._descriptors.fork(parent, child)
        self.forks.append((time.monotonic_ns(), parent, child))  # with the parent still stopped
        above = self._tasks[parent]
        self._began(child, above.pid if flags & CLONE_THREAD else child, above.abi)
        pid = self._tasks[child].pid
        self._spaces.began(child, pid, parent, bool(flags & CLONE_VM), now - self._start_ns)
        if self._start_ns:
            self._family.born(child, pid, parent, now - self._start_ns)
        self._tasks[child].hidden = above.hidden
        waited = child in self._newborn
        self._newborn.discard(child)
        self._release(child, waited)

    def _release(self, child: int, waited: bool) -> None:
        """A new task may run, and does so now if it `waited` for that. If it was killed, waitpid tells."""
        if self._ending:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        if waited:
            self._restored(child)
            self._ptrace(stops.CONT, child, 0, 0)

    def _restored(self, tid: int) -> None:
        """The flags of a clone, changed so that the child is traced, are as its maker wrote them."""
        task = self._tasks[tid]
        if task.hidden is not None:
            task.hidden.restore(tid)
            task.hidden = None

    def _unknown(self, tid: int, status: int) -> None:
        """A task has stopped that overtook the event that tells whose child it is: it waits for that."""
        self._newborn.discard(tid)
        if status & 0xFF != 0x7F:
            self._stillborn.add(tid)
        elif status >> 16 == stops.EVENT_EXIT:
            # killed, as by exit_group of another thread: its maker, killed too, may never tell of it
            self._resume(stops.CONT, tid)
        else:
            self._newborn.add(tid)
            self._adopt_orphans()

    def _adopt_orphans(self) -> None:
        """New tasks whose maker was killed before it could tell of them shall not wait for that."""
        processes = {task.pid for task in self._tasks.values()}
        for child in [one for one in self._newborn if procfs.maker(one) not in processes]:
            self._newborn.discard(child)
            self._began(child, child, self._native)
            self._spaces.began(child, child, None, False, time.monotonic_ns() - self._start_ns)
            if self._start_ns:
                self._family.born(child, child, -1, time.monotonic_ns() - self._start_ns)
            self._descriptors.table(child)  # what it inherited is looked up when it is used
            self._release(child, True)

    def _executed(self, tid: int, former: int, now: int) -> None:
        """A task has become a new program. All other threads of its process are gone without a word."""
        if former != tid:
            self._descriptors.rename(former, tid)
        others = [one for one, task in self._tasks.items() if task.pid == tid and one != tid]
        for other in others:
            del self._tasks[other]
            self._descriptors.exit(other)
            self._family.gone(other, now - self._start_ns)
        task = self._tasks[tid]
        task.call = None
        self._rings.forget(task.pid)
        open_now = procfs.descriptors(tid)
        if not self._start_ns:
            self._start_ns = self._launched.exec_ns or now
            self._descriptors.table(tid)
            self._inherited(tid, open_now or ())
        else:
            self._descriptors.exec(tid)
            gone = () if open_now is None else set(self._descriptors.table(tid).opens).difference(open_now)
            for descriptor in gone:
                self._descriptors.close(tid, descriptor)
        began = task.exec_ns or 0
        loaded = self._loaded(Call(began, now - self._start_ns - began, task.pid, tid, "execve", (), 0))
        self._spaces.executed(tid, {former, *others}, loaded, now - self._start_ns)
        began = now - self._start_ns if task.exec_ns is None else task.exec_ns
        self._family.executed(tid, former, max(began, 0))
        task.exec_ns = None
        refused = procfs.lost_privileges(task.pid)
        if refused:
            self._recorder.notes.append(
                f"{show_path(refused)} asks for another user's privileges (set-user-ID) and ran without "
                f"them, as under every tracer without root; run coldseek as root to see it as it is"
            )

    def _loaded(self, call: Call) -> list[tuple[Mapping, int]]:
        """Record what the kernel read and mapped to start a program: the program itself and its loader.
        Gives the mappings, each with the open that it came by."""
        handles: dict[object, int] = {}  # the kernel opens each of them for itself
        mapped = procfs.mappings(call.tid)
        self._calls.followed(call, loader(b"/proc/%d/exe" % call.tid))
        for one in mapped:
            if one.key not in handles:
                handles[one.key] = self._recorder.handle()
                high = one.start + _HEAD_BYTES
                head = dataclasses.replace(one, offset=0)
                self._happened(call, "exec", head, handles[one.key], one.start, high)
        for one in mapped:
            op = "mmap_exec" if one.executable else "mmap"
            self._happened(call, op, one, handles[one.key], one.start, one.end)
        self._unloaded += not mapped
        return [(one, handles[one.key]) for one in mapped]

    def _inherited(self, tid: int, open_now: Iterable[int]) -> None:
        """Register what the program was started with: stdin, stdout, stderr and whatever else."""
        call = Call(0, 0, tid, tid, "", (), 0)
        for descriptor in open_now:
            self._calls.met(call, descriptor)

    def _overlooked(self, tid: int, descriptors: Iterable[int]) -> None:
        """Where reads do not stop, files whose descriptors were passed by another process are found out
        before these are closed."""
        opens = self._descriptors.table(tid).opens
        for descriptor in descriptors:
            if self._journal is not None and descriptor not in opens:
                key, facts = procfs.identify(tid, descriptor)
                if facts.kind in DATA_KINDS:
                    file = self._recorder.file(key, facts)
                    shared = self._calls.shared(tid, descriptor, file)
                    opened = Open(file, self._recorder.handle(), None) if shared is None else shared
                    self._journal.late(tid, descriptor, opened)

    def _gone(self, tid: int, status: int, now: int, interrupts: Interrupts) -> None:
        del self._tasks[tid]
        self._descriptors.exit(tid)
        self._spaces.gone(tid)
        self._family.gone(tid, now - self._start_ns)
        if tid == self._main:
            self._end_ns = now
            code = os.waitstatus_to_exitcode(status)
            self._exit_status = code if code >= 0 else 128 - code
            interrupts.main_ended(len(self._tasks))
            if self._recording.finish is not None:
                self._recording.finish.command_ended(self._exit_status)
            if self._tasks and self._recording.leaving is not None:
                self._recording.leaving.goes_on(self._exit_status, self.running)
            if self._tasks and self._recording.over is not None and self._recording.finish is None:
                self._recording.over(self.running, self._kill)
        if self._newborn:
            self._adopt_orphans()

    def _kill(self) -> None:
        """End whatever still runs of the traced program, and whatever it makes from now on."""
        self._ending = True
        for tid in [*self._tasks, *self._newborn]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(tid, signal.SIGKILL)

    def running(self) -> set[int]:
        """The processes that are traced now."""
        return {task.pid for task in [*self._tasks.values()]}

    def _let_go(self) -> None:
        """End the observation, not the program. The loop waits for stops: a child that ends wakes it."""
        self._over_now = True
        with contextlib.suppress(OSError):  # too many processes: then the next stop, whoever's, ends it
            if os.fork() == 0:
                os._exit(0)

    def _finished(self) -> None:
        """The run is over, as `finish` has found, while something of it may still run."""
        self._spaces.stop(time.monotonic_ns() - self._start_ns, here=False)
        tasks = list(self._tasks.items())
        read = [procfs.device_bytes_read(task.pid, tid) for tid, task in tasks]
        known = [one for one in (*read, self._device_bytes) if one is not None]
        self._then_read = sum(known) if known else None
        if tasks:
            self._recording.is_over(self.running, self._kill, self._let_go)

    def _take_leave(self, leaving: Leaving, interrupts: Interrupts) -> None:
        """Go on as a process that traces nobody; see `Leaving.let_go`."""
        self._adopt_orphans()
        for child in self._newborn:  # stopped, and not known to anybody else
            self._ptrace(stops.CONT, child, 0, 0)
        if self._main in self._tasks and interrupts.partial:
            interrupts.partial += f"; the program, process {self._main}, goes on"
        clones = {
            (one.audit, one.numbers[name]): (name, one.word)
            for one in abis.native() for name in ("clone", "clone3") if name in one.numbers
        }  # fmt: skip
        words = self._recording.finish.words(self._start_ns) if self._recording.finish is not None else ""
        leaving.let_go(interrupts.number, self.running(), clones, words=words)

    def _abandon(self) -> None:
        """Leave nothing behind when the loop has ended for whatever reason: kill what is left and wait for
        it."""
        with contextlib.suppress(ChildProcessError):  # nobody is left: numbers may mean others by now
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT | stops.WALL)
            self._kill()
            # the first thread of a process is reported last, so they come in any order
            while self._tasks or self._newborn:
                tid, status = os.waitpid(-1, stops.WALL)
                if status & 0xFF == 0x7F:  # stops as it ends, or was born just now
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(tid, signal.SIGKILL)
                    self._ptrace(stops.CONT, tid, 0, 0)
                else:
                    self._tasks.pop(tid, None)
                    self._newborn.discard(tid)

    def _note_gaps(self) -> None:
        hidden = [
            number for number, facts in enumerate(self._recorder.files) if facts.path.endswith(procfs.HIDDEN)
        ]
        if hidden:
            self._recorder.unseen.add("descriptors")
            reads = show_plural(self._recorder.reads_of(hidden), "read")
            count = show_plural(len(hidden), "descriptor")
            self._recorder.notes.append(
                f"INCOMPLETE: {count} could not be looked at, as the program forbids it (it is not "
                f"dumpable): of {reads} the file is not known, if it is one; run coldseek as root"
            )
        self._spaces.settle()
        if not self._spaces.missed:
            self._recorder.unseen.discard("mmap")
        pending = self._calls.pending + self._rings.close()
        if pending:
            self._recorder.unseen.add("completions")
            self._recorder.notes.append(
                f"{show_plural(pending, 'asynchronous operation')} ended unseen: their sizes are not known"
            )


def _binding() -> Callable[..., int]:
    """ptrace(2) as python-ptrace binds it, without the checks that its `ptrace.binding.ptrace` puts around
    it.

    Those took a third of the loop's own time. Imported late: it takes a while, and works on Linux only.
    """
    if not sys.platform.startswith("linux"):
        raise ColdseekError("the ptrace tracer works on Linux only; import an strace log instead")
    import ptrace.binding  # declares the argument types of libc's function
    from ptrace.ctypes_libc import libc

    assert ptrace.binding
    found: Callable[..., int] = libc.ptrace
    return found
