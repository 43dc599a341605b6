"""What the same bytes would take as one sequential read, in words."""

from __future__ import annotations

from collections.abc import Sequence

from profiler.analysis.simulation.projection import Projection
from profiler.units import show_seconds

SEEKING = "seeking"
"""The part of a device's time that only one with an arm has."""

WORTH = 0.9
"""A start that takes at least this share of its time in one piece too is not scattered: nothing is said."""


def of_disk(projections: Sequence[Projection]) -> str:
    """Of the first hard disk: "hdd-7200: 54 s, of which 400 ms if it lay in one piece"; "": there is none,
    or it would gain nothing."""
    disk = next((one for one in projections if SEEKING in one.shares), None)
    words = "" if disk is None else in_one_piece(disk)
    return f"{disk.device}: {words}" if disk is not None and words else ""


def in_one_piece(one: Projection) -> str:
    """ "54 s, of which 400 ms if it lay in one piece"; "": it would gain nothing."""
    if not one.seconds or one.sequential_s > WORTH * one.seconds:
        return ""
    return f"{show_seconds(one.seconds)}, of which {show_seconds(one.sequential_s)} if it lay in one piece"
