"""What the times of runs prove: intervals of medians, runs that stand apart, kinds that differ. Simulated
starts, whose true median is known, are what the intervals are held against."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import Generator

from profiler.analysis.reads import spread
from profiler.facts.runs import MOST_SECONDS, Run

walls = st.lists(st.floats(1e-3, 1e5), min_size=spread.LEAST, max_size=40)


def runs(times: Iterable[float]) -> list[Run]:
    return [Run(float(wall)) for wall in times]


# ---- intervals -------------------------------------------------------------------------------------------


@given(walls, walls)
def test_medians_and_their_ratio_lie_in_their_intervals(one: list[float], two: list[float]) -> None:
    low, high = spread.median_interval(runs(one)) or (math.nan, math.nan)
    assert min(one) <= low <= statistics.median(one) * (1 + 1e-9) and high <= max(one)
    assert statistics.median(one) <= high * (1 + 1e-9)
    low, high = spread.ratio_interval(runs(one), runs(two)) or (math.nan, math.nan)
    ratio = statistics.median(one) / statistics.median(two)
    assert low <= ratio * (1 + 1e-9) and ratio <= high * (1 + 1e-9)


@given(walls)
def test_the_same_runs_give_the_same_interval_in_any_order_and_unit(times: list[float]) -> None:
    interval = spread.median_interval(runs(times))
    assert interval == spread.median_interval(runs(reversed(times)))
    assert spread.median_interval(runs(8 * wall for wall in times)) == pytest.approx(
        tuple(8 * limit for limit in interval or ())
    )


@given(st.lists(st.floats(1e-3, 1e5), max_size=spread.LEAST - 1), walls)
def test_of_few_runs_there_is_none(few: list[float], many: list[float]) -> None:
    failed = [*runs(few), Run(1.0, failed=True)]  # which is no time of this program
    assert spread.median_interval(failed) is None and spread.outliers(failed) is None
    assert spread.ratio_interval(failed, runs(many)) is None
    assert spread.ratio_interval(runs(many), failed) is None


def test_no_run_is_too_long_and_none_too_short() -> None:
    longest, nothing = runs([MOST_SECONDS] * 6), runs([0.0] * 6)
    assert spread.median_interval(longest) == pytest.approx((MOST_SECONDS, MOST_SECONDS))
    assert spread.ratio_interval(longest, nothing) is None
    assert spread.told_apart(longest, nothing) is True and spread.told_apart(nothing, nothing) is False


DISTRIBUTIONS: dict[str, tuple[Callable[[Generator, int], np.ndarray], float]] = {
    "normal": (lambda chance, n: 10 + chance.standard_normal(n), 10),
    "lognormal": (lambda chance, n: np.exp(0.3 * chance.standard_normal(n)), 1),
    "long tail": (lambda chance, n: 1 + 0.3 * chance.exponential(size=n), 1 + 0.3 * math.log(2)),
}
SERIES = 400
LEAST_RIGHT = spread.CONFIDENCE - 3 * math.sqrt(spread.CONFIDENCE * (1 - spread.CONFIDENCE) / SERIES)
"""Less than this share of the series would be right by chance once in a thousand times."""


@pytest.mark.parametrize("count", [6, 7, 10, 25])
@pytest.mark.parametrize("kind", DISTRIBUTIONS)
def test_an_interval_has_the_true_median_as_often_as_it_says(
    kind: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "RESAMPLES", 2000)
    draw, middle = DISTRIBUTIONS[kind]
    chance = np.random.default_rng(count)
    right = alike = 0
    for _ in range(SERIES):
        one, two = runs(draw(chance, count)), runs(draw(chance, count))
        low, high = spread.median_interval(one) or (math.nan, math.nan)
        right += low <= middle <= high
        alike += spread.told_apart(one, two) is False
    assert right / SERIES >= LEAST_RIGHT and alike / SERIES >= LEAST_RIGHT


@pytest.mark.parametrize("count", [6, 7, 10, 25])
def test_medians_are_those_of_plain_resampling(count: int) -> None:
    chance = np.random.default_rng(1)
    times = np.arange(1.0, count + 1)
    plain = np.median(chance.choice(times, (spread.RESAMPLES, count)), axis=1)
    drawn = spread._resampled(times, chance)
    for limit in np.arange(1.0, count + 0.5, 0.5):
        share = float((plain <= limit).mean())
        assert float((drawn <= limit).mean()) == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize(("freedom", "table"), [(5, 2.571), (9, 2.262), (19, 2.093), (99, 1.984)])
def test_student(freedom: int, table: float) -> None:
    assert spread._student(freedom) == pytest.approx(table, rel=0.002)


# ---- runs that stand apart -------------------------------------------------------------------------------


def test_a_run_that_was_disturbed_is_named_by_its_number() -> None:
    usual = [1.0, 1.02, 0.99, 1.01, 0.98, 1.03]
    assert spread.outliers(runs(usual)) == ()
    assert spread.outliers(runs([*usual, 2.0, 1.0, 0.4])) == (7, 9)
    assert spread.outliers([Run(9.0, failed=True), *runs([*usual, 2.0])]) == (8,)


@given(st.floats(1e-3, 1e5), st.integers(6, 40))
def test_among_runs_that_agree_only_a_noticeable_difference_counts(wall: float, count: int) -> None:
    same = [wall] * count
    assert spread.outliers(runs(same)) == ()
    assert spread.outliers(runs([*same, 1.09 * wall, 0.92 * wall])) == ()
    assert spread.outliers(runs([*same, 1.11 * wall])) == (count + 1,)


@pytest.mark.parametrize("count", [6, 10, 25])
@pytest.mark.parametrize("kind", ["normal", "lognormal"])
def test_few_series_that_nothing_disturbed_have_one(kind: str, count: int) -> None:
    draw, _ = DISTRIBUTIONS[kind]
    chance = np.random.default_rng(count)
    assert sum(bool(spread.outliers(runs(draw(chance, count)))) for _ in range(SERIES)) <= 0.12 * SERIES


@pytest.mark.parametrize("count", [6, 10, 25])
def test_a_start_that_took_twice_as_long_is_named(count: int) -> None:
    chance = np.random.default_rng(count)
    named = 0
    for _ in range(SERIES):
        times = 1 + 0.05 * chance.standard_normal(count)
        times[2] = 2.0
        named += 3 in spread.outliers(runs(times))
    assert named >= 0.9 * SERIES


# ---- kinds that differ -----------------------------------------------------------------------------------


@given(st.lists(st.floats(1e-3, 1e5), max_size=20), st.lists(st.floats(1e-3, 1e5), max_size=20))
def test_neither_comes_first(one: list[float], two: list[float]) -> None:
    if min(len(one), len(two)) < spread.LEAST:  # of more the resamples are others
        assert spread.told_apart(runs(one), runs(two)) == spread.told_apart(runs(two), runs(one))
    assert spread.told_apart(runs(one), runs(one)) in (None, False)


@pytest.mark.parametrize(
    ("one", "two", "said"),
    [
        ([], [1.0], None),
        ([1.0], [2.0], None),
        ([2.0, 2.1, 2.2], [1.0, 1.1, 1.2], None),
        ([2.0, 2.1, 2.2, 2.1], [1.0, 1.1, 1.2, 1.1], True),
        ([1.0, 1.3], [1.2, 1.4], False),
        ([1.0, 1.3, 1.1, 1.2, 1.1, 1.4], [1.2, 1.3, 1.0, 1.1, 1.2, 1.3], False),
        ([2.0, 2.3, 2.1, 2.2, 2.1, 2.4], [1.2, 1.3, 1.0, 1.1, 1.2, 1.3], True),
        ([2.0, 2.3, 2.1, 2.2, 2.1, 2.4], [1.2, 1.3], None),
        ([2.0, 2.3, 2.1, 2.2, 2.1, 2.4], [1.2, 1.3, 1.1], True),
    ],
)
def test_told_apart(one: list[float], two: list[float], said: bool | None) -> None:
    assert spread.told_apart(runs(one), runs(two)) is said
