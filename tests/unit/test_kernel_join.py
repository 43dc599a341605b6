"""Joins by key and time against the plainest loops that do the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.capture.kernel.join import Ints, asof, numbered, paired

EDGES = [-(2**63), -1, 0, 1, 2**63 - 1]
Rows = list[tuple[int, int]]
few = st.sampled_from([*EDGES, 2, 3])
tables = st.lists(st.tuples(few, st.one_of(few, st.integers(-4, 4))), max_size=24)


def columns(rows: Rows) -> tuple[Ints, Ints]:
    table = np.array(rows, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def naive_asof(rows: Rows, others: Rows) -> list[int]:
    found = []
    for key, time in rows:
        fitting = [(other[1], number) for number, other in enumerate(others) if other[0] == key]
        found.append(max((one for one in fitting if one[0] <= time), default=(0, -1))[1])
    return found


def naive_paired(rows: Rows, others: Rows) -> list[int]:
    found = [-1] * len(rows)
    moments = [(time, 0, number, key) for number, (key, time) in enumerate(others)]
    moments += [(time, 1, number, key) for number, (key, time) in enumerate(rows)]
    stacks: dict[int, list[int]] = {}
    for _, is_end, number, key in sorted(moments):
        stack = stacks.setdefault(key, [])
        if not is_end:
            stack.append(number)
        elif stack:
            found[number] = stack.pop()
    return found


@given(tables, tables)
def test_asof_is_what_a_loop_finds(rows: Rows, others: Rows) -> None:
    assert asof(*columns(rows), *columns(others)).tolist() == naive_asof(rows, others)


@given(tables, tables)
def test_paired_is_what_a_stack_finds(rows: Rows, others: Rows) -> None:
    assert paired(*columns(rows), *columns(others)).tolist() == naive_paired(rows, others)


@given(st.lists(st.tuples(few, few, few), max_size=24))
def test_numbers_are_equal_where_rows_are(rows: list[tuple[int, int, int]]) -> None:
    table = np.array(rows, np.int64).reshape(-1, 3)
    numbers = numbered(*table.T).tolist()
    assert len(set(zip(rows, numbers, strict=True))) == len(set(rows)) == len(set(numbers))
    assert sorted(set(numbers)) == list(range(len(set(numbers))))
    if rows:
        assert numbered(table[:, 0]).tolist() == np.unique(table[:, 0], return_inverse=True)[1].tolist()


@pytest.mark.parametrize("join", [asof, paired])
def test_nothing_to_join(join) -> None:  # type: ignore[no-untyped-def]
    none, one = columns([]), columns([(1, 1)])
    assert join(*none, *none).tolist() == []
    assert join(*none, *one).tolist() == []
    assert join(*one, *none).tolist() == [-1]


def test_asof_gives_a_row_as_often_as_it_fits_and_the_last_of_equals() -> None:
    others = columns([(7, 10), (7, 20), (7, 20), (8, 0)])
    assert asof(*columns([(7, 9), (7, 10), (7, 19), (7, 20), (7, 99), (9, 99)]), *others).tolist() == [
        -1, 0, 0, 2, 2, -1,
    ]  # fmt: skip


def test_paired_gives_each_beginning_once_and_the_latest_first() -> None:
    begins = columns([(7, 10), (7, 20), (8, 0)])
    assert paired(*columns([(7, 5), (7, 25), (7, 26), (7, 27)]), *begins).tolist() == [-1, 1, 0, -1]
    # the beginning at 10 has no end; the next ones are not shifted by that
    begins = columns([(7, 10), (7, 20), (7, 30)])
    assert paired(*columns([(7, 21), (7, 31)]), *begins).tolist() == [1, 2]
