"""Read-ahead: windows computed by hand, windows that a real kernel opened, and what holds for all."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.analysis.simulation.kernel.pages import CHUNK, MAX_CHUNKS, TooMuchError
from profiler.analysis.simulation.kernel.readahead import FileCache, Window

GOLDEN = Path(__file__).parent.parent / "data" / "readahead" / "linux-6.18.txt"
BIG = 1 << 20  # pages of a file that never ends here


def pieces(cache: FileCache) -> list[tuple[int, int, int]]:
    """What was asked for so far, in order: event, first page, pages."""
    asked = cache.asked
    rows = zip(asked[::4], asked[1::4], asked[2::4], strict=True)
    return [(event, start, stop - start) for event, start, stop in rows]


def reading(
    reads: list[tuple[int, int]], most: int = 32, end: int = BIG, **window: bool
) -> list[tuple[int, int, int]]:
    """What reads of (first page, pages) of one open ask for; the events are their numbers."""
    cache, opened = FileCache(end, largest=320), Window(most, **window)
    for event, (index, pages) in enumerate(reads):
        cache.read(opened, index, min(index + pages, end), index + pages, event)
        opened.previous = min(index + pages, end)
    return pieces(cache)


def test_a_stream_from_the_start_doubles_its_window() -> None:
    asked = reading([(page, 1) for page in range(60)], most=1024)
    # 1 page of 1024: 4 of which 3 ahead; x4 below 1024/16; ends at multiples of 4, then 16, then 64 pages
    assert asked == [(0, 0, 4), (1, 4, 16), (4, 20, 60), (20, 80, 240)]


def test_the_window_ends_where_the_setting_does() -> None:
    asked = reading([(page, 1) for page in range(200)])
    assert asked[:3] == [(0, 0, 4), (1, 4, 8), (4, 12, 4)]  # 12 + 16 = 28 ends in no folio of 16 pages: 16
    assert {pages for _, _, pages in asked[7:]} == {32}
    assert all(start == event + 32 for event, start, _ in asked[8:])  # one window ahead of the reads


def test_a_stream_from_the_middle_begins_with_its_second_read() -> None:
    assert reading([(100, 1), (101, 1), (102, 1)]) == [(0, 100, 1), (1, 101, 4), (2, 105, 7)]


def test_reads_that_stand_alone_get_what_they_ask_for() -> None:
    assert reading([(500, 2), (100, 1), (300, 5)]) == [(0, 500, 2), (1, 100, 1), (2, 300, 5)]


def test_traces_of_a_stream_begin_a_window() -> None:
    # from elsewhere to page 102, before which two pages are there: more than the one that is wanted
    reads = [(101, 1), (500, 1), (100, 1), (600, 1), (102, 1), (700, 1)]
    assert reading(reads)[-2:] == [(4, 102, 3), (5, 700, 1)]


def test_a_read_larger_than_the_window_gets_what_the_device_takes() -> None:
    assert reading([(1000, 400)])[0] == (0, 1000, 320)
    assert reading([(0, 100)]) == [(0, 0, 100), (0, 100, 100)]  # the second half was read on from


def test_the_end_of_the_file_ends_all() -> None:
    assert reading([(0, 1), (1, 1), (2, 1)], end=6) == [(0, 0, 4), (1, 4, 2)]
    assert reading([(4, 100)], end=6) == [(0, 4, 2)]


def test_without_read_ahead_each_page_is_asked_for_when_it_is_reached() -> None:
    assert reading([(0, 3), (1, 4)], most=0) == [(0, 0, 1), (0, 1, 1), (0, 2, 1), (1, 3, 1), (1, 4, 1)]


def test_a_random_open_gets_what_it_asks_for() -> None:
    asked = reading([(0, 3), (3, 1), (10, 700)], random=True)
    assert asked == [(0, 0, 3), (1, 3, 1), (2, 10, 320), (2, 330, 320), (2, 650, 60)]


def test_advice_comes_in_chunks_and_not_beyond_what_the_device_takes() -> None:
    cache = FileCache(BIG, largest=1024)
    cache.advised(Window(32), 100, 5000, 7)
    assert pieces(cache) == [(7, 100, 512), (7, 612, 512)]


def test_what_is_there_cuts_a_window() -> None:
    cache, opened = FileCache(BIG, largest=320), Window(32)
    cache.keep(1, 2)
    cache.keep(3, 4)
    cache.read(opened, 0, 8, 8, 0)
    assert pieces(cache)[:3] == [(0, 0, 1), (0, 2, 1), (0, 4, 12)]
    cache.drop(0, 4)
    cache.read(Window(0), 0, 2, 2, 1)
    assert pieces(cache)[-2:] == [(1, 0, 1), (1, 1, 1)]


def test_faults() -> None:
    cache, opened = FileCache(BIG, largest=320), Window(32)
    assert cache.fault(opened, 100, 0)
    assert not cache.fault(opened, 90, 1)
    cache.fault(opened, 108, 2)  # the mark, a quarter of the window before its end
    assert pieces(cache) == [(0, 84, 32), (2, 116, 32)]
    code = FileCache(BIG, largest=320)
    code.fault(Window(32), 100, 0, code_end=110)
    code.fault(Window(32), 50, 1, code_end=110)
    assert pieces(code) == [(0, 100, 10), (1, 50, 32)]
    said = FileCache(BIG, largest=320)
    said.fault(Window(32), 100, 0, advice="random")
    said.fault(Window(32), 200, 1, advice="sequential")
    said.fault(Window(0), 300, 2)
    assert pieces(said) == [(0, 100, 1), (1, 200, 32), (2, 300, 1)]


def test_a_file_that_proves_longer_than_was_known_is_read_in_stretches_by_several_at_once_too() -> None:
    """Two tasks reading it made each page a request of its own, which took a hundred times as long."""
    for step_by_step in (False, True):
        cache = FileCache()
        cache.of_another(6, 320, 9)
        if step_by_step:
            assert len(list(cache.reading(Window(32), 1000, 100_000, 100_000, 0))) < 1_000
        else:
            cache.read(Window(32), 1000, 100_000, 100_000, 0)
        assert len(pieces(cache)) < 1_000
        assert sum(count for _, _, count in pieces(cache)) == 99_000


def test_too_much_is_refused() -> None:
    cache = FileCache(2**50, largest=320)
    with pytest.raises(TooMuchError):
        cache.keep(0, 2**40)
    with pytest.raises(TooMuchError):
        cache.read(Window(2**40), 0, 1, 1, 0)
        cache.read(Window((MAX_CHUNKS + 2) * CHUNK), 7, 2**40, 2**40, 1)


# ---- a real kernel ----------------------------------------------------------------------------------------


def golden() -> dict[str, list[list[str]]]:
    """The cases of the table, by their names: the words of each line."""
    cases: dict[str, list[list[str]]] = {}
    for line in GOLDEN.read_text(encoding="ascii").splitlines():
        if line.startswith("case "):
            cases[line[5:]] = []
        elif line and not line.startswith("#"):
            cases[list(cases)[-1]].append(line.split())
    return cases


@pytest.mark.parametrize("name", list(golden()))
def test_it_brings_in_what_the_kernel_did(name: str) -> None:
    cache = FileCache()
    opened = Window(0)
    wanted: list[tuple[int, int, int]] = []
    for event, (op, *words) in enumerate(golden()[name]):
        one, two = (int(word) for word in words)
        if op == "setting":
            opened.most, most = one // 4, one // 4
            cache.largest = two // 4
        elif op == "file":
            cache.end = two // 4096
        elif op == "pread64":
            stop = min(-(-(one + two) // 4096), cache.end)
            cache.read(opened, one // 4096, stop, -(-(one + two) // 4096), event)
            opened.previous = min(one + two, cache.end * 4096) // 4096
        elif op == "fault":
            cache.fault(opened, one // 4096, event)
        elif op == "fadvise_random":
            opened.random = True
        elif op == "fadvise_sequential":
            opened.most = 2 * most
        elif op == "fadvise_willneed":
            cache.advised(opened, one // 4096, -(-(one % 4096 + two) // 4096), event)
        else:
            assert op == "miss"
            wanted.append((event, one // 4096, two // 4096))
    # an event's pages follow it in the table
    asked = [(start, pages) for _, start, pages in pieces(cache)]
    assert _together(asked) == _together([(start, pages) for _, start, pages in wanted])


def _together(stretches: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Those that follow each other as one: the table has folios."""
    made: list[tuple[int, int]] = []
    for start, pages in stretches:
        if made and sum(made[-1]) == start:
            made[-1] = (made[-1][0], made[-1][1] + pages)
        else:
            made.append((start, pages))
    return made


