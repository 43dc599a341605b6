"""Seek curves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.devices.disks.seek import measured, published_ms

POINTS = st.lists(st.tuples(st.floats(-10, 10_000), st.floats(0, 100)), min_size=1, max_size=50)


def test_between_its_points_the_curve_is_straight_and_beyond_them_level() -> None:
    curve = measured([(1, 2.0), (3, 4.0), (103, 9.0)])
    assert curve.ms([0, 1, 2, 3, 53, 103, 5000]).tolist() == [0, 2, 3, 4, 6.5, 9, 9]


def test_no_move_takes_no_time_and_both_ways_take_the_same() -> None:
    curve = measured([(10, 5.0)])
    assert curve.ms([0, 1, -1, 10, -10]).tolist() == [0, 5, 5, 5, 5]
    assert curve.ms(0).shape == ()


def test_points_in_any_order() -> None:
    assert measured([(30, 3.0), (10, 1.0), (20, 2.0)]) == measured([(10, 1.0), (20, 2.0), (30, 3.0)])


def test_several_times_of_one_distance_are_averaged() -> None:
    curve = measured([(10, 1.0), (20, 5.0), (20, 2.0), (20, 2.0)])
    assert curve.ms([10, 20]).tolist() == [1, 3]


def test_neighbours_that_fall_are_pooled_at_their_mean() -> None:
    curve = measured([(1, 1.0), (2, 4.0), (3, 2.0), (4, 3.0), (5, 7.0)])
    assert curve.ms([1, 2, 3, 4, 5]).tolist() == [1, 3, 3, 3, 7]


@given(POINTS)
def test_the_curve_never_falls_and_keeps_its_mean(points: list[tuple[float, float]]) -> None:
    if not any(x > 0 for x, _ in points):
        with pytest.raises(ValueError, match="a point at a distance above 0"):
            measured(points)
        return
    curve = measured(points)
    assert (np.diff(curve.distances) > 0).all()
    assert (np.diff(curve.times_ms) >= -1e-9).all()
    kept = [(x, y) for x, y in points if x > 0]
    mean = np.mean(curve.ms([x for x, _ in kept]))
    assert mean == pytest.approx(np.mean([y for _, y in kept]), abs=1e-6)


def test_the_published_curve_runs_through_its_three_times() -> None:
    assert published_ms([0, 1 / 3, 1, 7], 1, 9, 17) == pytest.approx([1, 9, 17, 17])
    assert published_ms(1 / 12, 1, 9, 17) == pytest.approx(5)  # the square root of a quarter of the way
    assert published_ms(2 / 3, 1, 9, 17) == pytest.approx(13)


@given(st.floats(0, 10), st.floats(0, 20), st.floats(0, 20))
def test_the_published_curve_never_falls(low: float, more: float, most: float) -> None:
    times = published_ms(np.linspace(0, 1, 100), low, low + more, low + more + most)
    assert (np.diff(times) >= -1e-9).all()
    assert times[-1] == pytest.approx(low + more + most)
