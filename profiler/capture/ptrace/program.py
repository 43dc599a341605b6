"""The traced program between two of its stops: its tasks, how they come and go, and what is known of them.

A new task may stop before the event that tells whose child it is, and its maker may be killed before it can
tell: such a task waits until it is known where it belongs.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from profiler.capture.calls.call import Call
from profiler.capture.calls.event_log import OP_CODES, UNKNOWN, Recorder
from profiler.capture.calls.flags import CLONE_FILES, CLONE_THREAD, CLONE_VM
from profiler.capture.calls.meaning import Calls
from profiler.capture.mapped.spaces import Spaces
from profiler.capture.ptrace import abi as abis
from profiler.capture.ptrace import stops
from profiler.capture.ptrace.cloning import Hidden
from profiler.capture.ptrace.reads import Reads
from profiler.capture.ptrace.rings.watch import Rings
from profiler.capture.ptrace.stopped import Stopped
from profiler.capture.tasks import Family
from profiler.errors import ColdseekError
from profiler.machine import procfs
from profiler.machine.links import loader
from profiler.machine.processes import launch
from profiler.machine.procfs import Mapping
from profiler.units import show_path

_HEAD_BYTES = 256  # of a program, read by the kernel to see what it is (linux/binfmts.h: BINPRM_BUF_SIZE)


@dataclass(slots=True)
class Task:
    """A thread of the traced program, between two of its stops."""

    pid: int
    abi: abis.Abi
    call: Call | None = None  # begun and not yet returned
    clone_flags: int | None = 0  # of the latest clone or fork that has begun; None: they are hidden
    hidden: Hidden | None = None  # that clone, if its child was not to be traced
    exec_ns: int | None = None  # when the latest exec began


class Program:
    """All tasks of one run. start_ns: when the program began, on the monotonic clock; 0: not yet.

    processes: each task there was -> its process. forks: when, by which task, which task was made. newborn:
    tasks that have stopped before the event that tells whose child they are. unloaded: programs of which it
    could not be seen what was mapped to start them. launched: to be set before the first stop.
    """

    def __init__(self, reads: Reads) -> None:
        self.ptrace = _binding()
        self.abis = abis.native()
        self.reads = reads
        self.descriptors = reads.descriptors
        self.recorder = Recorder()
        self.family = Family(self.recorder)
        self.spaces = Spaces(self.recorder)
        self.source = Stopped(lambda tid: self.tasks[tid].abi.word)
        self.calls = Calls(self.recorder, self.descriptors, self.source)
        self.rings = Rings(self.calls)
        self.tasks: dict[int, Task] = {}
        self.processes: dict[int, int] = {}
        self.forks: list[tuple[int, int, int]] = []
        self.newborn: set[int] = set()
        self.start_ns = 0
        self.unloaded = 0
        self.launched: launch.Launched
        self._stillborn: set[int] = set()  # ended before the event that tells whose child they are
        self._ending = False  # everything is to end: no new task may run
        self._message = ctypes.c_ulong()

    def running(self) -> set[int]:
        """The processes that are traced now."""
        return {task.pid for task in [*self.tasks.values()]}

    # -- requests ----------------------------------------------------------------------------------------

    def resume(self, request: int, tid: int, number: int = 0) -> None:
        """Let a stopped task go on, with a signal or none. Raises OSError."""
        if self.ptrace(request, tid, 0, number) == stops.FAILED:
            raise stops.last_error()

    def event_message(self, tid: int) -> int:
        """What the event that a task has stopped for is about. Raises OSError."""
        if self.ptrace(stops.GETEVENTMSG, tid, 0, ctypes.addressof(self._message)) == stops.FAILED:
            raise stops.last_error()
        return int(self._message.value)

    # -- tasks that come ---------------------------------------------------------------------------------

    def began(self, tid: int, pid: int, abi: abis.Abi) -> None:
        """A task is there, of this process."""
        self.tasks[tid] = Task(pid, abi)
        self.processes[tid] = pid

    def forked(self, tid: int, now: int) -> None:
        """A task has stopped for having made another."""
        # the kernel names the event by the signal at the child's end: any of them may share descriptors
        child, flags = self.event_message(tid), self.tasks[tid].clone_flags
        if flags is None:  # what they share nobody knows, but threads do as a rule
            flags = CLONE_THREAD | CLONE_FILES | CLONE_VM if procfs.is_thread(child) else 0
        self.adopt(child, tid, flags, now)

    def adopt(self, child: int, parent: int, flags: int, now: int) -> None:
        """`parent` has made `child`; if that has stopped already it waits for this."""
        if child in self._stillborn:
            self._stillborn.discard(child)
            return
        if flags & CLONE_FILES:
            self.descriptors.share(parent, child)
        else:
            self.descriptors.fork(parent, child)
        self.forks.append((time.monotonic_ns(), parent, child))  # with the parent still stopped
        above = self.tasks[parent]
        self.began(child, above.pid if flags & CLONE_THREAD else child, above.abi)
        pid = self.tasks[child].pid
        self.spaces.began(child, pid, parent, bool(flags & CLONE_VM), now - self.start_ns)
        if self.start_ns:
            self.family.born(child, pid, parent, now - self.start_ns)
        self.tasks[child].hidden = above.hidden
        waited = child in self.newborn
        self.newborn.discard(child)
        self._release(child, waited)

    def _release(self, child: int, waited: bool) -> None:
        """A new task may run, and does so now if it `waited` for that. If it was killed, waitpid tells."""
        if self._ending:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        if waited:
            self.restored(child)
            self.ptrace(stops.CONT, child, 0, 0)

    def restored(self, tid: int) -> None:
        """The flags of a clone, changed so that the child is traced, are as its maker wrote them."""
        task = self.tasks[tid]
        if task.hidden is not None:
            task.hidden.restore(tid)
            task.hidden = None

    def unknown(self, tid: int, status: int) -> None:
        """A task has stopped that overtook the event that tells whose child it is: it waits for that."""
        self.newborn.discard(tid)
        if status & 0xFF != 0x7F:
            self._stillborn.add(tid)
        elif status >> 16 == stops.EVENT_EXIT:
            # killed, as by exit_group of another thread: its maker, killed too, may never tell of it
            self.resume(stops.CONT, tid)
        else:
            self.newborn.add(tid)
            self.adopt_orphans()

    def adopt_orphans(self) -> None:
        """New tasks whose maker was killed before it could tell of them shall not wait for that."""
        processes = {task.pid for task in self.tasks.values()}
        for child in [tid for tid in self.newborn if procfs.maker(tid) not in processes]:
            self.newborn.discard(child)
            self.began(child, child, self.abis[0])
            self.spaces.began(child, child, None, False, time.monotonic_ns() - self.start_ns)
            if self.start_ns:
                self.family.born(child, child, -1, time.monotonic_ns() - self.start_ns)
            self.descriptors.table(child)  # what it inherited is looked up when it is used
            self._release(child, True)

    # -- tasks that become another program ---------------------------------------------------------------

    def executed(self, tid: int, now: int) -> None:
        """A task has become a new program. All other threads of its process are gone without a word."""
        former = self.event_message(tid)
        if former != tid:
            self.descriptors.rename(former, tid)
        others = [other for other, task in self.tasks.items() if task.pid == tid and other != tid]
        for other in others:
            del self.tasks[other]
            self.descriptors.exit(other)
            self.family.gone(other, now - self.start_ns)
        task = self.tasks[tid]
        task.call = None
        self.rings.forget(task.pid)
        open_now = procfs.descriptors(tid)
        if not self.start_ns:
            self.start_ns = self.launched.exec_ns or now
            self.descriptors.table(tid)
            self._inherited(tid, open_now or ())
        else:
            self.descriptors.exec(tid)
            gone = () if open_now is None else set(self.descriptors.table(tid).opens).difference(open_now)
            for descriptor in gone:
                self.descriptors.close(tid, descriptor)
        began = task.exec_ns or 0
        loaded = self._loaded(Call(began, now - self.start_ns - began, task.pid, tid, "execve", (), 0))
        self.spaces.executed(tid, {former, *others}, loaded, now - self.start_ns)
        began = now - self.start_ns if task.exec_ns is None else task.exec_ns
        self.family.executed(tid, former, max(began, 0))
        task.exec_ns = None
        refused = procfs.lost_privileges(task.pid)
        if refused:
            self.recorder.notes.append(
                f"{show_path(refused)} asks for another user's privileges (set-user-ID) and ran without "
                f"them, as under every tracer without root; run coldseek as root to see it as it is"
            )

    def _loaded(self, call: Call) -> list[tuple[Mapping, int]]:
        """Record what the kernel read and mapped to start a program: the program itself and its loader.
        Gives the mappings, each with the open that it came by."""
        handles: dict[object, int] = {}  # the kernel opens each of them for itself
        mapped = procfs.mappings(call.tid)
        self.calls.followed(call, loader(b"/proc/%d/exe" % call.tid))
        for mapping in mapped:
            if mapping.key not in handles:
                handle = handles[mapping.key] = self.recorder.handle()
                head = dataclasses.replace(mapping, offset=0)
                self.happened(call, "exec", head, handle, mapping.start, mapping.start + _HEAD_BYTES)
        for mapping in mapped:
            op = "mmap_exec" if mapping.executable else "mmap"
            self.happened(call, op, mapping, handles[mapping.key], mapping.start, mapping.end)
        self.unloaded += not mapped
        return [(mapping, handles[mapping.key]) for mapping in mapped]

    def _inherited(self, tid: int, open_now: Iterable[int]) -> None:
        """Register what the program was started with: stdin, stdout, stderr and whatever else."""
        call = Call(0, 0, tid, tid, "", (), 0)
        for descriptor in open_now:
            self.calls.met(call, descriptor)

    def happened(self, call: Call, op: str, mapping: Mapping, handle: int, low: int, high: int) -> None:
        """Record something about the addresses [low, high) of a mapping."""
        self.recorder.add(
            call.time_ns, call.duration_ns, call.pid, call.tid, OP_CODES[op],
            self.recorder.file(mapping.key, mapping.facts), handle,
            mapping.offset + low - mapping.start, high - low, UNKNOWN,
        )  # fmt: skip

    # -- tasks that go -----------------------------------------------------------------------------------

    def ending(self, tid: int, now: int) -> int | None:
        """A task is about to end, its memory is still there. Gives the bytes that it has made devices read;
        None: not known, or it never was the program."""
        pid = self.tasks[tid].pid
        self.family.ending(tid)
        self.rings.collect(pid, tid, now - self.start_ns)
        if self.start_ns:
            self.spaces.ending(tid, now - self.start_ns)
            self.reads.closing_all(self.calls, tid)
        read = procfs.device_bytes_read(pid, tid)
        return read if self.start_ns else None

    def gone(self, tid: int, now: int) -> None:
        """A task has ended."""
        del self.tasks[tid]
        self.descriptors.exit(tid)
        self.spaces.gone(tid)
        self.family.gone(tid, now - self.start_ns)

    def kill(self) -> None:
        """End whatever still runs of the traced program, and whatever it makes from now on."""
        self._ending = True
        for tid in [*self.tasks, *self.newborn]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(tid, signal.SIGKILL)

    def free_newborn(self) -> None:
        """Nobody is traced any more: new tasks that nobody knows go on."""
        self.adopt_orphans()
        for child in self.newborn:  # stopped, and not known to anybody else
            self.ptrace(stops.CONT, child, 0, 0)

    def abandon(self) -> None:
        """Leave nothing behind when the loop has ended for whatever reason: kill what is left and wait for
        it."""
        with contextlib.suppress(ChildProcessError):  # nobody is left: numbers may mean others by now
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT | stops.WALL)
            self.kill()
            # the first thread of a process is reported last, so they come in any order
            while self.tasks or self.newborn:
                tid, status = os.waitpid(-1, stops.WALL)
                if status & 0xFF == 0x7F:  # stops as it ends, or was born just now
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(tid, signal.SIGKILL)
                    self.ptrace(stops.CONT, tid, 0, 0)
                else:
                    self.tasks.pop(tid, None)
                    self.newborn.discard(tid)


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
    request: Callable[..., int] = libc.ptrace
    return request
