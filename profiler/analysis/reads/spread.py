"""What the times of untraced runs prove: how sure a median is, which runs stand apart, and whether two kinds
of runs differ at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from profiler.facts.runs import Run

Interval = tuple[float, float]
Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95

LEAST = 6
"""Of fewer runs there is no interval: not even the shortest and the longest of five have the true median
between them with a probability of CONFIDENCE, but with 1 - 2 / 2**5 (David and Nagaraja, "Order Statistics",
2003, 7.1)."""

RESAMPLES, SEED = 10_000, 20101126
"""The same runs give the same interval each time."""

APART = 5.0
"""Modified z score from which on a run stands apart. Iglewicz and Hoaglin advise 3.5, by which one is named
in 15 to 20 of 100 undisturbed series of six normal or lognormal times; by this in 6 to 10, and fewer of more
runs. Where times have a long tail (exponential) it is in 20 and more, and it is true."""

NOTICED = 0.1
"""No run stands apart that differs from the median by a smaller share of it, our own judgement: a quiet
machine repeats a start so well that every hundredth would be named."""

_SIGMA = NormalDist().inv_cdf(0.75)
"""The median deviation of normal values, as a share of their standard deviation."""


def median_interval(runs: Sequence[Run]) -> Interval | None:
    """Between which wall times, in seconds, the true median of those that did not fail lies with CONFIDENCE;
    None: fewer than LEAST did not.

    Quantiles of the medians of RESAMPLES resamples: the percentile interval of Efron and Tibshirani, "An
    Introduction to the Bootstrap", 1993, 13.3; see `_tail`.
    """
    walls = _walls(runs)
    if len(walls) < LEAST:
        return None
    return _quantiles(_resampled(walls, np.random.default_rng(SEED)), _tail(len(walls)))


def ratio_interval(first: Sequence[Run], second: Sequence[Run]) -> Interval | None:
    """As `median_interval`, of the median of the first through that of the second, both resampled by
    themselves. None: one of them has too few runs, or one that took no time."""
    walls = _walls(first), _walls(second)
    fewest = min(map(len, walls))
    if fewest < LEAST or not walls[1].min() > 0:
        return None
    chance = np.random.default_rng(SEED)
    return _quantiles(_resampled(walls[0], chance) / _resampled(walls[1], chance), _tail(fewest))


def told_apart(first: Sequence[Run], second: Sequence[Run]) -> bool | None:
    """Whether the runs prove that the two kinds take different times; None: too few to say.

    By `ratio_interval`. Without one, runs that overlap prove nothing. That none does proves it where chance
    alone would order them so in at most 1 - CONFIDENCE of the cases: two of all orders of both (Mann and
    Whitney, 1947), as of four and four.
    """
    interval = ratio_interval(first, second)
    if interval is not None:
        return not interval[0] <= 1 <= interval[1]
    one, two = _walls(first), _walls(second)
    if not len(one) or not len(two):
        return None
    if max(one.min(), two.min()) <= min(one.max(), two.max()):
        return False
    return True if 2 / math.comb(len(one) + len(two), len(one)) <= 1 - CONFIDENCE else None


def outliers(runs: Sequence[Run]) -> tuple[int, ...] | None:
    """The numbers, from 1, of the runs that stand apart from the median; None: of too few (LEAST) to say.

    The modified z score of Iglewicz and Hoaglin, "How to Detect and Handle Outliers", 1993: the distance
    from the median by the median of all such distances, 1 for a standard deviation of normal values. A run
    that stands apart hardly moves either, as it would a mean. See APART and NOTICED.
    """
    walls = _walls(runs)
    if len(walls) < LEAST:
        return None
    middle = np.median(walls)
    usual = np.median(np.abs(walls - middle)) / _SIGMA
    limit = max(APART * usual, NOTICED * middle)
    return tuple(
        number for number, run in enumerate(runs, 1) if not run.failed and abs(run.wall_s - middle) > limit
    )


def _walls(runs: Sequence[Run]) -> Floats:
    return np.array([run.wall_s for run in runs if not run.failed], np.float64)


def _resampled(walls: Floats, chance: np.random.Generator) -> Floats:
    """Medians of RESAMPLES times as many drawn from these, with repeats.

    Only the middle is drawn. The k-th smallest of n drawn values stands where the k-th smallest of n uniform
    numbers points, which is distributed as Beta(k, n + 1 - k). The next is the smallest of the n - k that
    are left (David and Nagaraja, 2.3). So a thousand runs take no longer than six.
    """
    ordered, count = np.sort(walls), len(walls)
    middle = (count + 1) // 2
    low = chance.beta(middle, count + 1 - middle, RESAMPLES)
    high = low if count % 2 else low + (1 - low) * chance.beta(1, count - middle, RESAMPLES)
    below, above = (
        ordered[np.minimum((place * count).astype(np.int64), count - 1)] for place in (low, high)
    )
    return below / 2 + above / 2


def _quantiles(values: Floats, tail: float) -> Interval:
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _tail(count: int) -> float:
    """What lies outside on either side. Percentile intervals of few values are too narrow, as if their
    spread were known: this is what a normal distribution has beyond the limits that Student's has
    (Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69, 2015, the
    expanded percentile interval)."""
    return NormalDist().cdf(-_student(count - 1) * math.sqrt(count / (count - 1)))


def _student(freedom: int) -> float:
    """Student's t that is exceeded with (1 - CONFIDENCE) / 2, within 0.2% from five degrees of freedom on
    (Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7.5)."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return math.fsum(term / freedom**power for power, term in enumerate(terms))
