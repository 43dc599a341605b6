"""What commands print of a real run, made comparable: numbers, times and bars become marks, and a line that
was broken is whole again, as where it breaks depends on how long its numbers are."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

LINES, COLUMNS = 24, 80
"""A terminal's."""

_UNITS = "s|ms|us|ns|min|h|B|[KMGTP]iB|MB/s|/s|%"
_MARKS = (
    (re.compile(r"[⠀-⣿][⠀-⣿ ]*"), "~"),  # Braille: pictures
    (re.compile(r"(?<=\s)[▓█▒·]{2,}"), "="),  # bars
    (re.compile(rf"[<>]?\b[0-9][0-9,.]*[0-9]?(?: ?(?:{_UNITS})(?![\w/]))?"), "#"),
    (re.compile(r"# reads?\b"), "# reads"),  # and whatever else is one or many
    (re.compile(r"# (piece|file|request)s?\b"), r"# \1s"),
    (re.compile(r" {2,}"), "  "),
)


def marked(text: str) -> list[str]:
    """The rows of a page with marks in place of what varies; white space between columns is two blanks."""
    rows: list[str] = []
    for line in text.splitlines():
        if rows and _goes_on(line):
            rows[-1] += f" {line.strip()}"
        else:
            rows.append(line.rstrip())
    for pattern, mark in _MARKS:
        rows = [pattern.sub(mark, row) for row in rows]
    return rows


@dataclass(frozen=True)
class Page:
    """How far what a real run prints may differ from the golden page of its command, in marked rows.

    alike: patterns of words that differ from machine to machine, and what stands for them. other: rows that
    are not compared: what was read there is another thing. optional: rows that a run need not have.
    """

    alike: Mapping[str, str] = field(default_factory=dict)
    other: str = r"\Z."
    optional: str = r"\Z."

    def rows(self, text: str) -> list[str]:
        """The rows that are compared."""
        rows = marked(text)
        for pattern, words in self.alike.items():
            rows = [re.sub(pattern, words, row) for row in rows]
        return [row for row in rows if not re.match(self.other, row)]

    def differences(self, real: str, golden: str) -> list[str]:
        """Rows that only one of them has: - the real page lacks it, + the golden one does."""
        told = difflib.ndiff(self.rows(golden), self.rows(real))
        rows = [row for row in told if row[0] in "-+"]
        return [row for row in rows if row[0] == "+" or not re.match(self.optional, row[2:])]


def _goes_on(line: str) -> bool:
    """Whether a line is the rest of the one before: words below a value, and no columns."""
    return re.match(r" {10,}\S", line) is not None and "  " not in line.strip()


def fits(page: Iterable[str], lines: int = LINES) -> bool:
    """Whether it can be seen whole on a terminal."""
    page = list(page)
    return len(page) <= lines and all(len(line) <= COLUMNS for line in page)
