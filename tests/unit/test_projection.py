"""Projected cold times, first of all those of the case of 2010."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import GIB, MIB, seed_2010, trace

from profiler import devices
from profiler.analysis.simulation import projection, together
from profiler.analysis.simulation.projection import project, requests
from profiler.analysis.simulation.sequential import sequential_s
from profiler.devices.flash import Flash
from profiler.devices.model import Device
from profiler.errors import ColdseekError, UsageError
from profiler.trace import FileFacts


def test_the_case_takes_16_seconds_by_the_rule_of_thumb() -> None:
    got = project(seed_2010(), devices.find("iops-120"))
    assert (got.requests, got.bytes) == (1935, 1935 * 4096)
    assert got.seconds == pytest.approx(16.125)
    assert got.low_s < got.seconds < got.high_s


def test_the_case_takes_about_ten_seconds_on_a_disk() -> None:
    got = project(seed_2010(), devices.find("hdd-7200"))
    assert 9 < got.seconds < 12  # the post measured "over 10 seconds"
    assert got.shares["turning"] > got.shares["seeking"] > got.shares["transferring"]
    assert sum(got.shares.values()) == pytest.approx(1)


def test_four_at_once_take_over_a_minute() -> None:
    got = project(seed_2010(), devices.find("iops-120"), copies=4)
    assert got.seconds > 60  # "Starting 4 VMs at once could easily take over 60 seconds"
    assert (got.requests, got.copies) == (4 * 1935, 4)


def test_copies_on_a_disk_move_the_arm_further() -> None:
    disk = devices.find("hdd-7200")
    one, four = project(seed_2010(), disk), project(seed_2010(), disk, 4)
    assert four.seconds > 4.4 * one.seconds
    assert four.low_s < 4 * one.seconds < four.high_s  # if the disk serves its queue in the best order


def test_times_add_up_and_know_their_reads() -> None:
    made = trace([(0, 0, 4096), (0, 0, 4096), (0, GIB, 4096)])
    for copies in (1, 3):
        got = project(made, devices.find("hdd-7200"), copies)
        assert got.times.sum() == pytest.approx(got.seconds)
        assert got.reads.tolist() == [0, 2]


def test_a_run_of_one_copy_is_not_torn_apart() -> None:
    run = requests(trace([(0, number * 131072, 131072) for number in range(32)]), own=["*"])  # 4 MiB
    disk = devices.find("hdd-7200")
    turns = 4 * 32
    assert project(run, disk, 4).seconds < 1.1 * turns * 0.0095
    assert project(run, disk, 4).seconds > turns * 0.004


def test_physical_places_matter() -> None:
    reads = [(0, number * 8 * MIB, 4096) for number in range(100)]
    together = [(0, number * 8 * MIB, number * 4096, 4096, 0) for number in range(100)]
    disk = devices.find("hdd-7200")
    packed = project(trace(reads, extents=together), disk)
    assert packed.placed == "all"
    assert packed.seconds < project(trace(reads), disk).seconds / 10


def test_two_devices_of_the_trace_lie_apart_on_the_projected_one() -> None:
    files = [FileFacts(b"/a", "8:1", kind="regular"), FileFacts(b"/b", "8:2", kind="regular")]
    made = trace([(0, 0, 4096), (1, 4096, 4096)], files, extents=[(0, 0, 0, MIB, 0), (1, 0, 0, MIB, 0)])
    flat = project(made, devices.find("iops-120"))
    assert flat.seconds == pytest.approx(2 / 120)  # not taken for a sequential read


def test_nothing_costs_nothing() -> None:
    for preset in devices.presets():
        for copies in (1, 2):
            got = project(trace(), preset, copies)
            assert (got.requests, got.bytes, got.seconds, got.low_s, got.high_s) == (0, 0, 0, 0, 0)
            assert got.shares == {} and len(got.times) == 0


def test_senseless_copies_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError):
        project(trace(), devices.find("nvme"), 0)
    monkeypatch.setattr(projection, "MAX_SERVED", 3 * 1935 + 1)
    assert project(seed_2010(), devices.find("nvme"), 3).copies == 3
    with pytest.raises(ColdseekError, match=r"4 starts of 1,935 .* too many.*--copies 3 or fewer"):
        project(seed_2010(), devices.find("nvme"), 4)


def test_hostile_claims_give_finite_numbers() -> None:
    made = trace([(0, 2**62, 2**62), (1, 0, 2**60), (2, 2**61, 2**62)])
    for preset in devices.presets():
        for copies in (1, 5):
            got = project(made, preset, copies)
            assert np.isfinite(got.seconds) and np.isfinite(got.high_s)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 400), st.integers(1, 40)), min_size=1, max_size=30),
    st.integers(1, 5),
)
def test_copies_with_files_of_their_own_read_the_same_each_and_are_never_faster(
    rows: list[tuple[int, int, int]], copies: int
) -> None:
    made = trace([(file, page * 4096, pages * 4096) for file, page, pages in rows])
    placement = requests(made, own=["*"])
    for preset in devices.presets():
        one, many = project(placement, preset), project(placement, preset, copies)
        assert many.requests == copies * one.requests
        assert many.bytes == copies * one.bytes
        assert many.seconds >= one.seconds * (1 - 1e-9)  # sums in another order
        assert many.times.sum() == pytest.approx(many.seconds)
        assert one.low_s <= one.seconds <= one.high_s


@given(st.lists(st.integers(0, 1), max_size=20), st.integers(1, 4))
def test_interleaving_serves_every_request_of_every_copy_once(steps: list[int], copies: int) -> None:
    turn = np.cumsum(np.array(steps, np.int64))
    request, copy = together.interleave(turn, copies)
    assert sorted(zip(copy.tolist(), request.tolist(), strict=True)) == [
        (number, index) for number in range(copies) for index in range(len(steps))
    ]
    assert (np.diff(turn[request]) >= 0).all()  # in turns
    for number in range(copies):
        assert (np.diff(request[copy == number]) > 0).all()  # each copy's own order is kept


def test_the_whole_start_is_the_warm_time_and_the_waiting() -> None:
    run = {"wall_s": 0.5, "exit_status": 0}
    made = trace([(0, GIB, 4096), (0, 2 * GIB, 4096)], measured={"warm": [run, run, run]})
    got = project(made, devices.find("iops-120"))
    assert (got.seconds, got.start_s) == (pytest.approx(2 / 120), pytest.approx(0.5 + 2 / 120))
    assert got.start_low_s == pytest.approx(0.5 + got.low_s)
    assert got.start_high_s == pytest.approx(0.5 + got.high_s)
    assert project(trace(), devices.find("iops-120")).start_s is None


def test_a_limit_of_requests_passes_while_the_program_is_busy() -> None:
    held = Device("held", "t", "s", "flash", Flash(((4096, 100),), 500, iops=100))
    rows = [(0, number * GIB, 4096) for number in range(1, 11)]
    eager = project(trace(rows), held)
    assert eager.seconds == pytest.approx(9 * 0.01 + 1e-4, rel=1e-3)  # the first may begin at once
    slow = project(trace(rows, step_ns=50_000_000), held)  # 50 ms between the reads: the limit is not felt
    assert slow.seconds == pytest.approx(10 * 1e-4)


def test_reads_that_overlap_are_served_together() -> None:
    rows = [(0, number * GIB, 4096) for number in range(1, 9)]
    drive = Device("drive", "t", "s", "flash", Flash(((4096, 100),), 500, channels=8))
    alone = trace(rows, step_ns=1000, duration_ns=500)
    together = trace(rows, step_ns=1, duration_ns=500)
    threads = together.events.assign(tid=np.arange(8, dtype=np.int32))
    together = dataclasses.replace(together, events=threads)
    assert project(alone, drive).seconds == pytest.approx(8e-4)
    assert project(together, drive).seconds == pytest.approx(1e-4 + 7 * 1e-4 / 8)


# ---- the same bytes as one sequential read ----------------------------------------------------------------


def test_the_case_in_one_piece_takes_a_tenth_of_a_second() -> None:
    """A seek, half a turn, and 7.6 MiB at 105 MB/s."""
    got = project(seed_2010(), devices.find("hdd-7200"))
    assert got.sequential_s == pytest.approx(0.0001 + 0.009 + 30 / 7200 + 1935 * 4096 / 105e6, abs=0.005)
    four = project(seed_2010(), devices.find("hdd-7200"), copies=4)
    assert four.sequential_s == pytest.approx(got.sequential_s + 3 * 1935 * 4096 / 105e6)


@given(
    st.sampled_from(sorted(one.name for one in devices.presets())), st.integers(0, GIB), st.integers(0, GIB),
    st.sampled_from([0, 4096, MIB]),
)  # fmt: skip
def test_more_bytes_take_no_less(name: str, one: int, two: int, largest: int) -> None:
    device = devices.find(name)
    few, many = (sequential_s(device, size, largest) for size in sorted((one, two)))
    assert 0 <= few <= many * (1 + 1e-9)


READS = st.lists(st.tuples(st.just(0), st.integers(0, GIB), st.integers(1, 4 * MIB)), max_size=20)


@given(READS, st.sampled_from(sorted(one.name for one in devices.presets())), st.integers(1, 3))
def test_in_one_piece_is_never_slower(reads: list[tuple[int, int, int]], name: str, copies: int) -> None:
    got = project(trace(reads), devices.find(name), copies)
    assert 0 <= got.sequential_s <= got.seconds
    assert (got.sequential_s > 0) == (got.bytes > 0)
