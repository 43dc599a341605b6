"""The picture of offsets against time that a terminal shows."""

from __future__ import annotations

import unicodedata

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from made import MIB, trace

from profiler.analysis.reads.picture import COLUMNS, HIT, MOST_GROUPS, REST, ROWS, Picture, picture
from profiler.report.text.page import Page
from profiler.report.text.picture import draw

NOTHING = trace().reads()


def requests(*rows: tuple[int, int, int, int, str, str]) -> pd.DataFrame:
    columns = ["time_ns", "file", "offset", "size", "how", "structure"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype(dict.fromkeys(columns[:4], "int64"))


def lines(made: Picture, count: int = 5, width: int = 80, colours: bool = False) -> list[str]:
    page = Page(width)
    draw(page, made, b"disk0.qcow2", count, colours)
    return page.text().plain.split("\n")


def test_nothing_is_no_picture() -> None:
    assert picture(requests(), NOTHING, -1) is None
    assert picture(requests((0, -1, 0, 4096, "metadata", "")), NOTHING, -1) is None
    assert picture(requests((0, 0, 0, 4096, "read", "")), NOTHING, 1) is None


def test_a_file_is_shown_by_its_offsets() -> None:
    rows = [(n, 0, n * MIB, 4096, "read", "") for n in range(1000)]
    made = picture(requests(*rows), NOTHING, 0)
    assert made is not None and (made.low, made.high) == (0, 999 * MIB + 4096)
    x, y = made.marks[:, 0], made.marks[:, 1]
    assert (x.min(), x.max(), y.min(), y.max()) == (0, COLUMNS - 1, 0, ROWS - 1)
    assert np.abs(y / ROWS - x / COLUMNS).max() < 0.02
    shown = lines(made)
    assert shown[0].startswith("999 MiB") and shown[0].rstrip()[-1] > "\u2800"
    assert shown[1].startswith("disk0.qcow2") and shown[3].startswith("0 B")
    assert shown[-1].strip().startswith("0 s") and shown[-1].endswith("999 ns")


def test_all_files_are_stacked_in_the_order_of_first_touch() -> None:
    made = picture(
        requests(
            (0, 7, 2**40, MIB, "mapped", ""), (1, 3, 0, MIB, "read", ""), (2, 7, 2**40, MIB, "read", "")
        ),
        NOTHING, -1,
    )  # fmt: skip
    assert made is not None and (made.files, made.low, made.high) == (2, 0, 2 * MIB)
    by_column = {column: set(made.marks[made.marks[:, 0] == column, 1]) for column in made.marks[:, 0]}
    assert set(by_column) == {0, COLUMNS - 1}  # what was brought in before is not drawn again
    assert max(by_column[0]) <= ROWS // 2 <= min(by_column[COLUMNS - 1]) + 1
    assert lines(made)[1].startswith("2 files")


def test_structures_are_told_apart_and_hits_lie_below() -> None:
    kinds = [f"kind {number}" for number in range(9)]
    rows = [(n, 0, n * MIB, MIB >> n, "read", kind) for n, kind in enumerate(kinds)]
    reads = trace([(0, 0, 4096), (0, None, 1)]).reads()
    made = picture(requests(*rows), reads, 0)
    assert made is not None
    assert made.groups == (HIT, REST, *reversed(kinds[:MOST_GROUPS]))
    legend = lines(made, colours=True)[-1]
    assert legend.index("kind 0") < legend.index("kind 1") and "\u25cf" in legend
    assert "kind" not in lines(made)[-1]


number = st.integers(0, 2**63 - 1) | st.integers(0, 100)


@settings(max_examples=60, deadline=None, phases=[Phase.generate])
@given(
    st.lists(
        st.tuples(
            number, st.integers(-1, 3), number, number, st.sampled_from(["read", "mapped"]), st.text()
        ),
        max_size=20,
    ),
    st.integers(-1, 3), st.integers(3, 9), st.sampled_from([40, 80, 99]), st.booleans(),
)  # fmt: skip
def test_any_requests_fit(
    rows: list[tuple[int, int, int, int, str, str]], file: int, count: int, width: int, colours: bool
) -> None:
    made = picture(requests(*sorted(rows)), trace([(0, 2**62, 2**62)]).reads(), file)
    if made is not None:
        shown = lines(made, count, width, colours)
        assert len(shown) == count and max(map(len, shown)) <= width
        controls = {"Cc", "Cf", "Cs", "Zl", "Zp"}
        assert controls.isdisjoint(unicodedata.category(character) for line in shown for character in line)
        assert len(made.marks) <= COLUMNS * ROWS * (MOST_GROUPS + 2)


@pytest.mark.parametrize("group", [HIT, "read"])
def test_each_mark_is_there_once(group: str) -> None:
    made = picture(requests(*[(0, 0, 0, MIB, "read", "")] * 5), trace([(0, 0, MIB)] * 3).reads(), 0)
    assert made is not None
    of_group = made.marks[made.marks[:, 2] == made.groups.index(group)]
    assert len(np.unique(of_group, axis=0)) == len(of_group) > 0
