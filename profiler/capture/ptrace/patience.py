"""Waiting for the next stop asleep or awake, whichever gets the traced program on faster here and now.

A tracer that waits asleep lets its processor go idle. Waking an idle processor takes a few microseconds on
one machine and fifty on another, above all on a busy virtual one; asking again and again instead takes a
processor from the program. Neither is always better, so both are tried now and then, and the better one is
used.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from profiler.capture.ptrace.stops import WALL

WINDOW = 512
"""Stops between two decisions: long enough to even out single stops, a small part of a second of a busy
run."""

_EXPLORE = 16  # every so many windows the slower way is tried again: machines change their mind
_ASKS = 100  # times, some 60 microseconds in all, before a wait that began awake goes to sleep

Wait = Callable[[], tuple[int, int]]


def asleep() -> tuple[int, int]:
    """waitpid for any task of ours. Raises ChildProcessError if there is none."""
    return os.waitpid(-1, WALL)


def awake() -> tuple[int, int]:
    """The same, asking for a while without sleeping."""
    wait = os.waitpid
    for _ in range(_ASKS):
        found = wait(-1, WALL | os.WNOHANG)
        if found[0]:
            return found
    return wait(-1, WALL)


class Patience:
    """Chooses the way to wait for each window of stops, from how long the windows before it took."""

    def __init__(self, processors: int) -> None:
        self._ways: tuple[Wait, ...] = (asleep, awake) if processors > 1 else (asleep,)
        self._cost_ns: list[float | None] = [None] * len(self._ways)
        self._current = 0
        self._began_ns: int | None = None
        self._windows = 0

    def next(self, now_ns: int) -> Wait:
        """The way to wait for the next WINDOW stops; to be asked when the one before has ended."""
        if self._began_ns is not None:
            took, before = now_ns - self._began_ns, self._cost_ns[self._current]
            self._cost_ns[self._current] = took if before is None else (took + before) / 2
            self._windows += 1
            self._current = self._choose()
        self._began_ns = now_ns
        return self._ways[self._current]

    def _choose(self) -> int:
        untried = [way for way, cost in enumerate(self._cost_ns) if cost is None]
        if untried:
            return untried[0]
        best = min(range(len(self._ways)), key=lambda way: self._cost_ns[way] or 0)
        return (best + 1) % len(self._ways) if self._windows % _EXPLORE == 0 else best
