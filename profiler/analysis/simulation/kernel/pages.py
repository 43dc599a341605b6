"""Which pages of one file are in memory, and what was asked of the device to bring them there.

Pages are of 4 KiB. Those of 2 MiB are the bits of one number, so that millions take little.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

SHIFT = 9
CHUNK = 1 << SHIFT
"""Pages whose presence is kept in one number: 2 MiB, so that no folio (MAX_ORDER) lies in two of them."""

MAX_CHUNKS = 4_000_000
"""More than this is not followed in one file (about 150 bytes of memory each); it is 8 TiB where all is
read."""


class TooMuchError(Exception):
    """The accesses to a file cover more than MAX_CHUNKS."""


@dataclass(slots=True)
class Pages:
    """The pages of one file, none of them there at first.

    end: how many it has; nothing behind them is read ahead.

    asked: what went to the file system in one piece each, in order, four numbers a piece: the event that
    caused it, start, stop, and pages a folio. An event is any number of the caller's. An array, of 8 bytes a
    number: a list of Python's numbers takes 40, and there are tens of millions.

    present: of each chunk the presence of its pages, a bit a page. plain: of pages that are there and have
    no mark, where nothing is left to do.
    """

    end: int = 0
    asked: array[int] = field(default_factory=lambda: array("q"))
    present: dict[int, int] = field(default_factory=dict)
    plain: dict[int, int] = field(default_factory=dict)
    marked: dict[int, list[tuple[int, int]]] = field(default_factory=dict)  # chunk -> folios: start, pages
    folded: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)
    # chunk -> what was brought in in larger folios: start, stop, order

    def forget(self, end: int) -> None:
        """None of them is there any more, and the file is another, of so many pages; `asked` goes on."""
        self.end = end
        for kept in (self.present, self.plain, self.marked, self.folded):
            kept.clear()

    def keep(self, start: int, stop: int) -> None:
        """These pages are there without the device: written, or never gone."""
        self.end = max(self.end, stop)
        for chunk, mask in self._masks(start, stop):
            self.plain[chunk] = self.plain.get(chunk, 0) | mask & ~self.present.get(chunk, 0)
            self.present[chunk] = self.present.get(chunk, 0) | mask

    def drop(self, start: int, stop: int) -> None:
        """These pages are not needed any more, the program says."""
        first, last = start >> SHIFT, (stop - 1) >> SHIFT
        chunks = range(first, last + 1) if last - first < len(self.present) else list(self.present)
        for chunk in chunks:
            if chunk in self.present and first <= chunk <= last:
                low, high = max(start - (chunk << SHIFT), 0), min(stop - (chunk << SHIFT), CHUNK)
                self.present[chunk] &= ~(((1 << (high - low)) - 1) << low)
                self.plain[chunk] = self.present[chunk]
                self.marked.pop(chunk, None)

    def bring(self, start: int, stop: int, event: int, folio: int = 1) -> None:
        """Bring in what is missing of [start, stop), each stretch at a time."""
        present, plain = self.present, self.plain
        chunk = start >> SHIFT
        if (stop - 1) >> SHIFT == chunk:
            bits = present.get(chunk, 0)
            mask = ((1 << (stop - start)) - 1) << (start & (CHUNK - 1))
            if not bits & mask:
                if not bits and len(present) >= MAX_CHUNKS:
                    raise TooMuchError
                present[chunk] = bits | mask
                plain[chunk] = plain.get(chunk, 0) | mask
                self.asked.extend((event, start, stop, folio))
                return
        begin = -1
        for chunk, mask in self._masks(start, stop):
            bits, base = present.get(chunk, 0), chunk << SHIFT
            new = mask & ~bits
            present[chunk] = bits | mask
            plain[chunk] = plain.get(chunk, 0) | new
            at = max(start, base)
            last = min(stop, base + CHUNK)
            while at < last:
                rest = new >> (at - base)
                if rest & 1:
                    begin = at if begin < 0 else begin
                    at += (~rest & (rest + 1)).bit_length() - 1
                else:
                    if begin >= 0:
                        self.asked.extend((event, begin, at, folio))
                        begin = -1
                    at = at + (rest & -rest).bit_length() - 1 if rest else last
        if begin >= 0:
            self.asked.extend((event, begin, stop, folio))

    def _masks(self, start: int, stop: int) -> list[tuple[int, int]]:
        """The chunks of [start, stop), each with the bits of its pages in it."""
        first, last = start >> SHIFT, (stop - 1) >> SHIFT
        if len(self.present) + last - first > MAX_CHUNKS:
            raise TooMuchError
        return [
            (
                chunk,
                ((1 << (min(stop - (chunk << SHIFT), CHUNK) - max(start - (chunk << SHIFT), 0))) - 1)
                << max(start - (chunk << SHIFT), 0),
            )
            for chunk in range(first, last + 1)
        ]

    def count_before(self, index: int, most: int) -> int:
        """How many pages right before `index` are there, up to `most`."""
        at, lowest = index, max(0, index - most)
        while at > lowest:
            chunk = (at - 1) >> SHIFT
            base = chunk << SHIFT
            missing = ~self.present.get(chunk, 0) & ((1 << (at - base)) - 1)
            if missing:
                at = base + missing.bit_length()
                break
            at = base
        return index - max(at, lowest)

    def first_missing(self, index: int, stop: int) -> int:
        """The first page from `index` on that is missing; `stop` if none is before it."""
        while index < stop:
            chunk = index >> SHIFT
            rest = ~self.present.get(chunk, 0) >> (index & (CHUNK - 1))
            at = index + (rest & -rest).bit_length() - 1
            if at < (chunk + 1) << SHIFT:
                return min(at, stop)
            index = (chunk + 1) << SHIFT
        return stop

    def first_to_do(self, index: int, stop: int) -> int:
        """The first page from `index` on that is missing, or marked to read on from; `stop` if none is
        before it."""
        while index < stop:
            chunk = index >> SHIFT
            rest = ~self.plain.get(chunk, 0) >> (index & (CHUNK - 1))
            at = index + (rest & -rest).bit_length() - 1
            if at < (chunk + 1) << SHIFT:
                return min(at, stop)
            index = (chunk + 1) << SHIFT
        return stop

    def first_present(self, index: int, stop: int) -> int:
        """The first page from `index` on that is there; `stop` if none is before it."""
        while index < stop:
            chunk = index >> SHIFT
            rest = self.present.get(chunk, 0) >> (index & (CHUNK - 1))
            if rest:
                return min(stop, index + (rest & -rest).bit_length() - 1)
            index = (chunk + 1) << SHIFT
        return stop

    def mark(self, start: int, pages: int) -> None:
        """When a page of this folio is read, more is to be read ahead."""
        chunk = start >> SHIFT
        self.marked.setdefault(chunk, []).append((start, pages))
        self.plain[chunk] &= ~(((1 << pages) - 1) << (start & (CHUNK - 1)))

    def take_mark(self, chunk: int, page: int) -> tuple[int, int]:
        """The marked folio that a page is in, not marked any more: its first page and its pages."""
        folios = self.marked[chunk]
        found = folios[0]
        if len(folios) == 1:
            del self.marked[chunk]
        else:
            found = next(folio for folio in folios if folio[0] <= page < folio[0] + folio[1])
            folios.remove(found)
        self.plain[chunk] |= ((1 << found[1]) - 1) << (found[0] & (CHUNK - 1))
        return found
