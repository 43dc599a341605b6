"""The kernel's trace in windows of time: each is decoded by itself, so that a long trace needs no more
memory than a short one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from profiler.capture.kernel.buffer.pages import LAST_NS

Tables = dict[str, dict[str, "np.ndarray"]]
"""Event -> column -> one element an event, by time."""


@dataclass(frozen=True)
class Window:
    """All events of a stretch of time, [start_ns, end_ns): `mine` of the observed tasks, `all` of others
    too."""

    start_ns: int
    end_ns: int
    mine: Tables
    all: Tables

    @property
    def last(self) -> bool:
        return self.end_ns == LAST_NS


def cuts(begins: Sequence[np.ndarray], pages: int) -> list[tuple[int, int]]:
    """Stretches of time that are all of it, in each of which about so many pages begin.

    begins: of each processor, when its pages begin (ns).
    """
    times = np.sort(np.concatenate([np.empty(0, np.int64), *begins]))
    inner = np.unique(times[max(1, pages) :: max(1, pages)])
    return list(pairwise([0, *inner[inner > 0].tolist(), LAST_NS]))
