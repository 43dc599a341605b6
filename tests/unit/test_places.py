"""Places to read at: within the extents, and none of them twice."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.calibration.measure import _plan, distances
from profiler.calibration.places import PAGE, Places

EXTENTS = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 400)), min_size=1, max_size=8).map(
    lambda rows: (
        np.array(
            [
                (sum(hole + length for hole, length in rows[:row]) + rows[row][0], rows[row][1])
                for row in range(len(rows))
            ],
            np.int64,
        )
        * PAGE
    )
)


def pages(offsets: np.ndarray, size: int) -> list[int]:
    return [page for offset in offsets.tolist() for page in range(offset // PAGE, (offset + size) // PAGE)]


@settings(max_examples=60)
@given(EXTENTS, st.integers(0, 2**32))
def test_every_read_lies_in_one_extent_and_no_place_is_read_twice(extents: np.ndarray, seed: int) -> None:
    places = Places(extents, np.random.default_rng(seed))
    read = pages(places.one_after_another(0, places.total // 8 // PAGE * PAGE, PAGE), PAGE)
    for size, count in ((16 * PAGE, 5), (4 * PAGE, 10), (PAGE, 50)):
        offsets = places.random(size, count)
        assert len(offsets) <= count
        for offset in offsets.tolist():
            assert any(start <= offset and offset + size <= start + length for start, length in extents)
        read += pages(offsets, size)
    offsets, apart = places.walk(40 * PAGE, 30)
    assert len(offsets) == len(apart)
    read += pages(offsets, PAGE)
    assert len(read) == len(set(read))
    there = {page for start, length in extents for page in range(start // PAGE, (start + length) // PAGE)}
    assert set(read) <= there


def test_a_walk_goes_so_far_each_time() -> None:
    places = Places(np.array([[2**20, 2**30]]), np.random.default_rng(1))
    for distance in distances(2**30):
        offsets, apart = places.walk(distance, 100)
        assert not apart[0]
        assert apart.mean() > 0.5
        far = np.abs(np.diff(offsets))[apart[1:]]
        assert (far > 0.94 * distance - PAGE).all()
        assert (far < 1.06 * distance + PAGE).all()


def test_where_there_is_no_room_there_are_fewer() -> None:
    places = Places(np.array([[0, 10 * PAGE]]), np.random.default_rng(1))
    assert len(places.random(PAGE, 100)) == 10
    assert len(places.random(PAGE, 1)) == 0
    assert len(places.random(2**20, 1)) == 0
    assert len(places.walk(PAGE, 5)[0]) == 0


def test_the_plan_of_the_smallest_target_reads_no_place_twice() -> None:
    for total in (256 * 2**20, 2**30, 10**13 // PAGE * PAGE):
        read: list[int] = []
        for one in _plan(Places(np.array([[0, total]]), np.random.default_rng(1)), 20, one_piece=True):
            assert len(one.alone) > 100
            for _, size, offset in one.alone:
                read += pages(np.array([offset]), size)
            for offsets, _ in one.walks.values():
                read += pages(offsets, PAGE)
            for offsets in one.queue.values():
                read += pages(offsets, PAGE)
            assert len(one.following) == 32
            read += pages(one.large, 65536) + pages(one.following, PAGE)
            for offsets in one.runs.values():
                assert len(offsets)
                read += pages(offsets, 2**20)
        assert len(read) == len(set(read))
        assert min(read) >= 0
        assert max(read) < total // PAGE
