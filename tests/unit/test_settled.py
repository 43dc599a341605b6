"""When runs may stop: the interval of a median, and by simulation what stopping early does to it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import Generator

from profiler.errors import ColdseekError
from profiler.machine.page_cache import residency
from profiler.machine.page_cache.cache import Coldness
from profiler.machine.page_cache.residency import Residency
from profiler.machine.processes import timed as runs
from profiler.machine.processes.settled import LIKELY, WITHIN, interval, settled
from profiler.machine.processes.timed import Run, pairs

times = st.lists(st.floats(1e-3, 1e5), min_size=1, max_size=40)


@given(times)
def test_the_median_lies_in_its_interval(walls: list[float]) -> None:
    low, high = interval(walls)
    assert min(walls) <= low <= statistics.median(walls) <= high <= max(walls)
    assert interval([2 * wall for wall in walls]) == (2 * low, 2 * high)


@pytest.mark.parametrize("count", range(2, 30))
def test_the_interval_is_the_narrowest_that_is_likely_enough(count: int) -> None:
    low, high = interval(range(count))
    assert low == count - 1 - high

    def likely(skipped: int) -> float:
        return float(1 - 2 * sum(math.comb(count, k) for k in range(skipped + 1)) / 2**count)

    assert likely(int(low)) >= LIKELY > likely(int(low) + 1)


@given(times.filter(lambda walls: len(walls) > 1), st.integers(2, 100))
def test_times_that_are_all_the_same_are_settled_once_there_are_enough(
    walls: list[float], most: int
) -> None:
    same = [walls[0]] * len(walls)
    assert settled(same, most) == (len(same) >= (2 if most <= 3 else 3))
    assert not settled(same[:1], most)


DISTRIBUTIONS: dict[str, Callable[[Generator, int], np.ndarray]] = {
    "quiet": lambda chance, n: 1 + 0.02 * chance.standard_normal(n),
    "usual": lambda chance, n: 1 + 0.05 * chance.standard_normal(n),
    "busy": lambda chance, n: np.abs(1 + 0.2 * chance.standard_normal(n)),
    "lognormal": lambda chance, n: np.exp(0.3 * chance.standard_normal(n)),
    "long tail": lambda chance, n: 1 + 0.2 * chance.exponential(size=n),
    "some twice as long": lambda chance, n: (
        (1 + 0.03 * chance.standard_normal(n)) * np.where(chance.random(n) < 0.15, 2, 1)
    ),
}
"""As cold starts scatter, from a quiet machine to one that others use."""


@pytest.mark.parametrize("most", [3, 10])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_to_stop_early_moves_no_median_and_is_no_worse_than_three_runs(name: str, most: int) -> None:
    """Of 4,000 series of times. A median of a few is not exact either: what counts is the difference."""
    chance, draw = np.random.default_rng(20261127), DISTRIBUTIONS[name]
    true = float(np.median(draw(chance, 200_000)))
    early, three, all_, counts = [], [], [], []
    for _ in range(4_000):
        walls = draw(chance, most).tolist()
        count = next((n for n in range(1, most) if settled(walls[:n], most)), most)
        early.append(statistics.median(walls[:count]) / true - 1)
        three.append(statistics.median(walls[:3]) / true - 1)
        all_.append(statistics.median(walls) / true - 1)
        counts.append(count)

    def off(errors: list[float]) -> float:
        return float(np.sqrt(np.mean(np.square(errors))))

    assert abs(np.mean(early)) <= max(abs(np.mean(three)), abs(np.mean(all_))) + 0.01
    assert off(early) <= 1.1 * off(three)
    if name == "quiet":
        assert np.mean(counts) < (2.3 if most == 3 else 4)


# ---- pairs that stop ------------------------------------------------------------------------------------


def timed(
    monkeypatch: pytest.MonkeyPatch, walls: list[float], most: int, *, cold: bool = True, status: int = 0,
    settle: bool = True,
) -> runs.Pairs:  # fmt: skip
    """Pairs of runs that take so long, cold and warm in turn, and the last ending with that status."""
    left = iter([*zip(walls, [0] * (len(walls) - 1) + [status], strict=True), None])

    def run(*_: object, **__: object) -> Run:
        now = next(left)
        if now is None:
            raise ColdseekError("no more runs were meant to be")
        return Run(now[0], now[1], 0, 0, 0)

    proof = Coldness("fadvise", Residency(0, 0, 1), cold, "")
    monkeypatch.setattr(runs, "run", run)
    monkeypatch.setattr(runs, "make_cold", lambda *_: proof)
    monkeypatch.setattr(runs, "residency", residency.residency)
    return pairs(["true"], [], most, settle=settle)


def test_two_pairs_that_agree_are_enough_for_three(monkeypatch: pytest.MonkeyPatch) -> None:
    found = timed(monkeypatch, [2.0, 1.0, 2.02, 1.01], 3)
    assert found.settled and found.stopped is None
    assert [run.wall_s for run in found.cold] == [2.0, 2.02]


@pytest.mark.parametrize("walls", [[2.0, 1.0, 2.3, 1.0, 2.0, 1.0], [2.0, 1.0, 2.0, 1.2, 2.0, 1.0]])
def test_both_kinds_have_to_agree(walls: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    found = timed(monkeypatch, walls, 3)
    assert len(found.cold) == len(found.warm) == 3
    assert not found.settled and found.stopped is None


@pytest.mark.parametrize("why", [{"cold": False}, {"status": 1}, {"settle": False}])
def test_what_is_no_time_of_a_cold_start_settles_nothing(
    why: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = timed(monkeypatch, [2.0, 1.0, 2.0, 1.0], 3, **why)  # type: ignore[arg-type]
    assert not found.settled
    assert "no more runs" in str(found.stopped)  # it went on


def test_no_pair_more_than_was_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 4
    found = timed(monkeypatch, [1.0 + WITHIN * 3 * (n % 4) for n in range(2 * most)], most)
    assert len(found.cold) == most and found.stopped is None
