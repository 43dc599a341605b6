"""Several starts at once: which files they share, and what that saves them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import GIB, MIB, seed_2010, trace

from profiler import devices
from profiler.analysis.reads.untraced_runs import mean_s
from profiler.analysis.simulation.projection import project, requests
from profiler.analysis.simulation.sharing import NOTHING, own_files
from profiler.analysis.simulation.waiting import waits
from profiler.report import json as report_json
from profiler.report import text
from profiler.report.comparison import compare_summary
from profiler.trace import FileFacts, Trace

RULE = devices.find("iops-120")
OVERLAY, BACKING, LIBRARY, OTHER = (
    b"/vm/disk1.qcow2",
    b"/vm/base.qcow2",
    b"/lib/libc.so.6",
    b"/vm/disk10.qcow2",
)


def own(made: Trace, *patterns: str) -> list[bytes]:
    """The files that are each start's own."""
    found = own_files(made, patterns or None)
    assert not found[-1]  # of what file -1 is nothing is known
    return [path for path, one in zip(made.files["path"], found, strict=False) if one]


def start(own_reads: int, shared_reads: int, **meta: Any) -> Trace:
    """An overlay and a library, far apart reads of the one, then of the other."""
    rows = [(0, (1 + number) * GIB, 4096) for number in range(own_reads)]
    rows += [(1, (1 + number) * GIB, 4096) for number in range(shared_reads)]
    return trace(rows, [OVERLAY, LIBRARY], **meta)


# ---- whose files ------------------------------------------------------------------------------------------


def test_images_are_own_and_what_stands_behind_them_is_shared() -> None:
    files = [OVERLAY, BACKING, LIBRARY, b"/vm/data", b"/boot/initrd.img", b"/cd.iso", b"/vm/old.IMG"]
    images = {
        "0": {"format": "qcow2", "backing_file": "base.qcow2"},
        "1": {"format": "qcow2", "in_front": 0},
    }
    assert own(trace([], files, images=images)) == [OVERLAY, b"/vm/old.IMG"]
    outside = {"0": {"format": "qcow2", "features": ["external data file"]},
               "3": {"format": "raw", "in_front": 0}, "1": {"format": "raw", "in_front": 3}}  # fmt: skip
    assert own(trace([], files, images=outside)) == [OVERLAY, b"/vm/data", b"/vm/old.IMG"]
    named = trace([], files, image="data", cwd="/vm")
    assert own(named) == [OVERLAY, BACKING, b"/vm/data", b"/vm/old.IMG"]


def test_block_devices_are_own_and_metadata_is_shared() -> None:
    files = [
        FileFacts(b"/dev/vg/vm1", "254:1", kind="block"),
        FileFacts(b"/dev/vda", "254:0", kind="metadata"),
    ]
    assert own(trace([], files)) == [b"/dev/vg/vm1"]


def test_a_file_of_which_nothing_is_known_is_own() -> None:
    """The log of 2010 names no file: it was an image, and nothing is to be projected too low."""
    unnamed = [FileFacts(b"(descriptor 5 of process 7: not named in the log)", "", kind="regular"), LIBRARY]
    assert own(trace([], unnamed)) == [unnamed[0].path]  # type: ignore[union-attr]


def test_what_the_trace_says_goes_before_that() -> None:
    files = [OVERLAY, BACKING, LIBRARY, OTHER]
    assert own(trace([], files, copies={"count": 2, "own": ["/vm/disk1.qcow2"]})) == [OVERLAY]
    assert own(trace([], files, copies={"count": 2, "own": []})) == []
    assert own(trace([], files, copies={"own": ["disk1.qcow2"]}), "libc*") == [LIBRARY]
    assert own(trace([], files), NOTHING) == []


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("disk1.qcow2", [OVERLAY]), ("disk*", [OVERLAY, OTHER]), ("vm", [OVERLAY, BACKING, OTHER]),
        ("/vm/", [OVERLAY, BACKING, OTHER]), ("vm/base.qcow2", [BACKING]), ("m/base.qcow2", []),
        ("/disk1.qcow2", []), ("*", [OVERLAY, BACKING, LIBRARY, OTHER]), ("disk1", []), ("[", []),
        ("/l*/lib?.so.[0-9]", [LIBRARY]), ("*a*e*q*2", [BACKING]),
    ],
)  # fmt: skip
def test_patterns(pattern: str, found: list[bytes]) -> None:
    assert own(trace([], [OVERLAY, BACKING, LIBRARY, OTHER]), pattern) == found


