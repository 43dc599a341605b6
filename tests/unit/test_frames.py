"""Traces made of other people's tables, and traces as tables that people join."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import report_cases
from hypothesis import given, settings
from hypothesis import strategies as st
from made import seed_2010, trace

import coldseek
from profiler.calls import LARGEST
from profiler.files.frames import COLUMNS, NO_TIMES, VIEWS
from profiler.trace import TABLES, Trace
from profiler.validity import validate

PATHS = st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=8) | st.binary(
    min_size=1, max_size=8
).filter(lambda path: b"\0" not in path)
ROWS = st.lists(
    st.tuples(
        PATHS,
        st.none() | st.integers(0, 2**40),
        st.none() | st.integers(0, 2**31),
        st.integers(0, 2**60),
    ),
    max_size=20,
)


def table(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["path", "offset", "size", "time_ns"])
    return frame.astype({"path": object, "offset": "Int64", "size": "Int64", "time_ns": "Int64"})


@given(ROWS)
def test_what_went_in_is_in_the_trace(rows: list[tuple[Any, ...]]) -> None:
    made = Trace.from_frame(table(rows))
    validate(made)
    rows = sorted(rows, key=lambda row: row[3])
    assert len(made.events) == len(rows)
    assert made.events["time_ns"].tolist() == [row[3] for row in rows]
    for column, place in (("offset", 1), ("size", 2)):
        found = [None if value is pd.NA else value for value in made.events[column].tolist()]
        assert found == [row[place] for row in rows]
    assert len(made.reads()) == sum(bool(row[2]) for row in rows)
    assert len(made.files) == made.files["path"].nunique()
    repr(made)


@given(ROWS)
@settings(max_examples=50)
def test_a_table_of_a_trace_makes_the_same_trace(rows: list[tuple[Any, ...]]) -> None:
    first = Trace.from_frame(table(rows))
    again = Trace.from_frame(first.layer("syscall"), first.meta)
    pd.testing.assert_frame_equal(again.events, first.events)
    pd.testing.assert_frame_equal(again.files, first.files)
    assert again.meta == first.meta


def test_reads_of_a_recorded_trace_come_back() -> None:
    recorded = report_cases.python_import()
    again = Trace.from_frame(recorded.reads())
    columns = ["time_ns", "offset", "size", "path", "op", "tid"]
    for column in columns:
        assert again.reads()[column].tolist() == recorded.reads()[column].tolist()


@pytest.mark.parametrize("kind", [str, str.encode, Path])
def test_a_path_is_a_text_or_bytes_or_a_path(kind: Any) -> None:
    made = Trace.from_frame(pd.DataFrame({"path": [kind("/a/ä")], "offset": [0], "size": [1]}))
    assert made.files["path"].tolist() == ["/a/ä".encode()]


def test_it_is_analysed_as_any_other() -> None:
    seed = seed_2010()
    again = Trace.from_frame(seed.to_frame().assign(filesystem="ext4", device="8:1", file_size=16 * 2**30))
    assert coldseek.project(again, "iops-120").seconds == coldseek.project(seed, "iops-120").seconds
    assert coldseek.summarise(again).totals == coldseek.summarise(seed).totals


def test_what_is_missing_is_not_known_and_the_order_is_told() -> None:
    frame = pd.DataFrame({"path": ["/b", "/a"], "offset": [pd.NA, 0], "size": [1, 2]})
    made = Trace.from_frame(frame)
    assert made.meta.notes == (NO_TIMES,) and made.meta.tracer == "import"
    assert made.reads()["path"].tolist() == [b"/b", b"/a"]
    event, file = made.events.iloc[0], made.files.iloc[0]
    assert event["offset"] is event["duration_ns"] is file["size"] is file["inode"] is pd.NA
    assert Trace.from_frame(frame.assign(time_ns=[5, 3])).reads()["path"].tolist() == [b"/a", b"/b"]
    assert Trace.from_frame(frame.assign(time_ns=[5, 3])).meta.notes == ()


def test_what_pandas_makes_of_numbers_with_gaps_is_taken() -> None:
    frame = pd.DataFrame({"path": ["/a", "/a"], "offset": [4096.0, np.nan], "size": [1.0, 2.0]})
    assert Trace.from_frame(frame).events["offset"].tolist() == [4096, pd.NA]


def test_nulls_of_other_columns_are_what_is_not_known() -> None:
    good = pd.DataFrame({"path": ["/a", "/b"], "offset": [0, 0], "size": [1, 1]})
    made = Trace.from_frame(
        good.assign(
            tid=[7, None], op=["read", None], direct=[None, True], inode=[None, 5], kind=["block", None]
        )
    )
    assert made.events["tid"].tolist() == [7, 0] and made.events["op"].tolist() == ["read", "pread64"]
    assert made.events["direct"].tolist() == [False, True]
    assert made.files["inode"].tolist() == [pd.NA, 5] and made.files["kind"].tolist() == ["block", "regular"]


def test_an_empty_table_is_an_empty_trace() -> None:
    made = Trace.from_frame(pd.DataFrame({"path": [], "offset": [], "size": []}))
    assert len(made.reads()) == len(made.files) == 0 and not made.meta.notes
    assert coldseek.summarise(made).totals.reads == 0


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "no size": ({"size": None}, "this one has no size"),
    "a slip": ({"ofset": [0]}, "did you mean offset?"),
    "another column": ({"colour": ["red"]}, "no column colour; there may be path, offset"),
    "negative": ({"offset": [-1]}, "offset is not of whole numbers"),
    "a half": ({"size": [0.5]}, "size is not of whole numbers"),
    "text": ({"size": ["4K"]}, "size is not of whole numbers"),
    "bool": ({"size": [True]}, "size is not of whole numbers"),
    "infinite": ({"offset": [float("inf")]}, "offset is not of whole numbers"),
    "too large": ({"offset": [2**64]}, "offset is not of whole numbers"),
    "behind the end": ({"offset": [LARGEST], "size": [LARGEST]}, "behind the largest offset"),
    "no time": ({"time_ns": pd.array([None], "Int64")}, "time_ns is null"),
    "a number": ({"path": [3]}, "path has '3', which is no name of a file"),
    "null": ({"path": [None]}, "path is null in some rows"),
    "a NUL": ({"path": ["a\0b"]}, "which is no name of a file"),
    "no name": ({"path": [""]}, "which is no name of a file"),
    "an escape": ({"path": [3 + 1j]}, "which is no name"),
    "a call": ({"op": ["raed\x1b"]}, "op has 'raed\\x1b', which is no call that reads"),
    "a tid": ({"tid": [2**40]}, "tid has values that are not of the type int32"),
    "a kind": ({"kind": ["plain"]}, "kind has 'plain', which is none of regular, block"),
    "errno": ({"errno": ["EIO"]}, "errno has values"),
    "direct": ({"direct": ["no"]}, "direct has values that are not of the type bool"),
    "a list": ({"path": [["/a"]]}, "path has values that are no names"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_table_that_makes_no_sense_is_told_so(name: str) -> None:
    columns, words = FAULTS[name]
    good: dict[str, Any] = {"path": ["/a"], "offset": [0], "size": [1]}
    frame = pd.DataFrame({key: value for key, value in {**good, **columns}.items() if value is not None})
    with pytest.raises(coldseek.TraceFormatError) as error:
        Trace.from_frame(frame)
    assert words in str(error.value) and str(error.value).isprintable()


def test_two_columns_of_one_name_are_told() -> None:
    frame = pd.DataFrame([["/a", 0, 1, 2]], columns=["path", "offset", "size", "size"])
    with pytest.raises(coldseek.TraceFormatError, match="two columns"):
        Trace.from_frame(frame)


# ---- tables that people join -----------------------------------------------------------------------------


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("made", [report_cases.image, trace], ids=["image", "empty"])
def test_every_table_has_texts_and_one_type_of_whole_numbers(made: Any, view: str) -> None:
    frame = made().to_frame(view)
    assert {str(dtype) for dtype in frame.dtypes} <= {"Int64", "str", "category", "bool"}
    source = getattr(made(), view) if view in TABLES else None
    assert source is None or len(frame) == len(source)


def test_a_name_that_is_no_text_is_escaped() -> None:
    found = trace([(0, 0, 1)], [b"/a\xff\\xff"]).to_frame()["path"]
    assert found.tolist() == ["/a\\xff\\xff"] and found.str.startswith("/a").all() and (found != "").all()


def test_reads_and_structures_are_joined_as_they_are() -> None:
    """Without casts; what comes out is what a report says of the same image."""
    start = report_cases.image()
    reads, structures = start.to_frame("reads"), start.to_frame("structures")
    joined = pd.merge_asof(
        reads.sort_values("offset"), structures.sort_values("start"),
        left_on="offset", right_on="start", by="file",
    )  # fmt: skip
    joined = joined[(joined["offset"] < joined["end"]).fillna(False)]
    found = joined.groupby("kind")["size"].agg(["count", "sum"])
    summary = coldseek.summarise(start)
    assert summary.focus is not None and summary.focus.structures
    for structure in summary.focus.structures:
        assert found.loc[structure.kind, "count"] == structure.reads


def test_columns_are_known() -> None:
    assert set(COLUMNS) > {"path", "offset", "size", "time_ns", "file_size"}
