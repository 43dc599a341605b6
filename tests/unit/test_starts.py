"""Several starts of one program, and whether a prefetch of one pays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import GIB, MIB, below, trace
from report_cases import kernel

from profiler import devices
from profiler.analysis.advice.paying import OWN_REQUESTS, paying
from profiler.analysis.simulation.prefetch import plan, ranges
from profiler.analysis.starts import Starts
from profiler.errors import UsageError
from profiler.plan import plan_of
from profiler.report.json import path_of
from profiler.report.ranges import ranges as ranges_json
from profiler.report.text.prefetch import alike, pays
from profiler.trace import FileFacts, Trace

PAGE = 4096
Pages = list[tuple[int, int]]


def of_pages(pages: Pages, names: list[bytes] | None = None) -> Trace:
    return trace([(file, page * PAGE, PAGE) for file, page in pages], list(names or (b"/a", b"/b", b"/c")))


def planned(starts: Starts, least: int, order: str = "device") -> set[tuple[bytes, int]]:
    made = plan_of(*starts.plan(order, least))
    return {
        (made.files[file].path, page)
        for file, offset, size, _ in made.stretches
        for page in range(offset // PAGE, (offset + size) // PAGE)
    }


def test_alike_by_hand() -> None:
    """3 of 5 pages that either read; a plan of one start is the other's pages."""
    starts = Starts([of_pages([(0, 0), (0, 1), (1, 7), (1, 8)]), of_pages([(0, 0), (0, 1), (1, 7), (2, 9)])])
    found = starts.alike(2)
    assert found.jaccard == (3 / 5,) and found.least == 1
    assert found.recall == found.precision == (3 / 4, 3 / 4)
    assert "60.0%" in alike(found) and "recall 75.0%, precision 75.0%" in alike(found)


def test_files_are_the_same_by_name_not_by_number() -> None:
    starts = Starts([of_pages([(0, 5)]), of_pages([(2, 5)], [b"/x", b"/y", b"/a"])])
    assert starts.alike(1).jaccard == (1.0,)
    assert planned(starts, 2) == {(b"/a", 5)}


def test_what_a_later_start_no_longer_reads_is_taken_from_an_earlier_one() -> None:
    starts = Starts([of_pages([(1, 3)]), of_pages([(1, 3), (0, 0)]), of_pages([(0, 0)])])
    assert planned(starts, 2) == {(b"/b", 3), (b"/a", 0)}
    assert planned(starts, 3) == set()


RUN = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 600)), max_size=12)


@given(st.lists(RUN, min_size=2, max_size=4), st.integers(1, 4), st.sampled_from(["device", "time"]))
def test_each_page_that_so_many_read_is_planned_once(runs: list[Pages], least: int, order: str) -> None:
    starts = Starts([of_pages(run) for run in runs])
    if least > len(runs):
        with pytest.raises(UsageError, match=f"there are {len(runs)} traces"):
            starts.plan(order, least)
        return
    names = (b"/a", b"/b", b"/c")
    every = {page for run in runs for page in run}
    wanted = {
        (names[file], page) for file, page in every if sum((file, page) in run for run in runs) >= least
    }
    got = planned(starts, least, order)
    assert wanted <= got
    stretches = starts.plan(order, least)[0]
    assert all(
        0 <= share <= 1
        for shares in (starts.alike(least).recall, starts.alike(least).precision)
        for share in shares
    )
    assert not stretches[["offset", "size"]].lt(0).to_numpy().any()


def test_of_one_start_there_is_nothing_to_compare() -> None:
    assert Starts([of_pages([(0, 0)])]).alike(1).recall == ()
    assert planned(Starts([of_pages([(0, 0)])]), 1) == {(b"/a", 0)}
    assert Starts([trace(), trace()]).alike(2).jaccard == (1.0,)


def test_ranges_are_what_was_touched_in_that_order() -> None:
    made = trace([(0, 3 * PAGE, PAGE), (0, 4 * PAGE, 10), (1, 0, PAGE), (0, 3 * PAGE, 10), (0, 0, 1)])
    rows, source = ranges(made)
    assert source == "page tables"
    assert rows[["file", "offset", "size"]].to_numpy().tolist() == [
        [0, 3 * PAGE, 2 * PAGE], [1, 0, PAGE], [0, 0, PAGE],
    ]  # fmt: skip


def test_where_faults_were_seen_what_was_read_ahead_is_in_no_range() -> None:
    base = trace([(0, 0, PAGE)])
    made = below(
        base, [(5, "miss", 1, 0, 64 * PAGE), (6, "fault", 1, 7 * PAGE, 0), (7, "present", 1, 0, 16 * PAGE)]
    )
    rows, source = ranges(made)
    assert source == "faults"
    assert rows[["file", "offset", "size"]].to_numpy().tolist() == [[0, 0, PAGE], [1, 7 * PAGE, PAGE]]


def test_ranges_as_json_keep_any_name() -> None:
    names = [FileFacts(b"/\xff\x1b[2J", "8:1", kind="regular", filesystem="ext4", size=GIB)]
    content = ranges_json(trace([(0, 0, 1)], names))
    assert content["schema"] == "coldseek.ranges/1"
    assert content["ranges"] == [
        path_of(b"/\xff\x1b[2J", "file") | {"offset": 0, "length": PAGE, "first_touch_ns": 0}
    ]
    assert ranges_json(trace())["ranges"] == []


@pytest.mark.parametrize("case", [kernel, trace, lambda: trace([(0, MIB, PAGE)])])
def test_a_prefetch_is_never_told_to_pay_where_it_does_not(case: object) -> None:
    for result in paying(case(), devices.presets()):  # type: ignore[operator]
        assert result.beside >= result.own
        assert result.own > 0 and result.before >= result.own
        assert (result.verdict == "before") == (result.before <= 0.95 * result.cold)


def test_a_start_of_few_requests_does_not_pay_before_it() -> None:
    """The plan's own start makes over a hundred requests."""
    small = paying(trace([(0, page * 50 * MIB, PAGE) for page in range(9)]), devices.usual())
    assert OWN_REQUESTS > 9 and all(result.verdict == "not" for result in small)
    large = paying(
        trace([(0, page * MIB * 64 % (3 * GIB), PAGE) for page in range(1, 4000, 7)]), devices.usual()
    )
    shown = pays([*small, *large]).plain
    assert shown.startswith("Does not pay on ") and all(len(line) <= 80 for line in shown.splitlines())


def test_the_plan_of_one_start_is_that_of_its_trace() -> None:
    made = kernel()
    alone = plan_of(plan(made), made.files)
    several = plan_of(*Starts([made]).plan("device", 1))
    assert sorted(alone.files, key=str) == sorted(several.files, key=str)
    assert alone.size >= several.size > 0
