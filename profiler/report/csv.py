"""Two traces side by side as CSV: a row a quantity, a column a side. No text from outside is in it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from profiler.analysis.reads.untraced_runs import mean_s
from profiler.report.comparison import Comparison, Side

Value = str | float | bool | None
Row = tuple[str, str, Value, Value]

_OF_RUN = (
    "wall_s", "failed", "exit_status", "resident_before_bytes", "resident_checked_bytes",
    "device_read_bytes", "user_s", "system_s", "blocked_s",
)  # fmt: skip


def compare(comparison: Comparison) -> str:
    """As RFC 4180 has it, with a line of names: quantity, of, and the names of the sides.

    of: the number of a run, from 1, or the name of a device; empty where it is of the whole side. Units are
    in the names, as in the JSON. What is not known is empty. What compares the sides stands in the column of
    the first, with `of` the second: it is the first through the second.
    """
    first, second = comparison.first, comparison.second
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\r\n")
    lines.writerow(["quantity", "of", first.name, second.name])
    lines.writerows([*map(_shown, row)] for row in _rows(comparison, first, second))
    return text.getvalue()


def _rows(comparison: Comparison, first: Side, second: Side) -> Iterator[Row]:
    low, high = comparison.ratio_interval or (None, None)
    yield "ratio", second.name, comparison.ratio, None
    yield "ratio_low", second.name, low, None
    yield "ratio_high", second.name, high, None
    yield "told_apart", second.name, comparison.told_apart, None
    for name, *values in zip(_TIMES, _times(first), _times(second), strict=True):
        yield name, "", values[0], values[1]
    for name in ("reads", "bytes", "unique_bytes", "files", "seeks"):
        yield name, "", getattr(first.summary.totals, name), getattr(second.summary.totals, name)
    for name, *values in zip(_BELOW, _below(first), _below(second), strict=True):
        yield name, "", values[0], values[1]
    others = {one.device: one for one in second.summary.projections}
    for one in first.summary.projections:
        for name in ("seconds", "low_s", "high_s"):
            yield (
                f"projected_{name}",
                one.device,
                getattr(one, name),
                getattr(others.get(one.device), name, None),
            )
    for number in range(max(len(first.runs), len(second.runs))):
        for name in _OF_RUN:
            yield name, str(number + 1), _of_run(first, number, name), _of_run(second, number, name)
        yield "stands_apart", str(number + 1), _apart(first, number), _apart(second, number)


_TIMES = ("runs", "failed_runs", "median_s", "median_low_s", "median_high_s", "mean_s")


def _times(side: Side) -> tuple[Value, ...]:
    failed = sum(run.failed for run in side.runs)
    between = side.interval_s or (None, None)
    return len(side.runs), failed, side.median_s, *between, mean_s(side.runs)


_BELOW = ("missed_reads", "brought_in_bytes", "device_requests", "device_bytes")


def _below(side: Side) -> tuple[Value, ...]:
    """What was observed below the calls."""
    cache, device = side.summary.page_cache, side.summary.device
    return (
        *((None, None) if cache is None else (cache.misses, cache.bytes)),
        *((None, None) if device is None else (device.requests, device.bytes)),
    )


def _of_run(side: Side, number: int, name: str) -> Value:
    return getattr(side.runs[number], name) if number < len(side.runs) else None


def _apart(side: Side, number: int) -> Value:
    return None if side.outliers is None or number >= len(side.runs) else number + 1 in side.outliers


def _shown(value: Value) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
