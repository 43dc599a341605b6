"""Pages of a trace, and of two that are compared: from their reports, with what would help."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from profiler import devices
from profiler.analysis.advice.options import advise
from profiler.report.comparison import Comparison
from profiler.report.page import words
from profiler.report.page.build import Subject, page
from profiler.report.summary import Summary
from profiler.report.text.comparison import compared
from profiler.trace import Trace

ADVISED_ON = ("hdd-7200", "sata-ssd", "nvme")
"""As `coldseek advise` does."""

MOST_ADVISED = 200_000
"""Of a start of more reads than this each option takes seconds to project: `coldseek advise` has them."""


def of_trace(trace: Trace, summary: Summary, file: str = "TRACE") -> str:
    """The page of one trace. file: its name, for commands."""
    return page([Subject(trace, summary, "", _advice(trace, summary, file))])


def of_comparison(comparison: Comparison, traces: Sequence[Trace], files: Sequence[str] = ()) -> str:
    """The page of two traces. traces: those it was made of, in any order; files: their names."""
    subjects = []
    for side in (comparison.first, comparison.second):
        at = next(at for at, trace in enumerate(traces) if trace.meta is side.summary.meta)
        summary = side.summary
        if comparison.is_pair and side is comparison.first:
            summary = dataclasses.replace(summary, cold=side.runs, warm=comparison.second.runs)
        warm = comparison.is_pair and side is comparison.second  # what would help it is nobody's question
        advice = [] if warm else _advice(traces[at], summary, files[at] if files else "TRACE")
        subjects.append(Subject(traces[at], summary, side.name, advice))
    return page(subjects, compared(comparison))


def _advice(trace: Trace, summary: Summary, file: str) -> list[words.Facts]:
    if not summary.totals.reads or summary.totals.reads > MOST_ADVISED:
        return []
    made = advise(
        trace, [devices.find(name) for name in ADVISED_ON], devices.presets(), cold=summary.cold_start,
        found=summary.costs,
    )  # fmt: skip
    path = b"" if made.image is None else trace.files["path"].iloc[made.image.file]
    return words.advice(made, summary, path, file)
