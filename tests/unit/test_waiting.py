"""When requests are issued and how long the program waits for them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import GIB, trace

from profiler.analysis.simulation.waiting import NEVER, SLICE_S, Slices, clock, overlapping, waits
from profiler.trace import Trace

Rows = list[tuple[float, float, float, float]]


def run(*rows: tuple[float, float, float, float], chains: int = 1, group: bool = False) -> list[float]:
    """The waits of requests (issued, needed, latency, occupied)."""
    issued, needed, latency, occupied = np.array(rows, np.float64).reshape(-1, 4).T
    numbers = np.zeros(len(rows), np.int64) if group else np.arange(len(rows)) // chains
    return list(waits(issued, needed, numbers, np.arange(len(rows)) % chains, latency, occupied))


def test_reads_that_are_waited_for() -> None:
    assert run((0, 0, 2, 2), (1, 1, 3, 3)) == [2, 3]
    assert run() == []


def test_a_busy_device_lets_the_next_one_wait() -> None:
    assert run((0, 0, 1, 5), (1, 1, 1, 1)) == [1, 4]  # at 1 + 1 it is asked, at 5 it is free


def test_what_is_read_ahead_is_waited_for_only_as_far_as_it_is_late() -> None:
    later = (10, 10, 1, 1)
    assert run((0, 5, 3, 3), later) == [0, 1]  # there in time
    assert run((0, 5, 7, 7), later) == [2, 1]  # two seconds late
    assert run((0, np.inf, 7, 7), later) == [0, 1]  # nobody wants it
    assert run((0, np.inf, 20, 20), (1, 1, 1, 1)) == [0, 20]  # and still it is in the way


def test_requests_made_together_are_waited_for_together() -> None:
    rows = [(0, 0, 4, 1)] * 3
    assert run(*rows, group=True) == [4, 1, 1]
    assert run(*rows) == [4, 4, 4]


def test_two_programs_share_the_device() -> None:
    rows = [(0, 0, 1, 1)] * 6
    got = run(*rows, chains=2)
    assert sum(got[0::2]) == 5 and sum(got[1::2]) == 6


def test_a_control_group_gives_leave_in_slices() -> None:
    held = Slices(20)  # two in a tenth of a second
    assert [held.passed(at) for at in (0.0, 0.01, 0.02)] == pytest.approx([0, 0.01, 0.1])
    assert held.passed(0.15) == pytest.approx(0.15)
    assert held.passed(0.15) == pytest.approx(0.2)
    assert held.passed(7.77) == pytest.approx(7.77)  # what was left over is lost, and a slice begins here
    assert [held.passed(7.78), held.passed(7.78)] == pytest.approx([7.78, 7.87])


def test_a_start_is_told_in_slices() -> None:
    # some 450 bios, as git --version makes: measured 3.69, 1.09 and 0.29 s at 120, 400 and 1,200 a second
    zeros, rows = np.zeros(450), np.arange(450)
    takes = np.full(450, 1e-5)
    for per_second, seconds in ((120, 3.7), (400, 1.1), (1200, 0.3)):
        waited = waits(zeros, zeros, rows, np.zeros(450, np.int64), takes, takes, None, Slices(per_second))
        assert waited.sum() == pytest.approx(seconds, abs=0.005)


@given(st.floats(1, 1e6), st.lists(st.floats(0, 1), min_size=1, max_size=200))
def test_no_slice_lets_more_pass_than_fall_to_it(per_second: float, steps: list[float]) -> None:
    held = Slices(per_second)
    passed = []
    for step in steps:  # each asked for after the one before it has passed
        passed.append(held.passed((passed[-1] if passed else 0.0) + step))
    assert passed == sorted(passed)
    allowed, length = max(int(per_second * SLICE_S), 1), max(SLICE_S, 1 / per_second)
    # a slice's own, and the next one's: never more within a slice's time
    within = np.searchsorted(passed, np.array(passed) + length * 0.999)
    assert (within - np.arange(len(passed)) <= 2 * allowed).all()


@given(st.lists(st.tuples(*[st.floats(0, 9)] * 3, st.sampled_from([0.0, 1.0, np.inf])), max_size=30))
def test_waits_are_never_negative_nor_more_than_the_device_took(rows: Rows) -> None:
    issued = np.cumsum([row[0] for row in rows])
    latency, occupied = (np.array([row[k] for row in rows]) for k in (1, 2))
    needed = issued + np.array([row[3] for row in rows])
    number = np.arange(len(rows))
    got = waits(issued, needed, number, number * 0, latency, occupied)
    assert (got >= 0).all()
    assert got.sum() <= latency.sum() + occupied.sum() + 1e-6
    at_once = waits(issued, issued, number, number * 0, latency, occupied)
    if len(rows):
        # the fast path for reads that are all waited for says what the general one does
        one_more = [np.append(column, last) for column, last in (
            (issued, issued[-1] + 1), (issued, np.inf), (number, len(rows)), (latency, 0.0), (occupied, 0.0)
        )]  # fmt: skip
        general = waits(*one_more[:3], np.zeros(len(rows) + 1, np.int64), *one_more[3:])
        assert general[:-1] == pytest.approx(at_once, abs=1e-9)


@given(
    st.lists(
        st.tuples(*[st.floats(0, 9)] * 3, st.sampled_from([0.0, 0.5, 3.0, np.inf]), st.booleans()),
        max_size=60,
    )
)
def test_one_program_waits_as_the_first_of_several_does(
    rows: list[tuple[float, float, float, float, bool]],
) -> None:
    issued = np.cumsum([row[0] for row in rows])
    latency, occupied = (np.array([row[k] for row in rows]) for k in (1, 2))
    needed = issued + np.array([row[3] for row in rows])
    group = np.cumsum([row[4] for row in rows]).astype(np.int64)
    columns = issued, needed, group, group * 0, latency, occupied
    if len(rows) and (needed > issued).any():
        assert waits(*columns).tolist() == waits(*columns, np.arange(len(rows))).tolist()


def in_groups(start: list[int], end: list[int], task: list[int]) -> list[int]:
    """`overlapping`, as it is told, read by read."""
    groups, group, until, tasks = [], -1, -1, set[int]()
    for begin, stop, who in zip(start, end, task, strict=True):
        if begin >= until or who in tasks:
            group, until, tasks = group + 1, stop, set()
        tasks.add(who)
        groups.append(group)
    return groups


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 12), st.integers(1, 3)), min_size=1, max_size=60)
)
def test_groups_are_those_of_a_look_at_each_read(rows: list[tuple[int, int, int]]) -> None:
    start = np.cumsum([row[0] for row in rows])
    made = trace([(0, 0, 4096)] * len(rows))
    duration, tid = (np.array([row[k] for row in rows]) for k in (1, 2))
    events = made.events.assign(time_ns=start, duration_ns=duration, tid=tid.astype(np.int32)).astype(
        {"duration_ns": "Int64"}
    )
    got = overlapping(dataclasses.replace(made, events=events).reads())
    assert got.tolist() == in_groups(start.tolist(), (start + duration).tolist(), tid.tolist())


def test_rounding_makes_no_wait_negative() -> None:
    rows = [(1.085653585266408, 0.0, 1.8507339967819307), (0.0, 0.0, 0.0), (2.0, 0.0, 0.0)]
    issued = np.cumsum([row[0] for row in rows])
    latency, occupied = (np.array([row[k] for row in rows]) for k in (1, 2))
    assert (waits(issued, issued, np.arange(3), np.zeros(3, np.int64), latency, occupied) >= 0).all()


def test_the_clock_stands_still_during_reads() -> None:
    made = trace([(0, 0, 4096), (0, GIB, 4096)], step_ns=1000, duration_ns=400, wall_s=2e-6)
    program = clock(made, made.reads())
    times = np.array([0, 200, 400, 1000, 1400, 2000, NEVER])
    assert program(times) * 1e9 == pytest.approx([0, 0, 0, 600, 600, 1200, np.inf])


def test_a_warm_run_takes_the_tracer_out_of_the_clock() -> None:
    warm = {"warm": [{"wall_s": 6e-7}]}
    made = trace([(0, 0, 4096)], duration_ns=400, wall_s=1.6e-6, measured=warm)
    assert clock(made, made.reads())(np.array([1600])) * 1e9 == pytest.approx([600])
    slow = trace([(0, 0, 4096)], duration_ns=400, wall_s=1.6e-6, measured={"warm": [{"wall_s": 9.0}]})
    assert clock(slow, slow.reads())(np.array([1600])) * 1e9 == pytest.approx([1200])


def test_a_clock_without_reads_or_times() -> None:
    nothing = trace()
    assert clock(nothing, nothing.reads())(np.array([0, 5])).tolist() == [0, 0]


def threads(made: Trace, *tids: int) -> Trace:
    return dataclasses.replace(made, events=made.events.assign(tid=np.array(tids, np.int32)))


def test_overlapping_reads_of_several_tasks_are_one_group() -> None:
    rows = [(0, number * GIB, 4096) for number in range(4)]
    made = trace(rows, step_ns=10, duration_ns=25)  # 0-25, 10-35, 20-45, 30-55
    assert overlapping(threads(made, 1, 2, 3, 4).reads()).tolist() == [0, 0, 0, 1]
    assert overlapping(threads(made, 1, 2, 1, 2).reads()).tolist() == [0, 0, 1, 1]
    assert overlapping(trace(rows).reads()).tolist() == [0, 1, 2, 3]
    assert overlapping(trace(rows, step_ns=0, duration_ns=0).reads()).tolist() == [0, 1, 2, 3]
    several = trace(rows, step_ns=10, duration_ns=25, op="aio_pread")
    assert overlapping(several.reads()).tolist() == [0, 0, 0, 1]
