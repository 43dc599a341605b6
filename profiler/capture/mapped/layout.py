"""Which part of which file lies where in an address space, since when."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import NamedTuple


class Part(NamedTuple):
    """The addresses [start, end) are those of a file from `offset` on (bytes), mapped by way of an open at
    `since_ns`. file, handle: numbers of the recorder's."""

    start: int
    end: int
    offset: int
    file: int
    handle: int
    since_ns: int


@dataclass
class Layout:
    """The parts of one address space, none over another, as far as they were seen to be made. since_ns: no
    part is of this space for longer, whatever it says itself."""

    since_ns: int = 0
    _parts: list[Part] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)

    def copy(self, since_ns: int) -> Layout:
        """That of a child process which was made now."""
        return Layout(since_ns, self._parts.copy(), self._starts.copy())

    def put(self, part: Part) -> None:
        """Map a part, over whatever is there."""
        self.remove(part.start, part.end)
        at = bisect_right(self._starts, part.start)
        self._parts.insert(at, part)
        self._starts.insert(at, part.start)

    def remove(self, start: int, end: int) -> None:
        """Nothing is mapped at [start, end) any more."""
        low, high = self._met(start, end)
        if low == high:
            return
        first, last = self._parts[low], self._parts[high - 1]
        left = [first._replace(end=start)] if first.start < start else []
        if last.end > end:
            left.append(last._replace(start=end, offset=last.offset + end - last.start))
        self._parts[low:high] = left
        self._starts[low:high] = [one.start for one in left]

    def overlapping(self, start: int, end: int) -> list[Part]:
        """The parts, cut to [start, end), by address."""
        low, high = self._met(start, end)
        found = []
        for one in self._parts[low:high]:
            begin = max(one.start, start)
            found.append(one._replace(
                start=begin, end=min(one.end, end), offset=one.offset + begin - one.start
            ))  # fmt: skip
        return found

    def at(self, address: int) -> Part | None:
        """The part that an address is in."""
        at = bisect_right(self._starts, address) - 1
        return self._parts[at] if at >= 0 and address < self._parts[at].end else None

    def _met(self, start: int, end: int) -> tuple[int, int]:
        """Which of the parts overlap [start, end): numbers, half open."""
        low = bisect_right(self._starts, start)
        if low and self._parts[low - 1].end > start:
            low -= 1
        high = low
        while high < len(self._starts) and self._starts[high] < end:
            high += 1
        return low, high
