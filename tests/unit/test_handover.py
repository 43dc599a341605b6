"""What handing a read over costs: measured, fitted, kept in a device file, and projected with."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import GIB, trace

from profiler.analysis.simulation.projection import project, requests
from profiler.calibration.handover import BATCH, SERIES, Worker, batches
from profiler.calibration.opened import Opened
from profiler.devices.fitting.fit import fit
from profiler.devices.fitting.preset import to_toml
from profiler.devices.fitting.tables import READ_COLUMNS
from profiler.devices.flash import Flash
from profiler.devices.loading import parse
from profiler.devices.model import Device
from profiler.errors import ColdseekError
from profiler.trace import Trace

FLASH = Device("x", "t", "s", "flash", Flash(((4096, 100),), 500))
RATES = pd.DataFrame(columns=["series", "round", "size", "depth", "place", "requests", "seconds"])


def by_workers(made: Trace, *workers: bool) -> Trace:
    """The trace with these of its reads made by another thread than the first."""
    tid = np.where(workers, 2, 1).astype(np.int32)
    return dataclasses.replace(made, events=made.events.assign(tid=tid))


# ---- projected -------------------------------------------------------------------------------------------


def test_a_read_that_was_handed_over_takes_longer() -> None:
    rows = [(0, number * GIB, 4096) for number in range(1, 5)]
    made = by_workers(trace(rows), True, False, True, True)
    slow = dataclasses.replace(FLASH, handoff_us=40.0)
    assert project(made, FLASH).seconds == pytest.approx(4e-4)
    got = project(made, slow)
    assert got.seconds == pytest.approx(4e-4 + 3 * 40e-6)
    assert got.times == pytest.approx([140e-6, 100e-6, 140e-6, 140e-6])
    assert got.busy_s == pytest.approx(4e-4)  # it is no time of the device
    assert project(made, slow, copies=2).seconds >= project(made, FLASH, copies=2).seconds


def test_what_nobody_waits_for_costs_no_handing_over() -> None:
    repeated = by_workers(trace([(0, GIB, 4096), (0, GIB, 4096)]), True, True)  # the second is a hit
    assert project(repeated, dataclasses.replace(FLASH, handoff_us=40.0)).seconds == pytest.approx(140e-6)


def test_reads_under_way_together_were_not_waited_for_one_by_one() -> None:
    rows = [(0, number * GIB, 4096) for number in range(1, 9)]
    together = trace(rows, step_ns=1, duration_ns=500)
    threads = together.events.assign(tid=np.arange(2, 10, dtype=np.int32))
    cold = requests(dataclasses.replace(together, events=threads))
    assert not cold.requests["handed"].any()


def test_an_empty_trace_hands_nothing_over() -> None:
    assert project(trace(), dataclasses.replace(FLASH, handoff_us=40.0)).seconds == 0


@given(st.lists(st.tuples(st.integers(0, 99), st.booleans()), min_size=1, max_size=30), st.floats(0, 1e4))
def test_it_never_gets_faster_and_never_by_more_than_one_each(
    reads: list[tuple[int, bool]], more_us: float
) -> None:
    made = by_workers(trace([(0, at * 2**20, 4096) for at, _ in reads]), *(other for _, other in reads))
    plain, slow = (project(made, dataclasses.replace(FLASH, handoff_us=us)) for us in (None, more_us))
    assert plain.seconds <= slow.seconds <= plain.seconds + len(reads) * more_us / 1e6 + 1e-9
    assert slow.busy_s == plain.busy_s


# ---- fitted, and kept ------------------------------------------------------------------------------------


def measured(**times_us: float) -> pd.DataFrame:
    """20 rounds of reads: of random places, and of the series of `times_us`; each tenth took 30% longer."""
    rows = [
        (series, number, 4096, 0, us * (1.3 if row % 10 == 0 else 1.0) / 1e6, False)
        for number in range(20)
        for series, us in {"random": 100.0, "buffered": 105.0, **times_us}.items()
        for row in range(BATCH)
    ]
    return pd.DataFrame(rows, columns=list(READ_COLUMNS)).astype(READ_COLUMNS)


def fitted(reads: pd.DataFrame):  # type: ignore[no-untyped-def]
    return fit(reads, RATES, span=2**30)


def test_what_a_miss_through_a_worker_takes_longer_than_a_hit_does() -> None:
    times = {"alone": 105.0, "alone cached": 3.0, "handed": 160.0, "handed cached": 20.0}
    found = fitted(measured(**times))
    assert found.handoff_us == pytest.approx((160 - 20) - (105 - 3))  # what took longer does not count
    # of the device nothing else is said than without these reads
    assert dataclasses.replace(found, handoff_us=None) == fitted(measured())


def test_what_was_not_measured_is_not_known_and_noise_is_nothing() -> None:
    assert fitted(measured()).handoff_us is None
    assert fitted(measured(alone=105.0, handed=160.0)).handoff_us is None
    times = {"alone": 105.0, "alone cached": 3.0, "handed": 115.0, "handed cached": 20.0}
    assert fitted(measured(**times)).handoff_us == 0.0


@pytest.mark.parametrize("more_us", [None, 0.0, 12.5])
def test_a_device_file_keeps_it(more_us: float | None) -> None:
    device = dataclasses.replace(FLASH, handoff_us=more_us)
    text = to_toml(device)
    assert ("handoff_us" in text) == (more_us is not None)
    assert parse(text, "x", "x.toml") == device


@pytest.mark.parametrize("value", ["-1", "1e9", '"much"', "nan"])
def test_what_is_no_time_is_refused(value: str) -> None:
    with pytest.raises(ColdseekError, match="handoff_us"):
        parse(to_toml(FLASH) + f"handoff_us = {value}\n", "x", "x.toml")


# ---- measured --------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    path = tmp_path / "data"
    path.write_bytes(bytes(4 * BATCH * 4096))
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_all_series_have_the_same_number_of_reads(file: int) -> None:
    with Worker(Opened((file,))) as worker:
        found = list(batches(Opened((file,)), worker, [at * 4096 for at in range(4 * BATCH + 3)]))
    for series in SERIES:
        times = [seconds for name, seconds in found if name == series]
        assert len(times) == 2 * BATCH
        assert all(seconds > 0 for seconds in times)


def test_a_worker_reads_and_tells_of_errors(file: int) -> None:
    with Worker(Opened((file,))) as worker:
        assert worker.read(4096) > 0
    closed = os.dup(file)
    worker = Worker(Opened((closed,)))
    os.close(closed)
    with worker, pytest.raises(OSError, match="Bad file descriptor"):
        worker.read(0)
