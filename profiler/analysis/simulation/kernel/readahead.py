"""What Linux reads ahead: what brings pages of one file into the page cache, and the window of each open.

A model of mm/readahead.c, mm/filemap.c and mm/fadvise.c of Linux 6.18, in pages of 4 KiB. It decides what is
asked of the file system and in which stretches; pages are taken to arrive at once. Pure: the state is plain
numbers, and nothing is looked up on the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from profiler.analysis.simulation.kernel.pages import CHUNK, SHIFT, Pages

FORCED = 512
"""Pages asked for at once by advice and by reads of an open that is RANDOM: 2 MiB (force_page_cache_ra)."""

MAX_ORDER = 9
"""The largest folio has 2**9 pages: MAX_PAGECACHE_ORDER is that of a huge page on x86 and ARM (2 MiB)."""

_LEAF = 64  # XA_CHUNK_SIZE

FAULT_AROUND = 16
"""A fault maps what is present of the 64 KiB around it without more faults (fault_around_pages)."""

LOTS_OF_MISSES, MOST_MISSES = 100, 1000
"""So many more misses than hits of faults in an open, and no more is read around them (MMAP_LOTSAMISS); and
where the count ends."""

NO_PAGE = -2
"""Of the page before, where there is none: no page follows it."""


@dataclass(slots=True)
class Window:
    """The read-ahead of one open (struct file_ra_state); all in pages.

    most: the most that is read ahead; 0: nothing. [start, start + size) was read last, of which the final
    `ahead` pages were not asked for; folios had 2**order pages. previous: in which page the last read ended.
    random: the open was advised to be RANDOM. misses: of faults, less the hits.
    """

    most: int
    start: int = 0
    size: int = 0
    ahead: int = 0
    order: int = 0
    previous: int = NO_PAGE
    random: bool = False
    misses: int = 0


@dataclass(slots=True)
class FileCache(Pages):
    """The page cache of one file, empty at first, as Linux fills it.

    largest: what one read may bring in beyond the window of its open (bdi.io_pages, the device's
    max_sectors_kb). max_order: of the folios that the file system takes; 0: single pages only.
    """

    largest: int = 0
    max_order: int = MAX_ORDER

    def of_another(self, end: int, largest: int, max_order: int) -> None:
        """Empty it, for another file; `asked` goes on."""
        self.largest, self.max_order = largest, max_order
        self.forget(end)

    def read(self, window: Window, index: int, stop: int, wanted: int, event: int) -> None:
        """A read gets the pages [index, stop); it asked for those up to `wanted` (filemap_get_pages).

        Raises TooMuchError, as all that bring pages in.
        """
        present, plain = self.present, self.plain
        self._grow(index, stop)
        while index < stop:
            chunk = index >> SHIFT
            base = chunk << SHIFT
            until = base + CHUNK if base + CHUNK < stop else stop
            rest = (((1 << (until - index)) - 1) << (index - base)) & ~plain.get(chunk, 0)
            if not rest:
                index = until
                continue
            bit = (rest & -rest).bit_length() - 1
            index = base + bit
            if present.get(chunk, 0) >> bit & 1:
                start, pages = self.take_mark(chunk, index)
                self.read_on(window, start, pages, wanted - start, event)
                continue
            self.missed(window, index, wanted - index, event)
            if not present.get(chunk, 0) >> bit & 1:
                if index >= self.end:
                    self.end = index + 1  # it was read, so it is there
                self.bring(index, index + 1, event)

    def reading(self, window: Window, index: int, stop: int, wanted: int, event: int) -> Iterator[None]:
        """`read` in steps: it stops wherever the read waits for a page that was missing."""
        self._grow(index, stop)
        while index < stop:
            gap = self.first_missing(index, stop)
            until = gap if gap > index else index + 1
            self.read(window, index, until, wanted, event)
            if gap == index:
                yield
            index = until

    def _grow(self, index: int, stop: int) -> None:
        """A read that goes far beyond the end of the file shows that it is longer than was known: page by
        page it would be found out slowly."""
        if stop - max(self.end, index) > CHUNK:
            self.end = stop

    def fault(
        self, window: Window, index: int, event: int, *, advice: str = "", code_end: int | None = None
    ) -> bool:
        """A mapped page is touched that no fault nearby has mapped (filemap_fault); whether it was missing.

        advice: of madvise(2), "random" or "sequential". code_end: where the mapping ends if it may be
        executed: of code nothing is read that lies before the fault.
        """
        chunk, bit = index >> SHIFT, index & (CHUNK - 1)
        if self.present.get(chunk, 0) >> bit & 1:
            if advice != "random" and window.most:
                window.misses = max(0, window.misses - 1)
                if not self.plain[chunk] >> bit & 1:
                    self.read_on(window, index, self.take_mark(chunk, index)[1], window.most, event)
            return False
        if advice == "random" or not window.most:
            pass
        elif advice == "sequential":
            self.missed(window, index, window.most, event)
        else:
            window.misses = min(window.misses + 1, MOST_MISSES)
            if window.misses <= LOTS_OF_MISSES:
                self._around(window, index, event, code_end)
        if not self.present.get(chunk, 0) >> bit & 1:
            self.end = max(self.end, index + 1)
            self.bring(index, index + 1, event)
        around = self.present[chunk] >> (bit & -FAULT_AROUND) & ((1 << FAULT_AROUND) - 1)
        window.misses = max(0, window.misses - around.bit_count())  # filemap_map_pages
        return True

    def advised(self, window: Window, index: int, pages: int, event: int) -> None:
        """The program says that it will need these pages, or reads them from a RANDOM open: no more than
        these, and no more than the device takes at once (force_page_cache_ra)."""
        pages = min(pages, max(self.largest, window.most))
        while pages > 0:
            self._alone(index, min(pages, FORCED), 0, event)
            index, pages = index + FORCED, pages - FORCED

    # -- the window --------------------------------------------------------------------------------------

    def missed(self, window: Window, index: int, pages: int, event: int) -> None:
        """Page `index` is not there, and `pages` from it on are wanted (page_cache_sync_ra)."""
        most = window.most
        if not most:
            self._alone(index, 1, 0, event)
            return
        if window.random:
            self.advised(window, index, pages, event)
            return
        if pages > most and self.largest > most:
            most = min(pages, self.largest)
        if not index or pages > most or 0 <= index - window.previous <= 1:
            size = _first_size(pages, most)
            window.size, window.ahead = size, size - pages if size > pages else size >> 1
        else:
            there = self.present.get((index - 1) >> SHIFT, 0) >> ((index - 1) & (CHUNK - 1)) & 1
            before = self._counted_before(index, most) if there else 0
            if before <= pages:
                self._alone(index, pages, 0, event)
                return
            if before == index < most:  # cached from the beginning of the file
                before *= 2
            window.size, window.ahead = min(before + pages, most), 1
        window.start, window.order = index, 0
        self._submit(window, event)

    def read_on(self, window: Window, index: int, folio: int, pages: int, event: int) -> None:
        """The mark is reached, in a folio of so many pages: time to read on (page_cache_async_ra)."""
        if not window.most:
            return
        most = window.most
        if pages > most and self.largest > most:
            most = min(pages, self.largest)  # of large reads it is what the device takes (ractl_max_pages)
        if index == (window.start + window.size - window.ahead) & -folio:
            window.start += window.size
            window.size = max(window.size, _next_size(window.size, most))
        else:  # the window is that of another place: what is there from here on was one too
            start = self._gap_after(index, folio, most)
            if start - index > most:
                return
            window.start = start
            window.size = _next_size(start - index + pages, most)
        window.order += 2
        align = min(1 << window.order, most & -most)
        end = (window.start + window.size) & -align
        if end > window.start:
            window.size = end - window.start
        window.ahead = window.size
        self._submit(window, event)

    def _around(self, window: Window, index: int, event: int, code_end: int | None) -> None:
        """Read around a fault, or on from it in code (do_sync_mmap_readahead)."""
        window.order = 0  # of code too, on x86 (exec_folio_order)
        if code_end is None:
            window.start, window.size = max(0, index - window.most // 2), window.most
            window.ahead = window.most // 4
        else:
            window.start, window.ahead = index, 0
            window.size = max(1, min(window.most, code_end - index))
        self._submit(window, event)

    def _submit(self, window: Window, event: int) -> None:
        """Ask for the window, in folios as large as its order allows (page_cache_ra_order)."""
        start, size, ahead = window.start, window.size, window.ahead
        window.order = order = window.order and min(self.max_order, window.order, size.bit_length() - 1)
        if order == 0 and not self.max_order:
            self._alone(start, size, ahead, event)
            return
        stop = start + size if start + size < self.end else self.end
        if start >= stop:
            return
        bits = self.present.get(start >> SHIFT, 0) >> (start & (CHUNK - 1))
        if not bits and (stop - 1) >> SHIFT == start >> SHIFT:
            there = reached = stop
        else:
            there = self.first_present(start, stop)
            reached = there if there >= stop else _folio(start, stop, order, there)[0]
        mark = start + size - ahead
        if start < reached:
            self.bring(start, reached, event, 1 << order)
            if start <= mark < reached:
                self.mark(*(_folio(start, stop, order, mark) if order else (mark, 1)))
            if order:
                for chunk in range(start >> SHIFT, ((reached - 1) >> SHIFT) + 1):
                    self.folded.setdefault(chunk, []).append((start, stop, order))
        if reached < stop:  # something was there already: go on with single pages
            self._alone(reached, start + size - reached, ahead, event)

    def _alone(self, index: int, pages: int, ahead: int, event: int) -> None:
        """Ask for single pages: those of them that are missing (do_page_cache_ra)."""
        pages = min(pages, self.end - index)
        if pages <= 0:
            return
        asked = len(self.asked)
        self.bring(index, index + pages, event)
        mark = index + pages - ahead
        if 0 < ahead <= pages:
            new = self.asked[asked:]
            if any(start <= mark < stop for start, stop in zip(new[1::4], new[2::4], strict=True)):
                self.mark(mark, 1)

    # The kernel walks its tree of folios from page to page, but from within a folio it walks on from that
    # folio's first page while it counts from where it began (xas_next, xas_prev after xas_load).
    # A leaf of the tree has _LEAF pages; larger folios fill whole leaves, each one step.

    def _gap_after(self, index: int, folio: int, most: int) -> int:
        """The first page after `index` that the kernel finds missing. `index` begins a folio of so many
        pages, or is in it (page_cache_next_miss)."""
        beyond = index + 1 + most
        if folio >= _LEAF:
            after = (index & -folio) + folio
            if self.first_present(after, after + _LEAF) == after + _LEAF:
                return index + 1 + folio // _LEAF
            return self.first_missing(index + 1, beyond)
        gap = self.first_missing(index + 1, beyond)
        inside = (index + 1) & (folio - 1)
        leaf_end = (index | (_LEAF - 1)) + 1
        if gap < leaf_end:
            return min(gap + inside, beyond)
        return self.first_missing(leaf_end + inside, beyond)  # in the next leaf the two agree again

    def _counted_before(self, index: int, most: int) -> int:
        """How many pages right before `index` the kernel counts as there, up to `most`
        (page_cache_prev_miss)."""
        for start, stop, order in reversed(self.folded.get((index - 1) >> SHIFT, ())):
            if start < index <= stop:
                first, pages = _folio(start, stop, order, index - 1)
                if pages >= _LEAF:
                    return min(most, 1 + self.count_before(first, most * _LEAF) // _LEAF)
                return min(most, 1 + self.count_before(first, most))
        return self.count_before(index, most)


def _folio(start: int, stop: int, order: int, page: int) -> tuple[int, int]:
    """The folio that holds a page where [start, stop) is laid in folios of 2**order pages: its first page
    and its pages. They lie at multiples of their size, so smaller ones come first and last."""
    index, largest = start, 1 << order
    while True:
        pages = min(largest, index & -index) if index else largest
        while index + pages > stop:
            pages >>= 1
        if index + pages > page:
            return index, pages
        index += pages
        if pages == largest:
            index += min(page - index, stop - index) // pages * pages


def _first_size(pages: int, most: int) -> int:
    """The first window of a stream whose first read asks for so many pages (get_init_ra_size)."""
    size = 1 << (pages - 1).bit_length() if pages > 1 else 1
    if size <= most // 32:
        return size * 4
    if size <= most // 4:
        return size * 2
    return most


def _next_size(size: int, most: int) -> int:
    """The window after one of this size (get_next_ra_size)."""
    if size < most // 16:
        return 4 * size
    if size <= most // 2:
        return 2 * size
    return most
