"""Two traces side by side."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from made import trace
from report_cases import CASES, RUNS, check, kernel, run

from profiler.report import csv as report_csv
from profiler.report import json as report_json
from profiler.report.comparison import Comparison, compare_summary
from profiler.report.text import compare, report
from profiler.trace import Trace


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


def many(cold: list[float], warm: list[float]) -> Comparison:
    """With these wall times; one cold run more has failed."""
    failed = run(0.1, 0, 0) | {"exit_status": 1}
    runs = {
        "cold": [failed, *(run(wall, 0, 0) for wall in cold)],
        "warm": [run(wall, 0, 0) for wall in warm],
    }
    return compare_summary(kernel(measured=runs), kernel(measured=runs, cache="warm"))


COLD = [2.0, 2.1, 1.9, 2.05, 1.95, 2.0, 4.5]
WARM = [1.0, 1.1, 0.9, 1.05, 0.95, 1.0]


def test_many_runs_say_how_sure_they_are() -> None:
    made = many(COLD, WARM)
    assert made.first.outliers == (8,) and made.second.outliers == ()
    low, high = made.first.interval_s or (0, 0)
    assert 1.9 <= low <= 2.0 <= high <= 4.5
    low, high = made.ratio_interval or (0, 0)
    assert 1.5 < low < 2 < high < 5 and made.told_apart is True
    shown = compare(made).plain
    assert "OUTLIER" not in shown  # UNSTEADY names it already
    assert "UNSTEADY: 7 cold runs took 1.9 s to 4.5 s, run 8 (4.5 s) stands apart" in " ".join(shown.split())
    assert "100 ms (failed), 2 s," in shown and "4.5 s (run 8)" in " ".join(shown.split())
    assert sum(", 95%: " in line for line in shown.splitlines() if line.startswith("median  ")) == 2
    assert re.search(
        r"2\.0 times as long cold \(95%: 1\.\d\d to \d\.\d\d; medians of 7 and 6 untraced runs\)\.", shown
    )
    assert "an interval takes" not in shown


@pytest.mark.parametrize("width", [40, 80, 99])
def test_it_fits(width: int) -> None:
    for made in (many(COLD, WARM), many(COLD, COLD), many(COLD[:3], WARM[:2])):
        assert all(len(line) <= width for line in compare(made, width).plain.splitlines())


# ---- as CSV ----------------------------------------------------------------------------------------------


def rows(made: Comparison) -> dict[tuple[str, str], list[str]]:
    """Quantity and what it is of -> its values."""
    head, *lines = csv.reader(io.StringIO(report_csv.compare(made), newline=""))
    assert head == ["quantity", "of", made.first.name, made.second.name]
    found = {(quantity, of): values for quantity, of, *values in lines}
    assert len(found) == len(lines) and all(len(values) == 2 for values in found.values())
    return found


def same(value: Any, shown: str) -> bool:
    if value is None or isinstance(value, bool):
        return shown == {None: "", True: "true", False: "false"}[value]
    return float(shown) == value


def test_csv_has_what_json_has() -> None:
    for made in (many(COLD, WARM), compare_summary(check(), check(cache="warm")), many(COLD, COLD)):
        table, whole = rows(made), report_json.compare(made)
        sides = [whole[side.name] for side in (made.first, made.second)]
        assert same(whole["ratio"], table["ratio", made.second.name][0])
        assert same(whole["told_apart"], table["told_apart", made.second.name][0])
        low, high = whole["ratio_interval"] or (None, None)
        assert same(low, table["ratio_low", "warm"][0]) and same(high, table["ratio_high", "warm"][0])
        for place, side in enumerate(sides):
            assert same(side["median_s"], table["median_s", ""][place])
            assert same((side["interval_s"] or [None])[0], table["median_low_s", ""][place])
            for name in ("reads", "bytes", "unique_bytes", "files", "seeks"):
                assert same(side["report"]["totals"][name], table[name, ""][place])
            assert same(side["report"]["page_cache"]["misses"], table["missed_reads", ""][place])
            assert same(side["report"]["device"]["requests"], table["device_requests", ""][place])
            assert int(table["runs", ""][place]) == len(side["runs"])
            for number, one in enumerate(side["runs"], 1):
                for name in ("wall_s", "failed", "exit_status", "device_read_bytes", "blocked_s"):
                    assert same(one[name], table[name, str(number)][place])
                apart = None if side["outliers"] is None else number in side["outliers"]
                assert same(apart, table["stands_apart", str(number)][place])
            for one in side["report"]["projections"]:
                assert same(one["seconds"], table["projected_seconds", one["device"]][place])


@pytest.mark.parametrize("pair", [*pairwise([*CASES.values(), CASES["empty"]])])
def test_csv_of_any_two(pair: tuple[Callable[[], Trace], Callable[[], Trace]]) -> None:
    made = compare_summary(pair[0](), pair[1]())
    text = report_csv.compare(made)
    assert text.isascii() and "\x1b" not in text
    assert text.count("\r\n") == text.count("\n") == len(rows(made)) + 1
