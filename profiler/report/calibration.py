"""What a calibration found, on one screen."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from profiler.devices.disk import Disk
from profiler.devices.fitting import PAGE, Fitted
from profiler.units import show_bytes, show_count, show_seconds

_LABEL = 12


def lines(fitted: Fitted, where: str, width: int) -> Iterator[str]:
    """The numbers that were measured and the model that was made of them; `where`: what was read."""
    yield from _row("measured", where, width)
    for size, time_us in sorted(fitted.direct_us.items()):
        label = "at random" if size == PAGE else ""
        yield f"{label:<{_LABEL}}{show_bytes(size):>8}  {show_seconds(time_us / 1e6):>8}"
        if size == PAGE and fitted.buffered_us is not None:
            through = show_seconds(fitted.buffered_us / 1e6)
            yield f"{'':<{_LABEL}}{show_bytes(size):>8}  {through:>8}  through the page cache"
    for number, (far, time_ms) in enumerate(sorted(fitted.distances.items())):
        label = "apart" if not number else ""
        yield f"{label:<{_LABEL}}{show_bytes(far):>8}  {show_seconds(time_ms / 1e3):>8}"
    for number, (depth, rate) in enumerate(sorted(fitted.queue.items())):
        label = "at once" if not number else ""
        yield f"{label:<{_LABEL}}{depth:>8}  {show_count(round(rate)):>8}  reads of 4 KiB a second"
    yield f"{'in a row':<{_LABEL}}{'start':>8}  {fitted.start_mb_per_s:>8.4g}  MB/s"
    yield f"{'':<{_LABEL}}{'end':>8}  {fitted.end_mb_per_s:>8.4g}  MB/s"
    yield from _row("found", _model(fitted), width)
    for note in fitted.notes:
        yield from _row("note", note, width)


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


def _row(label: str, words: str, width: int) -> list[str]:
    return textwrap.wrap(
        words, width, initial_indent=f"{label:<{_LABEL}}", subsequent_indent=" " * _LABEL,
        break_on_hyphens=False,
    )  # fmt: skip
