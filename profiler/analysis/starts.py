"""Several starts of one program: how alike they are, and a plan of what most of them read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.intervals import PAGE
from profiler.analysis.simulation.prefetch import plan, single_pages, written
from profiler.errors import UsageError
from profiler.trace import Trace, host_paths

Keys = npt.NDArray[np.int64]

_PAGES_OF_A_FILE = 2**40
"""A file's number is above the number of its page in a key: files of up to 4 PiB, and 2**23 names of
them."""


@dataclass(frozen=True)
class Alike:
    """How alike starts are, by their pages, each once. jaccard: of each pair, pages that both read among
    those that either read. recall, precision: of each start, left out of the plan of the others: the share
    of its pages that is in the plan, and of the plan's that it read; none where that takes more starts.
    least: how many of the others had to read a page for it to be in the plan.
    """

    jaccard: tuple[float, ...]
    recall: tuple[float, ...]
    precision: tuple[float, ...]
    least: int


class Starts:
    """Traces of one start, whose pages are known by the files' names on the host. Raises ColdseekError, as
    `single_pages` does."""

    def __init__(self, traces: Sequence[Trace]) -> None:
        self.traces = tuple(traces)
        names = [host_paths(trace.files) for trace in traces]
        numbers, _ = pd.factorize(np.array([name for part in names for name in part] + [None], object)[:-1])
        begins = np.cumsum([0, *map(len, names)])
        self._numbers = [numbers[begin:end] for begin, end in pairwise(begins)]
        self._pages = [
            np.unique(self._keys(which, single_pages(trace))) for which, trace in enumerate(traces)
        ]

    def alike(self, least: int) -> Alike:
        """least: how many starts have to read a page for it to be in a plan, from 1."""
        pages = self._pages
        pairs = [(first, second) for place, first in enumerate(pages) for second in pages[place + 1 :]]
        recall, precision = [], []
        others = min(least, len(pages) - 1)
        for left_out, read in enumerate(pages) if len(pages) > 1 else ():
            planned = _read_by(others, [part for place, part in enumerate(pages) if place != left_out])
            both = len(np.intersect1d(planned, read, assume_unique=True))
            recall.append(_share(both, len(read)))
            precision.append(_share(both, len(planned)))
        return Alike(
            tuple(_share(len(np.intersect1d(*pair, assume_unique=True)), len(np.union1d(*pair))) for pair in
            pairs), tuple(recall), tuple(precision), others,
        )  # fmt: skip

    def plan(self, order: str, least: int) -> tuple[pd.DataFrame, pd.DataFrame, set[int]]:
        """Stretches as of `prefetch.plan`, the files that they are of, and which of these the start writes
        to. Each page that `least` starts read is in it once, as the last of them found it. Raises UsageError
        for more starts than there are."""
        if not 1 <= least <= len(self.traces):
            raise UsageError(f"--in {least}: there are {len(self.traces)} traces; give at most that")
        wanted = _read_by(least, self._pages)
        parts, files, changing, begin = [], [], set[int](), 0
        for which in reversed(range(len(self.traces))):
            trace = self.traces[which]
            kept = partial(self._are_in, which, wanted)
            stretches = plan(trace, order, metadata=which == len(self.traces) - 1, wanted=kept)
            wanted = np.setdiff1d(wanted, self._pages[which], assume_unique=True)
            parts.append(stretches.assign(file=stretches["file"] + begin))
            files.append(trace.files.set_axis(trace.files.index + begin))
            changing.update(begin + number for number in written(trace))
            begin += len(trace.files)
        every = pd.concat(files)
        every = every.assign(file=every.index)
        return _ordered(pd.concat(parts, ignore_index=True), every, order), every, changing

    def _are_in(self, which: int, wanted: Keys, pages: pd.DataFrame) -> npt.NDArray[np.bool_]:
        return np.isin(self._keys(which, pages), wanted)

    def _keys(self, which: int, pages: pd.DataFrame) -> Keys:
        numbers = self._numbers[which].astype(np.int64)[pages["file"].to_numpy(np.int64)]
        keys: Keys = numbers * _PAGES_OF_A_FILE + pages["offset"].to_numpy(np.int64) // PAGE
        return keys


def _ordered(stretches: pd.DataFrame, files: pd.DataFrame, order: str) -> pd.DataFrame:
    """Metadata first, as in the plan of one trace."""
    kinds = files["kind"].to_numpy(object)[stretches["file"].to_numpy(np.int64)]
    is_data = kinds != "metadata"
    first = stretches.assign(is_data=is_data, when=np.where(is_data, stretches["time_ns"], 0))
    keys = ["device", "device_offset"] if order == "device" else ["when"]
    return first.sort_values(["is_data", *keys], kind="stable", ignore_index=True)


def _read_by(least: int, pages: Sequence[Keys]) -> Keys:
    """Pages that at least so many of these read."""
    keys, counts = np.unique(np.concatenate(pages), return_counts=True)
    return keys[counts >= least]


def _share(part: int, whole: int) -> float:
    """Of nothing, all."""
    return part / whole if whole else 1.0
