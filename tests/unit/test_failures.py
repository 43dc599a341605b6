"""Runs that ended otherwise than the first: said first, in no median, and the exit status tells."""

from __future__ import annotations

from typing import Any

import pytest
from report_cases import RUNS, check

from profiler.analysis.reads.untraced_runs import Run, median_s
from profiler.report import json, text
from profiler.report.comparison import Comparison, compare_summary
from profiler.report.summarise import summarise
from profiler.report.verdict.failures import failures


def runs(*statuses: int, stderr: str = "") -> list[dict[str, Any]]:
    """Untraced runs of 1 s, 2 s, ... that end so."""
    return [
        RUNS["cold"][0]
        | {"wall_s": float(number), "exit_status": status, "stderr": stderr if status else ""}
        for number, status in enumerate(statuses, 1)
    ]


def pair(cold: list[dict[str, Any]], warm: list[dict[str, Any]], first: int = 0, **meta: Any) -> Comparison:
    measured = {"cold": cold, "warm": warm, "first_exit_status": first}
    return compare_summary(
        check(measured=measured, **meta), check(cache="warm", measured=measured, exit_status=first)
    )


def test_failed_runs_are_in_no_median() -> None:
    made = pair(runs(0, 1, 0), runs(1, 1, 0))
    assert (made.first.median_s, made.second.median_s) == (2.0, 3.0)
    assert made.failed and made.ratio == pytest.approx(2 / 3)
    shown = " ".join(text.compare(made).plain.split())
    assert shown.startswith(
        "FAILED: 3 of 6 untraced runs ended with exit status 1, the first run with 0; they"
    )
    assert "(medians of 2 and 1 untraced runs; an interval takes 6)" in shown
    assert "--after CMD" in shown
    told = json.compare(made)
    assert told["failed"] and told["cold"]["wall_s"] == [1.0, 3.0] and told["cold"]["median_s"] == 2.0
    assert [run["failed"] for run in told["cold"]["runs"]] == [False, True, False]
    page = " ".join(text.report(made.first.summary).plain.split())
    assert page.startswith("FAILED: 3 of 6")
    assert "2 s (median of 2, 1 s to 3 s), untraced" in page and "1 run FAILED" in page


def test_a_kind_of_run_of_which_all_failed_has_no_time() -> None:
    made = pair(runs(0, 0), runs(1, 2))
    assert made.ratio is None and made.second.median_s is None
    shown = " ".join(text.compare(made).plain.split())
    assert "ended with exit statuses 1 and 2" in shown and "no times to compare" in shown
    assert "times as long" not in shown.split("traced")[1] and "Cold 1.5 s, warm not measured." in " ".join(
        json.report(made.first.summary)["verdict"]
    )
    all_bad = pair(runs(1, 1), runs(1, 1))
    assert failures(all_bad.first.summary)[0].startswith("FAILED: all 4 untraced runs")
    assert "all failed" in text.report(all_bad.first.summary).plain


def test_a_traced_run_that_failed_is_told_from_the_untraced() -> None:
    made = pair(runs(0), runs(0), exit_status=1)
    assert made.failed
    (said, _) = failures(made.first.summary)
    assert said.startswith("FAILED: the traced cold run ended with exit status 1, the first run with 0")


def test_a_command_that_always_ends_so_has_not_failed() -> None:
    """qemu-img check ends with 3 where an image has leaks."""
    made = pair(runs(3, 3, stderr="one\n\ntwo\n"), runs(3, 3), 3, exit_status=3)
    assert not made.failed and made.first.median_s == 1.5
    lines = text.compare(made).plain.splitlines()
    assert lines[:2] == ["Every run ended with exit status 3.", "It wrote: one / two"]
    assert failures(summarise(check(measured={}, exit_status=3))) == []


def test_what_a_failed_run_wrote_is_shown_bounded_and_escaped() -> None:
    words = "x" * 5000 + "\n\x1b[31mred\udcff\n"
    made = pair(runs(0, 1, stderr=words), runs(0))
    (wrote,) = [line for line in failures(made.first.summary) if line.startswith("It wrote: ")]
    assert wrote.endswith("/ \\x1b[31mred\\xff") and len(wrote) < 400
    assert json.dumps(json.compare(made)).isascii()


def test_a_trace_of_before_judges_by_its_traced_run() -> None:
    measured = {"cold": runs(0, 1), "warm": runs(0)}
    assert [run.failed for run in summarise(check(measured=measured)).cold] == [False, True]
    unknown = summarise(check(measured=measured, exit_status=None))
    assert [run.failed for run in unknown.cold] == [False, False]


@pytest.mark.parametrize("first", ["0", True, None, [], -1, 1.5])
def test_an_odd_first_status_harms_nothing(first: object) -> None:
    made = check(measured=RUNS | {"first_exit_status": first})
    json.dumps(json.report(summarise(made)))
    text.report(summarise(made))


def test_the_median_of_failed_runs_is_none() -> None:
    assert median_s([Run(1.0, 1, None, None, None, failed=True)]) is None
