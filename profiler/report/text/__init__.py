"""The reports as text. Colour only where the caller has a terminal."""

from __future__ import annotations

from profiler.report.text.comparison import compare
from profiler.report.text.devices import devices, sources
from profiler.report.text.doctor import doctor
from profiler.report.text.full import report
from profiler.report.text.page import WIDTH, write
from profiler.report.text.project import project
from profiler.report.text.replay import replay
from profiler.report.text.screen import Terminal, screen, terminal

__all__ = [
    "WIDTH",
    "Terminal",
    "compare",
    "devices",
    "doctor",
    "project",
    "replay",
    "report",
    "screen",
    "sources",
    "terminal",
    "write",
]
