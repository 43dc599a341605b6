"""The answer in plain words: why is this start slow, what would it cost, what was measured."""

from __future__ import annotations

import os
from collections.abc import Sequence

from profiler.analysis.access import Totals
from profiler.analysis.measured import median_s
from profiler.analysis.projection import Projection
from profiler.report.failures import failures
from profiler.report.summary import FileSummary, Stride, Summary
from profiler.units import show_bytes, show_path, show_percent, show_plural, show_seconds

SCATTERED = 0.2
"""From this share of seeks on, the seeks are the story; Drishti flags random reads from the same share
on."""

MOST = 0.5
"""Most seeks go one distance if at least this share of them does."""

REREAD = 0.2
"""From this share on, reads of what was already read are worth a sentence."""

NAMED = 0.05
"""A structure of an image with at least this share of its reads is named."""

IN_FOCUS = 0.5
"""The verdict is about the focus file if it has at least this share of all reads or bytes, else about all
files."""


def verdict(summary: Summary) -> list[str]:
    """A few sentences, each one line: runs that failed, the pattern, the projected cost, the measured one.
    File names are escaped."""
    return [*failures(summary), *answer(summary)]


def answer(summary: Summary) -> list[str]:
    """The verdict without a word of failed runs."""
    if not summary.totals.reads:
        unseen = "; much of what it reads may be unseen (below)" if summary.meta.unseen else ""
        brought = summary.page_cache.bytes if summary.page_cache is not None else 0
        mapped = f"; {show_bytes(brought)} came into the page cache without any" if brought else ""
        return [f"No file reads were seen{mapped}{unseen}.", *_measured(summary)]
    return [_pattern(summary), *_why(summary), *_cost(summary.projections), *_measured(summary)]


def _pattern(summary: Summary) -> str:
    focus, totals = summary.focus, summary.totals
    if focus is not None and (
        focus.reads >= IN_FOCUS * totals.reads or focus.bytes >= IN_FOCUS * totals.bytes or totals.files == 1
    ):
        return f"{name(focus.path)}: {_sentence(focus, focus.usual_size, focus.strides)}"
    where = f"{show_plural(totals.files, 'file')}, none of which stands out: "
    return where + _sentence(totals, None, ())


def _sentence(of: FileSummary | Totals, size: int | None, strides: Sequence[Stride]) -> str:
    reads, ratio, total = of.reads, of.scattered_ratio, show_bytes(of.bytes)
    sized = "" if size is None else f"{show_bytes(size)} "
    if ratio is None:
        return f"{show_plural(reads, 'read')}, {total}; at which offsets is not known."
    if ratio >= SCATTERED:
        of_all = "" if of.seeks == reads else f" among {show_plural(reads, 'read')}"
        said = f"{show_plural(of.seeks, f'scattered {sized}read')}{of_all}"
        if strides and strides[0].count >= MOST * of.seeks:
            said += f", most of them {show_bytes(abs(strides[0].bytes))} apart"
            said += " (backwards)" if strides[0].bytes < 0 else ""
        said += f", {total} in all"
    else:
        in_sequence = show_percent(1 - ratio)
        said = f"{show_plural(reads, f'{sized}read')}, {total}, {in_sequence} in sequence"
    if of.patterns["repeat"] >= REREAD * reads:
        said += f"; {show_percent(of.patterns['repeat'] / reads)} of the reads repeat earlier ones"
    return said + "."


def _why(summary: Summary) -> list[str]:
    """What the reads of an image were for."""
    focus = summary.focus
    if focus is None or not focus.structures:
        return []
    named = [one for one in focus.structures if one.reads >= NAMED * focus.reads] or focus.structures[:1]
    kinds = [f"{show_path(one.kind)} ({show_percent(one.reads / focus.reads)})" for one in named]
    listed = kinds[0] if len(kinds) == 1 else f"{', '.join(kinds[:-1])} and {kinds[-1]}"
    return [f"What was read of the image: {listed}."]


def _cost(projections: Sequence[Projection]) -> list[str]:
    if not projections:
        return []
    costs = [f"{show_seconds(one.seconds)} {on(one.device)}" for one in projections]
    listed = costs[0] if len(costs) == 1 else f"{', '.join(costs[:-1])} and {costs[-1]}"
    copies = projections[0].copies
    start = "Cold, it" if copies == 1 else f"{copies} cold starts at once"
    return [f"{start} would wait for the device {listed}."]


def _measured(summary: Summary) -> list[str]:
    cold, warm = median_s(summary.cold), median_s(summary.warm)
    if cold is None and warm is None:
        return []
    if cold is None or warm is None:
        only, state = (warm, "warm") if cold is None else (cold, "cold")
        assert only is not None
        return [f"Measured here: {show_seconds(only)} {state}."]
    times = f", {cold / warm:.1f} times as long cold" if warm else ""
    return [f"Measured here: {show_seconds(cold)} cold, {show_seconds(warm)} warm{times}."]


def on(device: str) -> str:
    """A device's name in a sentence: "at 120 IOPS", "on hdd-7200"."""
    return f"at {device[5:]} IOPS" if device.startswith("iops-") and device[5:].isdigit() else f"on {device}"


def name(path: bytes) -> str:
    """A file's name without its folders, fit to print."""
    return show_path(os.path.basename(path) or path)
