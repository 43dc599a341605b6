"""When tasks were off the processors: from tables of the scheduler's events made here."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.capture.kernel import syscalls
from profiler.capture.kernel.schedule.blocking import BLOCKING, EVENTS, NUMBERS
from profiler.capture.kernel.schedule.switches import REASONS, Switches
from profiler.trace import WAIT_REASONS

S, D, T, X = 1, 2, 8, 0x20
END = 1000


def tables(*events: tuple[Any, ...]) -> dict[str, dict[str, np.ndarray]]:
    """(time, "out", tid, state), (time, "in", tid), (time, "wake", tid[, flags]),
    (time, CALL, tid[, first]), (time, "-CALL", tid): the end of a call."""
    found: dict[str, dict[str, list[int]]] = {}
    for time, what, tid, *more in sorted(events, key=lambda event: event[0]):
        if what in ("out", "in"):
            row = {"tid": 0, "prev_pid": tid if what == "out" else 0, "prev_state": (*more, 0)[0],
                   "next_pid": tid if what == "in" else 0}  # fmt: skip
            name = "sched_switch"
        elif what == "wake":
            name, row = "sched_waking", {"tid": 0, "pid": tid, "common_flags": (*more, 0x10)[0]}
        elif what.startswith("-"):
            name, row = f"sys_exit_{what[1:]}", {"tid": tid}
        else:
            name, row = f"sys_enter_{what}", {"tid": tid}
            if BLOCKING[NUMBERS[what]].first:
                row[BLOCKING[NUMBERS[what]].first] = (*more, 7)[0]
        for column, value in {"time_ns": time, **row}.items():
            found.setdefault(name, {}).setdefault(column, []).append(value)
    return {name: {key: np.array(held) for key, held in table.items()} for name, table in found.items()}


def rows(*events: tuple[Any, ...]) -> list[tuple[int, int, int, str]]:
    switches = Switches([1, 2])
    switches.feed(tables(*events), END)
    return shown(switches)


def shown(switches: Switches) -> list[tuple[int, int, int, str]]:
    return [
        (int(row["tid"]), int(row["start_ns"]), int(row["duration_ns"]), REASONS[row["reason"]])
        for row in switches.rows()
    ]


def test_where_the_switch_back_was_not_seen_a_wait_ends_with_the_waking() -> None:
    began = (10, "in", 1), (20, "nanosleep", 1), (30, "out", 1, S)
    assert rows(*began, (50, "wake", 1), (60, "out", 1, D), (90, "in", 1), (95, "out", 1, X))[1:3] == [
        (1, 30, 20, "timer"), (1, 60, 30, "device")
    ]  # fmt: skip
    assert rows(*began, (60, "out", 1, D), (70, "wake", 1), (90, "in", 1))[1] == (1, 30, -1, "timer")


def test_a_task_that_sleeps_and_then_waits_for_a_processor() -> None:
    began = (10, "in", 1), (20, "nanosleep", 1), (30, "out", 1, S)
    assert rows(*began, (50, "wake", 1), (53, "in", 1), (90, "out", 1, X)) == [
        (1, 0, 10, "ended"), (1, 30, 20, "timer"), (1, 50, 3, "processor"), (1, 90, END - 90, "ended")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "state", "flags", "reason"),
    [
        ("read", D, 0, "device"), ("futex", D, 0, "device"), ("futex", S, 0, "lock"),
        ("wait4", S, 0, "child"),
        ("vfork", D, 0, "child"), ("-vfork", D, 0, "device"), ("recvfrom", S, 0x10, "socket"),
        ("recvfrom", S, 0x08, "timer"), ("poll", S, 0x10, ""), ("poll", S, 0x08, "timed"),
        ("read", S, 8, ""),
        ("-read", S, 0, "unknown"), ("io_uring_enter", S, 8, "ring"), ("read", T, 0, "tracer"),
        ("read", 0, 0, "processor"), ("read", 0x100, 0, "processor"), ("pause", S, 0, "signal"),
        ("pause", S, 8, "timer"), ("flock", S, 0, "lock"), ("accept", S, 0, "socket"),
    ],
)  # fmt: skip
def test_why(call: str, state: int, flags: int, reason: str) -> None:
    got = rows((10, "in", 1), (20, call, 1), (30, "out", 1, state), (50, "wake", 1, flags), (50, "in", 1))
    assert [row for row in got if row[1] == 30] == [(1, 30, 20, reason)]


def test_what_follows_a_stop_of_the_tracer_is_the_tracers_too() -> None:
    got = rows((10, "in", 1), (30, "out", 1, T), (50, "wake", 1), (55, "in", 1))
    assert got[1:] == [(1, 30, 20, "tracer"), (1, 50, 5, "tracer")]


def test_the_end_of_a_wait_that_was_lost_is_not_known() -> None:
    got = rows((10, "in", 1), (30, "out", 1, S), (70, "out", 1, S), (80, "in", 1))
    assert got[1:] == [(1, 30, -1, "unknown"), (1, 70, 10, "unknown")]


def test_a_wait_at_the_end_lasts_until_then() -> None:
    got = rows((10, "in", 1), (20, "futex", 1), (30, "out", 1, S))
    assert got[1:] == [(1, 30, END - 30, "lock")]


def test_others_are_left_out() -> None:
    assert rows((10, "in", 9), (20, "out", 9, S), (30, "wake", 9)) == []
    assert rows() == []


EVENT = st.one_of(
    st.tuples(st.integers(1, 40), st.just("out"), st.integers(1, 3), st.sampled_from([0, S, D, T, X])),
    st.tuples(st.integers(1, 40), st.just("in"), st.integers(1, 3)),
    st.tuples(st.integers(1, 40), st.just("wake"), st.integers(1, 3), st.sampled_from([0, 8, 16])),
    st.tuples(st.integers(1, 40), st.sampled_from(["read", "-read", "poll", "vfork"]), st.integers(1, 3)),
)


@given(st.lists(EVENT, max_size=40, unique_by=lambda event: event[0]), st.integers(1, 40))
def test_windows_change_nothing(events: list[Any], cut: int) -> None:
    whole, parted = Switches([1, 2]), Switches([1, 2])
    whole.feed(tables(*events), END)
    parted.feed(tables(*[event for event in events if event[0] < cut]))
    parted.feed(tables(*[event for event in events if event[0] >= cut]), END)
    assert shown(whole) == shown(parted)
    for tid in (1, 2):
        mine = [row for row in shown(whole) if row[0] == tid]
        for one, two in itertools.pairwise(mine):
            assert one[2] < 0 or one[1] + one[2] <= two[1]


def test_of_too_many_the_shortest_are_left_out_and_added_up() -> None:
    switches = Switches([1], most=3)
    times = [(10 * n, "out", 1, S) for n in range(1, 9)] + [(10 * n + n, "in", 1) for n in range(1, 9)]
    switches.feed(tables((1, "in", 1), *times), END)
    got = shown(switches)
    assert [row[2] for row in got] == [6, 7, 8]
    assert switches.dropped == 6 and switches.dropped_ns == 1 + 1 + 2 + 3 + 4 + 5
    assert "6 shortest waits" in switches.notes()[0]


def test_each_call_has_a_reason_that_a_trace_may_hold() -> None:
    assert {call.reason for call in BLOCKING} <= {*WAIT_REASONS, "", "ring"}
    assert len(NUMBERS) == len(BLOCKING)
    assert all(f"sys_enter_{call.name}" in EVENTS for call in BLOCKING if call.name not in syscalls.NAMES)
