"""Projected times as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from profiler.analysis.reads.untraced_runs import median_s
from profiler.analysis.simulation.projection import Projection
from profiler.facts.runs import Run
from profiler.report.text.page import DIM, GAP, WARN, WIDTH, Page
from profiler.report.verdict import at_once, one_piece
from profiler.units import show_bytes, show_count, show_percent, show_plural, show_seconds

DIFFERS = 0.2
"""If what is projected differs by more than this share from what cold runs read, the report says so."""

LEAST_PART = 0.005
"""A part of a device's time with less than this share of it is not named."""

_MEAN, _START = 2, 4
_SHARES = "device time"
"""Columns of the table that are not always there."""

Here = tuple[Sequence[Run], Sequence[Run], int]
"""Untraced runs on this machine, cold and warm, and how many there were at once."""


def project(projections: Sequence[Projection], width: int = WIDTH) -> Text:
    """The projected times alone."""
    page = Page(width)
    projected(page, projections)
    return page.text()


def projected(page: Page, projections: Sequence[Projection], here: Here = ((), (), 1)) -> None:
    """here: what the same start took on this machine, cold and warm, and how many there were at once."""
    if not projections:
        page.row("projected", "on no device")
        return
    first = projections[0]
    several = first.copies > 1
    copies = f", {first.copies:,} starts at once" if several else ""
    least = "at least " if first.missing else ""
    requests = f"{least}{show_plural(first.requests, 'request')}, {show_bytes(first.bytes)}"
    page.row("projected", f"cold{copies}: {requests}; metadata: {_of_metadata(first)}")
    differs = _differs(first)
    if differs:
        page.row("", differs, WARN)
    if several:
        page.row("", at_once.shared(first.sharing))
    lines = [["", "slowest" if several else "waits", "mean", "band", "start"]]
    for one in projections:
        band = f"{show_seconds(one.low_s)} to {show_seconds(one.high_s)}"
        start = "" if one.start_s is None else show_seconds(one.start_s)
        lines.append([one.device, show_seconds(one.seconds), show_seconds(one.mean_s), band, start])
    cold, warm, at_once_here = here
    waited, mean, whole = at_once.waited(cold, warm, False), at_once.waited(cold, warm, True), median_s(cold)
    if waited is not None and whole is not None and first.copies == at_once_here:
        means = "" if mean is None else show_seconds(mean)
        lines.append(["here", show_seconds(waited), means, "measured", show_seconds(whole)])
    left_out = {
        number for number, keep in ((_MEAN, several), (_START, first.start_s is not None)) if not keep
    }
    for narrower in ((), (_START,), (_START, _MEAN)):  # what is left out where the page is too narrow
        kept = [number for number in range(len(lines[0])) if number not in left_out.union(narrower)]
        widths = [max(len(line[number]) for line in lines) for number in kept]
        room = page.room - sum(width + GAP for width in widths)
        if room + GAP >= 0:
            break
    lines = [[line[number] for number in kept] for line in lines]
    if room >= len(_SHARES):
        shares = [_SHARES, *(_shares(one.shares, room) for one in projections), ""]
        lines = [[*line, share] for line, share in zip(lines, shares, strict=False)]
    page.table("", lines)
    if words := one_piece.of_disk(projections):
        page.row("", words)
    if first.placed != "all" and first.requests:
        what = "file offsets" if first.placed == "none" else "where extents are not known, file offsets"
        page.row("", f"{what} taken as device offsets", DIM)


def _of_metadata(projection: Projection) -> str:
    """How many of the requests are the file systems' own, and how that is known."""
    if projection.metadata_requests is None:
        return "among them" if projection.metadata_source == "among" else "left out"
    return f"{show_count(projection.metadata_requests)}, {projection.metadata_source}"


def _differs(projection: Projection) -> str:
    """What to say where the projected bytes are not those that cold runs read here; "": nothing."""
    measured, projected = projection.measured_bytes, projection.bytes
    if measured is None or abs(measured - projected) <= DIFFERS * measured:
        return ""
    read = f"cold runs read {show_bytes(measured)}"
    if measured > projected:
        why = "; ".join(projection.missing) or "why is not known"
        return f"{read}, {show_percent(1 - projected / measured)} of it not projected: {why}"
    return f"{read}, less than projected: the rest was in memory, or others read it"


def _shares(shares: dict[str, float], room: int) -> str:
    """What the device's time goes into, the most first, as far as there is room."""
    said = ""
    for part, share in sorted(shares.items(), key=lambda share: -share[1]):
        more = f"{', ' if said else ''}{share:.0%} {part}"
        if share < LEAST_PART or len(said + more) > room:
            break
        said += more
    return said
