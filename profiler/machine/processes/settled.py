"""When enough runs have been timed: their median would hardly move any more."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

LEAST = 3
"""Runs of each kind that there are in any case; of at most three that may be made, two. Two that agree are
as good as three, which are there for the case that one stands apart; they are not as good as ten."""

WITHIN = 0.05
"""A median is settled if the interval that it lies in as likely as not is at most this share of it. Cold
starts scatter by more than that in most places, so that a twentieth more or less says nothing about the
disk."""

LIKELY = 0.5
"""How likely the true median lies in the interval: the "probable error". Two runs give just that, three
75%."""


def interval(walls: Sequence[float]) -> tuple[float, float]:
    """The narrowest pair of order statistics between which the true median lies with a probability of
    LIKELY.

    It needs no distribution: the k-th smallest and the k-th largest of n have the median between them with a
    probability of 1 - 2 P(B < k), B binomial of n and 1/2 (David and Nagaraja, "Order Statistics", 2003,
    7.1). walls: at least one, in any unit, the unit of what is given.
    """
    ordered, count = sorted(walls), len(walls)
    outside, skipped = 2 / 2**count, 0
    while (more := outside + 2 * math.comb(count, skipped + 1) / 2**count) <= 1 - LIKELY:
        outside, skipped = more, skipped + 1
    return ordered[skipped], ordered[count - 1 - skipped]


def settled(walls: Sequence[float], most: int) -> bool:
    """Whether the median of these times is as good as that of `most` of them, so that measuring may stop.

    It is the rule of Hoefler and Belli ("Scientific Benchmarking of Parallel Computing Systems", SC 2015,
    4.2.2): until the interval of the median is narrow enough. A test by simulation shows that it neither
    moves the median nor makes it worse than that of three runs.
    """
    if len(walls) < max(2, min(LEAST, most - 1)):
        return False
    low, high = interval(walls)
    return high - low <= WITHIN * statistics.median(walls)
