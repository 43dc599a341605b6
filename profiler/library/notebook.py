"""A trace shows itself in a notebook: a summary, and with `trace.page()` its page. Said here, as the trace
knows nothing of what is made from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from profiler.trace import Trace

if TYPE_CHECKING:
    from profiler.report.notebook import Frame


def short(trace: Trace) -> str:
    """The summary and a picture, as HTML."""
    from profiler.report import notebook

    return notebook.short(trace)


def page(trace: Trace, height: int = 900) -> Frame:
    """The whole page, in a frame of so many pixels."""
    from profiler.report import notebook

    return notebook.of_trace(trace, height)


Trace._repr_html_, Trace.page = short, page  # type: ignore[method-assign, assignment]
