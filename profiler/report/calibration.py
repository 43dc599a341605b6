"""What a calibration found, on one screen."""

from __future__ import annotations

from rich.text import Text

from profiler.devices.disk import Disk
from profiler.devices.fitting import PAGE, Fitted
from profiler.report.text.page import WIDTH, Page
from profiler.units import show_bytes, show_count, show_seconds


def calibration(fitted: Fitted, where: str, width: int = WIDTH) -> Text:
    """The numbers that were measured and the model that was made of them; `where`: what was read."""
    page = Page(width)
    page.row("measured", where, lines=None)
    rows: list[tuple[str, str, str, str]] = []  # label, what, how much, words
    for size, time_us in sorted(fitted.direct_us.items()):
        is_page = size == PAGE
        rows.append(("at random" if is_page else "", show_bytes(size), show_seconds(time_us / 1e6), ""))
        if is_page and fitted.buffered_us is not None:
            through = show_seconds(fitted.buffered_us / 1e6)
            rows.append(("", show_bytes(size), through, "through the page cache"))
    for number, (far, time_ms) in enumerate(sorted(fitted.distances.items())):
        rows.append(("" if number else "apart", show_bytes(far), show_seconds(time_ms / 1e3), ""))
    for number, (depth, rate) in enumerate(sorted(fitted.queue.items())):
        words = "reads of 4 KiB a second"
        rows.append(("" if number else "at once", str(depth), show_count(round(rate)), words))
    rows.append(("in a row", "start", f"{fitted.start_mb_per_s:.4g}", "MB/s"))
    rows.append(("", "end", f"{fitted.end_mb_per_s:.4g}", "MB/s"))
    if fitted.handoff_us is not None:
        more = show_seconds(fitted.handoff_us / 1e6)
        rows.append(("handed over", show_bytes(PAGE), more, "more for a read by another thread"))
    for label, *cells in rows:
        page.cells(label, [*((cell.rjust(8), 8) for cell in cells[:2]), (cells[2], 0)])
    page.row("found", _model(fitted), lines=None)
    for note in fitted.notes:
        page.row("note", note, lines=None)
    return page.text()


def _model(fitted: Fitted) -> str:
    model = fitted.model
    if isinstance(model, Disk):
        words = (
            f"disk: {model.rpm:,.0f} rpm, {model.average_seek_ms:g} ms average seek, "
            f"{model.transfer_mb_per_s:g} MB/s"
        )
    else:
        latency = show_seconds(model.latency_us[0][1] / 1e6)
        held = f"at most {model.iops:,.0f} reads a second" if model.iops < 1e8 else ""
        words = ", ".join(
            part
            for part in (
                f"flash: {latency} for 4 KiB", held or f"{model.channels:g} at once",
                f"{model.transfer_mb_per_s:g} MB/s",
            )
        )  # fmt: skip
    return f"{words}; a start takes {fitted.low_ratio:g} to {fitted.high_ratio:g} times the projection"
