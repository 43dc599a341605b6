"""Descriptors rebuilt from the kernel's events mean what they meant: against a machine that is made up."""

from __future__ import annotations

import ctypes
import os
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.capture.calls.event_log import UNKNOWN, Recorder
from profiler.capture.calls.flags import CLONE_FILES, CLONE_THREAD
from profiler.capture.kernel import syscalls
from profiler.capture.kernel.buffer.pages import LAST_NS
from profiler.capture.watch import control
from profiler.capture.watch.looks import Look, Looks, Task
from profiler.capture.watch.replay import Replay

READ = syscalls.NAMES.index("read")


@dataclass
class Machine:
    """Tasks with descriptor tables (task -> descriptor -> open, close-on-exec), the events of what they do,
    and what each read was of."""

    tables: dict[int, dict[int, tuple[int, bool]]] = field(default_factory=lambda: {100: {}})
    processes: dict[int, int] = field(default_factory=lambda: {100: 100})
    events: dict[str, list[tuple[int, int, dict[str, Any]]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    reads: list[tuple[int, int, int, int]] = field(default_factory=list)  # time, task, descriptor, open
    now: int = 1_000
    opens: int = 0

    def tell(self, event: str, task: int, **fields: Any) -> None:
        self.now += 10
        self.events[event].append((self.now, task, fields))

    def call(self, name: str, task: int, result: int, **arguments: int) -> None:
        self.tell(f"sys_enter_{name}", task, **arguments)
        self.tell(f"sys_exit_{name}", task, ret=result)

    def free(self, task: int) -> int:
        return next(number for number in range(1_000) if number not in self.tables[task])

    def open(self, task: int, cloexec: bool) -> None:
        descriptor, self.opens = self.free(task), self.opens + 1
        flags = os.O_CLOEXEC if cloexec else 0
        self.call("openat", task, descriptor, dfd=-100 & 0xFFFFFFFF, filename=0, flags=flags, mode=0)
        self.tables[task][descriptor] = self.opens, cloexec

    def close(self, task: int, descriptor: int) -> None:
        self.tell("sys_enter_close", task, fd=descriptor)
        self.tables[task].pop(descriptor, None)

    def dup2(self, task: int, old: int, new: int) -> None:
        if old in self.tables[task]:
            self.call("dup2", task, new, oldfd=old, newfd=new)
            if old != new:
                self.tables[task][new] = self.tables[task][old][0], False
        else:
            self.call("dup2", task, -9, oldfd=old, newfd=new)

    def socket(self, task: int) -> None:
        descriptor = self.free(task)
        self.tell("sys_exit_socket", task, ret=descriptor)
        self.tables[task][descriptor] = 0, False

    def make(self, task: int, flags: int) -> None:
        child = max(self.tables) + 1
        self.tell(control.NEW, task, pid=child, comm=b"child", clone_flags=flags)
        shared = self.tables[task]
        self.tables[child] = shared if flags & CLONE_FILES else dict(shared)
        self.processes[child] = self.processes[task] if flags & CLONE_THREAD else child

    def execute(self, task: int) -> None:
        if list(self.processes.values()).count(self.processes[task]) > 1:
            return  # ends other threads: their tables are gone
        self.tell(control.EXECUTED, task, pid=task, old_pid=task, filename=b"/bin/other")
        self.tables[task] = {number: one for number, one in self.tables[task].items() if not one[1]}

    def read(self, task: int, descriptor: int) -> None:
        self.now += 10
        self.reads.append((self.now, task, descriptor, self.tables[task].get(descriptor, (0, False))[0]))

    def decoded(self) -> dict[str, dict[str, np.ndarray]]:
        tables = {}
        for event, rows in self.events.items():
            names = control.EVENTS[event]
            tables[event] = {
                "time_ns": np.array([row[0] for row in rows], np.int64),
                "tid": np.array([row[1] for row in rows], np.int32),
                **{name: np.array([row[2][name] for row in rows]) for name in names},
            }
        return tables

    def calls(self) -> syscalls.Pairs:
        time, task, descriptor, _ = (np.array(column, np.int64) for column in zip(*self.reads, strict=True))
        count = len(time)
        return syscalls.Pairs(
            time, np.ones(count, np.int64), task, np.full(count, READ), descriptor, np.full(count, 10),
            np.full(count, UNKNOWN), np.full(count, 10), 0,
        )  # fmt: skip


small = st.integers(0, 5)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("open"), small, st.booleans()),
        st.tuples(st.just("close"), small, small),
        st.tuples(st.just("dup2"), small, small, small),
        st.tuples(st.just("socket"), small),
        st.tuples(st.just("make"), small, st.sampled_from([0, CLONE_FILES, CLONE_FILES | CLONE_THREAD])),
        st.tuples(st.just("execute"), small),
        st.tuples(st.just("read"), small, small),
    ),
    max_size=60,
)


