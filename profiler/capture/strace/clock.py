"""The time stamps of a log as one time line: ns from the first of them."""

from __future__ import annotations

import datetime

import numpy as np

_DAY_NS = 86_400 * 10**9
_LATEST_NS = 2**62
_MOST_DAYS = 10_000


class Clock:
    """Turns stamps into times, in the order of the lines; keeps what one block of lines leaves to the next.

    style: see `grammar.Stamp`; "" while no stamp has been seen: then the number of a line is its time.
    """

    def __init__(self) -> None:
        self.style = ""
        self.last_ns = 0
        self._first: int | None = None  # absolute stamp of the first line
        self._before: int | None = None  # stamp of the line before, on a clock
        self._days = 0

    @property
    def started_at(self) -> str:
        """When the log begins, UTC, ISO 8601; "" if the stamps do not tell."""
        if self.style != "absolute" or self._first is None:
            return ""
        moment = datetime.datetime.fromtimestamp(self._first // 10**9, datetime.UTC)
        return moment.replace(microsecond=self._first % 10**9 // 1000).isoformat()

    def times(self, stamps: np.ndarray, lines: int) -> np.ndarray:
        """Times of lines with these stamps (ns, -1: none), the first of which has `lines` lines before it.

        A line without a stamp has the time of the line before it.
        """
        if not len(stamps):
            return stamps
        if not self.style:
            times = np.arange(lines, lines + len(stamps), dtype=np.int64)
        else:
            times = np.full(len(stamps), self.last_ns)
            given = np.flatnonzero(stamps >= 0)
            if len(given):
                times[given] = getattr(self, f"_{self.style}")(stamps[given])
                latest = np.maximum.accumulate(np.where(stamps >= 0, np.arange(len(stamps)), -1))
                times = np.where(latest >= 0, times[np.maximum(latest, 0)], self.last_ns)
        self.last_ns = int(times[-1])
        return times

    def _absolute(self, stamps: np.ndarray) -> np.ndarray:
        if self._first is None:
            self._first = int(stamps[0])
        return np.asarray(np.maximum(stamps - self._first, 0))

    def _relative(self, stamps: np.ndarray) -> np.ndarray:
        if self._first is None:
            self._first = 0
            stamps = np.append(np.zeros(1, np.int64), stamps[1:])  # since strace was started
        too_late = np.cumsum(stamps, dtype=np.float64) + self.last_ns > _LATEST_NS
        return np.asarray(self.last_ns + np.cumsum(np.where(too_late, 0, stamps)))

    def _clock(self, stamps: np.ndarray) -> np.ndarray:
        if self._first is None:
            self._first = self._before = int(stamps[0])
        assert self._before is not None
        steps = np.diff(stamps, prepend=self._before)
        days = self._days + np.cumsum(steps < -_DAY_NS // 2) - np.cumsum(steps > _DAY_NS // 2)
        days = np.clip(days, 0, _MOST_DAYS)
        self._before, self._days = int(stamps[-1]), int(days[-1])
        return np.asarray(np.maximum(stamps + days * _DAY_NS - self._first, 0))
