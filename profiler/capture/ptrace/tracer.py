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
import dataclasses
import os
import shutil
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from profiler.capture.ptrace import seccomp, stops
from profiler.capture.ptrace.callstops import CallStops
from profiler.capture.ptrace.patience import WINDOW, Patience
from profiler.capture.ptrace.program import Program
from profiler.capture.ptrace.reads import Reads, Stopping
from profiler.capture.recording import Recording
from profiler.capture.watch.whom.waits import Waits
from profiler.errors import ColdseekError
from profiler.machine import procfs
from profiler.machine.probe import Probe
from profiler.machine.processes import launch
from profiler.machine.processes.interrupts import Interrupts
from profiler.trace import Meta, Trace
from profiler.units import show_plural
from profiler.version import __version__

if TYPE_CHECKING:
    from profiler.capture.leaving import Leaving
    from profiler.files.owner import Owner
    from profiler.machine.finish.finish import Finish


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

    owner: the user whom the program is to run as; None: the one who runs coldseek. reads: how they are seen;
    None: each stops the program.
    """

    name = "ptrace"

    def __init__(self, *, owner: Owner | None = None, reads: Reads | None = None) -> None:
        self._reads = reads or Stopping()
        self.program = Program(self._reads)
        self._call_stops = CallStops(self.program)
        self._owner = owner
        self._recording = Recording(())
        self._over_now = False  # the observation is to end, nothing else
        self._device_bytes: int | None = None
        self._then_read: int | None = None  # bytes from devices, when the run was over
        self.main = 0  # the process of the program
        self._end_ns = 0
        self._exit_status: int | None = None

    def record(self, recording: Recording) -> Trace:
        """Run the program to its end and give what was seen. See `tracer.Tracer.record`."""
        return self.program.recorder.trace(self.run(recording))

    def run(self, recording: Recording, observed: Callable[[], None] = lambda: None) -> Meta:
        """`record` without making a Trace of what is in `program.recorder` then. observed: called when
        nothing more is observed, which may be long before the program ends."""
        self._recording, program = recording, self.program
        command, leaving, finish = recording.command, recording.leaving, recording.finish
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        code = seccomp.program(self._call_stops.wanted)
        launched = program.launched = launch.launch(
            command, self._attach, partial(seccomp.install, code), recording.silent, self._owner,
            self._reads.born, recording.streams,
        )  # fmt: skip
        self.main = launched.pid
        program.began(launched.pid, launched.pid, program.abis[0])
        end = program.kill if leaving is None else self._let_go
        with Interrupts(launched.pid, end, once=recording.silent, leaves=leaving is not None) as interrupts:
            try:
                recording.begins(program.recorder)
                if finish is not None:
                    finish.begin(launched.pid, self._finished)
                with Waits(launched.pid) as waits:
                    self._loop(interrupts)
                program.recorder.note_once(waits.told())
                if finish is not None and not finish.over and not program.tasks:
                    interrupts.main_ended(1)  # Ctrl-C is for who waits now
                    recording.wait_out(lambda: self._over_now or interrupts.partial)
            finally:
                program.family.look_at(list(program.tasks))
                program.spaces.stop(time.monotonic_ns() - program.start_ns)
                if leaving is not None and self._over_now and program.tasks:
                    observed()
                    self._take_leave(leaving, interrupts)
                else:
                    program.abandon()
        failure = launched.failure(command)
        if failure is not None:
            raise failure
        if not program.start_ns:
            raise ColdseekError("the program ended before it began; run it without coldseek to see why")
        self._note_gaps()
        meta = Meta(
            command=tuple(command),
            cwd=launch.working_directory(),
            started_at=started_at,
            tracer=self.name,
            tracer_version=__version__,
            wall_s=((self._end_ns or time.monotonic_ns()) - program.start_ns) / 1e9,
            exit_status=self._exit_status,
            device_read_bytes=self._device_bytes,
            partial=interrupts.partial,
            unseen=("exec", "readahead") if program.unloaded else ("readahead",),
        )
        return meta if finish is None else dataclasses.replace(meta, **self._facts(finish, meta))

    def _facts(self, finish: Finish, meta: Meta) -> dict[str, Any]:
        """What is otherwise where the run was over before its last process ended."""
        facts = finish.facts(self.program.start_ns)
        if meta.partial:
            facts.pop("partial", None)
        if self._then_read is not None:
            facts["device_read_bytes"] = self._then_read
        return facts

    def _attach(self, pid: int) -> None:
        self._reads.attached(pid)  # first: where it fails, a traced child would stop on its way out
        if self.program.ptrace(stops.SEIZE, pid, 0, stops.OPTIONS) == stops.FAILED:
            raise ColdseekError(f"the kernel does not allow tracing ({stops.last_error().strerror})")

    # -- the loop ----------------------------------------------------------------------------------------

    def _loop(self, interrupts: Interrupts) -> None:
        """Wait for stops until the last task is gone."""
        clock, program, frequent = time.monotonic_ns, self.program, self._call_stops.handler()
        tasks = program.tasks
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
                        program.unknown(tid, status)
                    elif not frequent(task, tid, status, clock()):
                        if status & 0xFF == 0x7F:
                            self._stopped(tid, status >> 16, status >> 8 & 0xFF, clock())
                        else:  # ended, by exit or by signal
                            self._gone(tid, status, clock(), interrupts)
                except ProcessLookupError:
                    pass  # killed while it was stopped: its end is reported by waitpid
                if not tasks or self._over_now:
                    return

    def _stopped(self, tid: int, event: int, number: int, now: int) -> None:
        """One of the rare stops; see the table at the top."""
        program = self.program
        if event == 0:
            program.resume(stops.CONT, tid, number)
        elif event == stops.EVENT_STOP and number in stops.JOB_STOPS:
            program.resume(stops.LISTEN, tid)
        else:
            self._event(tid, event, now)
            program.resume(stops.CONT if program.tasks[tid].call is None else stops.SYSCALL, tid)

    def _event(self, tid: int, event: int, now: int) -> None:
        if event in stops.NEW_TASK:
            self.program.forked(tid, now)
        elif event == stops.EVENT_STOP:  # perhaps the first stop of a new task
            self.program.restored(tid)
        elif event == stops.EVENT_EXEC:
            self.program.executed(tid, now)
        elif event == stops.EVENT_EXIT:
            read = self.program.ending(tid, now)
            if read is not None:
                self._device_bytes = read + (self._device_bytes or 0)

    def _gone(self, tid: int, status: int, now: int, interrupts: Interrupts) -> None:
        program, recording = self.program, self._recording
        program.gone(tid, now)
        if tid == self.main:
            self._end_ns = now
            code = os.waitstatus_to_exitcode(status)
            self._exit_status = code if code >= 0 else 128 - code
            interrupts.main_ended(len(program.tasks))
            if recording.finish is not None:
                recording.finish.command_ended(self._exit_status)
            if program.tasks and recording.leaving is not None:
                recording.leaving.goes_on(self._exit_status, program.running)
            if program.tasks and recording.over is not None and recording.finish is None:
                recording.over(program.running, program.kill)
        if program.newborn:
            program.adopt_orphans()

    def _let_go(self) -> None:
        """End the observation, not the program. The loop waits for stops: a child that ends wakes it."""
        self._over_now = True
        with contextlib.suppress(OSError):  # too many processes: then the next stop, whoever's, ends it
            if os.fork() == 0:
                os._exit(0)

    def _finished(self) -> None:
        """The run is over, as `finish` has found, while something of it may still run."""
        program = self.program
        program.spaces.stop(time.monotonic_ns() - program.start_ns, here=False)
        tasks = list(program.tasks.items())
        read = [procfs.device_bytes_read(task.pid, tid) for tid, task in tasks]
        known = [count for count in (*read, self._device_bytes) if count is not None]
        self._then_read = sum(known) if known else None
        if tasks:
            self._recording.is_over(program.running, program.kill, self._let_go)

    def _take_leave(self, leaving: Leaving, interrupts: Interrupts) -> None:
        """Go on as a process that traces nobody; see `Leaving.let_go`."""
        program, finish = self.program, self._recording.finish
        program.free_newborn()
        if self.main in program.tasks and interrupts.partial:
            interrupts.partial += f"; the program, process {self.main}, goes on"
        clones = {
            (abi.audit, abi.numbers[name]): (name, abi.word)
            for abi in program.abis
            for name in ("clone", "clone3")
            if name in abi.numbers
        }
        words = finish.words(program.start_ns) if finish is not None else ""
        leaving.let_go(interrupts.number, program.running(), clones, words=words)

    def _note_gaps(self) -> None:
        program, recorder = self.program, self.program.recorder
        hidden = [
            number for number, facts in enumerate(recorder.files) if facts.path.endswith(procfs.HIDDEN)
        ]
        if hidden:
            recorder.unseen.add("descriptors")
            reads = show_plural(recorder.reads_of(hidden), "read")
            count = show_plural(len(hidden), "descriptor")
            recorder.notes.append(
                f"INCOMPLETE: {count} could not be looked at, as the program forbids it (it is not "
                f"dumpable): of {reads} the file is not known, if it is one; run coldseek as root"
            )
        program.spaces.settle()
        if not program.spaces.missed:
            recorder.unseen.discard("mmap")
        pending = program.calls.pending + program.rings.close()
        if pending:
            recorder.unseen.add("completions")
            recorder.notes.append(
                f"{show_plural(pending, 'asynchronous operation')} ended unseen: their sizes are not known"
            )
