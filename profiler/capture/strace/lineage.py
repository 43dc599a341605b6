"""Who is whose child or thread in a log: tasks that come, go and become another program."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from profiler.capture.calls.descriptors import Descriptors
from profiler.capture.calls.event_log import Recorder, TaskFacts
from profiler.capture.calls.flags import CLONE_FILES, CLONE_THREAD
from profiler.capture.strace import grammar
from profiler.capture.strace.grammar import number

_CLONE_FLAGS = re.compile(rb"flags=([\w|]+)")
_NAME_BYTES = 15  # of a task's name: TASK_COMM_LEN of linux/sched.h, less the 0 at its end


@dataclass(slots=True)
class Started:
    """A call whose end is in a later line. text: from its name on, as far as it is printed."""

    time_ns: int
    text: bytes


class Lineage:
    """The processes and threads of a log. One per log.

    Task numbers are those of the log; 0 is the process whose lines have no number. pending: the calls that
    have begun. main: the first process. unprefixed_pid: of the process whose lines have no number, 0: not
    known. directories: process -> where it is. now_ns: of the line that is taken in, to be set. `changes`
    counts whatever may have changed the meaning of some descriptor.
    """

    def __init__(self, recorder: Recorder, descriptors: Descriptors) -> None:
        self.recorder = recorder
        self.descriptors = descriptors
        self.pending: dict[int, Started] = {}
        self.main: int | None = None
        self.unprefixed_pid = 0
        self.directories: dict[int, bytes] = {}
        self.now_ns = 0
        self.changes = 0
        self._births: dict[int, Started] = {}  # those of `pending` that make a task, and some of before
        self._pids: dict[int, int] = {}
        self._facts: dict[int, TaskFacts] = {}  # of those that live
        self._former_names: dict[int, bytes] = {}  # of tasks that have executed a program since
        self._ended_facts: dict[int, TaskFacts] = {}  # of those whose end has just been taken in

    def pid_of(self, task: int) -> int:
        """The process of a task; the number itself where that is not known."""
        return self._pids.get(task, task)

    def meet(self, task: int) -> None:
        """A finished call of `task`: if it is new, find out whose child or thread it is."""
        if self.main is None:
            self.main = task
        elif task in self._pids:
            return
        else:
            self.changes += 1
            parent = self._parent(task)
            if parent is not None:
                self._born(parent, task, self.pending[parent].text)
                return
            if (
                self.main == 0 and not self.unprefixed_pid
            ):  # no child of it: the first process, now with its number
                self.unprefixed_pid = task
            self.descriptors.share(self.main, task)
            self._pids[task] = self.pid_of(self.main)
            self._begins(task, -1)
            return
        self._pids[task] = task
        self.descriptors.table(task)
        self._begins(task, -1)

    def _begins(self, task: int, parent: int, since_ns: int | None = None) -> None:
        """A row for a task that is met. since_ns: when it was made, if the log shows that."""
        facts = TaskFacts(task, self.pid_of(task), parent, start_ns=since_ns)
        self._former_names.pop(task, None)
        above = self._facts.get(parent)
        if above is not None:
            facts.name, facts.program = above.name, above.program
        before = self._facts.get(task)
        if before is not None and before.end_ns is None:
            if before.parent < 0 <= parent:  # met before its maker's call has ended
                before.pid, before.parent = facts.pid, parent
                before.start_ns = since_ns if before.start_ns is None else before.start_ns
                before.name, before.program = before.name or facts.name, before.program or facts.program
            return
        self._facts[task] = self.recorder.task(facts)

    def name(self, names: dict[int, bytes]) -> None:
        """What tasks called themselves last, in the lines that were just taken in."""
        for task, name in names.items():
            facts = self._ended_facts.get(task) or self._facts.get(task)
            # strace may go on with the name that it knew before a task executed a program
            if facts is not None and name != self._former_names.get(task):
                facts.name = name
        self._ended_facts.clear()

    def start(self, task: int, started: Started) -> None:
        """A call of `task` has begun whose end is in a later line."""
        self.pending[task] = started
        if started.text.startswith((b"clone", b"fork", b"vfork")):
            self._births.pop(task, None)  # to the end
            self._births[task] = started

    def _parent(self, task: int) -> int | None:
        """Who is about to make a task, the last first; None: nobody, as far as the log shows."""
        self._births.pop(task, None)
        while self._births:
            parent = next(reversed(self._births))
            if self.pending.get(parent) is self._births[parent]:
                return parent
            del self._births[parent]
        return None

    def _born(self, parent: int, child: int, text: bytes) -> None:
        """`parent` has made `child` by the call in `text`, of which the end may be missing."""
        flags = 0
        if text.startswith(b"clone"):
            found = _CLONE_FLAGS.search(text)
            flags = number(found[1]) if found else 0
        if flags & (CLONE_FILES | CLONE_THREAD):
            self.descriptors.share(parent, child)
        else:
            self.descriptors.fork(parent, child)
        self._pids[child] = self.pid_of(parent) if flags & CLONE_THREAD else child
        if self.pid_of(parent) in self.directories:
            self.directories.setdefault(self._pids[child], self.directories[self.pid_of(parent)])
        self._begins(child, parent, self.now_ns)
        self.changes += 1

    def cloned(self, task: int, text: bytes, child: int) -> None:
        self.meet(task)
        if 0 < child <= grammar.LARGEST_PID and (
            child not in self._pids or self._is_stranger(task, child, text)
        ):
            self._born(task, child, text)

    def _is_stranger(self, task: int, child: int, text: bytes) -> bool:
        """Whether the child was met before its parent's call ended and was taken for something else."""
        shares = self.descriptors.table(task) is self.descriptors.table(child)
        found = _CLONE_FLAGS.search(text) if text.startswith(b"clone") else None
        return shares != bool(number(found[1]) & (CLONE_FILES | CLONE_THREAD) if found else False)

    def ended(self, task: int) -> None:
        """A task has ended, by itself or killed."""
        self.pending.pop(task, None)
        self.descriptors.exit(task)
        facts = self._facts.pop(task, None)
        if facts is not None:
            facts.end_ns = max(self.now_ns, facts.start_ns or 0)
            self._ended_facts[task] = facts
        if task != self.main:
            self._pids.pop(task, None)
        self.changes += 1

    def superseded(self, task: int, by: int) -> None:
        """exec in the thread `by`: it goes on under the number of its process."""
        self.descriptors.rename(by, task)
        if by in self.pending:
            self.start(task, self.pending.pop(by))
        self._pids.pop(by, None)
        facts = self._facts.pop(by, None)
        if facts is not None:
            facts.end_ns = max(self.now_ns, facts.start_ns or 0)
        self.changes += 1

    def resume(self, task: int, name: bytes) -> Started | None:
        """The beginning of the call of this name that `task` has now ended; None if it is not in the log."""
        if (
            task not in self._pids
            and task not in self.pending
            and self.main in (0, None)
            and not self.unprefixed_pid
        ):
            waiting = self.pending.get(0)  # as soon as there are two tasks, each line has a number
            if waiting is not None and waiting.text.startswith(name + b"("):
                self.unprefixed_pid = task
                self.meet(0)
                self.descriptors.share(0, task)
                self._pids[task] = 0
                self.start(task, self.pending.pop(0))
        started = self.pending.get(task)
        if started is None or not started.text.startswith(name + b"("):
            return None
        return self.pending.pop(task)

    def becomes(self, task: int, program: bytes) -> None:
        """A task executes a program: a row of its own, but for the first that the log shows of it."""
        facts = self._facts.get(task)
        if facts is None:
            return
        self._former_names[task] = facts.name
        if facts.program or facts.parent >= 0:
            facts.end_ns = max(self.now_ns, facts.start_ns or 0)
            facts = TaskFacts(task, self.pid_of(task), facts.parent, start_ns=facts.end_ns)
            self._facts[task] = self.recorder.task(facts)
        facts.program, facts.name = program, os.path.basename(program)[:_NAME_BYTES]
