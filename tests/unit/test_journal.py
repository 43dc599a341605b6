"""The history of descriptors against a model that keeps a whole picture of every moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from profiler.capture.calls.descriptors import Open
from profiler.capture.calls.event_log import UNKNOWN
from profiler.capture.calls.history import History, Journal
from profiler.capture.kernel.join import asof

FDS = st.integers(0, 5)
FLAGS = st.booleans()


def one(value: int) -> np.ndarray:
    return np.array([value], np.int64)


def means(history: History, task: int, descriptor: int, time: int) -> int:
    """The open that the descriptor of the task meant then, as the syscall layer looks it up; -1: none."""
    used = asof(one(task), one(time), history.task, history.task_time)[0]
    if used < 0:
        return -1
    key = one(int(history.task_table[used]) << 32 | descriptor)
    keys = history.slot_table << 32 | history.slot_descriptor
    slot = asof(key, one(time), keys, history.slot_time)[0]
    return -1 if slot < 0 else int(history.slot_handle[slot])


@dataclass(eq=False)
class Slots:
    """A table of descriptors: what they mean, which close on exec, and when each last changed."""

    opens: dict[int, int] = field(default_factory=dict)
    marked: set[int] = field(default_factory=set)
    changed: dict[int, int] = field(default_factory=dict)

    def copy(self) -> Slots:
        return Slots(dict(self.opens), set(self.marked))


class JournalMachine(RuleBasedStateMachine):
    """Every change takes 10 ns; after each, what all descriptors mean is noted."""

    tasks = Bundle("tasks")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.written: list[int] = []  # opens for writing
        self.told = 0
        self.journal = Journal(lambda: self.now, self.hear)
        self.numbers, self.handles = count(100), count()
        self.tables: dict[int, Slots] = {}
        self.moments: list[tuple[int, dict[int, tuple[Slots, dict[int, int]]]]] = []
        self.unseen: set[int] = set()  # opens that were met late

    def hear(self) -> None:
        self.told += 1

    @invariant()
    def note(self) -> None:
        self.moments.append((self.now, {task: (one, dict(one.opens)) for task, one in self.tables.items()}))
        self.now += 10

    @initialize(target=tasks)
    def first(self) -> int:
        return self.another()

    @rule(target=tasks)
    def another(self) -> int:
        task = next(self.numbers)
        self.journal.table(task)
        self.tables[task] = Slots()
        return task

    @rule(task=tasks, fd=FDS, close_on_exec=FLAGS, writable=FLAGS)
    def open(self, task: int, fd: int, close_on_exec: bool, writable: bool) -> None:
        handle = next(self.handles)
        opened = Open(7, handle, 5 * handle, writable=writable)
        self.journal.open(task, fd, opened, close_on_exec)
        assert opened.position is None
        slots = self.tables[task]
        slots.opens[fd], slots.changed[fd] = handle, self.now
        (slots.marked.add if close_on_exec else slots.marked.discard)(fd)
        self.written += [handle] * writable

    @rule(task=tasks, fd=FDS)
    def close(self, task: int, fd: int) -> None:
        self.journal.close(task, fd)
        self.closed(task, fd)

    def closed(self, task: int, fd: int) -> None:
        slots = self.tables[task]
        slots.opens.pop(fd, None)
        slots.marked.discard(fd)
        slots.changed[fd] = self.now

    @rule(task=tasks, old=FDS, new=FDS)
    def dup(self, task: int, old: int, new: int) -> None:
        self.journal.dup(task, old, new)
        slots = self.tables[task]
        if old not in slots.opens:
            self.closed(task, new)
        elif old != new:
            slots.opens[new], slots.changed[new] = slots.opens[old], self.now
            slots.marked.discard(new)

    @rule(target=tasks, parent=tasks)
    def fork(self, parent: int) -> int:
        child = next(self.numbers)
        self.journal.fork(parent, child)
        self.tables[child] = self.tables[parent].copy()
        return child

    @rule(target=tasks, parent=tasks)
    def share(self, parent: int) -> int:
        child = next(self.numbers)
        self.journal.share(parent, child)
        self.tables[child] = self.tables[parent]
        return child

    @rule(task=tasks)
    def unshare(self, task: int) -> None:
        self.journal.unshare(task)
        self.tables[task] = self.tables[task].copy()

    @rule(task=tasks)
    def exec(self, task: int) -> None:
        self.journal.exec(task)
        before = self.tables[task]
        self.tables[task] = Slots({fd: one for fd, one in before.opens.items() if fd not in before.marked})

    @rule(task=consumes(tasks))
    def exit(self, task: int) -> None:
        self.journal.exit(task)
        del self.tables[task]

    @rule(target=tasks, task=consumes(tasks))
    def rename(self, task: int) -> int:
        new = next(self.numbers)
        self.journal.rename(task, new)
        self.tables[new] = self.tables.pop(task)
        return new

    @rule(task=tasks, fd=FDS, at_close=FLAGS)
    def late(self, task: int, fd: int, at_close: bool) -> None:
        """A descriptor is met that came unseen: it has meant this since it last changed."""
        slots = self.tables[task]
        if fd in slots.opens:
            return
        handle = next(self.handles)
        self.unseen.add(handle)
        for time, moment in self.moments:
            for noted, opens in moment.values():
                if noted is slots and time >= slots.changed.get(fd, 0):
                    opens[fd] = handle
        if at_close:
            self.journal.late(task, fd, Open(7, handle, None))
            self.close(task, fd)
        else:  # as a call that finds its descriptor unknown
            assert self.journal.get(task, fd) is None
            self.journal.open(task, fd, Open(7, handle, 5 * handle))
            slots.opens[fd], slots.changed[fd] = handle, self.now
            slots.marked.discard(fd)

    def teardown(self) -> None:
        history = self.journal.history()
        for time, moment in self.moments:
            for task, (_, opens) in moment.items():
                for fd in range(6):
                    assert means(history, task, fd, time + 9) == opens.get(fd, -1)
        for handle in range(len(history.position)):
            assert history.position[handle] == (UNKNOWN if handle in self.unseen else 5 * handle)
            assert history.file[handle] == 7
        assert self.told == bool(self.written)
        for times in (history.task_time, history.slot_time, history.state_time):
            assert (np.diff(times) >= 0).all()


TestJournal = JournalMachine.TestCase
TestJournal.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_nothing_written() -> None:
    history = Journal().history()
    assert all(len(column) == 0 for column in vars(history).values())


def test_flags_count_from_when_they_were_set() -> None:
    ticks = count(10, 10)
    journal = Journal(lambda: next(ticks))
    opened = Open(0, 0, 0, append=True)
    journal.open(1, 3, opened)
    journal.set_flags(opened, False, True)
    history = journal.history()
    assert history.state_append.tolist() == [1, 0]
    assert history.state_direct.tolist() == [0, 1]
    assert history.state_time[0] < history.state_time[1]


def test_an_open_after_an_unknown_was_closed_is_no_late_one() -> None:
    now = 0
    journal = Journal(lambda: now)
    journal.table(1)
    now = 10
    journal.dup(1, 0, 0)  # of a descriptor that came unseen, and is nothing that is known from here on
    now = 20
    journal.open(1, 0, Open(7, 0, 0))
    assert means(journal.history(), 1, 0, 15) == -1
    assert means(journal.history(), 1, 0, 25) == 0
