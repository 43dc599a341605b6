"""The untraced runs that a trace carries with it: what a start really costs, cold and warm."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from profiler.trace import MOST_SECONDS, Meta

MOST_COPIES = 10_000
"""More starts at once than this are believed of no trace."""

_SHORTEST = 1e-9
"""Seconds: no clock that times a run tells less. What is divided by less may be infinite."""


@dataclass(frozen=True)
class Run:
    """An untraced run as it was measured; see machine/processes/timed.py. None: not known.

    failed: it ended with another exit status than the first run of all, so that it was another thing that
    took this time. stderr: the end of what it wrote there, "" if that is not known. copies: of several
    starts at once each of them; the run itself is then all of them: the time of the slowest, the bytes of
    all, and it has failed if any has. user_s, system_s, blocked_s: seconds that all its tasks together ran,
    and waited for block devices, as the kernel accounted them.
    """

    wall_s: float
    exit_status: int | None
    resident_before_bytes: int | None
    resident_checked_bytes: int | None
    device_read_bytes: int | None
    failed: bool = False
    stderr: str = ""
    copies: tuple[Run, ...] = ()
    user_s: float | None = None
    system_s: float | None = None
    blocked_s: float | None = None


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


def copies_of(meta: Meta) -> int:
    """How many starts at once the untraced runs are of; 1 for most traces, and for what makes no sense."""
    count = meta.copies.get("count")
    return count if type(count) is int and 1 < count <= MOST_COPIES else 1


def median_bytes(runs: Sequence[Run]) -> int | None:
    """The median of what those that did not fail read from devices; None where that was not counted."""
    counts = [run.device_read_bytes for run in runs if not run.failed and run.device_read_bytes is not None]
    return statistics.median_low(counts) if counts else None


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
    used = [entry.get(key) for key in ("user_s", "system_s", "blocked_s")]
    if not all(n is None or _is_time(n) for n in used):
        return None
    user, system, blocked = (None if n is None else float(n) for n in used)
    several = entry.get("copies", [])
    copies = [_run(one, first) for one in several] if isinstance(several, list | tuple) else [None]
    if len(copies) > MOST_COPIES or any(one is None or one.copies for one in copies):
        return None
    other = first is not None and status not in (first, None)
    return Run(
        float(wall), status, resident, checked, device,
        failed=other or any(one.failed for one in copies if one),
        stderr=words if isinstance(words, str) else "",
        copies=tuple(one for one in copies if one),
        user_s=user, system_s=system, blocked_s=blocked,
    )  # fmt: skip


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST_SECONDS
