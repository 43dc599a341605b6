"""Where requests lie on the device."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import GIB, MIB, trace

from profiler.analysis.simulation import placement
from profiler.analysis.simulation.page_cache import first_touches
from profiler.analysis.simulation.placement import FILE_GAP, LAST, UNWRITTEN, Placement, place
from profiler.errors import ColdseekError
from profiler.trace import FileFacts, Trace


def placed(made: Trace) -> Placement:
    return place(first_touches(made.reads(), made.files), made.files, made.extents)


def rows(made: Trace) -> list[list[int]]:
    return placed(made).requests[["read", "offset", "size", "device_offset"]].values.tolist()


def test_cut_at_extents_holes_and_unwritten_extents_are_free() -> None:
    made = trace(
        [(0, 0, 5 * 4096), (0, 8 * 4096, 4096)],
        extents=[
            (0, 0, 1 * MIB, 4096, 0),
            (0, 4096, 7 * MIB, 8192, 0),
            (0, 3 * 4096, 9 * MIB, 4096, UNWRITTEN | LAST),  # then a hole
        ],
    )
    assert rows(made) == [[0, 0, 4096, MIB], [0, 4096, 8192, 7 * MIB]]
    assert placed(made).known == "all"


def test_an_extent_that_begins_before_the_request() -> None:
    assert rows(trace([(0, 12288, 4096)], extents=[(0, 0, GIB, MIB, 0)])) == [[0, 12288, 4096, GIB + 12288]]


def test_files_without_extents_lie_one_after_another() -> None:
    files = [
        FileFacts(name, "8:1", size=size, kind="regular") for name, size in ((b"/a", 8192), (b"/b", None))
    ]
    made = trace([(1, 4096, 4096), (0, 0, 4096), (1, 0, 4096)], files)
    first = 8192 + FILE_GAP
    assert rows(made) == [[0, 4096, 4096, first + 4096], [1, 0, 4096, 0], [2, 0, 4096, first]]
    assert placed(made).known == "none"


def test_some_known() -> None:
    made = trace([(0, 0, 4096), (1, 0, 4096)], extents=[(0, 0, GIB, 4096, LAST)])
    result = placed(made)
    assert result.known == "some"
    assert result.requests["device_offset"].tolist() == [GIB, GIB + 4096 + FILE_GAP]
    assert result.requests["device"].tolist() == ["8:1", "8:1"]


def test_a_cut_off_list_goes_on_where_it_ends() -> None:
    made = trace([(0, 0, 4096), (0, MIB, 4096)], extents=[(0, 0, GIB, 4096, 0)])
    assert rows(made) == [[0, 0, 4096, GIB], [1, MIB, 4096, GIB + MIB]]
    assert placed(made).known == "some"
    assert placed(trace([(0, 0, 4096)], extents=[(0, 0, GIB, 4096, 0)])).known == "all"


def test_empty() -> None:
    assert placed(trace()).known == "all"
    assert rows(trace([], files=[], extents=[])) == []


def test_lying_extents_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    overlapping = [(0, 0, 0, 2**62, 0), (0, 4096, 2**62, 2**62, 0), (0, 4096, 5, 2**62, 0)]
    result = rows(trace([(0, 0, 2**62)], extents=overlapping))
    assert all(0 <= device_offset <= placement.SPACE for *_, device_offset in result)
    assert [offset for _, offset, _, _ in result] == [0, *accumulate(size for _, _, size, _ in result)][:-1]
    assert sum(size for _, _, size, _ in result) == 2**62  # each byte once, whatever is claimed twice
    monkeypatch.setattr(placement, "MAX_PIECES", 10)
    many = [(0, 4096 * number, 0, 4096, 0) for number in range(20)]
    with pytest.raises(ColdseekError, match="extents cut"):
        rows(trace([(0, 0, 2**20)], extents=many))


def test_claimed_sizes_do_not_overflow() -> None:
    files = [FileFacts(b"/%d" % number, size=2**62, kind="regular") for number in range(9)]
    result = rows(trace([(number, 0, 1) for number in range(9)], files))
    assert [read for read, *_ in result] == list(range(9))
    assert all(0 <= device_offset < placement.SPACE for *_, device_offset in result)
    assert len({device_offset for *_, device_offset in result}) == 9


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), min_size=1, max_size=10),
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5), st.booleans()), min_size=1, max_size=8),
)
def test_against_brute_force(reads: list[tuple[int, int]], layout: list[tuple[int, int, bool]]) -> None:
    extents, page, where = [], 0, {}
    for number, (hole, pages, unwritten) in enumerate(layout):
        page += hole
        extents.append((0, page * 4096, number * MIB, pages * 4096, UNWRITTEN if unwritten else 0))
        where |= {page + more: number * MIB + more * 4096 for more in range(pages) if not unwritten}
        page += pages
    extents[-1] = (*extents[-1][:4], extents[-1][4] | LAST)
    made = trace([(0, page * 4096, pages * 4096) for page, pages in reads], extents=extents)
    wanted, seen = [], set()
    for page, pages in reads:
        wanted += [where[p] for p in range(page, page + pages) if p not in seen and p in where]
        seen |= set(range(page, page + pages))
    got = [start + by for _, _, size, start in rows(made) for by in range(0, size, 4096)]
    assert got == wanted
    assert placed(made).known == "all"
