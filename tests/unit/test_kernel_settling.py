"""The table of waits: what the scheduler tells, with what descriptors, files and requests there were."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from made import below, trace

from profiler.capture.kernel.schedule.blocking import NUMBERS
from profiler.capture.kernel.schedule.settling import settled
from profiler.capture.kernel.schedule.switches import REASONS, WAIT_DTYPE
from profiler.capture.watch.whom.sleeps import Sleep
from profiler.trace import Trace
from profiler.validity import validate

START, END = 1000, 2000


def waits(*found: tuple[int, int, int, str, str], of: Trace | None = None, sleeps: Any = ()) -> list[Any]:
    """Rows (tid, start, duration, reason, call) by the buffer's clock, settled: (tid, start, duration,
    reason, file, what)."""
    rows = np.zeros(len(found), WAIT_DTYPE)
    for number, (tid, start, duration, reason, call) in enumerate(found):
        rows[number] = (tid, start, duration, REASONS.index(reason), NUMBERS.get(call, -1), 7, START)
    made = of or trace()
    table = settled(rows, made, sleeps, {1: 1, 2: 1}, START, END)
    validate(dataclasses.replace(made, waits=table))
    table["duration_ns"] = table["duration_ns"].astype(object).where(table["duration_ns"].notna(), None)
    return [tuple(row) for row in table.itertuples(index=False)]


def test_times_are_those_of_the_run_and_end_with_it() -> None:
    got = waits(
        (1, 10, 100, "timer", ""), (1, 900, 200, "lock", "futex"), (1, 1500, -1, "device", ""),
        (1, 1900, 900, "timer", ""), (1, 2000, 5, "timer", ""),
    )  # fmt: skip
    assert got == [
        (1, 0, 100, "lock", -1, b""), (1, 500, None, "device", -1, b""), (1, 900, 100, "timer", -1, b"")
    ]  # fmt: skip


def test_descriptors_that_were_looked_at_name_the_wait_and_others_like_it() -> None:
    seen = [Sleep(1250, 1, "socket", b"/run/x (daemon)")]
    got = waits(
        (1, 1100, 10, "", "poll"), (1, 1200, 100, "", "poll"), (1, 1400, 10, "", "read"),
        (2, 1200, 9, "", "poll"),
        sleeps=seen,
    )  # fmt: skip
    assert [row[3] for row in got] == ["socket", "socket", "unknown", "socket"]
    assert [row[5] for row in got] == [b"/run/x (daemon)"] * 2 + [b"", b"/run/x (daemon)"]


def test_what_is_certain_is_not_changed_by_a_look() -> None:
    seen = [Sleep(1150, 1, "socket", b"x"), Sleep(1250, 1, "socket", b"x")]
    got = waits((1, 1100, 100, "device", "read"), (1, 1200, 100, "tracer", "read"), sleeps=seen)
    assert [row[3] for row in got] == ["device", "tracer"]


def test_the_file_is_the_one_that_the_page_cache_was_asked_for_last() -> None:
    made = below(trace(), [(90, "miss", 2, 0, 4096), (250, "fault", 1, 0, 0)])
    got = waits(
        (1, 1100, 20, "device", "read"), (1, 1300, 20, "", "read"), (2, 1300, 20, "device", ""), of=made
    )
    assert [(row[3], row[4]) for row in got] == [("device", 2), ("device", 1), ("device", -1)]


def test_who_waits_for_requests_under_way_waits_for_the_device() -> None:
    made = trace([(0, 0, 4096)], op="uring_read", duration_ns=300)
    got = waits(
        (1, 1100, 100, "ring", "io_uring_enter"), (1, 1250, 100, "timed", "poll"),
        (1, 1500, 100, "ring", "io_uring_enter"), (1, 1700, 100, "timed", "poll"), of=made,
    )  # fmt: skip
    assert [row[3] for row in got] == ["device", "device", "unknown", "timer"]
