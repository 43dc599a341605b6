"""Seek curves: how long the arm takes to move over a number of cylinders and settle."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SeekCurve:
    """Points of the curve: `distances` in cylinders, from 1, rising; `times_ms`, >= 0, never falling.

    Made by `measured`. Between two points the curve is a straight line, beyond the last it
    stays level.
    """

    distances: tuple[float, ...]
    times_ms: tuple[float, ...]

    @cached_property
    def _points(self) -> tuple[Floats, Floats]:
        return np.array(self.distances), np.array(self.times_ms)

    def ms(self, distances: npt.ArrayLike) -> Floats:
        """Milliseconds for moves over `distances` cylinders (any shape, either sign); 0 for no move."""
        over = np.abs(np.asarray(distances, np.float64))
        return np.where(over > 0, np.interp(over, *self._points), 0.0)


def measured(points: Iterable[tuple[float, float]]) -> SeekCurve:
    """The curve through measured points (cylinders, milliseconds), given in any order.

    Measurements scatter, an arm is never faster over a longer way: several times of one distance are taken
    at their mean, and neighbours that fall are pooled at theirs (the pool-adjacent-violators algorithm of
    Ayer and others, Annals of Mathematical Statistics 26, 1955), which keeps the mean of the curve. Points
    at distance 0 or less say nothing about a seek and are left out.

    Raises ValueError if no point is left.
    """
    ordered = sorted((float(x), float(y)) for x, y in points if x > 0)
    if not ordered:
        raise ValueError("a seek curve needs a point at a distance above 0")
    pools: list[tuple[list[float], float, int]] = []  # the distances, the sum and number of their times
    for distance, time in ordered:
        xs, total, count = [distance], time, 1
        while pools and (pools[-1][0][-1] == xs[0] or pools[-1][1] / pools[-1][2] > total / count):
            before = pools.pop()
            xs, total, count = before[0] + xs, before[1] + total, before[2] + count
        pools.append((xs, total, count))
    curve = {x: total / count for xs, total, count in pools for x in xs}
    return SeekCurve(tuple(curve), tuple(curve.values()))


def published_ms(
    share: npt.ArrayLike, track_to_track_ms: float, average_ms: float, full_stroke_ms: float
) -> Floats:
    """Milliseconds for moves over `share` (0 to 1) of all cylinders, through the three times of a data
    sheet.

    The curve has the usual two branches, after Ruemmler and Wilkes, "An introduction to disk drive
    modeling", IEEE Computer 27(3), 1994: with the square root of the distance while the arm still
    accelerates, linear beyond. The average lies at a third of the stroke, the mean distance of random
    places.
    """
    thirds = np.clip(np.asarray(share, np.float64), 0.0, 1.0) * 3
    near = track_to_track_ms + (average_ms - track_to_track_ms) * np.sqrt(thirds)
    far = average_ms + (full_stroke_ms - average_ms) * (thirds - 1) / 2
    return np.where(thirds < 1, near, far)
