"""Events brought together by what they have in common and by time, in numpy.

A table is given as its key (any int64) and its time, an entry a row, in any order. Keys of more than one
column are made with `numbered`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def asof(keys: Ints, times: Ints, to_keys: Ints, to_times: Ints) -> Ints:
    """For each row the latest row of the other table with the same key and a time not after its own; -1
    where there is none. Of several at the same time it is the last.
    """
    others, order, first = _by_key_and_time(keys, times, to_keys, to_times)
    place = np.arange(len(order))
    latest = np.maximum.accumulate(np.where(order < others, place, -1))
    rows = np.flatnonzero((order >= others) & (latest >= np.maximum.accumulate(np.where(first, place, 0))))
    found = np.full(len(keys), -1, np.int64)
    found[order[rows] - others] = order[latest[rows]]
    return found


def paired(keys: Ints, times: Ints, to_keys: Ints, to_times: Ints) -> Ints:
    """For each row, an end, the row of the other table, of beginnings, that it belongs to; -1: none.

    As brackets are: of those with the same key that began not after it ended, it is the latest that has no
    end yet. So no beginning is given twice, and one whose end was never seen disturbs no other.
    """
    others, order, first = _by_key_and_time(keys, times, to_keys, to_times)
    begins = order < others
    key = np.cumsum(first) - 1
    step = np.where(begins, 1, -1)
    depth = np.cumsum(step)
    depth -= (depth - step)[first][key]  # each key starts at 0
    # An end that no beginning is left for closes nothing: count from the lowest depth so far. Each key's
    # depths are moved below all those of the keys before it, so that the minimum starts anew with it.
    below = key * (len(order) + 1)
    depth -= np.minimum.accumulate(np.minimum(depth, 0) - below) + below
    level = np.where(begins, depth, depth + 1)
    # on one level of one key, beginnings and their ends take turns
    lane = key * (level.max(initial=0) + 1) + level
    turns = _order(lane)
    before, after = turns[:-1], turns[1:]
    pair = begins[before] & ~begins[after] & (lane[before] == lane[after])
    found = np.full(len(keys), -1, np.int64)
    found[order[after[pair]] - others] = order[before[pair]]
    return found


def numbered(*columns: Ints) -> Ints:
    """A number for each row, the same for rows that are equal in all columns, from 0 on without gaps.

    Of a single column they are in the order of its values.
    """
    order = np.arange(len(columns[0]))
    for column in columns:
        order = order[_order(column[order])]
    first = np.zeros(len(order), bool)
    for column in columns:
        first[1:] |= np.diff(column[order]) != 0
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(first)
    return numbers


def _by_key_and_time(
    keys: Ints, times: Ints, to_keys: Ints, to_times: Ints
) -> tuple[int, Ints, npt.NDArray[np.bool_]]:
    """The rows of both tables in one order, by key, then time; at one time those of the other table first.

    Gives how many rows the other table has, their numbers and after them those of the first table in this
    order, and where a key begins.
    """
    key = np.concatenate([to_keys, keys])
    order = np.argsort(np.concatenate([to_times, times]), kind="stable")
    order = order[_order(key[order])]
    key = key[order]
    first = np.ones(len(order), bool)
    first[1:] = key[1:] != key[:-1]
    return len(to_keys), order, first


def _order(values: Ints) -> Ints:
    """The stable argsort. To sort numbers takes a tenth of the time of sorting places by them, so where both
    fit in one number, that is what is done.
    """
    bits = len(values).bit_length()
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    if (high - low).bit_length() + bits > 63:
        return np.argsort(values, kind="stable")
    return np.sort(((values - low) << bits) | np.arange(len(values))) & ((1 << bits) - 1)
