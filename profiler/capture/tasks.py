"""Who is who among the tasks that a tracer follows: a row for each, and a further one for each program that
it executes. /proc is asked only where a task begins a program or ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from profiler.capture.calls.event_log import Recorder, TaskFacts
from profiler.machine.cgroups import cgroup_of, container_of

_MOST_BYTES = 64  # of a name; the kernel has 15


class Family:
    """The tasks of a run while they live. Times are ns from its start."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._now: dict[int, TaskFacts] = {}

    def born(self, tid: int, pid: int, parent: int, now_ns: int) -> None:
        """`parent` has made a task (-1: who did is not known). It is what its maker is, until it executes
        something else."""
        facts = TaskFacts(tid, pid, parent, start_ns=now_ns)
        above = self._now.get(parent)
        if above is None:
            self._look(facts)
        else:
            facts.name, facts.program = above.name, above.program
            facts.cgroup, facts.container = above.cgroup, above.container
        self._now[tid] = self._recorder.task(facts)

    def executed(self, tid: int, former: int, now_ns: int) -> None:
        """The task `former` has become a new program, and from now on has its process's number `tid`."""
        parent = -1
        for one in {tid, former}:
            before = self._now.pop(one, None)
            if before is not None:
                before.end_ns = now_ns if before.end_ns is None else before.end_ns
                parent = before.parent if one == tid else parent
        facts = TaskFacts(tid, tid, parent, start_ns=now_ns)
        self._look(facts)
        self._now[tid] = self._recorder.task(facts)

    def ending(self, tid: int) -> None:
        """A task is about to end: what it calls itself now is its name."""
        facts = self._now.get(tid)
        if facts is not None:
            facts.name = name_of(facts.pid, tid) or facts.name

    def gone(self, tid: int, now_ns: int) -> None:
        """A task has ended."""
        facts = self._now.pop(tid, None)
        if facts is not None:
            facts.end_ns = max(now_ns, facts.start_ns or 0)

    def look_at(self, tids: Iterable[int]) -> None:
        """These go on when the observation ends: learn what they call themselves."""
        for tid in tids:
            self.ending(tid)

    def _look(self, facts: TaskFacts) -> None:
        facts.name = name_of(facts.pid, facts.tid)
        facts.program = program_of(facts.pid)
        facts.cgroup = cgroup_of(facts.pid)
        facts.container = container_of(facts.cgroup)


def name_of(pid: int, tid: int) -> bytes:
    """The name that the kernel has for a task, of at most 15 bytes (proc(5): comm); b"": not known."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{tid}/comm", "rb", buffering=0) as source:
        return source.read(_MOST_BYTES).removesuffix(b"\n")
    return b""


def program_of(pid: int) -> bytes:
    """The path of the executable of a process; b"": not known, or it has none, as the kernel's own."""
    with contextlib.suppress(OSError):
        return os.readlink(b"/proc/%d/exe" % pid)
    return b""
