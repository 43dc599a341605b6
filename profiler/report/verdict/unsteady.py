"""Runs of one kind that took very different times: the verdict turns with whatever came between them."""

from __future__ import annotations

from profiler.facts.runs import Run
from profiler.report.summary import Summary
from profiler.units import show_seconds

FACTOR = 2.0
"""Runs of one kind that differ by this factor are told; an idle machine repeats a start much better."""

LEAST_S = 0.1
"""Seconds: of shorter differences a single interruption is enough."""


def unsteady(*summaries: Summary) -> list[str]:
    """A sentence for each kind of untraced run, of one trace or of two of the same command, whose slowest
    took FACTOR times the fastest. Failed runs do not count: they are another thing."""
    said = []
    for one in summaries:
        for kind, runs in (("cold", one.cold), ("warm", one.warm)):
            said += _unsteady(kind, [run for run in runs if not run.failed])
    return list(dict.fromkeys(said))


def _unsteady(kind: str, runs: list[Run]) -> list[str]:
    walls = [run.wall_s for run in runs]
    if len(walls) < 2 or max(walls) < FACTOR * min(walls) or max(walls) - min(walls) < LEAST_S:
        return []
    return [
        f"UNSTEADY: {len(walls)} {kind} runs took {show_seconds(min(walls))} to {show_seconds(max(walls))}. "
        "The machine or its disk may have been busy with others: repeat it when it is idle."
    ]
