"""A trace in a notebook: a short summary with a picture, and the whole page in a frame."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass, field

from profiler.report import figures
from profiler.report import page as pages
from profiler.report.summarise import summarise
from profiler.report.summary import Summary
from profiler.report.text.facts import missing
from profiler.report.verdict.sentences import first_line, second_line, why_line
from profiler.trace import Trace
from profiler.units import show_bytes, show_count, show_seconds

DPI = 60
"""Of the picture: some 700 pixels wide."""


@dataclass(frozen=True)
class Frame:
    """A page as a notebook shows it. height: in pixels.

    >>> frame = coldseek.page(trace, height=600)
    >>> frame.height, frame._repr_html_()[:7]
    (600, '<iframe')
    """

    document: str = field(repr=False)
    height: int

    def _repr_html_(self) -> str:
        # sandboxed: its script may run, but reaches nothing of the notebook
        source = html.escape(self.document, quote=True)
        style = f"border:0;width:100%;height:{self.height}px"
        return f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{source}"></iframe>'


def of_trace(trace: Trace, height: int = 900) -> Frame:
    """The page of a trace; shown where it is the last line of a cell."""
    return Frame(pages.of_trace(trace, summarise(trace)), int(height))


def short(trace: Trace) -> str:
    """A few lines of HTML: the verdict, the totals, a picture of where it reads."""
    summary = summarise(trace)
    said = [*missing(summary.meta), first_line(summary), second_line(summary), why_line(summary)]
    lines = [f"<div>{html.escape(words)}</div>" for words in said if words]
    return "".join([f"<b>{lines[0]}</b>", *lines[1:], _totals(summary), _picture(trace)])


def _totals(summary: Summary) -> str:
    totals = summary.totals
    cells = {
        "reads": show_count(totals.reads), "bytes": show_bytes(totals.bytes),
        "unique": show_bytes(totals.unique_bytes), "seeks": show_count(totals.seeks),
        "files": show_count(totals.files),
    } | {f"cold on {one.device}": show_seconds(one.seconds) for one in summary.projections}  # fmt: skip
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in cells)
    values = "".join(f"<td>{html.escape(value)}</td>" for value in cells.values())
    return f"<table><tr>{heads}</tr><tr>{values}</tr></table>"


def _picture(trace: Trace) -> str:
    if not len(trace.reads()):
        return ""
    drawn = io.BytesIO()
    figures.draw([trace]).savefig(drawn, format="png", dpi=DPI)
    data = base64.b64encode(drawn.getvalue()).decode()
    return f'<img alt="where it reads, against time" src="data:image/png;base64,{data}">'
