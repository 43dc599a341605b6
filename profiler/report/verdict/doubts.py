"""What makes times doubtful: the verdict turns with whatever came between untraced runs, or after them."""

from __future__ import annotations

from collections.abc import Sequence

from profiler.analysis.reads import spread
from profiler.analysis.reads.untraced_runs import median_s
from profiler.facts.runs import Run
from profiler.report.summary import Summary
from profiler.units import show_bytes, show_count, show_plural, show_seconds

FACTOR = 2.0
"""Runs of one kind that differ by this factor are told; an idle machine repeats a start much better."""

LEAST_S = 0.1
"""Seconds: of shorter differences a single interruption is enough."""

MAX_NAMED = 5
"""More runs that stand apart are counted."""

ALIKE = "NOT TOLD APART: "
"""With this begins that two kinds of runs may take the same time."""

_FINER = 4
"""So many times as many runs make an interval half as wide."""

_MOST_RUNS = 1000
"""As `--runs` takes."""

_IDLE = "The machine or its disk may have been busy with others: repeat it when it is idle."


def doubts(summary: Summary, alone: bool = True) -> list[str]:
    """Of one trace: what is not in its time, and its cold and its warm runs, each, and against each other if
    it stands `alone`; what two traces come to says that of them."""
    cold, warm = summary.cold, summary.warm
    said = [*late(summary), *scattered("cold", cold), *scattered("warm", warm)]
    return said + alike("cold", cold, "warm", warm) if alone else said


def scattered(kind: str, runs: Sequence[Run]) -> list[str]:
    """A sentence where the slowest of these runs took FACTOR times the fastest, or where some stand apart;
    those are named by their number. Failed runs do not count: they are another thing. kind: "cold" or
    "warm", or which of two traces the runs are of."""
    walls = [run.wall_s for run in runs if not run.failed]
    many = f"{len(walls)} {kind} runs" if kind in ("cold", "warm") else f"{len(walls)} runs of the {kind}"
    apart = _standing_apart(runs)
    if len(walls) >= 2 and max(walls) >= FACTOR * min(walls) and max(walls) - min(walls) >= LEAST_S:
        named = f", {apart}" if apart else ""
        return [
            f"UNSTEADY: {many} took {show_seconds(min(walls))} to {show_seconds(max(walls))}{named}. {_IDLE}"
        ]
    return [f"OUTLIER: of {many}, {apart}."] if apart else []


def late(summary: Summary) -> list[str]:
    """A sentence where reads came after the command had ended: the counts have them, the time has not."""
    reads, of = summary.late.reads, show_plural(summary.totals.reads, "read")
    if not reads:
        return []
    return [
        f"AFTER THE END: {show_count(reads)} of {of}, {show_bytes(summary.late.bytes)}, came when the "
        "command had ended, by what it left running. The counts have them, its time has not."
    ]


def alike(first: str, one: Sequence[Run], second: str, two: Sequence[Run]) -> list[str]:
    """A sentence where these runs do not prove that the two kinds take different times."""
    if spread.told_apart(one, two) is not False:
        return []
    interval = spread.ratio_interval(one, two)
    if interval is not None:
        said = f"by these runs, {first} takes {times(interval)} times as long as {second}"
    else:
        said = f"{first} runs took {_range(one)}, {second} ones {_range(two)}"
    more = min(max(_FINER * max(len(one), len(two)), 2 * spread.LEAST), _MOST_RUNS)
    return [f"{ALIKE}{said}. More runs may tell: --runs {more}."]


def times(interval: spread.Interval) -> str:
    """Of a ratio: "0.95 to 1.12"."""
    return " to ".join(f"{ratio:,.{3 if ratio < 0.1 else 2 if ratio < 10 else 0}f}" for ratio in interval)


def seconds(interval: spread.Interval) -> str:
    """ "1.2 s to 1.3 s"."""
    return " to ".join(map(show_seconds, interval))


def _range(runs: Sequence[Run]) -> str:
    walls = [run.wall_s for run in runs if not run.failed]
    return seconds((min(walls), max(walls)))


def _standing_apart(runs: Sequence[Run]) -> str:
    """ "run 7 (4 s) stands apart from the median, 1 s"; "": none does."""
    numbers, middle = spread.outliers(runs), median_s(runs)
    if not numbers or middle is None:
        return ""
    named = [f"{number} ({show_seconds(runs[number - 1].wall_s)})" for number in numbers[:MAX_NAMED]]
    more = len(numbers) - len(named)
    *most, last = [*named, f"{more} more"] if more else named
    listed = f"{', '.join(most)} and {last}" if most else last
    run, stand = ("runs", "stand") if len(numbers) > 1 else ("run", "stands")
    return f"{run} {listed} {stand} apart from the median, {show_seconds(middle)}"
