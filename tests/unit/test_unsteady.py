"""Runs that differ much are told: the times of a busy machine prove little."""

from __future__ import annotations

import pytest
from made import trace

from profiler.facts.runs import Measured, Run
from profiler.report import markdown, text
from profiler.report.summarise import summarise
from profiler.report.verdict.unsteady import unsteady


def said(cold: list[Run], warm: list[Run] = []) -> list[str]:  # noqa: B006
    return unsteady(summarise(trace([(0, 0, 4096)], measured=Measured(tuple(cold), tuple(warm)))))


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


def test_every_report_tells_it() -> None:
    runs = Measured((Run(1.0, exit_status=0), Run(2.5, exit_status=0)), (Run(0.1, exit_status=0),))
    summary = summarise(trace([(0, 0, 4096)], measured=runs))
    pages = (text.report(summary).plain, text.screen(summary).plain, markdown.report(summary))
    assert all("UNSTEADY: 2 cold runs" in page for page in pages)
