"""The layout of every page of text: labels on the left, values on the right of them, tables, commands.

Everything is built as `rich.text.Text`, never as markup, and every file name goes through `show_path`: a
name can neither steer the terminal nor be taken for a style.
"""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Sequence
from typing import TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

WIDTH = 80
"""Columns, unless the caller knows better; more than 99 are never used."""

LABEL = 11
"""Columns of the labels on the left."""

LOUD, WARN, HEAD, DIM = "bold red", "yellow", "bold", "dim"

GAP = 2
"""Columns between the cells of a table."""

_UNIT = re.compile(r"(?<=\d) (?=(?:s|ms|us|min|h|B|[KMGTP]iB)\b)")


def coloured(stream: TextIO) -> bool:
    """Whether a stream shows colours: a terminal does, unless NO_COLOR is set or TERM is dumb."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def write(text: Text, stream: TextIO) -> None:
    """Print to `stream`, in colours if it shows them, as plain text otherwise. What its encoding does not
    have (LANG=C) is written as an escape."""
    if coloured(stream):
        Console(file=stream, highlight=False).print(text, soft_wrap=True)
    else:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write(text.plain.encode(encoding, "backslashreplace").decode(encoding) + "\n")


class Page:
    """Lines of text. width: of the page; label: columns that the labels on the left take, a space more."""

    def __init__(self, width: int, label: int = LABEL) -> None:
        self.width = max(40, min(width, 99))
        self.label = label
        self.lines: list[Text] = []

    @property
    def room(self) -> int:
        """Columns on the right of the labels."""
        return self.width - self.label - 1

    def loud(self, words: str) -> None:
        """What must not be overlooked."""
        self._wrapped("", words, 0, LOUD)

    def paragraph(self, words: str, style: str = "", lines: int | None = None) -> None:
        """Words without a label, over the whole width."""
        self._wrapped("", words, 0, style, lines)

    def blank(self) -> None:
        self.lines.append(Text())

    def row(self, label: str, value: str, style: str = "", lines: int | None = 4) -> None:
        """A label and a value; a value of more than `lines` lines is cut short."""
        self._wrapped(label, value, self.label + 1, style, lines)

    def cells(self, label: str, cells: Sequence[tuple[str, int]], style: str = "") -> None:
        """A label and cells, each padded to its width (0: as long as it is); cut where the page ends."""
        line = (" " * GAP).join(cell if not width else _padded(cell, width) for cell, width in cells)
        self._line(label, _cut(line.rstrip(), self.room), self.label + 1, style)

    def table(
        self, label: str, rows: Sequence[Sequence[str]], head: bool = True, right: Sequence[int] = ()
    ) -> None:
        """Rows of as many cells each, as wide as their columns need; the first is the head. right: columns
        whose cells stand on the right, as numbers do."""
        widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
        for number, row in enumerate(rows):
            line = [
                (" " * (width - cell_len(cell)) + cell if place in right else cell, width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            self.cells(label if number == 0 else "", line, DIM if head and number == 0 else "")

    def listing(self, rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
        """A table over the whole width, without a label."""
        label, self.label = self.label, -1
        self.table("", rows, right=right)
        self.label = label

    def grid(self, rows: Sequence[Sequence[str]]) -> None:
        """Rows of as many cells each, the first of which takes the place of a label."""
        widths = [self.label - 1, *(max(map(cell_len, column)) for column in [*zip(*rows, strict=True)][1:])]
        for row in rows:
            line = (" " * GAP).join(_padded(*pair) for pair in zip(row, widths, strict=True))
            self.lines.append(Text(_cut(line.rstrip(), self.width)))

    def drawn(self, label: str, parts: Sequence[tuple[str, str]]) -> None:
        """A label and a line that is put together of parts with a style each; cut where the page ends."""
        line = Text().append(label.ljust(self.label + 1), DIM)
        for words, style in parts:
            line.append(words, style)
        line.rstrip()
        line.truncate(self.width)
        self.lines.append(line)

    def command(self, words: Sequence[str]) -> None:
        """A command on lines of its own, its words quoted as a shell takes them; what does not fit goes on
        behind a backslash, between two words of it: pasted, it is one command."""
        parts: list[str] = []
        for word in words:
            if parts and len(parts[-1]) + 1 + len(word) <= self.width - 6:
                parts[-1] += " " + word
            else:
                parts.append(word)
        for number, part in enumerate(parts):
            more = " \\" if number < len(parts) - 1 else ""
            self.lines.append(Text(("    " if number else "  ") + part + more))

    def text(self) -> Text:
        return Text("\n").join(self.lines)

    def fits(self, value: str, lines: int) -> bool:
        """Whether a row shows all of this value in so many lines."""
        return len(self._broken(value, self.room)) <= lines

    def _wrapped(self, label: str, value: str, indent: int, style: str, lines: int | None = 4) -> None:
        for number, part in enumerate(self._broken(value, self.width - indent, lines) or [""]):
            self._line(label if number == 0 else "", part, indent, style)

    def _broken(self, value: str, width: int, lines: int | None = None) -> list[str]:
        value = _UNIT.sub("\0", value)  # a number and its unit stay on one line
        parts = textwrap.wrap(value, width, max_lines=lines, placeholder=" ...", break_on_hyphens=False)
        return [part.replace("\0", " ") for part in parts]

    def _line(self, label: str, value: str, indent: int, style: str) -> None:
        head = label.ljust(indent) if value else label
        self.lines.append(Text().append(head, DIM).append(value, style))


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - cell_len(cell))


def _cut(line: str, width: int) -> str:
    return line if cell_len(line) <= width else set_cell_size(line, width)
