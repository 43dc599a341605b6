"""A trace in a notebook."""

from __future__ import annotations

import html
import re

import report_cases
from made import trace

import profiler
from profiler.trace import Trace


def shown(of: Trace) -> str:
    assert profiler.Trace is Trace  # the name by which users have it
    said: str = of._repr_html_()  # type: ignore[attr-defined]
    return said


def test_a_trace_shows_its_verdict_and_a_picture() -> None:
    said = shown(report_cases.check())
    assert "4,096 scattered" in said or "scattered 4 KiB reads" in said
    assert "12,303" in said and 'src="data:image/png;base64,' in said
    assert len(said) < 200_000


def test_nothing_from_outside_is_markup() -> None:
    said = shown(trace([(0, 0, 4096)], [b"/<script>alert(1)</script>"], partial="<b>"))
    assert "<script" not in said and "<b>&lt;" not in said


def test_an_empty_trace_has_no_picture() -> None:
    assert "<img" not in shown(trace())


def test_the_page_is_in_a_frame_that_reaches_nothing() -> None:
    assert profiler.Trace is Trace
    said = report_cases.check().page(500)._repr_html_()  # type: ignore[attr-defined]
    frame = r'<iframe sandbox="allow-scripts" style="[^"]*height:500px" srcdoc="([^"]*)"></iframe>'
    found = re.fullmatch(frame, said)
    assert found is not None and html.unescape(found[1]).startswith("<!doctype html>")


def test_it_goes_by_the_name_it_is_installed_under() -> None:
    import coldseek

    assert coldseek.load is profiler.load and coldseek.__version__ == profiler.__version__
