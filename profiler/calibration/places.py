"""Places to read at: each only once, because what was read before may be in some cache under the disk."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

PAGE = 4096
Ints = npt.NDArray[np.int64]


class Places:
    """Places in a file or on a device of which only the stretches `extents` may be read.

    extents: int64, a row each: start, length in bytes, both multiples of PAGE, not overlapping, in order.
    They are thought of as lying one behind the other; a read never runs from one into the next.
    """

    def __init__(self, extents: Ints, rng: np.random.Generator) -> None:
        self._starts = extents[:, 0]
        self._ends = np.cumsum(extents[:, 1])  # in the row of extents
        self._begins = self._ends - extents[:, 1]
        self._rng = rng
        self._taken = np.zeros((0, 2), np.int64)  # begin, end in the row of extents; in order
        self.total = int(self._ends[-1]) if len(extents) else 0

    def one_after_another(self, begin: int, end: int, size: int) -> Ints:
        """Offsets of reads of `size` bytes in a row, within [begin, end) of the row of extents."""
        at = np.arange(begin, end - size + 1, size)
        at = at[self._whole(at, size)]
        self._take(np.array([[begin, end]]))
        return self._offsets(at)

    def random(self, size: int, count: int) -> Ints:
        """Up to `count` offsets to read `size` bytes at, fewer where there is no room left."""
        found = np.zeros(0, np.int64)
        for _ in range(12):
            missing = count - len(found)
            if missing <= 0 or self.total < size:
                break
            at = self._rng.integers(0, (self.total - size) // PAGE + 1, 2 * missing) * PAGE
            at = np.sort(at[self._whole(at, size) & self._free(at, size)])
            at = at[np.diff(at, prepend=-size) >= size]  # of two that overlap the first stays
            at = self._rng.permutation(at)[:missing]
            self._take(np.stack([at, at + size], axis=1))
            found = np.concatenate([found, at])
        return self._offsets(self._rng.permutation(found))

    def walk(self, distance: int, count: int) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """Offsets of reads of PAGE bytes, each about `distance` from the one before it, to either side; and
        which of them are so far from it. Short ways lead back: forward a drive may have read ahead.
        """
        there: list[int] = []
        apart: list[bool] = []
        walked: set[int] = set()
        starts: list[int] = []
        at = -1
        for _ in range(count):
            way = self._way(at, distance, walked) if there else -1
            apart.append(way >= 0)
            if way < 0:  # begin (again) anywhere
                if not starts:
                    self._take_pages(walked)
                    starts = self.random(PAGE, _STARTS).tolist()  # some at once: to draw takes a while
                if not starts:
                    apart.pop()
                    break
                there.append(starts.pop())
                at = int(self._row(np.array([there[-1]]))[0])
            else:
                walked.add(way)
                there.append(int(self._offsets(np.array([way]))[0]))
                at = way
        self._take_pages(walked)
        return np.array(there, np.int64), np.array(apart, np.bool_)

    def _way(self, at: int, distance: int, walked: set[int]) -> int:
        """A place about `distance` from `at` that was not read yet; -1: none was found."""
        for _ in range(_TRIES):
            far = int(distance * self._rng.uniform(0.95, 1.05)) // PAGE * PAGE
            way = at - far if distance < _BACK or self._rng.random() < 0.5 else at + far
            if way not in walked and self._fits(way):
                return way
        return -1

    def _fits(self, at: int) -> bool:
        one = np.array([at])
        return bool(0 <= at <= self.total - PAGE and self._whole(one, PAGE)[0] and self._free(one, PAGE)[0])

    def _whole(self, at: Ints, size: int) -> npt.NDArray[np.bool_]:
        """Which reads end in the extent that they begin in."""
        which = np.searchsorted(self._ends, at, "right")
        return np.asarray(at + size <= self._ends[np.minimum(which, len(self._ends) - 1)], np.bool_)

    def _free(self, at: Ints, size: int) -> npt.NDArray[np.bool_]:
        if not len(self._taken):
            return np.ones(len(at), np.bool_)
        before = np.searchsorted(self._taken[:, 0], at + size) - 1  # the last that begins before it ends
        return np.asarray((before < 0) | (self._taken[before, 1] <= at), np.bool_)

    def _take(self, stretches: Ints) -> None:
        both = np.concatenate([self._taken, stretches])
        self._taken = both[np.argsort(both[:, 0], kind="stable")]

    def _take_pages(self, pages: set[int]) -> None:
        self._take(np.array([[at, at + PAGE] for at in sorted(pages)], np.int64).reshape(-1, 2))
        pages.clear()

    def _offsets(self, at: Ints) -> Ints:
        which = np.searchsorted(self._ends, at, "right")
        return np.asarray(self._starts[which] + at - self._begins[which], np.int64)

    def _row(self, offsets: Ints) -> Ints:
        which = np.searchsorted(self._starts, offsets, "right") - 1
        return np.asarray(offsets - self._starts[which] + self._begins[which], np.int64)


_BACK = 16 * 1024 * 1024
_TRIES = 16
_STARTS = 32
