"""Lines that match, found in bytes that come a piece at a time."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

LONGEST = 1 << 14
"""Bytes of a line that are looked at; of a longer one the rest is not."""
_MATCHES_S = 1.0  # of a processor, for one piece of output; some patterns take years for some lines


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


def fed(lines: Lines, piece: bytes) -> list[int]:
    """`lines.feed(piece)`; nothing where that takes too long: the output is to be passed on all the same.

    For the main thread of a process that has no other use for SIGVTALRM."""
    signal.signal(signal.SIGVTALRM, _too_long)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, _MATCHES_S)
        return lines.feed(piece)
    except TimeoutError:
        lines.clear()
        return []
    finally:
        signal.signal(signal.SIGVTALRM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _too_long(number: int, frame: object) -> None:
    raise TimeoutError
