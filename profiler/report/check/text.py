"""A check as text."""

from __future__ import annotations

import shlex

from rich.text import Text

from profiler.analysis.check.held import REGRESSED, UNKNOWN, Held
from profiler.report.check.words import changed, compared, remedy, rows, verdict
from profiler.report.text.page import DIM, HEAD, LOUD, WARN, WIDTH, Page
from profiler.units import show_path

MAX_CHANGES, MAX_LINES = 10, 100


def text(held: Held, width: int = WIDTH) -> Text:
    """The page of one check."""
    page = Page(width)
    page.paragraph(verdict(held), {REGRESSED: LOUD, UNKNOWN: WARN}.get(held.state, HEAD))
    page.blank()
    page.row("command", show_path(shlex.join(held.now.command)))
    page.row("compared", compared(held))
    for number, words in enumerate(held.warnings):
        page.row("" if number else "warning", show_path(words), WARN)
    for number, words in enumerate(dict.fromkeys(held.faults)):
        page.row("" if number else "not counted", show_path(words), WARN)
    if held.lines:
        page.blank()
        table = rows(held, MAX_LINES)
        page.table("", table, right=tuple(range(1, len(table[0]) - 1)))
    if held.changes:
        page.blank()
    for number, one in enumerate(held.changes[:MAX_CHANGES]):
        amount, name, so = changed(one)
        page.row("" if number else "changed", f"{amount}: {name}, {so}")
    if len(held.changes) > MAX_CHANGES:
        page.row("", f"and {len(held.changes) - MAX_CHANGES:,} more; --format json has them all", DIM)
    if words := remedy(held):
        page.blank()
        page.paragraph(words)
    return page.text()