def replayed(machine: Machine, cut: int = LAST_NS) -> Replay:
    looks = Looks(Recorder())
    looks.tasks.append(Task(1, 100, 100, True))
    replay = Replay()
    tables = machine.decoded()
    for low, high in ((0, cut), (cut, LAST_NS)) if cut < LAST_NS else ((0, LAST_NS),):
        part = {}
        for event, table in tables.items():
            wanted = (table["time_ns"] >= low) & (table["time_ns"] < high)
            part[event] = {name: column[wanted] for name, column in table.items()}
        replay.feed(part, looks, high)
    return replay


@given(steps, st.integers(1_000, 2_000))
def test_each_read_is_of_the_open_that_its_descriptor_meant(plan: list[tuple[Any, ...]], cut: int) -> None:
    machine = Machine()
    for name, who, *rest in plan:
        task = sorted(machine.tables)[who % len(machine.tables)]
        getattr(machine, name)(task, *rest)
    machine.read(100, 0)
    replay = replayed(machine, cut)
    history = replay.history()
    handles = syscalls.handles(machine.calls(), history)
    meant: dict[int, int] = {}
    for (_, _, _, opened), handle in zip(machine.reads, handles.tolist(), strict=True):
        if opened:
            assert handle >= 0
            assert meant.setdefault(handle, opened) == opened
        else:
            assert handle < 0 or not history.data[handle]
    assert len(set(meant.values())) == len(meant)


def test_who_belongs_is_handed_down() -> None:
    machine = Machine()
    machine.make(100, 0)
    machine.make(101, CLONE_FILES | CLONE_THREAD)
    replay = replayed(machine)
    assert [(task.tid, task.process, task.member) for task in replay.tasks] == [
        (100, 100, True), (101, 101, True), (102, 101, True),
    ]  # fmt: skip


def test_what_joins_a_group_belongs_from_then_on() -> None:
    machine = Machine()
    machine.tell(control.JOINED, 100, pid=100, dst_path=b"/system.slice/x.service")
    replay = Replay(holds=lambda path: path.endswith("x.service"))
    looks = Looks(Recorder())
    looks.tasks.append(Task(1, 100, 100, False))
    replay.feed(machine.decoded(), looks, LAST_NS)
    assert [(task.tid, task.member) for task in replay.tasks] == [(100, False), (100, True)]


def look(began: int, descriptor: int, file: int, position: int | None = None, same: int = -1) -> Look:
    return Look(began, began + 5, 100, descriptor, file, position, 0, same)


def test_a_look_names_what_was_open_before_and_what_was_opened_since() -> None:
    machine = Machine()
    machine.read(100, 3)
    machine.open(100, False)  # descriptor 0
    opened = machine.now
    machine.now = opened + 1_000
    machine.read(100, 0)
    looks = Looks(Recorder())
    looks.tasks.append(Task(1, 100, 100, True))
    looks.looks = [look(10, 3, 7, position=50), look(opened + 100, 0, 8)]
    looks.until = [opened + 90, opened + 90]
    looks.passes = [(5, 20, 1), (opened + 90, opened + 120, 2)]
    replay = Replay()
    replay.feed(machine.decoded(), looks, LAST_NS)
    history = replay.history()
    handles = syscalls.handles(machine.calls(), history)
    assert [replay.opened[handle].file for handle in handles.tolist()] == [7, 8]
    assert history.position[handles].tolist() == [50, 0]


def test_the_same_file_opened_anew_is_named_by_the_look_that_found_it_again() -> None:
    machine = Machine()
    machine.tables[100][3] = 9, False
    machine.close(100, 3)
    for _ in range(4):
        machine.open(100, False)
    machine.read(100, 3)
    looks = Looks(Recorder())
    looks.tasks.append(Task(1, 100, 100, True))
    looks.looks, looks.until = [look(10, 3, 7)], [machine.now + 50]
    looks.passes = [(5, 20, 1), (machine.now + 50, machine.now + 60, 1)]
    replay = Replay()
    replay.feed(machine.decoded(), looks, LAST_NS)
    handle = syscalls.handles(machine.calls(), replay.history())[-1]
    assert replay.opened[handle].file == 7


def test_a_ring_that_was_there_before_is_seen() -> None:
    """No event tells of it: its requests are not all seen, and that has to be said."""
    params = ctypes.create_string_buffer(120)  # struct io_uring_params (linux/io_uring.h)
    ring = ctypes.CDLL(None, use_errno=True).syscall(425, 1, params)
    if ring < 0:
        pytest.skip(f"this kernel allows no io_uring: {os.strerror(ctypes.get_errno())}")
    try:
        looks = Looks(Recorder())
        looks.take([os.getpid()])
        assert looks.has_uring == {os.getpid()}
    finally:
        os.close(ring)
