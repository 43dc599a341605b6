"""The untraced runs that a trace carries with it: what a start really costs, cold and warm."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from profiler.trace import Meta


@dataclass(frozen=True)
class Run:
    """An untraced run as it was measured; see capture/runs.py. None: not known."""

    wall_s: float
    exit_status: int | None
    resident_before_bytes: int | None
    resident_checked_bytes: int | None
    device_read_bytes: int | None


def median_s(runs: Sequence[Run]) -> float | None:
    """The median wall time in seconds; None without runs."""
    return statistics.median(run.wall_s for run in runs) if runs else None


def measured(meta: Meta, state: str) -> tuple[tuple[Run, ...], int]:
    """The untraced runs in `meta.measured[state]`, and how many entries are no runs. A trace may hold
    anything."""
    entries = meta.measured.get(state, [])
    if not isinstance(entries, list):
        return (), 1
    runs = [_run(entry) for entry in entries]
    good = tuple(run for run in runs if run is not None)
    return good, len(runs) - len(good)


def _run(entry: Any) -> Run | None:
    if not isinstance(entry, dict):
        return None
    wall = entry.get("wall_s")
    counts = [
        entry.get(key)
        for key in ("exit_status", "resident_before_bytes", "resident_checked_bytes", "device_read_bytes")
    ]
    if isinstance(wall, bool) or not isinstance(wall, int | float) or not 0 <= wall < 1e12:
        return None
    if not all(
        n is None or (isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**63) for n in counts
    ):
        return None
    return Run(float(wall), *counts)
