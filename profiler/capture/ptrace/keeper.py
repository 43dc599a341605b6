"""Lets programs go on that coldseek's tracer has stopped observing. Runs as a process of its own.

A program under our seccomp filter needs a tracer to the end: without one its filtered calls fail (ENOSYS;
seccomp(2), SECCOMP_RET_TRACE), and nobody else can take the place of the one it has. So that process becomes
this one, which records nothing, continues every stop, and ends with the last of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence

if __name__ == "__main__":  # run as a file, with no module path of the user's
    sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3)))

from profiler.capture.ptrace import stops
from profiler.capture.ptrace.cloning import CLONE_UNTRACED, Hidden, flags_of, reveal

_KEPT = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}
_PR_SET_PDEATHSIG = 1
_PAUSE_S = 0.5

Clones = Mapping[tuple[int, int], tuple[str, int]]
"""(way of calling, number) of the calls that make tasks -> name, bytes of a pointer."""


def become(clones: Clones, log: int = -1) -> None:
    """Make this process, the tracer, the keeper of what it traces. Does not return.

    log: descriptor of a file that goes on to be written, and is emptied again and again; -1: there is none.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)
    for number in signal.valid_signals() - _KEPT:
        with contextlib.suppress(OSError):  # of the C library's own
            signal.signal(number, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))
    with contextlib.suppress(PermissionError):
        os.setsid()  # a closed terminal is none of its business
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    if log >= 0:
        os.dup2(log, 3)
    os.closerange(3 if log < 0 else 4, os.sysconf("SC_OPEN_MAX"))
    known = [f"{audit}:{number}:{name}:{word}" for (audit, number), (name, word) in clones.items()]
    words = [sys.executable, "-I", "-S", os.path.abspath(__file__), str(3 if log >= 0 else -1), *known]
    with contextlib.suppress(OSError):  # python is gone, or may not be run any more: then this process stays
        os.execv(sys.executable, words)  # noqa: S606
    main(3 if log >= 0 else -1, known)
    os._exit(0)


class Keeper:
    """Continues tasks from every stop that they can be in."""

    def __init__(self, clones: Clones) -> None:
        self._ptrace = ctypes.CDLL(None, use_errno=True).ptrace
        self._ptrace.argtypes = [ctypes.c_ulong] * 4
        self._ptrace.restype = ctypes.c_ulong
        self._info = ctypes.create_string_buffer(stops.INFO_BYTES)
        self._clones = clones
        # of children that were not to be traced, what was changed for that: by task, while its clone has
        # begun, and by child, until its first stop
        self._begun: dict[int, Hidden] = {}
        self._children: dict[int, Hidden] = {}
        self._early: set[int] = set()  # stopped while a clone had begun: perhaps its child
        self._message = ctypes.c_ulong()

    def stopped(self, tid: int, status: int) -> None:
        """Raises ProcessLookupError for a task that was killed while it was stopped."""
        event, number = status >> 16, status >> 8 & 0xFF
        if status == stops.CALL_BEGINS:
            self._begins(tid)
        elif event == stops.EVENT_STOP and number in stops.JOB_STOPS:
            self._go(stops.LISTEN, tid)
        elif event == stops.EVENT_STOP and self._begun and tid not in self._children:
            self._early.add(tid)
        else:
            if event in stops.NEW_TASK and tid in self._begun:
                self._go(stops.GETEVENTMSG, tid, ctypes.addressof(self._message))
                self._children[int(self._message.value)] = self._begun[tid]
            if event or status == stops.CALL_RETURNED:
                self.ended(tid)
            self._go(stops.CONT, tid, 0 if event or status == stops.CALL_RETURNED else number)

    def ended(self, tid: int) -> None:
        """A task has ended, or its clone has made its child, or never will."""
        for hidden in (self._begun.pop(tid, None), self._children.pop(tid, None)):
            if hidden is not None:
                hidden.restore(tid)
        if not self._begun:
            while self._early:
                early = self._early.pop()
                with contextlib.suppress(ProcessLookupError):
                    self.ended(early)
                    self._go(stops.CONT, early)

    def _begins(self, tid: int) -> None:
        """A call begins: of interest where nobody would trace the child, or where it is not ours."""
        self._go(stops.GET_SYSCALL_INFO, tid, ctypes.addressof(self._info), stops.INFO_BYTES)
        audit, number, _, word = stops.HEAD.unpack_from(self._info)
        if word != stops.OUR_FILTER:
            stops.refuse(self._ptrace, tid)
        name, pointer = self._clones.get((audit, number), ("", 0))
        if name:
            first = int.from_bytes(self._info.raw[stops.ARGUMENTS_AT :][:pointer], "little")
            flags = flags_of(tid, name, (first,)) or 0
            if flags & CLONE_UNTRACED:
                hidden = reveal(self._ptrace, tid, name, (first,), flags, pointer)
                if hidden is not None:
                    self._begun[tid] = hidden
        self._go(stops.SYSCALL if tid in self._begun else stops.CONT, tid)

    def _go(self, request: int, tid: int, data: int = 0, address: int = 0) -> None:
        if self._ptrace(request, tid, address, data) == stops.FAILED:
            raise stops.last_error()


def main(log: int, known: Sequence[str]) -> None:
    """Continue stops until there is nobody left to stop."""
    if os.geteuid() == 0:
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
            score.write("-1000")  # its end would be the end of what it keeps
    parts = [one.split(":") for one in known]
    keeper = Keeper({(int(audit), int(number)): (name, int(word)) for audit, number, name, word in parts})
    while True:
        try:
            tid, status = os.waitpid(-1, stops.WALL if log < 0 else stops.WALL | os.WNOHANG)
        except ChildProcessError:
            return
        if tid == 0:
            os.ftruncate(log, 0)
            time.sleep(_PAUSE_S)
        elif status & 0xFF == 0x7F:
            with contextlib.suppress(ProcessLookupError):
                keeper.stopped(tid, status)
        else:
            keeper.ended(tid)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
