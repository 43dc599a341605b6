"""A picture of offsets against time in the terminal, in dots of Braille: two side by side and four above
each other in each character (Unicode 2800 to 28FF)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from profiler.analysis.reads.picture import COLUMNS, HIT, ROWS, Picture
from profiler.report.text.page import DIM, Page
from profiler.units import show_bytes, show_path, show_plural, show_seconds, show_short

STYLES = ("bold bright_blue", "bold yellow", "bold magenta", "bold green", "bold cyan")
"""Of the groups that were asked of a device, the one of most bytes first. Blue and yellow come first: they
are told apart with any colour vision."""

WORDS = {
    HIT: "in memory",
    "mapped": "mapped pages",
    "read": "reads",
    "metadata": "metadata",
    "device": "requests",
}

_DOTS = np.array([[0x40, 0x80], [0x04, 0x20], [0x02, 0x10], [0x01, 0x08]])  # from the lowest row up
_BLANK = chr(0x2800)


def draw(page: Page, picture: Picture, name: bytes, lines: int, colours: bool, timed: bool = True) -> None:
    """The picture in so many lines, at least 3; the last tells the times and what the marks are. name: of
    the file that is shown. Without colours all marks are alike, and nothing is said of what they are.
    timed: the trace has times; else, as of some logs, an order only."""
    rows, columns = lines - 1, page.room
    styles = [_style(picture, group) for group in range(len(picture.groups))]
    cells, owner = _cells(picture, rows, columns)
    labels = [""] * rows
    labels[0], labels[-1] = show_bytes(picture.high), show_bytes(picture.low)
    if rows > 2:
        labels[1] = show_short(name, page.label) if picture.file >= 0 else show_plural(picture.files, "file")
    for row, label in enumerate(labels):
        page.drawn(label, _parts(cells[row], owner[row], styles))
    begin, end = "first", "last"
    if timed:
        begin, end = show_seconds(picture.begin_s), show_seconds(picture.end_s)
    legend = _legend(picture, name, styles, colours, columns - len(begin) - len(end) - 4)
    room = columns - len(begin) - len(end) - sum(len(words) for words, _ in legend)
    left = room // 2
    page.drawn("", [(begin + " " * left, DIM), *legend, (" " * (room - left) + end, DIM)])


def _cells(picture: Picture, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Characters, from the top line down, and the group of each that is drawn on top in it (-1: none)."""
    x = picture.marks[:, 0] * (2 * columns) // COLUMNS
    y = picture.marks[:, 1] * (4 * rows) // ROWS
    group = picture.marks[:, 2]
    line, column = rows - 1 - y // 4, x // 2
    bits = np.zeros((rows, columns), np.int64)
    np.bitwise_or.at(bits, (line, column), _DOTS[y % 4, x % 2])
    owner = np.full((rows, columns), -1, np.int64)
    np.maximum.at(owner, (line, column), group)
    return bits, owner


def _parts(bits: np.ndarray, owner: np.ndarray, styles: Sequence[str]) -> list[tuple[str, str]]:
    """A line as parts that have one style each."""
    parts: list[tuple[str, str]] = []
    changes = [0, *(np.flatnonzero(owner[1:] != owner[:-1]) + 1).tolist(), len(owner)]
    for first, last in pairwise(changes):
        if owner[first] < 0:
            parts.append((" " * (last - first), ""))
        else:
            words = "".join(chr(0x2800 + bit) for bit in bits[first:last].tolist())
            parts.append((words, styles[owner[first]]))
    return parts


def _style(picture: Picture, group: int) -> str:
    if picture.groups[group] == HIT:
        return DIM
    return STYLES[min(len(picture.groups) - 1 - group, len(STYLES) - 1)]


def _legend(
    picture: Picture, name: bytes, styles: Sequence[str], colours: bool, room: int
) -> list[tuple[str, str]]:
    """What the marks are, the most bytes first, as far as there is room."""
    drawn = set(picture.marks[:, 2].tolist())
    if not colours:
        words = "offsets in the file" if picture.file >= 0 else "all files, in the order of first touch"
        return [(words[:room], DIM)]
    parts: list[tuple[str, str]] = []
    for group in reversed(range(len(picture.groups))):
        if group not in drawn:
            continue
        words = show_path(WORDS.get(picture.groups[group], picture.groups[group]))
        gap = "  " if parts else ""
        if len(gap) + 2 + len(words) > room:
            break
        room -= len(gap) + 2 + len(words)
        parts += [(gap, ""), ("\u25cf ", styles[group]), (words, DIM)]
    return parts
