"""Lines that match, found in bytes that come a piece at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence

LONGEST = 1 << 14
"""Bytes of a line that are looked at; of a longer one the rest is not."""


class Lines:
    """Feeds bytes to patterns, line by line, in memory for one line.

    The start of a line that has not ended yet is looked at, too: a prompt never ends. A carriage return ends
    a line as a newline does.
    """

    def __init__(self, patterns: Sequence[re.Pattern[bytes]]) -> None:
        self._patterns = patterns
        self._begun = b""

    def clear(self) -> None:
        """What comes next begins a line."""
        self._begun = b""

    def feed(self, piece: bytes) -> list[int]:
        """Which of the patterns match a line that these bytes end or go on with, by number."""
        found: set[int] = set()
        lines = re.split(rb"[\r\n]", piece)
        for number, line in enumerate(lines):
            whole = (self._begun + line[: LONGEST - len(self._begun)]) if self._begun else line[:LONGEST]
            if whole:
                found.update(place for place, one in enumerate(self._patterns) if one.search(whole))
            self._begun = b"" if number < len(lines) - 1 else whole
        return sorted(found)