# ---- what holds for all -----------------------------------------------------------------------------------

READS = st.lists(st.tuples(st.integers(0, 700), st.integers(1, 90), st.integers(0, 1)), max_size=60)
FAULTS = st.lists(st.integers(0, 799), max_size=20)


@given(READS, FAULTS, st.sampled_from([0, 4, 32, 256]), st.sampled_from([0, 9]), st.integers(1, 800))
def test_every_page_comes_once_in_time_and_none_from_behind_the_end(
    reads: list[tuple[int, int, int]], faults: list[int], most: int, order: int, end: int
) -> None:
    cache = FileCache(end, largest=64, max_order=order)
    opens = [Window(most), Window(most)]
    there: set[int] = set()
    for event, (index, pages, which) in enumerate(reads):
        stop = min(index + pages, end)
        if index < stop:
            cache.read(opens[which], index, stop, index + pages, event)
            opens[which].previous = stop
        if event < len(faults) and faults[event] < end:
            cache.fault(opens[which], faults[event], event)
        new = [
            page for at, start, size in pieces(cache) if at == event for page in range(start, start + size)
        ]
        assert len(set(new)) == len(new) and not there & set(new)
        there |= set(new)
        assert set(range(index, stop)) <= there
        assert all(page < end for page in new)
        if not most and event >= len(faults):
            assert set(new) <= set(range(index, stop))


@given(READS)
def test_a_random_open_brings_in_just_what_is_read(reads: list[tuple[int, int, int]]) -> None:
    asked = reading([(index, pages) for index, pages, _ in reads], random=True)
    touched = {page for index, pages, _ in reads for page in range(index, index + pages)}
    assert sum(pages for _, _, pages in asked) == len(touched)
