"""What of the guest's disk the reads of an image were for."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from image_cases import image_trace

from profiler.analysis.reads.access import classify
from profiler.analysis.reads.contents import by_content
from profiler.calls import LARGEST
from profiler.files.traces import load, save
from profiler.report import contents as shown
from profiler.report import json, text
from profiler.report.summarise import summarise
from profiler.report.summary import ContentSummary
from profiler.trace import CONTENT_COLUMNS, Trace, table

Row = tuple[int, int, str, bytes]
ROWS: list[Row] = [
    (20480, 24576, "ext4 inode table", b""),
    (24576, 28672, "ext4 file data", b"/usr/bin/true"),
    (28672, 32768, "ext4 file data", b"/a\x1b[31m\xff"),
]


def contents_of(rows: list[Row], file: int = 0) -> pd.DataFrame:
    return table(CONTENT_COLUMNS, [dict(zip(CONTENT_COLUMNS, (file, *row), strict=True)) for row in rows])


def with_contents(reads: list[tuple[int, int | None, int]], rows: list[Row] = ROWS) -> Trace:
    return dataclasses.replace(image_trace(reads), contents=contents_of(rows))


def test_reads_count_where_they_start_and_bytes_where_they_are() -> None:
    trace = with_contents([(0, 20480, 8192), (0, 22528, 4096), (0, 32000, 4096), (0, 0, 512), (1, 0, 100)])
    found = by_content(classify(trace.reads()), trace.contents, np.arange(5.0))
    rows = {kind + path.decode(errors="replace"): row for kind, path, *row in found.iloc[:, 1:].to_numpy()}
    assert rows["ext4 inode table"] == [2, 4096 + 2048, 4096, 1.0]
    assert rows["ext4 file data/usr/bin/true"] == [0, 4096 + 2048, 4096, 0.0]
    assert [row[:3] for name, row in rows.items() if name.startswith("ext4 file data/a")] == [[1, 768, 768]]
    assert len(rows) == 3


def test_it_is_in_the_trace_the_report_and_the_json(tmp_path: object) -> None:
    path = f"{tmp_path}/a.trace.parquet"
    save(with_contents([(0, 20480, 8192), (0, 28672, 4096)]), path)
    summary = summarise(load(path))
    page = text.report(summary).plain
    assert "ext4 inode table" in page and "/usr/bin/true" in page and "\x1b" not in page
    rows = json.report(summary)["files"][0]["contents"]
    assert {row["kind"] for row in rows} == {"ext4 inode table", "ext4 file data"}
    assert {row["path"] for row in rows} == {None, "/usr/bin/true", "/a\x1b[31m\\xff"}


def test_a_trace_of_an_earlier_version_has_none(tmp_path: object) -> None:
    assert not len(image_trace([(0, 0, 512)]).contents)


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), max_size=12),
    st.lists(st.tuples(st.integers(0, 8), st.integers(1, 12), st.sampled_from("abc")), max_size=8),
)
def test_as_counted_byte_by_byte(reads: list[tuple[int, int]], pieces: list[tuple[int, int, str]]) -> None:
    rows: list[Row] = []
    at = 0
    for gap, size, kind in pieces:
        rows.append((at + gap, at + gap + size, kind, b""))
        at += gap + size
    classified = pd.DataFrame({
        "file": np.zeros(len(reads), np.int32), "offset": pd.array([low for low, _ in reads], "Int64"),
        "size": np.array([size for _, size in reads], np.int64),
    })  # fmt: skip
    found = by_content(classified, contents_of(rows), np.ones(len(reads)))
    of_byte = {byte: kind for low, high, kind, _ in rows for byte in range(low, high)}
    for kind in "abc":
        mine = found[found["kind"] == kind]
        read = [byte for low, size in reads for byte in range(low, low + size) if of_byte.get(byte) == kind]
        assert mine["bytes"].sum() == len(read) and mine["unique_bytes"].sum() == len(set(read))
        if read:
            assert mine["reads"].sum() == sum(of_byte.get(low) == kind for low, _ in reads)


def test_numbers_that_do_not_fit_are_held() -> None:
    reads = pd.DataFrame({
        "file": np.zeros(40, np.int32), "offset": pd.array([0] * 40, "Int64"), "size": np.full(40, 2**62),
    })  # fmt: skip
    found = by_content(reads, contents_of([(0, 2**62, "a", b""), (2**62, 2**63 - 1, "b", b"")]), np.ones(40))
    assert found["bytes"].tolist() == [LARGEST] and found["unique_bytes"].tolist() == [2**62]


def test_the_tables_are_bounded_and_add_up() -> None:
    rows = [ContentSummary("ext4 file data", b"/f%d" % n, 1, 10, 10, 0.01) for n in range(20)]
    rows += [ContentSummary(f"kind {n}", b"", 1, 1, 1, None) for n in range(9)]
    (_, kinds, more), (_, files, others) = shown.tables(rows, 68)
    assert kinds[1] == ["ext4 file data", "20", "200 B", "20.0%"] and more == "and 4 more kinds"
    assert len(files) == 1 + shown.MAX_FILES and others == "and 12 more files"
    assert [len(found) for _, found, _ in shown.tables(rows, 68, full=True)] == [11, 21]
    assert shown.tables([], 68) == []