def test_a_container_has_its_names_and_the_host_others() -> None:
    made = trace([], [b"/data/db", b"/data/log"])
    files = made.files.assign(host_path=[b"/srv/c1/db", b""])
    assert own(dataclasses.replace(made, files=files), "/srv/c1") == [b"/data/db"]


@pytest.mark.parametrize("said", [None, 7, "x", {}, [7, None, "", "x" * 5000, ["a"]]])
def test_a_trace_that_says_nonsense_is_no_trouble(said: Any) -> None:
    made = trace([], [b"/a"], copies={"own": said, "count": [said]})
    assert made.meta.copies.own in (None, ())
    assert own(made) == [] and made.meta.copies.count == 1


# ---- what that saves --------------------------------------------------------------------------------------


def test_what_is_shared_is_read_once_and_what_is_own_by_each() -> None:
    made = start(6, 4)
    got = project(made, RULE, 5)
    assert (got.requests, got.bytes) == (5 * 6 + 4, (5 * 6 + 4) * 4096)
    assert got.busy_s == pytest.approx((5 * 6 + 4) / 120)
    assert (got.sharing.own, got.sharing.shared_files) == ((OVERLAY,), 1)
    assert (got.sharing.own_bytes, got.sharing.shared_bytes) == (6 * 4096, 4 * 4096)


def test_four_machines_with_an_image_each_take_a_minute_and_with_one_between_them_a_quarter() -> None:
    made = seed_2010()
    assert project(made, RULE, 4).seconds == pytest.approx(4 * 1935 / 120, rel=1e-3)
    shared = project(requests(made, own=[NOTHING]), RULE, 4)
    assert (shared.seconds, shared.requests) == (pytest.approx(1935 / 120, rel=1e-3), 1935)
    assert shared.mean_s == pytest.approx(shared.seconds)  # all go on when the page is there


def test_a_copy_waits_for_what_is_under_way_no_longer_than_that() -> None:
    served_as = np.array([0, 0, 2, 2])
    got = waits(
        np.array([0.0, 0, 1, 1]), np.array([0.0, 0, 1, 1]), np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]),
        np.array([2.0, 0, 3, 0]), np.array([2.0, 0, 3, 0]), served_as,
    )  # fmt: skip
    assert got.tolist() == [2, 2, 3, 3]
    later = waits(
        np.array([0.0, 9]), np.array([0.0, 9]), np.array([0, 1]), np.array([0, 1]),
        np.array([2.0, 0]), np.array([2.0, 0]), np.array([0, 0]),
    )  # fmt: skip
    assert later.tolist() == [2, 0]  # it is there by then


ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 400), st.integers(1, 40)), min_size=1, max_size=25
)


@settings(max_examples=40)
@given(ROWS, st.integers(1, 5), st.lists(st.sampled_from(["a", "b", "c"]), unique=True))
def test_copies_are_never_faster_than_one_and_sharing_never_costs(
    rows: list[tuple[int, int, int]], copies: int, own: list[str]
) -> None:
    made = trace([(file, page * 4096, pages * 4096) for file, page, pages in rows])
    some, every = requests(made, own=[*own, NOTHING]), requests(made, own=["*"])
    for name in ("iops-120", "hdd-7200", "nas-1g", "cloud-3000", "nvme"):
        one, part, whole = (project(what, devices.find(name), number)
                            for what, number in ((some, 1), (some, copies), (every, copies)))  # fmt: skip
        assert one.seconds * (1 - 1e-9) <= part.seconds <= whole.seconds * (1 + 1e-9)
        assert one.requests <= part.requests <= whole.requests
        assert part.times.sum() == pytest.approx(part.seconds)
        assert part.mean_s <= part.seconds * (1 + 1e-9)
        assert part.bytes == one.bytes + (copies - 1) * part.sharing.own_bytes


def test_files_of_a_copy_lie_behind_all_that_the_first_has_and_shares() -> None:
    rows = [(0, 0, 4096), (1, 0, 4096)]
    made = trace(rows, [OVERLAY, LIBRARY], [(0, 0, 50 * GIB, MIB, 1), (1, 0, 0, MIB, 1)])
    disk = devices.find("hdd-7200")
    near = trace(rows, [OVERLAY, LIBRARY], [(0, 0, MIB, MIB, 1), (1, 0, 0, MIB, 1)])
    assert project(near, disk, 3).seconds < project(made, disk, 3).seconds


