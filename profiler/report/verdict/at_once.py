"""Several starts at once, in words: what they share, and how long the slowest and all of them took."""

from __future__ import annotations

import os
from collections.abc import Sequence

from profiler.analysis.reads.untraced_runs import mean_s, median_s
from profiler.analysis.simulation.sharing import Sharing
from profiler.facts.runs import Run
from profiler.units import show_bytes, show_path, show_plural, show_seconds

MAX_OWN = 3
"""Names of own files that are shown; JSON has them all."""


def shared(of: Sharing) -> str:
    """What was taken as read once, and what each start was taken to have for itself."""
    files = f"{show_plural(of.shared_files, 'file')} ({show_bytes(of.shared_bytes)})"
    names = ", ".join(show_path(os.path.basename(path) or path) for path in of.own[:MAX_OWN])
    more = f" and {show_plural(len(of.own) - MAX_OWN, 'more file')}" if len(of.own) > MAX_OWN else ""
    own = f"{names}{more} ({show_bytes(of.own_bytes)})" if of.own else "nothing"
    return f"shared: {files if of.shared_files else 'nothing'}; own: {own}"


def measured(cold: Sequence[Run], warm: Sequence[Run]) -> str:
    """The mean of the copies, cold and warm; "" where runs were of one, or all failed."""
    means = [(mean_s(runs), state) for runs, state in ((cold, "cold"), (warm, "warm"))]
    said = " and ".join(f"{show_seconds(mean)} {state}" for mean, state in means if mean is not None)
    return f"the mean of all: {said}" if said else ""


def waited(cold: Sequence[Run], warm: Sequence[Run], mean: bool) -> float | None:
    """How much longer the slowest, or the mean, took cold than warm, in seconds; None: not known."""
    of = mean_s if mean else median_s
    both = of(cold), of(warm)
    return None if both[0] is None or both[1] is None else max(both[0] - both[1], 0.0)
