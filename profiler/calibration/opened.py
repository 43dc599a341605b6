"""Opened files that are read as one: their bytes one behind the other."""

from __future__ import annotations

import bisect
import os
from dataclasses import dataclass

import numpy as np

from profiler.calibration.places import Ints


@dataclass(frozen=True)
class Opened:
    """Descriptors, and the offset at which each file begins in the row of all, rising from 0."""

    descriptors: tuple[int, ...]
    begins: tuple[int, ...] = (0,)

    def at(self, offset: int) -> tuple[int, int]:
        """The descriptor of the file that holds `offset`, and the offset in it."""
        which = bisect.bisect_right(self.begins, offset) - 1
        return self.descriptors[which], offset - self.begins[which]

    def all_at(self, offsets: Ints) -> tuple[Ints, Ints]:
        """The same for many."""
        begins = np.array(self.begins, np.int64)
        which = np.searchsorted(begins, offsets, "right") - 1
        return np.array(self.descriptors, np.int64)[which], offsets - begins[which]

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)
