"""The untraced runs that a trace carries with it: what a start really costs, cold and warm."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from profiler.facts.runs import Run
from profiler.trace import Meta


def median_s(runs: Sequence[Run]) -> float | None:
    """The median wall time in seconds of those that did not fail; None without any."""
    walls = [run.wall_s for run in runs if not run.failed]
    return statistics.median(walls) if walls else None


def mean_s(runs: Sequence[Run]) -> float | None:
    """The median over the runs that did not fail of the mean wall time, in seconds, of their copies; None
    without any, and of runs of one."""
    means = [
        statistics.fmean(one.wall_s for one in run.copies) for run in runs if not run.failed and run.copies
    ]
    return statistics.median(means) if means else None


def median_bytes(runs: Sequence[Run]) -> int | None:
    """The median of what those that did not fail read from devices; None where that was not counted."""
    counts = [run.device_read_bytes for run in runs if not run.failed and run.device_read_bytes is not None]
    return statistics.median_low(counts) if counts else None


def first_status(meta: Meta) -> int | None:
    """The exit status of the first run of all, by which the others are judged; None: not known. Where it was
    not recorded it is that of the traced run."""
    first = meta.measured.first_exit_status
    return meta.exit_status if first is None else first
