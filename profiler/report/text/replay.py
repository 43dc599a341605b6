"""A replay: what was read, what it took, and what was projected."""

from __future__ import annotations

from rich.text import Text

from profiler.analysis.replayed import Replayed
from profiler.report.text.page import DIM, WARN, WIDTH, Page
from profiler.units import show_bytes, show_count, show_path, show_plural, show_seconds


def replay(replayed: Replayed, width: int = WIDTH) -> Text:
    """The page of one replay."""
    result = replayed.measured
    page = Page(width)
    what = "requests, past the page cache" if result.layer == "device" else "calls, through the page cache"
    how = "at the recorded distances" if result.pauses else "as fast as it goes"
    amount = f"{show_count(result.requests)} {what}; {show_bytes(result.bytes)}"
    page.row("replayed", f"{amount}; one after another, {how}; {result.tool}")
    of = "a block device, only read" if result.kind == "block device" else _scratch(replayed)
    page.row("on", f"{show_path(result.place)}, {of}")
    if result.folded:
        page.row("", f"{show_plural(result.folded, 'request')} lay behind its end, and were moved", WARN)
    if result.warm:
        page.row("", "NOT COLD: some of it stayed in the page cache; the disk may be slower", WARN)
    spread = f"{show_seconds(min(result.times))} to {show_seconds(max(result.times))}"
    lines = [["", "seconds", "range", "to measured"]]
    lines.append(["measured", show_seconds(result.median_s), spread, show_plural(len(result.times), "run")])
    for device in replayed.projected:
        off = device.seconds / result.median_s - 1 if result.median_s else None
        band = f"{show_seconds(device.low_s)} to {show_seconds(device.high_s)}"
        shown = "unknown" if off is None else f"{off:+.1%}"
        lines.append([show_path(device.device), show_seconds(device.seconds), band, shown])
    page.table("", lines)
    if not replayed.projected:
        words = "nothing projected beside it; for that: coldseek calibrate, then --device FILE.toml"
        page.row("", words, DIM)
    return page.text()


def _scratch(replayed: Replayed) -> str:
    result = replayed.measured
    made = f"{show_bytes(result.scratch_bytes)} of scratch files"
    if result.extents is None:
        return f"{made}, nobody knows in how many pieces"
    if replayed.recorded_extents is None:
        return f"{made} in {show_plural(result.extents, 'piece')}; of the recorded files that is not known"
    return f"{made} in {show_plural(result.extents, 'piece')}, the recorded in {replayed.recorded_extents:,}"
