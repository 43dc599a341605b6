"""What each read of an image was for."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from made import trace

from profiler.analysis.access import classify
from profiler.analysis.attribution import UNMAPPED, by_structure, structure_of
from profiler.trace import STRUCTURE_COLUMNS, Trace, empty_table

MAP = [(0, 0, 100, "header"), (0, 100, 500, "L2 table"), (0, 600, 700, "data cluster"), (2, 0, 50, "header")]


def structures(*rows: tuple[int, int, int, str]) -> pd.DataFrame:
    columns = ("file", "start", "end", "kind")
    made = empty_table(STRUCTURE_COLUMNS)
    return pd.concat([made, pd.DataFrame(rows, columns=columns)]).astype(STRUCTURE_COLUMNS)


def mapped(*reads: tuple[int, int | None, int]) -> Trace:
    return dataclasses.replace(trace(reads), structures=structures(*MAP))


def test_each_read_gets_the_structure_of_its_first_byte() -> None:
    made = mapped((0, 0, 10), (0, 99, 2), (0, 100, 1), (0, 500, 1), (0, 650, 1), (0, 700, 1), (1, 0, 1),
                  (2, 49, 9), (0, None, 5))  # fmt: skip
    assert structure_of(made.reads(), made.structures).tolist() == [
        "header", "header", "L2 table", UNMAPPED, "data cluster", UNMAPPED, "", "header", UNMAPPED,
    ]  # fmt: skip


def test_sums() -> None:
    made = mapped((0, 0, 10), (0, 10, 10), (0, 10, 10), (0, 200, 50), (2, 0, 7), (1, 0, 1))
    found = by_structure(classify(made.reads()), made.structures, np.arange(6.0))
    assert found.to_numpy().tolist() == [
        [0, "header", 3, 30, 20, 2, 3.0],
        [0, "L2 table", 1, 50, 50, 1, 3.0],
        [2, "header", 1, 7, 7, 1, 4.0],
    ]


def test_files_that_are_no_images_and_empty_traces() -> None:
    made = mapped((1, 0, 10))
    assert len(by_structure(classify(made.reads()), made.structures, np.ones(1))) == 0
    for nothing in (trace(), mapped()):
        assert len(by_structure(classify(nothing.reads()), nothing.structures, np.zeros(0))) == 0
    unmapped = trace([(0, 0, 10)])
    assert structure_of(unmapped.reads(), unmapped.structures).tolist() == [""]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2**62), st.integers(1, 2**40)), max_size=30),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2**62), st.integers(0, 2**62)), max_size=9),
)
def test_the_sum_over_all_structures_is_the_reads(
    rows: list[tuple[int, int, int]], ranges: list[tuple[int, int, int]]
) -> None:
    table = structures(*[(file, low, high, f"kind {low % 3}") for file, low, high in ranges])
    reads = trace(rows).reads()
    found = by_structure(classify(reads), table, np.ones(len(rows)))
    of_images = reads["file"].isin(table["file"])
    assert found["reads"].sum() == of_images.sum()
    if len(found):
        per_file = found.groupby("file")["reads"].sum()
        assert per_file.to_dict() == reads[of_images].groupby("file").size().to_dict()
