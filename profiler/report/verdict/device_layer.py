"""What is said of a trace that has nothing but requests of disks, as of a log of the block layer."""

from __future__ import annotations

from profiler.analysis.reads.readers import label
from profiler.report.summary import Summary
from profiler.units import show_bytes, show_path, show_plural, show_seconds

MOST_NAMED = 3
"""Of those who asked; --full names more, and JSON has all."""


def who(summary: Summary) -> str:
    """That it is of the device layer only, what there is, and whose."""
    device = summary.device
    if device is None or not device.requests:
        return "The log is of the device layer only, and no request in it reads."
    asked = f"{show_plural(device.requests, 'request')}, {show_bytes(device.bytes)}"
    return f"The log is of the device layer only, without calls and files: {asked}, {_whose(summary)}."


def how(summary: Summary) -> str:
    """In which order disks were asked, and how long they took; "": there is nothing to tell."""
    device = summary.device
    if device is None or not device.requests:
        return ""
    said = f"{show_plural(device.seeks, 'seek')}"
    if device.median_s is None or device.p99_s is None or device.wait_s is None:
        return f"{said}; how long the requests took is not known."
    took = f"half took up to {show_seconds(device.median_s)}, 99% up to {show_seconds(device.p99_s)}"
    span = "" if summary.meta.wall_s is None else f" of the {show_seconds(summary.meta.wall_s)} of the log"
    return f"{said}; {took}; one or more were under way for {show_seconds(device.wait_s)}{span}."


def _whose(summary: Summary) -> str:
    """Of whom they are, those with the most requests first."""
    named = [one for one in summary.readers if one.name or one.program]
    if not named:
        return "of processes whose names the log does not tell"
    shown = [f"{show_path(label(one.name, one.program))} ({one.reads:,})" for one in named[:MOST_NAMED]]
    rest = sum(one.reads for one in summary.readers) - sum(one.reads for one in named[:MOST_NAMED])
    return f"of {', '.join(shown)}" + (f" and others ({rest:,})" if rest else "")