# ---- what was measured ------------------------------------------------------------------------------------


def a_run(*walls: float, **more: Any) -> dict[str, Any]:
    one = {"exit_status": 0, "device_read_bytes": 0} | more
    return {"wall_s": max(walls), **one, "copies": [{"wall_s": wall, **one} for wall in walls]}


def test_the_warm_time_is_that_of_as_many_copies_or_of_one() -> None:
    of_two = start(1, 1, copies={"count": 2, "own": ["disk1.qcow2"]}, measured={"warm": [a_run(3, 5)]})
    for copies, whole in ((1, None), (2, 5 + 3 / 120), (3, None)):
        got = project(of_two, RULE, copies).start_s
        assert got == (whole and pytest.approx(whole))
    of_one = start(1, 1, measured={"warm": [{"wall_s": 3, "exit_status": 0}]})
    assert project(of_one, RULE, 3).start_s == pytest.approx(3 + 4 / 120)


def test_measured_copies() -> None:
    made = trace(measured={"cold": [a_run(1, 2), a_run(4, 6), a_run(1, 9)], "first_exit_status": 0})
    runs = made.meta.measured.cold
    assert made.meta.measured.damaged == (0, 0) and [len(run.copies) for run in runs] == [2, 2, 2]
    assert mean_s(runs) == 5 and mean_s(()) is None
    one_failed = a_run(1, 2)
    one_failed["copies"][1] = one_failed["copies"][1] | {"exit_status": 3}
    (bad,) = trace(measured={"cold": [one_failed], "first_exit_status": 0}).meta.measured.cold
    assert bad.failed and mean_s([bad]) is None
    for nonsense in (7, [7], [a_run(1, 2)], {"a": 1}):
        measured = trace(measured={"cold": [a_run(1) | {"copies": nonsense}]}).meta.measured
        assert measured.cold == () and measured.damaged == (1, 0)


# ---- what is said of it -----------------------------------------------------------------------------------


def pair() -> tuple[Trace, Trace]:
    """Cold and warm, of three at once: twice, and once with one that failed."""
    bad = a_run(9, 9, 9)
    bad["copies"][1] |= {"exit_status": 7, "stderr": "no disk"}
    runs = {"cold": [a_run(1, 2, 3), a_run(3, 4, 8)], "warm": [a_run(1, 1, 1), bad], "first_exit_status": 0}
    facts: dict[str, Any] = {"copies": {"count": 3, "own": ["disk1.qcow2"]}, "measured": runs, "wall_s": 4.0}
    return start(6, 4, cache="cold", **facts), start(6, 4, cache="warm", **facts)


@pytest.mark.parametrize("width", [60, 80, 99])
def test_a_comparison_has_slowest_and_mean_measured_and_projected(width: int) -> None:
    found = compare_summary(*pair())
    page = text.compare(found, width).plain
    assert max(map(len, page.splitlines())) <= width
    told = " ".join(page.split())
    assert "3 starts at once, the slowest: 5.5 s cold, 1 s warm" in told
    assert "the mean of all: 3.5 s cold and 1 s warm." in told
    assert "FAILED: 1 of 4 untraced runs ended with exit status 7" in told
    assert "shared: 1 file (16 KiB); own: disk1.qcow2 (24 KiB)" in told
    assert "of one start alone: 4 s" in told
    row = next(line.split() for line in page.splitlines() if line.split()[:1] == ["here"])
    assert row[1:5] == ["4.5", "s", "2.5", "s"]  # slowest and mean, cold less warm
    assert found.first.slowdown is None  # the traced run was of one
    assert [made.copies for made in found.first.summary.projections] == [3] * 5


def test_the_same_as_json() -> None:
    made = report_json.compare(compare_summary(*pair()))
    assert made["copies"] == [3, 3] and made["failed"]
    assert (made["cold"]["median_s"], made["cold"]["mean_s"]) == (5.5, 3.5)
    assert [copy["wall_s"] for copy in made["cold"]["runs"][1]["copies"]] == [3, 4, 8]
    assert [copy["failed"] for copy in made["warm"]["runs"][1]["copies"]] == [False, True, False]
    sharing = made["cold"]["report"]["projections"][0]["sharing"]
    assert sharing == {
        "shared_files": 1,
        "shared_bytes": 16384,
        "own_bytes": 24576,
        "own": ["/vm/disk1.qcow2"],
    }
    assert report_json.project([project(seed_2010(), RULE)])["projections"][0]["sharing"] is None
