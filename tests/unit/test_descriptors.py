"""The descriptor state machine against a reference that is simple, slow and obviously right."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule

from profiler.capture.calls.descriptors import Descriptors, Open

FDS = st.integers(0, 6) | st.sampled_from([15, 16, 17, 255, 256, 4096, 2**31 - 1, 2**32 - 1])
FLAGS = st.booleans()


class Reference:
    """What the manual pages say, word for word: processes, each with its slots; nothing clever."""

    def __init__(self) -> None:
        self.descriptions: list[dict[str, int]] = []  # one an open: position
        self.tables: list[dict[int, tuple[int, bool]]] = []  # fd -> (description, close-on-exec)
        self.table_of: dict[int, int] = {}  # task -> its table

    def slots(self, task: int) -> dict[int, tuple[int, bool]]:
        return self.tables[self.table_of[task]]

    def new_table(self, slots: dict[int, tuple[int, bool]]) -> int:
        self.tables.append(dict(slots))
        return len(self.tables) - 1


class DescriptorMachine(RuleBasedStateMachine):
    tasks = Bundle("tasks")

    def __init__(self) -> None:
        super().__init__()
        self.real = Descriptors()
        self.model = Reference()
        self.next_task = 100

    def check(self, task: int) -> None:
        expected = {fd: number for fd, (number, _) in self.model.slots(task).items()}
        found = self.real.table(task).opens
        assert {fd: opened.handle for fd, opened in found.items()} == expected
        for fd, number in expected.items():
            opened = self.real.get(task, fd)
            assert opened is not None
            assert opened.position == self.model.descriptions[number]["position"]

    def make_task(self) -> int:
        self.next_task += 1
        return self.next_task

    @initialize(target=tasks)
    def begin(self) -> int:
        return self.first()

    def first(self) -> int:
        task = self.make_task()
        self.real.table(task)
        self.model.table_of[task] = self.model.new_table({})
        return task

    @rule(target=tasks)
    def another(self) -> int:
        return self.first()

    @rule(task=tasks, fd=FDS, close_on_exec=FLAGS)
    def open(self, task: int, fd: int, close_on_exec: bool) -> None:
        self.model.descriptions.append({"position": 0})
        number = len(self.model.descriptions) - 1
        self.model.slots(task)[fd] = (number, close_on_exec)
        self.real.open(task, fd, Open(file=0, handle=number), close_on_exec)
        self.check(task)

    @rule(task=tasks, fd=FDS)
    def close(self, task: int, fd: int) -> None:
        self.model.slots(task).pop(fd, None)
        self.real.close(task, fd)
        self.check(task)

    @rule(task=tasks, first=FDS, length=st.integers(0, 2**32))
    def close_range(self, task: int, first: int, length: int) -> None:
        slots = self.model.slots(task)
        for fd in list(slots):
            if first <= fd <= first + length:
                del slots[fd]
        self.real.close_range(task, first, first + length)
        self.check(task)

    @rule(task=tasks, old=FDS, new=FDS, close_on_exec=FLAGS)
    def dup(self, task: int, old: int, new: int, close_on_exec: bool) -> None:
        slots = self.model.slots(task)
        if old not in slots:
            slots.pop(new, None)  # what it names now is not known
        elif old != new:
            slots[new] = (slots[old][0], close_on_exec)
        self.real.dup(task, old, new, close_on_exec)
        self.check(task)

    @rule(task=tasks, fd=FDS, on=FLAGS)
    def mark(self, task: int, fd: int, on: bool) -> None:
        slots = self.model.slots(task)
        if fd in slots:
            slots[fd] = (slots[fd][0], on)
            self.real.set_close_on_exec(task, fd, on)

    @rule(task=tasks, first=FDS, last=FDS)
    def mark_range(self, task: int, first: int, last: int) -> None:
        slots = self.model.slots(task)
        for fd in slots:
            if first <= fd <= last:
                slots[fd] = (slots[fd][0], True)
        self.real.set_close_on_exec_range(task, first, last)

    @rule(task=tasks, fd=FDS, size=st.integers(0, 10_000))
    def read(self, task: int, fd: int, size: int) -> None:
        opened = self.real.get(task, fd)
        slot = self.model.slots(task).get(fd)
        assert (opened is None) == (slot is None)
        if opened is not None and slot is not None:
            description = self.model.descriptions[slot[0]]
            assert opened.advance(size) == description["position"]
            description["position"] += size
            self.check(task)

    @rule(target=tasks, parent=tasks)
    def fork(self, parent: int) -> int:
        child = self.make_task()
        self.model.table_of[child] = self.model.new_table(self.model.slots(parent))
        self.real.fork(parent, child)
        self.check(child)
        return child

    @rule(target=tasks, parent=tasks)
    def thread(self, parent: int) -> int:
        child = self.make_task()
        self.model.table_of[child] = self.model.table_of[parent]
        self.real.share(parent, child)
        self.check(child)
        return child

    @rule(task=tasks)
    def unshare(self, task: int) -> None:
        self.model.table_of[task] = self.model.new_table(self.model.slots(task))
        self.real.unshare(task)
        self.check(task)

    @rule(task=tasks)
    def exec(self, task: int) -> None:
        kept = {fd: slot for fd, slot in self.model.slots(task).items() if not slot[1]}
        self.model.table_of[task] = self.model.new_table(kept)
        self.real.exec(task)
        self.check(task)

    @rule(task=consumes(tasks))
    def exit(self, task: int) -> None:
        del self.model.table_of[task]
        self.real.exit(task)
        assert task not in self.real

    @rule(task=tasks)
    def look(self, task: int) -> None:
        self.check(task)


TestDescriptors = DescriptorMachine.TestCase
TestDescriptors.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("closing", [False, True])
def test_many_forks_of_many_descriptors_copy_next_to_nothing(closing: bool) -> None:
    """Each child of the one before, with a change of its own; once each runs another program as well."""
    count = 3000
    descriptors, opened = Descriptors(), Open(file=0, handle=0)
    for descriptor in range(count):
        descriptors.open(0, descriptor, opened, closing)
    tracemalloc.start()
    for task in range(1, count):
        descriptors.fork(task - 1, task)
        if closing:
            descriptors.exec(task - 1)
        descriptors.close(task, task)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50e6  # a copy for each took half a GB
    assert list(descriptors.table(count - 1).opens) == [0]
    assert len(list(descriptors.table(7).opens)) == (0 if closing else count - 7)


def test_a_range_is_closed_and_marked_without_looking_at_each() -> None:
    """Ten thousand children, each of which marks all that it has, and runs another program or closes all."""
    descriptors, opened = Descriptors(), Open(file=0, handle=0)
    for descriptor in range(20_000):
        descriptors.open(0, descriptor, opened)
    for task in range(1, 10_000):
        descriptors.fork(0, task)
        descriptors.set_close_on_exec_range(task, 3, 2**32 - 1)
        if task % 2:
            descriptors.exec(task)
        else:
            descriptors.close_range(task, 3, 2**32 - 1)
        assert list(descriptors.table(task).opens) == [0, 1, 2]


def test_descriptors_are_what_the_kernel_makes_of_a_register() -> None:
    descriptors, opened = Descriptors(), Open(file=0, handle=0)
    descriptors.open(1, -1, opened)
    descriptors.open(1, 2**40 + 3, opened)
    assert list(descriptors.table(1).opens.items()) == [(3, opened), (2**32 - 1, opened)]
    descriptors.close(1, 2**32 - 1)
    assert list(descriptors.table(1).opens) == [3]


def test_an_unknown_position_stays_unknown_until_it_is_set() -> None:
    opened = Open(file=0, handle=0, position=None)
    assert opened.advance(10) is None
    assert opened.advance(10) is None
    opened.position = 5
    assert opened.advance(10) == 5
    assert opened.position == 15
