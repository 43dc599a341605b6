"""Two traces side by side."""

from __future__ import annotations

import pytest
from made import trace
from report_cases import RUNS, check

from profiler.report.comparison import compare_summary
from profiler.report.text import compare, report


def test_a_pair_in_any_order() -> None:
    for pair in ((check(), check(cache="warm")), (check(cache="warm"), check())):
        made = compare_summary(*pair)
        assert made.is_pair and (made.first.name, made.second.name) == ("cold", "warm")
        assert made.ratio == pytest.approx(2.29 / 1.2)


def test_runs_recorded_in_one_of_the_two() -> None:
    for one, two in (({}, RUNS), (RUNS, {}), ({"cold": RUNS["cold"]}, {"warm": RUNS["warm"]})):
        made = compare_summary(check(measured=one), check(cache="warm", measured=two))
        assert made.ratio == pytest.approx(2.29 / 1.2)


def test_two_cold_traces_compare_their_cold_runs() -> None:
    other = {"cold": [RUNS["cold"][0] | {"wall_s": 1.145}]}
    made = compare_summary(check(), check(measured=other))
    assert not made.is_pair and (made.first.name, made.second.name) == ("first", "second")
    assert made.ratio == pytest.approx(2.0)


def test_a_pair_that_was_not_proved_cold_or_warm_keeps_its_times() -> None:
    """What was asked for says which is which; that it was not reached stands above the numbers."""
    cold = check(cache="unknown", cache_asked="cold", notes=("NOT COLD: 37 KiB of /x could not be dropped",))
    for state in ("warm", "unknown"):
        warm = check(cache=state, cache_asked="warm", notes=cold.meta.notes)
        for pair in ((cold, warm), (warm, cold)):
            made = compare_summary(*pair)
            assert made.is_pair and (made.first.name, made.second.name) == ("cold", "warm")
            assert made.first.summary.meta.cache == "unknown"
            assert made.ratio == pytest.approx(2.29 / 1.2)
            lines = compare(made).plain.splitlines()
            assert lines[0] == "NOT COLD: 37 KiB of /x could not be dropped"
            assert sum("NOT COLD" in line for line in lines) == 1
            assert lines[1].startswith("Cold 2.29 s, warm 1.2 s.")
    assert report(made.first.summary).plain.startswith("NOT COLD")


def test_without_measured_times() -> None:
    made = compare_summary(trace([(0, 0, 1)], wall_s=1.0), trace([(1, 0, 1)], wall_s=2.0))
    assert (made.ratio, made.first.median_s, made.first.slowdown) == (None, None, None)
    assert (made.only_first, made.only_second) == ((b"/a",), (b"/b",))


def test_a_time_of_nothing_gives_no_ratio() -> None:
    nothing = {"warm": [RUNS["warm"][0] | {"wall_s": 0}]}
    assert compare_summary(check(), check(cache="warm", measured=nothing)).ratio is None
