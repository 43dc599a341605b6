"""Histograms of a fixed size, so that those of many traces can be added up."""

from __future__ import annotations

import numpy as np

from profiler.analysis.intervals import Ints
from profiler.facts.fleet import GAP_BINS, SIZE_BINS


def sizes(values: Ints) -> tuple[int, ...]:
    """SIZE_BINS counts of values > 0, in bytes."""
    return _counts(_exponent(values) - 1, SIZE_BINS)


def gaps(values: Ints) -> tuple[int, ...]:
    """GAP_BINS counts of values of either sign, in bytes."""
    magnitude = np.abs(np.maximum(values, -(2**63 - 1)))
    return _counts(GAP_BINS // 2 + np.sign(values) * _exponent(magnitude), GAP_BINS)


def _exponent(values: Ints) -> Ints:
    """Bits of each value: 0 -> 0, 1 -> 1, 2 and 3 -> 2. Exact, as a float of 64 bits is not above 2**53."""
    exponent = np.frexp(values.astype(np.float64))[1].astype(np.int64)
    rounded_up = (exponent > 53) & (values >> np.minimum(np.maximum(exponent - 1, 0), 62) == 0)
    bits: Ints = np.minimum(exponent - rounded_up, 63)
    return bits


def _counts(bins: Ints, count: int) -> tuple[int, ...]:
    return tuple(np.bincount(bins, minlength=count).tolist())
