"""The untraced runs that a trace carries with it: what a start really costs, cold and warm."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from profiler.trace import MOST_SECONDS, Meta

_SHORTEST = 1e-9
"""Seconds: no clock that times a run tells less. What is divided by less may be infinite."""


@dataclass(frozen=True)
class Run:
    """An untraced run as it was measured; see capture/runs.py. None: not known.

    failed: it ended with another exit status than the first run of all, so that it was another thing that
    took this time. stderr: the end of what it wrote there, "" if that is not known.
    """

    wall_s: float
    exit_status: int | None
    resident_before_bytes: int | None
    resident_checked_bytes: int | None
    device_read_bytes: int | None
    failed: bool = False
    stderr: str = ""


def median_s(runs: Sequence[Run]) -> float | None:
    """The median wall time in seconds of those that did not fail; None without any."""
    walls = [run.wall_s for run in runs if not run.failed]
    return statistics.median(walls) if walls else None


def first_status(meta: Meta) -> int | None:
    """The exit status of the first run of all, by which the others are judged; None: not known.

    Where it was not recorded it is that of the traced run.
    """
    found = meta.measured.get("first_exit_status", meta.exit_status)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def measured(meta: Meta, state: str) -> tuple[tuple[Run, ...], int]:
    """The untraced runs in `meta.measured[state]`, and how many entries are no runs. A trace may hold
    anything."""
    entries = meta.measured.get(state, [])
    if not isinstance(entries, list):
        return (), 1
    runs = [_run(entry, first_status(meta)) for entry in entries]
    good = tuple(run for run in runs if run is not None)
    return good, len(runs) - len(good)


def _run(entry: Any, first: int | None) -> Run | None:
    if not isinstance(entry, dict):
        return None
    wall = entry.get("wall_s")
    keys = ("exit_status", "resident_before_bytes", "resident_checked_bytes", "device_read_bytes")
    counts = [entry.get(key) for key in keys]
    if isinstance(wall, bool) or not isinstance(wall, int | float):
        return None
    if not (wall == 0 or _SHORTEST <= wall <= MOST_SECONDS):
        return None
    if not all(
        n is None or (isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**63) for n in counts
    ):
        return None
    words = entry.get("stderr", "")
    status, resident, checked, device = counts
    return Run(
        float(wall), status, resident, checked, device,
        failed=first is not None and status not in (first, None),
        stderr=words if isinstance(words, str) else "",
    )  # fmt: skip
