"""Where the time goes, and whether it is the disk: on tables made here."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import trace, waiting, with_meta

from profiler.analysis.cost.walltime import (
    DISK_S,
    DISK_SHARE,
    TOLD_APART,
    Answer,
    WallTime,
    answer,
    wall_time,
)
from profiler.trace import WAIT_REASONS, Trace

S = 1_000_000_000


def found(made: Trace) -> WallTime:
    time = wall_time(made)
    assert time is not None
    return time


def parts(time: WallTime) -> tuple[float | None, ...]:
    return time.running_s, time.device_s, time.other_s, time.unknown_s


def named(time: WallTime) -> dict[str, float]:
    return {one.what: one.seconds for one in time.waited_for}


def test_of_a_trace_without_waits_and_runs_nothing_is_known() -> None:
    assert wall_time(trace(wall_s=3.0)) is None
    assert answer(trace(wall_s=3.0), None) == Answer(None, None, None, None, None)
    assert wall_time(trace()) is None


def test_one_task() -> None:
    made = waiting(trace(wall_s=10.0), (1, 1 * S, 2 * S, "device"), (1, 4 * S, 3 * S, "timer"))
    time = found(made)
    assert parts(time) == (5, 2, 3, 0) and named(time) == {"a timer": 3}
    assert time.wall_s == 10 and time.traced_s == 0


def test_running_comes_before_the_device_and_that_before_all_else() -> None:
    made = waiting(
        trace(wall_s=6.0),
        (1, 0, 6 * S, "socket"),
        (2, 2 * S, 4 * S, "device"),  # it ran until then
        (3, 0, 5 * S, "timer"), (3, 5 * S, 1 * S, "ended"),
    )  # fmt: skip
    assert parts(found(made)) == (2, 4, 0, 0)


def test_a_quiet_time_was_waited_for_what_ended_it() -> None:
    """An idle thread sleeps longer, and a parent waits for its child: neither is the reason."""
    made = waiting(
        trace(wall_s=4.0),
        (1, 0, 4 * S, "child"),
        (2, 0, 3 * S, "socket", b"/run/x"),
        (3, 0, 4 * S, "lock"),
    )
    time = found(made)
    assert parts(time) == (1, 0, 3, 0) and named(time) == {"/run/x": 3}


def test_what_could_have_run_waited_for_a_processor() -> None:
    made = waiting(trace(wall_s=3.0), (1, 0, 1 * S, "pipe"), (1, 1 * S, 2 * S, "processor"))
    assert named(found(made)) == {"a processor": 2, "a pipe": 1}


def test_what_coldseek_held_is_no_time_of_the_program() -> None:
    made = waiting(trace(wall_s=4.0), (1, 1 * S, 2 * S, "tracer"), (2, 0, 4 * S, "child"))
    time = found(made)
    assert parts(time) == (2, 0, 0, 0) and time.wall_s == 2 and time.traced_s == 2


def test_of_an_end_that_was_not_seen_nothing_is_known_until_the_next_that_was() -> None:
    made = waiting(trace(wall_s=4.0), (1, 1 * S, None, "device"), (1, 3 * S, 1 * S, "timer"))
    assert parts(found(made)) == (1, 0, 1, 2)


def test_until_it_was_ready() -> None:
    made = waiting(trace(wall_s=2.0, ready_s=2.0), (1, 1 * S, 9 * S, "device"))
    assert parts(found(made)) == (1, 1, 0, 0)


def test_the_end_of_a_run_is_that_of_all_waits_and_the_longest_counts() -> None:
    made = waiting(trace(wall_s=3.0), (1, 0, 3 * S, "signal"), (2, 1 * S, 5 * S, "lock"))
    time = found(made)
    assert time.running_s == 1 and named(time) == {"a signal": 2}


def test_names_are_shown_as_text() -> None:
    made = waiting(trace(wall_s=1.0), (1, 0, 1 * S, "socket", b"\x1b[31m\xff"))
    assert named(found(made)) == {"\\x1b[31m\\xff": 1}


rows = st.lists(
    st.tuples(
        st.integers(0, 3), st.integers(0, 30), st.none() | st.integers(0, 12), st.sampled_from(WAIT_REASONS),
        st.sampled_from([b"", b"x", b"\xff"]),
    ),
    max_size=25,
)  # fmt: skip


@given(rows, st.integers(1, 25))
def test_the_parts_of_any_waits_add_up_and_are_what_they_are_at_each_moment(rows: Any, wall: int) -> None:
    made = waiting(trace(wall_s=wall / 1e9), *rows)
    time = wall_time(made)
    if not rows:
        assert time is None
        return
    assert time is not None
    total = sum(round((part or 0) * 1e9) for part in (*parts(time), time.traced_s))
    assert total == wall and all((part or 0) >= 0 for part in parts(time))
    assert round(sum(one.seconds for one in time.waited_for) * 1e9) == round((time.other_s or 0) * 1e9)
    assert round((time.running_s or 0) * 1e9) == sum(ran(made, at) for at in range(wall))
    assert round((time.device_s or 0) * 1e9) == sum(
        not ran(made, at) and "device" in reasons(made, at) for at in range(wall)
    )


def reasons(made: Trace, at: int) -> set[str]:
    waits = made.waits
    length = waits["duration_ns"].fillna(0).astype("int64")
    inside = (waits["start_ns"] <= at) & (waits["start_ns"] + length > at)
    return set(waits["reason"][inside])


def ran(made: Trace, at: int) -> bool:
    """Whether any task that has waits has none at this moment, nor one whose end was not seen."""
    for _, mine in made.waits.groupby("tid"):
        following = [*mine["start_ns"][1:], 2**62]
        lengths = mine["duration_ns"].to_numpy("int64", na_value=-1)
        ends = [
            after if length < 0 else start + length
            for start, length, after in zip(mine["start_ns"], lengths, following, strict=True)
        ]
        if not any(start <= at < end for start, end in zip(mine["start_ns"], ends, strict=True)):
            return True
    return False


# ---- from what the kernel accounted ----------------------------------------------------------------------


def run(wall: float, **more: Any) -> dict[str, Any]:
    return {"wall_s": wall, "exit_status": 0, "user_s": wall / 4, "system_s": wall / 4, **more}


def test_untraced_runs_tell_what_ran() -> None:
    made = trace(cache="cold", measured={"cold": [run(2.0), run(4.0), run(9.0)], "warm": [run(1.0)]})
    time = found(made)
    assert parts(time) == (2, None, None, 2) and time.wall_s == 4


def test_where_the_kernel_accounts_it_they_tell_of_the_device() -> None:
    made = trace(cache="cold", measured={"cold": [run(4.0, blocked_s=1.5)]})
    assert parts(found(made)) == (2, 1.5, None, 0.5)
    assert parts(found(trace(measured={"cold": [run(4.0, blocked_s=9.0)]}))) == (2, 2, None, 0)


@pytest.mark.parametrize(
    "runs", [[run(1.0, user_s=-1)], [run(1.0, user_s="x")], [run(1.0, exit_status=9)], []]
)
def test_runs_that_tell_nothing(runs: list[Any]) -> None:
    assert wall_time(trace(measured={"cold": runs, "first_exit_status": 0})) is None


# ---- the answer ------------------------------------------------------------------------------------------


def pair(cold: float, warm: float) -> dict[str, Any]:
    return {"cold": [run(cold)] * 3, "warm": [run(warm)] * 3}


def test_the_disk_is_what_cold_takes_longer() -> None:
    made = trace(cache="cold", measured=pair(1.32, 0.82))
    got = answer(made, wall_time(made))
    assert (got.cold_s, got.warm_s, got.measured, got.is_disk) == (1.32, 0.82, True, True)
    assert got.disk_s == pytest.approx(0.5) and got.disk_share == pytest.approx(0.5 / 1.32)


def test_waits_of_a_cold_run_that_contradict_are_believed() -> None:
    """As of virsh start: cold it took 5.39 s, of which next to nothing was the device."""
    made = waiting(
        trace(wall_s=6.0, cache="cold", measured=pair(5.39, 3.0)),
        (1, 0, 5 * S, "socket", b"/run/libvirt/libvirt-sock"), (1, 5 * S, S // 25, "device"),
    )  # fmt: skip
    got = answer(made, wall_time(made))
    assert got.is_disk is False and got.disk_s == pytest.approx(0.04 / 6 * 5.39)


def test_that_others_ran_contradicts_nothing() -> None:
    """A cold start wakes up more often, and each time waits for a processor where the machine is busy."""
    made = waiting(
        trace(wall_s=6.0, cache="cold", measured=pair(5.0, 1.0)),
        (1, 0, 2 * S, "device"), (1, 2 * S, 3 * S, "processor"),
    )  # fmt: skip
    got = answer(made, wall_time(made))
    assert got.is_disk is True and got.disk_s == 4.0


def fast_disk(runs: int, elsewhere_s: float) -> Trace:
    """As of qemu-img check on a disk of 50 us a read: half of a cold read's cost is no wait."""
    return waiting(
        trace(wall_s=1.0, cache="cold", measured={"cold": [run(1.0)] * runs, "warm": [run(0.4)] * runs}),
        (1, 0, S // 5, "device"), (1, S // 2, round(elsewhere_s * S), "pipe"),
    )  # fmt: skip


def test_fast_reads_cost_more_than_their_waits() -> None:
    made = fast_disk(TOLD_APART, 0.1)
    got = answer(made, wall_time(made))
    assert got.is_disk is True and got.disk_s == pytest.approx(0.6)


@pytest.mark.parametrize(("runs", "elsewhere_s"), [(TOLD_APART - 1, 0.1), (TOLD_APART, 0.45)])
def test_what_may_be_chance_or_something_else_is_no_more_than_the_waits(
    runs: int, elsewhere_s: float
) -> None:
    made = fast_disk(runs, elsewhere_s)
    assert answer(made, wall_time(made)).disk_s == pytest.approx(0.2)


def test_runs_of_one_kind_that_overlap_those_of_the_other_are_chance() -> None:
    runs = {"cold": [run(1.0)] * TOLD_APART, "warm": [run(0.4), run(0.4), run(1.1)]}
    made = with_meta(fast_disk(TOLD_APART, 0.1), measured=runs)
    assert answer(made, wall_time(made)).disk_s == pytest.approx(0.2)


def test_without_untraced_runs_the_waits_tell() -> None:
    made = waiting(trace(wall_s=2.0), (1, 0, 1 * S, "device"))
    assert answer(made, wall_time(made)) == Answer(None, None, 1.0, 0.5, True)


def test_what_nobody_could_notice_is_not_the_disk() -> None:
    made = trace(measured=pair(DISK_S * 0.9, 0.0))
    assert answer(made, None).is_disk is False
    assert answer(trace(measured=pair(10, 10 * (1 - DISK_SHARE) + 0.1)), None).is_disk is False
    assert answer(trace(measured=pair(10, 10 * (1 - DISK_SHARE) - 0.1)), None).is_disk is True
    assert answer(trace(measured=pair(1.0, 2.0)), None).disk_s == 0
