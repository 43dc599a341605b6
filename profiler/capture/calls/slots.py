"""What the numbers of a table of descriptors mean, as a value that never changes: to copy it costs nothing.

A radix tree of 16 branches. What opens or closes a descriptor makes anew the few nodes on the way to it and
shares all others with the tree before (Driscoll, Sarnak, Sleator, Tarjan, "Making data structures
persistent", 1989). So programs may fork as often as they like, with as many descriptors as they like, and
close or mark all of them each time: a change takes the time and the memory of eight nodes at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from profiler.capture.calls.descriptors import Open

_BITS = 4
_BRANCHES = 1 << _BITS
_UINT = 0xFFFFFFFF  # descriptors are unsigned ints to the kernel, whatever a register holds
_NONE = (None,) * _BRANCHES


class Slots:
    """Descriptors -> what they mean, and which of them exec closes. Never changed: its methods give others.

    A node: of the descriptors whose bits from `shift` + 4 on are alike. branches: nodes, at shift 0 opens.
    closing, staying: bit masks of the branches that hold any descriptor that exec closes, or that it does
    not.
    """

    __slots__ = ("_all_closing", "_branches", "_closing", "_kept", "_shift", "_staying")

    def __init__(
        self,
        shift: int = 0,
        branches: tuple[Slots | Open | None, ...] = _NONE,
        closing: int = 0,
        staying: int = 0,
    ) -> None:
        self._shift = shift
        self._branches = branches
        self._closing = closing
        self._staying = staying
        # what `kept` and `all_closing` give, once they were asked: a fork shares the answers too
        self._kept: Slots | None = None
        self._all_closing: Slots | None = None

    # -- to look ----------------------------------------------------------------------------------------

    def get(self, descriptor: int) -> Open | None:
        number = descriptor & _UINT
        node, shift = self, self._shift
        if number >> shift >= _BRANCHES:
            return None
        while shift:
            below = node._branches[number >> shift & _BRANCHES - 1]
            if below is None:
                return None
            node = cast("Slots", below)
            shift -= _BITS
        return cast("Open | None", node._branches[number & _BRANCHES - 1])

    def __contains__(self, descriptor: int) -> bool:
        return self.get(descriptor) is not None

    def __iter__(self) -> Iterator[int]:
        return (descriptor for descriptor, _ in self.items())

    def items(self, first: int = 0) -> Iterator[tuple[int, Open]]:
        """Descriptor and open, in the order of the numbers. first: added to each number."""
        for place, below in enumerate(self._branches):
            if isinstance(below, Slots):
                yield from below.items(first + (place << self._shift))
            elif below is not None:
                yield first + place, below

    # -- to change --------------------------------------------------------------------------------------

    def having(self, descriptor: int, opened: Open, closing: bool) -> Slots:
        """`descriptor` means `opened`. closing: exec closes it."""
        number, top = descriptor & _UINT, self
        while number >> top._shift >= _BRANCHES:
            top = Slots(top._shift + _BITS)._with(0, top, top._closing != 0, top._staying != 0)
        return top._set(number, opened, closing)

    def without(self, descriptor: int) -> Slots:
        return self._set(descriptor & _UINT, None, False) if descriptor in self else self

    def marked(self, descriptor: int, closing: bool) -> Slots:
        """Exec closes `descriptor`, or does not any more."""
        opened = self.get(descriptor)
        return self if opened is None else self._set(descriptor & _UINT, opened, closing)

    def without_range(self, first: int, last: int) -> Slots:
        """`first` to `last`, both included, mean nothing any more."""
        return self._ranged(0, first, last, lambda node: Slots(node._shift))

    def marked_range(self, first: int, last: int) -> Slots:
        """Exec closes what there is from `first` to `last`, both included."""
        return self._ranged(0, first, last, Slots.all_closing)

    def kept(self) -> Slots:
        """What exec does not close."""
        if not self._closing:
            return self
        if self._kept is None:
            if self._shift:
                self._kept = self._each(Slots.kept)
            else:
                kept = (
                    one if self._staying >> place & 1 else None for place, one in enumerate(self._branches)
                )
                self._kept = Slots(0, tuple(kept), 0, self._staying)
        return self._kept

    def all_closing(self) -> Slots:
        """Exec closes all of them."""
        if not self._staying:
            return self
        if self._all_closing is None:
            if self._shift:
                self._all_closing = self._each(Slots.all_closing)
            else:
                self._all_closing = Slots(0, self._branches, self._closing | self._staying, 0)
        return self._all_closing

    # -- nodes ------------------------------------------------------------------------------------------

    def _with(self, place: int, below: Slots | Open | None, closing: bool, staying: bool) -> Slots:
        """This node with another branch. closing, staying: what that holds; none if neither."""
        branches, bit = list(self._branches), 1 << place
        branches[place] = below if closing or staying else None
        return Slots(
            self._shift,
            tuple(branches),
            self._closing | bit if closing else self._closing & ~bit,
            self._staying | bit if staying else self._staying & ~bit,
        )

    def _joined(self, place: int, below: Slots) -> Slots:
        return self._with(place, below, below._closing != 0, below._staying != 0)

    def _set(self, number: int, opened: Open | None, closing: bool) -> Slots:
        place = number >> self._shift & _BRANCHES - 1
        if not self._shift:
            there = opened is not None
            return self._with(place, opened, there and closing, there and not closing)
        below = cast("Slots | None", self._branches[place]) or Slots(self._shift - _BITS)
        return self._joined(place, below._set(number, opened, closing))

    def _each(self, change: Callable[[Slots], Slots]) -> Slots:
        """This node, not of the lowest, with all its branches changed."""
        made = self
        for place, below in enumerate(self._branches):
            if isinstance(below, Slots):
                changed = change(below)
                if changed is not below:
                    made = made._joined(place, changed)
        return made

    def _ranged(self, base: int, first: int, last: int, change: Callable[[Slots], Slots]) -> Slots:
        """This node, whose numbers begin at `base`, with what lies in the range changed."""
        end = base + (_BRANCHES << self._shift) - 1
        if last < base or end < first:
            return self
        if first <= base and end <= last:
            return change(self)
        made = self
        if self._shift:
            for place, below in enumerate(self._branches):
                if isinstance(below, Slots):
                    changed = below._ranged(base + (place << self._shift), first, last, change)
                    if changed is not below:
                        made = made._joined(place, changed)
            return made
        changed = change(self)
        for place in range(max(first - base, 0), min(last - base + 1, _BRANCHES)):
            bit = 1 << place
            made = made._with(
                place, changed._branches[place], changed._closing & bit != 0, changed._staying & bit != 0
            )
        return made
