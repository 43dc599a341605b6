"""A fleet as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from profiler.analysis.fleet.findings import Fleet
from profiler.report.fleet.words import losses, sections, span, verdict
from profiler.report.text.page import DIM, HEAD, WARN, WIDTH, Page
from profiler.units import show_path, show_short

_MOST_CELL = 60


def text(fleet: Fleet, width: int = WIDTH) -> Text:
    """The page of a fleet."""
    page = Page(width)
    page.paragraph(verdict(fleet), HEAD)
    page.paragraph(span(fleet), DIM)
    for words in losses(fleet):
        page.paragraph(words, WARN)
    for section in sections(fleet):
        page.blank()
        page.paragraph(section.title, HEAD)
        for words in section.sentences:
            page.paragraph(words)
        if section.rows:
            page.listing(_fitted(section.rows, page.width), section.right)
        for words in section.notes:
            page.paragraph(words, DIM, 4)
    return page.text()


def _fitted(rows: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    """Rows as wide as the page: the widest column gives way, down to a third of it."""
    made = [list(row) for row in rows]
    while True:
        widths = [max(map(len, column)) for column in zip(*made, strict=True)]
        over = sum(widths) + 2 * (len(widths) - 1) - width
        widest = widths.index(max(widths))
        if over <= 0 or widths[widest] <= 10:
            return made
        most = max(widths[widest] - over, 10)
        for row in made:
            if len(row[widest]) > most:
                row[widest] = f"{row[widest][: (most - 2) // 2]}...{row[widest][-((most - 3) // 2) :]}"


def rows(names: Sequence[str], values: Sequence[Sequence[Any]]) -> str:
    """What a query gives, as a table: NULL is what is not known."""
    cells = [[show_path(name) for name in names], *([_cell(value) for value in row] for row in values)]
    numbers = [all(isinstance(row[place], int | float) for row in values) for place in range(len(names))]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numbers, strict=True)
        ).rstrip()
        for row in cells
    ]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return f"{value:.6g}"
    return show_short(str(value), _MOST_CELL)
