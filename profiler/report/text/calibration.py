"""What a calibration found, on one screen."""

from __future__ import annotations

from itertools import zip_longest

from rich.text import Text

from profiler.devices.disks.datasheet_disk import Disk
from profiler.devices.fitting.fit import Fitted
from profiler.devices.fitting.statistics import PAGE
from profiler.report.text.page import WIDTH, Page
from profiler.units import show_bytes, show_count, show_seconds


def calibration(fitted: Fitted, where: str, width: int = WIDTH) -> Text:
    """The numbers that were measured and the model that was made of them, on 24 lines of 80 columns;
    `where`: what was read."""
    page = Page(width)
    page.row("measured", where, lines=None)
    page.table("reads", _table(fitted), right=range(6))
    start, end = _speed(fitted.start_mb_per_s), _speed(fitted.end_mb_per_s)
    page.row("in a row", f"{start} at the start, {end} at the end")
    if fitted.buffered_us is not None:
        page.row("page cache", f"{show_seconds(fitted.buffered_us / 1e6)} for {show_bytes(PAGE)} through it")
    if fitted.handoff_us is not None:
        page.row("handed over", f"{show_seconds(fitted.handoff_us / 1e6)} more for a read by another thread")
    if fitted.pause_us:
        us, longer_us = fitted.pause_us[-1]
        page.row(
            "pauses", f"up to {show_seconds(longer_us / 1e6)} more for a read after {show_seconds(us / 1e6)}"
        )
    page.row("found", _model(fitted), lines=None)
    for note in fitted.notes:
        page.row("note", note, lines=None)
    return page.text()


def _table(fitted: Fitted) -> list[tuple[str, ...]]:
    """Three tables of two columns each beside each other: by size, by distance, and so many at once."""
    size = [(show_bytes(size), show_seconds(us / 1e6)) for size, us in sorted(fitted.direct_us.items())]
    apart = [(show_bytes(far), show_seconds(ms / 1e3)) for far, ms in sorted(fitted.distances.items())]
    queue = [(str(depth), f"{show_count(round(rate))}/s") for depth, rate in sorted(fitted.queue.items())]
    pairs = zip_longest(size, apart, queue, fillvalue=("", ""))
    head = ("size", "at random", "apart", "of 4 KiB", "at once", "of 4 KiB")
    return [head, *((*one, *two, *three) for one, two, three in pairs)]


def _speed(mb_per_s: float) -> str:
    return f"{mb_per_s:,.0f} MB/s" if mb_per_s >= 99.5 else f"{mb_per_s:.3g} MB/s"


def _model(fitted: Fitted) -> str:
    model = fitted.model
    if isinstance(model, Disk):
        words = f"disk: {model.rpm:,.0f} rpm, {model.average_seek_ms:g} ms average seek, " + _speed(
            model.transfer_mb_per_s
        )
    else:
        latency = show_seconds(model.latency_us[0][1] / 1e6)
        held = f"at most {model.iops:,.0f} reads a second" if model.iops < 1e8 else ""
        words = ", ".join(
            part
            for part in (
                f"flash: {latency} for 4 KiB", held or f"{model.channels:g} at once",
                _speed(model.transfer_mb_per_s),
            )
        )  # fmt: skip
    return f"{words}; a start takes {fitted.low_ratio:g} to {fitted.high_ratio:g} times the projection"
