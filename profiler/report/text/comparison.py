"""Two traces side by side as text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from rich.text import Text

from profiler.analysis.reads.spread import CONFIDENCE, LEAST
from profiler.analysis.reads.untraced_runs import mean_s
from profiler.facts.runs import Run
from profiler.report.comparison import Comparison, Side
from profiler.report.summary import Summary
from profiler.report.text.facts import (
    SLOWER,
    about,
    completeness,
    doubtful,
    loud_notes,
    resident,
    runs_facts,
    tracing,
    unseen,
    verdict,
)
from profiler.report.text.page import DIM, HEAD, LOUD, WARN, WIDTH, Page
from profiler.report.text.project import projected
from profiler.report.verdict import at_once
from profiler.report.verdict.doubts import alike, late, scattered, seconds, times
from profiler.report.verdict.failures import failures
from profiler.report.verdict.sentences import answer, name
from profiler.units import show_bytes, show_count, show_plural, show_seconds, show_status

MAX_RUNS = 6
"""More untraced runs of one kind than this share lines."""


def compare(comparison: Comparison, width: int = WIDTH) -> Text:
    """Two traces side by side: times from untraced runs only, reads from the traces."""
    page = Page(width)
    first, second = comparison.first, comparison.second
    for side in (first, second):
        completeness(page, side.summary.meta, side.name)
    verdict(page, failures(first.summary, second.summary))
    after = dict.fromkeys([*late(first.summary), *late(second.summary)])
    doubtful(page, [*after, *scattered(first.name, first.runs), *scattered(second.name, second.runs)])
    loud_notes(page, [first.summary.meta, second.summary.meta])
    verdict(page, compared(comparison))
    page.blank()
    if about(second.summary.meta) == about(first.summary.meta):
        for label, words in about(first.summary.meta):
            page.row(label, words)
    else:
        for side in (first, second):
            for number, (label, words) in enumerate(about(side.summary.meta)):
                page.row(
                    side.name if number == 0 else "", words if label == "command" else f"{label} {words}"
                )
    if first.runs or second.runs:
        page.blank()
        _run_table(page, (first, second))
    for side in (first, second):
        _slowdown(page, side)
    page.blank()
    _side_by_side(page, comparison)
    page.blank()
    unseen(page, [first.summary.meta, second.summary.meta])
    return page.text()


def compared(comparison: Comparison) -> list[str]:
    """The sentences that come first: how the two compare, and the verdict where they are of one start."""
    first, second = comparison.first, comparison.second
    whole = first.summary
    if comparison.is_pair:
        whole = dataclasses.replace(whole, cold=first.runs, warm=second.runs)
    head, *rest = answer(whole)
    lines = [head] if comparison.is_pair else []
    if comparison.ratio is not None and first.median_s is not None and second.median_s is not None:
        longer = f"{comparison.ratio:.{1 if comparison.ratio >= 0.1 else 3}f} times as long {first.name}"
        copies = first.summary.meta.copies.count
        several = copies > 1 and copies == second.summary.meta.copies.count
        both = (
            f"{show_seconds(first.median_s)} {first.name}, {show_seconds(second.median_s)} {second.name}: "
        )
        lines.append(
            (f"{copies:,} starts at once, the slowest: " if several else "")
            + ("" if comparison.is_pair and not several else both)
            + f"{longer} ({_sure(comparison)})"
            + (f"; {at_once.measured(first.runs, second.runs)}." if several and comparison.is_pair else ".")
        )
        lines[-1] = lines[-1][0].upper() + lines[-1][1:]
    elif any(run.failed for side in (first, second) for run in side.runs):
        lines.append("There are no times to compare: too many runs failed.")
    else:
        known = whole.answer is not None and whole.answer.disk_s is not None
        lines = lines if known else []
        lines.append("Times were not measured: traced runs are slowed down, so only reads are compared.")
    if comparison.is_pair or about(first.summary.meta) == about(second.summary.meta):
        lines += rest
    return [*alike(first.name, first.runs, second.name, second.runs), *lines]


def _sure(comparison: Comparison) -> str:
    """How sure the ratio is: what it is of, and the interval, or why there is none."""
    interval, sides = comparison.ratio_interval, (comparison.first, comparison.second)
    counts = [sum(not run.failed for run in side.runs) for side in sides]
    medians = "medians of {} and {} untraced runs".format(*counts)
    if interval is not None:
        return f"{CONFIDENCE:.0%}: {times(interval)}; {medians}"
    return f"{medians}; an interval takes {LEAST}" if min(counts) < LEAST else medians


def _run_table(page: Page, sides: Sequence[Side]) -> None:
    several = any(run.copies for side in sides for run in side.runs)
    wide = 8 if several else 9
    heads = [("slowest", wide), ("mean", wide)] if several else [("wall", wide)]
    heads += [("resident before", 22), ("read from device", 18), ("exit", 0)]
    page.cells("run", heads, HEAD)
    for side in sides:
        shown = side.runs if len(side.runs) <= MAX_RUNS else ()
        for number, run in enumerate(shown, 1):
            page.cells(
                f"{side.name} {number}",
                [
                    (show_seconds(run.wall_s), wide),
                    *([(_mean_of(run), wide)] if several else []),
                    (resident(run.resident_before_bytes, run.resident_checked_bytes), 22),
                    (
                        "not known" if run.device_read_bytes is None else show_bytes(run.device_read_bytes),
                        18,
                    ),
                    (_exits(run), 0),
                ],
                LOUD if run.failed else WARN if run.exit_status or number in (side.outliers or ()) else "",
            )
        if side.runs and not shown:
            page.row(side.name, f"{_every(side)}; {runs_facts(side.runs)}", lines=None)
    for side in sides:
        if side.median_s is not None:
            mean = mean_s(side.runs)
            means = [("" if mean is None else show_seconds(mean), wide)] if several else []
            between = "" if side.interval_s is None else f", {CONFIDENCE:.0%}: {seconds(side.interval_s)}"
            page.cells(
                "median", [(show_seconds(side.median_s), wide), *means, (side.name + between, 0)], HEAD
            )


def _every(side: Side) -> str:
    """The times of all runs, with what is wrong with them."""
    return ", ".join(
        show_seconds(run.wall_s)
        + (" (failed)" if run.failed else f" (run {number})" if number in (side.outliers or ()) else "")
        for number, run in enumerate(side.runs, 1)
    )


def _mean_of(run: Run) -> str:
    return show_seconds(sum(one.wall_s for one in run.copies) / len(run.copies)) if run.copies else ""


def _exits(run: Run) -> str:
    """The exit status, or those of the copies: "0" or "0, 1"."""
    found = {one.exit_status for one in (run.copies or (run,))}
    return ", ".join(sorted("?" if status is None else show_status(status) for status in found))


def _slowdown(page: Page, side: Side) -> None:
    wall = side.summary.meta.wall_s
    if wall is not None:
        whose = "" if side.slowdown and side.slowdown < SLOWER else "; the tracer's time, not the program's"
        one = ", of one start alone" if side.summary.meta.copies.count > 1 else ""
        page.row("traced", f"{side.name}{one}: {show_seconds(wall)}{tracing(side.slowdown)}{whose}", DIM)


def _side_by_side(page: Page, comparison: Comparison) -> None:
    one, two = comparison.first.summary, comparison.second.summary
    page.cells("", [(comparison.first.name, 14), (comparison.second.name, 14), ("difference", 0)], HEAD)
    for label, key, show in (
        ("reads", "reads", show_count),
        ("bytes", "bytes", show_bytes),
        ("unique", "unique_bytes", show_bytes),
        ("seeks", "seeks", show_count),
        ("files", "files", show_count),
    ):
        a, b = getattr(one.totals, key), getattr(two.totals, key)
        change = "same" if a == b else ("+" if b > a else "") + show(b - a)
        page.cells(label, [(show(a), 14), (show(b), 14), (change, 0)])
    for label, a, b in _observed_of_both(one, two):
        page.cells(label, [(a, 14), (b, 14), ("observed", 0)])
    if comparison.is_pair:
        here = comparison.first.runs, comparison.second.runs, one.meta.copies.count
        projected(page, one.projections, here)
    else:
        page.blank()
        for label, a, b in zip(("projected", *[""] * 99), one.projections, two.projections, strict=False):
            page.cells(label, [(show_seconds(a.seconds), 14), (show_seconds(b.seconds), 14), (a.device, 0)])
    for side, paths in (
        (comparison.first, comparison.only_first),
        (comparison.second, comparison.only_second),
    ):
        if paths:
            names = ", ".join(name(path) for path in paths[:3])
            rest = f" and {show_count(len(paths) - 3)} more" if len(paths) > 3 else ""
            page.row(f"only {side.name}", f"{show_plural(len(paths), 'file')}: {names}{rest}")


def _observed_of_both(one: Summary, two: Summary) -> Iterator[tuple[str, str, str]]:
    """Label and values of what was observed in both, below the calls."""
    if one.page_cache is not None and two.page_cache is not None:
        yield "missed", show_count(one.page_cache.misses), show_count(two.page_cache.misses)
        yield "brought in", show_bytes(one.page_cache.bytes), show_bytes(two.page_cache.bytes)
    if one.device is not None and two.device is not None:
        yield "requests", show_count(one.device.requests), show_count(two.device.requests)
