"""What the guest has in an image, and how much of it was read: the rows that the reports show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from profiler.report.summary import ContentSummary
from profiler.units import show_bytes, show_count, show_percent, show_plural, show_short

MAX_KINDS = 6
"""Kinds of what the guest has in an image that are listed, and files of the guest; JSON has them all."""
MAX_FILES = 8
_NUMBERS = 29  # columns of the three numbers, and the gaps before them

Name = TypeVar("Name", str, bytes)
Table = tuple[str, list[list[str]], str]
"""A label, the rows (the first is the head) and what to say of what is left out ("": nothing is)."""


def tables(contents: Sequence[ContentSummary], room: int, full: bool = False) -> list[Table]:
    """What was read of the guest by kind, and of its files by file, most bytes first: none of either where
    nothing is known of it. room: columns of a row. full: all of them."""
    by_kind = _summed((one.kind, one) for one in contents)
    by_path = _summed((one.path, one) for one in contents if one.path)
    most = max(20, room - _NUMBERS)
    kinds = [(show_short(kind, most), row) for kind, row in by_kind]
    files = [(show_short(path, most), row) for path, row in by_path]
    made = []
    for label, what, rows, listed in (("guest", "kind", kinds, MAX_KINDS), ("", "file", files, MAX_FILES)):
        if not rows:
            continue
        shown = rows if full else rows[:listed]
        cells = [[name, *_cells(row)] for name, row in shown]
        left = len(rows) - len(shown)
        more = f"and {show_plural(left, f'more {what}')}" if left else ""
        made.append((label, [[what, "reads", "bytes", "HDD time"], *cells], more))
    return made


@dataclass
class _Sum:
    reads: int = 0
    bytes: int = 0
    hdd_share: float | None = None


def _summed(rows: Iterable[tuple[Name, ContentSummary]]) -> list[tuple[Name, _Sum]]:
    """The sums of those of one name, the most bytes first."""
    found: dict[Name, _Sum] = {}
    for name, row in rows:
        one = found.setdefault(name, _Sum())
        one.reads += row.reads
        one.bytes += row.bytes
        if row.hdd_share is not None:
            one.hdd_share = (one.hdd_share or 0.0) + row.hdd_share
    return sorted(found.items(), key=lambda pair: -pair[1].bytes)


def _cells(row: _Sum) -> list[str]:
    share = "" if row.hdd_share is None else show_percent(row.hdd_share)
    return [show_count(row.reads), show_bytes(row.bytes), share]
