"""Projected cold times, first of all those of the case of 2010."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import GIB, MIB, seed_2010, trace

from profiler import devices
from profiler.analysis import projection
from profiler.analysis.projection import project, requests
from profiler.capture.recorder import FileFacts
from profiler.errors import ColdseekError, UsageError


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
    assert project(seed_2010(), disk, 4).seconds > 4.4 * project(seed_2010(), disk).seconds


def test_times_add_up_and_know_their_reads() -> None:
    made = trace([(0, 0, 4096), (0, 0, 4096), (0, GIB, 4096)])
    for copies in (1, 3):
        got = project(made, devices.find("hdd-7200"), copies)
        assert got.times.sum() == pytest.approx(got.seconds)
        assert got.reads.tolist() == [0, 2]


def test_a_run_of_one_copy_is_not_torn_apart() -> None:
    run = trace([(0, number * 4096, 4096) for number in range(1024)])  # 4 MiB
    disk = devices.find("hdd-7200")
    turns = 4 * 4 * MIB / projection.READ_AHEAD
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
    monkeypatch.setattr(projection, "MAX_SERVED", 10)
    with pytest.raises(ColdseekError, match="too many"):
        project(seed_2010(), devices.find("nvme"), 2)


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
def test_copies_read_the_same_each_and_are_never_faster(
    rows: list[tuple[int, int, int]], copies: int
) -> None:
    placement = requests(trace([(file, page * 4096, pages * 4096) for file, page, pages in rows]))
    for preset in devices.presets():
        one, many = project(placement, preset), project(placement, preset, copies)
        assert many.requests == copies * one.requests
        assert many.bytes == copies * one.bytes
        assert many.seconds >= one.seconds
        assert many.times.sum() == pytest.approx(many.seconds)
        assert one.low_s <= one.seconds <= one.high_s


@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(1, 2**20)), max_size=20), st.integers(2, 4))
def test_interleaving_serves_every_request_of_every_copy_once(
    rows: list[tuple[int, int]], copies: int
) -> None:
    offsets, sizes = (np.array([row[k] for row in rows], np.int64) for k in (0, 1))
    span = 2**41
    request, served = projection._interleave(offsets, sizes, span, copies)
    copy = (served - offsets[request]) // span
    assert sorted(zip(copy.tolist(), request.tolist(), strict=True)) == [
        (number, index) for number in range(copies) for index in range(len(rows))
    ]
    for number in range(copies):
        assert (np.diff(request[copy == number]) > 0).all()  # each copy's own order is kept
