"""Stacks of folders and files by the time that was waited for them, as flame graphs are made of."""

from __future__ import annotations

from collections.abc import Iterator

from profiler.analysis.cost.costs import costs
from profiler.report.export.rows import as_text
from profiler.trace import Trace

_MICROSECOND = 1e-6


def folded(trace: Trace) -> Iterator[bytes]:
    """A line for each cost: the folders of its path, its structure in an image and how it was read, with a
    semicolon between each, a blank, and the microseconds that were waited for it, observed or projected (see
    `analysis.cost.charges`). What costs less than one is left out. Where nothing is known of time, bytes.
    """
    found = costs(trace, trace.reads())
    timed = any(cost.waited_s for cost in found)
    for cost in found:
        weight = round((cost.waited_s or 0.0) / _MICROSECOND) if timed else cost.bytes
        frames = [*as_text(cost.path).split("/"), cost.structure, cost.how]
        if weight:
            yield f"{';'.join(filter(None, map(_frame, frames)))} {weight}\n".encode()


def _frame(name: str) -> str:
    """A name that ends neither the frame nor the line."""
    return "".join(":" if letter == ";" else letter if letter.isprintable() else "?" for letter in name)
