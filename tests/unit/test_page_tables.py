"""Mapped reads from page tables: where what lies, what is there, and when it is looked at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.calls import MAP_FIXED
from profiler.capture.calls.call import Call
from profiler.capture.calls.descriptors import Open
from profiler.capture.calls.event_log import Recorder
from profiler.capture.mapped import pagemap, spaces
from profiler.capture.mapped.layout import Layout, Part
from profiler.capture.mapped.pagemap import PAGE
from profiler.capture.mapped.spaces import FAULT_AROUND, Spaces, pieces
from profiler.machine import procfs
from profiler.trace import FileFacts, Meta, Trace

# ---- where what lies --------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 60), st.integers(1, 20), st.integers(0, 9)), max_size=30
)


@given(STEPS)
def test_a_layout_is_what_was_mapped_last(steps: list[tuple[bool, int, int, int]]) -> None:
    layout, model = Layout(), dict[int, tuple[int, int]]()  # page -> file, page of it
    for number, (put, start, count, offset) in enumerate(steps):
        if put:
            layout.put(Part(start * PAGE, (start + count) * PAGE, offset * PAGE, number, 0, number))
        else:
            layout.remove(start * PAGE, (start + count) * PAGE)
        for page in range(start, start + count):
            model.pop(page, None)
            if put:
                model[page] = number, offset + page - start
    for page in range(90):
        part = layout.at(page * PAGE + 17)
        found = None if part is None else (part.file, (part.offset + page * PAGE - part.start) // PAGE)
        assert found == model.get(page)
    parts = layout.overlapping(5 * PAGE, 50 * PAGE)
    assert all(one.end <= other.start for one, other in pairwise(parts))
    shown = {page for one in parts for page in range(one.start // PAGE, one.end // PAGE)}
    assert shown == {page for page in model if 5 <= page < 50}
    child = layout.copy(99)
    child.remove(0, 90 * PAGE)
    assert child.at(5 * PAGE) is None
    assert child.since_ns == 99
    assert {page for page in range(90) if layout.at(page * PAGE)} == set(model)


RUNS = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 50)), max_size=8)


def stretches(runs: Sequence[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    """[start, end) in pages: gaps of so many more than is said, and lengths."""
    found, at = [], 0
    for before, length in runs:
        at += before + gap
        found.append((at, at + length))
        at += length
    return found


@given(RUNS, RUNS)
def test_pieces_are_what_stretches_and_parts_share_cut_where_no_fault_reaches(
    runs: list[tuple[int, int]], parts: list[tuple[int, int]]
) -> None:
    found = [(low * PAGE, high * PAGE) for low, high in stretches(runs, 1)]
    mapped = [Part(low * PAGE, high * PAGE, 0, n, 0, 0) for n, (low, high) in enumerate(stretches(parts, 0))]
    made = list(pieces(found, mapped))
    pages = [(one.file, page) for one, low, high in made for page in range(low, high, PAGE)]
    wanted = [
        (one.file, page)
        for low, high in found
        for page in range(low, high, PAGE)
        for one in mapped
        if one.start <= page < one.end
    ]
    assert pages == wanted
    assert all(low // FAULT_AROUND == (high - 1) // FAULT_AROUND for _, low, high in made)


def test_huge_pages_are_said(machine: Machine) -> None:
    machine.map(1, 0, 10, 0, 5)
    machine.there[1] = {1}
    machine.spaces.ending(1, 9)
    machine.spaces.settle()
    assert machine.recorder.notes[0].startswith("7 B of mapped files lay in memory as huge pages")


# ---- when it is looked at ---------------------------------------------------------------------------------

FILE, BASE = 0, 1 << 30


class Machine:
    """Made page tables: by task, page numbers from BASE on; and what is mapped there, by task."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.recorder = Recorder()
        self.recorder.file("a", FileFacts(b"/a", "8:1", 5, kind="regular"))
        self.spaces = Spaces(self.recorder)
        self.there: dict[int, set[int]] = {}
        self.lines: dict[int, list[procfs.Line]] = {}
        monkeypatch.setattr(pagemap, "present", self._present)
        monkeypatch.setattr(procfs, "maps", lambda task: self.lines.get(task))

    def _present(self, task: int, ranges: list[tuple[int, int]], *, copies: bool = True) -> pagemap.Present:
        if task not in self.there:
            raise PermissionError
        pages = sorted(self.there[task])
        found = [(BASE + page * PAGE, BASE + (page + 1) * PAGE) for page in pages]
        return pagemap.Present([one for one in found for low, high in ranges if low <= one[0] < high], 7)

    def map(self, task: int, page: int, count: int, offset: int, now: int, fixed: bool = False) -> None:
        flags = MAP_FIXED if fixed else 0
        call = Call(now, 1, task, task, "mmap", [BASE + page * PAGE, count * PAGE, 1, flags, 3, offset], 0)
        self.spaces.leaves(call)
        self.spaces.mapped(call, BASE + page * PAGE, Open(FILE, 4))
        start = BASE + page * PAGE
        line = procfs.Line(start, start + count * PAGE, offset, False, b"08:01", b"5", b"/a")
        self.lines.setdefault(task, []).append(line)
        self.lines[task].sort()

    def unmap(self, task: int, page: int, count: int, now: int) -> None:
        self.spaces.leaves(Call(now, 0, task, task, "munmap", [BASE + page * PAGE, count * PAGE], 0))

    def found(self) -> list[tuple[int, int, int, int, int]]:
        """Task, from, until, first page, pages."""
        self.spaces.settle()
        made: Trace = self.recorder.trace(Meta())
        rows = made.events[["tid", "time_ns", "duration_ns", "offset", "size"]].values.tolist()
        return [(tid, at, at + took, offset // PAGE, size // PAGE) for tid, at, took, offset, size in rows]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(monkeypatch)
    made.spaces.executed(1, [], [], 0)
    return made


def test_a_process_is_looked_at_as_it_ends(machine: Machine) -> None:
    machine.map(1, 0, 100, 10 * PAGE, 5)
    machine.there[1] = {3, 4, 40}
    machine.spaces.ending(1, 90)
    machine.spaces.gone(1)
    assert machine.found() == [(1, 6, 90, 13, 1), (1, 6, 90, 14, 1), (1, 6, 90, 50, 1)]
    assert not machine.spaces.missed


def test_what_is_unmapped_is_looked_at_before(machine: Machine) -> None:
    machine.map(1, 0, 100, 0, 5)
    machine.there[1] = {3, 40}
    machine.unmap(1, 0, 20, 50)
    machine.lines[1] = []
    machine.there[1] = set()
    machine.spaces.ending(1, 90)
    assert machine.found() == [(1, 6, 50, 3, 1)]


def test_mapping_over_it_unmaps_it(machine: Machine) -> None:
    machine.map(1, 0, 100, 0, 5)
    machine.there[1] = {3}
    machine.map(1, 0, 10, 200 * PAGE, 50, fixed=True)
    machine.there[1] = {4}
    machine.lines[1] = machine.lines[1][:1]
    machine.spaces.ending(1, 90)
    assert machine.found() == [(1, 6, 50, 3, 1), (1, 51, 90, 204, 1)]


def test_the_last_thread_counts_and_each_fork_for_itself(machine: Machine) -> None:
    machine.map(1, 0, 10, 0, 5)
    machine.spaces.began(2, 1, 1, True, 20)  # a thread
    machine.spaces.began(3, 3, 1, False, 30)  # a child
    machine.lines[3], machine.lines[2] = machine.lines[1], machine.lines[1]
    machine.there = {2: {1}, 3: {2}}
    machine.spaces.ending(1, 40)
    machine.spaces.gone(1)
    machine.spaces.ending(2, 50)
    machine.spaces.ending(3, 60)
    assert machine.found() == [(2, 6, 50, 1, 1), (3, 30, 60, 2, 1)]
    assert not machine.spaces.missed


def test_exec_after_vfork_leaves_the_parent_s_memory_alone(machine: Machine) -> None:
    machine.map(1, 0, 10, 0, 5)
    machine.spaces.began(2, 2, 1, True, 20)  # vfork
    machine.lines[2] = machine.lines[1]
    machine.there = {1: {1}, 2: {1}}
    machine.spaces.executes(2, 30)
    machine.spaces.executed(2, [], [], 31)
    machine.spaces.executes(1, 40)
    machine.spaces.executed(1, [], [], 41)
    assert machine.found() == [(1, 6, 40, 1, 1)]
    assert not machine.spaces.missed


def test_whoever_is_killed_is_missed(machine: Machine) -> None:
    machine.map(1, 0, 10, 0, 5)
    machine.spaces.gone(1)
    assert machine.spaces.missed == 1
    machine.spaces.settle()
    assert "1 address space could not be looked at" in machine.recorder.notes[0]


def test_what_is_not_shown_is_missed(machine: Machine) -> None:
    machine.map(1, 0, 10, 0, 5)
    machine.spaces.ending(1, 9)  # no page tables
    machine.spaces.gone(1)
    assert machine.spaces.missed == 1


def test_what_goes_on_is_looked_at_when_the_run_is_over(machine: Machine) -> None:
    machine.map(1, 0, 10, 0, 5)
    machine.there[1] = {1}
    machine.spaces.stop(70, here=False)
    machine.there[1] = {1, 2}
    machine.spaces.ending(1, 90)
    machine.spaces.gone(1)
    assert machine.found() == [(1, 6, 70, 1, 1)]
    assert not machine.spaces.missed


def test_no_more_events_than_a_run_may_have(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spaces, "MOST_EVENTS", 2)
    machine.map(1, 0, 100, 0, 5)
    machine.there[1] = {1, 3, 5}
    machine.unmap(1, 0, 50, 50)
    machine.spaces.ending(1, 90)
    assert len(machine.found()) == 3
    assert machine.spaces.missed == 1


def test_a_mapping_that_was_not_seen_is_found_by_its_name(machine: Machine, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "there")
    (tmp_path / "there").write_bytes(b"x")
    line = procfs.Line(BASE, BASE + 9 * PAGE, 0, False, b"0:0", b"1", path)
    machine.lines[1], machine.there[1] = [line], {2}
    machine.spaces.ending(1, 90)
    assert machine.found() == [(1, 0, 90, 2, 1)]
    assert machine.recorder.files[1].path == path
    machine.spaces.executed(2, [], [], 100)
    machine.lines[2] = [line._replace(path=b"/memfd:x (deleted)")]
    machine.there[2] = set()
    machine.spaces.ending(2, 110)
    assert not machine.spaces.missed
    machine.spaces.executed(3, [], [], 120)
    machine.lines[3], machine.there[3] = [line._replace(path=b"/gone (deleted)")], set()
    machine.spaces.ending(3, 130)
    assert machine.spaces.missed == 1
