"""The device models there are, as text."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from profiler.devices.model import Device
from profiler.report.text.page import DIM, WIDTH, Page
from profiler.units import show_path


def devices(known: Sequence[Device], width: int = WIDTH) -> Text:
    """A line for each: its name and what it is."""
    page = _page(known, width)
    for device in known:
        page.row(device.name, show_path(device.title), lines=None)
    return page.text()


def sources(known: Sequence[Device], width: int = WIDTH) -> Text:
    """Names and titles, and where the numbers come from."""
    page = _page(known, width)
    for device in known:
        page.row(device.name, show_path(device.title), lines=None)
        page.row("", " ".join(show_path(" ".join(device.source.split())).split()), DIM, lines=None)
    return page.text()


def _page(known: Sequence[Device], width: int) -> Page:
    return Page(width, max((len(device.name) for device in known), default=0) + 1)
