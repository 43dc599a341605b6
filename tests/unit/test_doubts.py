"""Runs that differ much are told, and so is what they do not prove: the times of a busy machine prove
little."""

from __future__ import annotations

import re

import pytest
from made import trace
from report_cases import check
from report_cases import run as run_of

from profiler.facts.runs import Measured, Run
from profiler.report import json as report_json
from profiler.report import markdown, text
from profiler.report.comparison import compare_summary
from profiler.report.summarise import summarise
from profiler.report.verdict.doubts import doubts, scattered
from profiler.trace import Trace


def said(cold: list[Run], warm: list[Run] = []) -> list[str]:  # noqa: B006
    return doubts(summarise(trace([(0, 0, 4096)], measured=Measured(tuple(cold), tuple(warm)))))


@pytest.mark.parametrize(
    "walls", [[], [1.0], [1.0, 1.9], [0.01, 0.09]], ids=["none", "one", "near each other", "short"]
)
def test_runs_that_agree_are_not_told(walls: list[float]) -> None:
    assert said([Run(wall) for wall in walls]) == []


def test_runs_that_differ_are_told_of_each_kind() -> None:
    cold, warm = said([Run(1.0), Run(2.5)], [Run(0.1), Run(0.1), Run(0.4)])
    assert "2 cold runs took 1 s to 2.5 s" in cold and "3 warm runs took 100 ms to 400 ms" in warm


def test_a_failed_run_is_another_thing() -> None:
    assert said([Run(1.0), Run(2.5, failed=True)]) == []


def test_a_run_that_stands_apart_is_named() -> None:
    quiet = [1.0, 1.01, 0.99, 1.0, 1.02, 0.98]
    failed = Run(7.0, failed=True)
    assert said([Run(wall) for wall in quiet]) == []
    assert said([failed, *map(Run, [*quiet, 1.5])]) == [
        "OUTLIER: of 7 cold runs, run 8 (1.5 s) stands apart from the median, 1 s."
    ]
    (both,) = said([], [*map(Run, [*quiet, 4.0, 0.5])])
    assert both.startswith(
        "UNSTEADY: 8 warm runs took 500 ms to 4 s, runs 7 (4 s) and 8 (500 ms) stand apart"
    )
    (many,) = said([*map(Run, [*quiet * 10, *[3.0] * 8])])
    assert "65 (3 s) and 3 more stand apart" in many
    (first,) = scattered("first", [*map(Run, [*quiet, 1.5])])
    assert "of 7 runs of the first, run 7" in first


def test_runs_that_do_not_tell_cold_from_warm() -> None:
    cold = [1.0, 1.1, 1.2, 1.05, 1.15, 1.12]
    (alike,) = said([*map(Run, cold)], [*map(Run, cold[::-1])])
    assert re.fullmatch(
        r"NOT TOLD APART: by these runs, cold takes 0\.8\d to 1\.1\d times as long as warm\. "
        r"More runs may tell: --runs 24\.",
        alike,
    )
    assert said([Run(1.0), Run(1.3)], [Run(1.2), Run(1.4)]) == [
        "NOT TOLD APART: cold runs took 1 s to 1.3 s, warm ones 1.2 s to 1.4 s. "
        "More runs may tell: --runs 12."
    ]
    assert said([*map(Run, cold)], [Run(wall / 2) for wall in cold]) == []
    assert said([Run(2.0)], [Run(1.0)]) == []  # too few to say is not alike
    many = [Run(1.0)] * 900
    assert "--runs 1000." in said(many, many)[0]


def test_what_came_after_the_end_is_told() -> None:
    """Of a command that leaves a program running, the counts are of both, and the time of the command."""
    left = trace([(0, 0, 4096)] * 20, step_ns=10_000_000, wall_s=0.1)  # the last ones after 110 ms and more
    (said,) = doubts(summarise(left))
    assert said.startswith("AFTER THE END: 8 of 20 reads, 32 KiB, came when the command had ended")
    assert all("AFTER THE END" in page for page in pages_of(left))
    told = report_json.report(summarise(left))["trace"]
    assert (told["late_reads"], told["late_bytes"]) == (8, 8 * 4096)
    unknown = trace([(0, 0, 4096)] * 20, step_ns=10_000_000, wall_s=None)
    assert doubts(summarise(unknown)) == []
    assert report_json.report(summarise(unknown))["trace"]["late_reads"] is None
    in_time = trace([(0, 0, 4096)] * 20, step_ns=10_000_000, wall_s=0.195)
    assert doubts(summarise(in_time)) == []


def test_a_comparison_says_it_once() -> None:
    same = {name: [run_of(wall, 0, 0) for wall in (1.0, 1.2, 1.1)] for name in ("cold", "warm")}
    made = compare_summary(check(measured=same), check(cache="warm", measured=same))
    assert made.told_apart is False
    for page in (text.compare(made).plain, markdown.compare(made)):
        assert page.count("NOT TOLD APART") == 1
        assert page.lstrip("*").startswith("NOT TOLD APART: cold runs took 1 s to 1.2 s")
    first, second = check(measured=same), check(measured=same)
    assert "first runs took" in text.compare(compare_summary(first, second)).plain


def test_every_report_tells_it() -> None:
    runs = Measured((Run(1.0, exit_status=0), Run(2.5, exit_status=0)), (Run(0.1, exit_status=0),))
    pages = pages_of(trace([(0, 0, 4096)], measured=runs))
    assert all("UNSTEADY: 2 cold runs" in page for page in pages)


def pages_of(of: Trace) -> tuple[str, ...]:
    summary = summarise(of)
    return text.report(summary).plain, text.screen(summary).plain, markdown.report(summary)
