"""What each read and each request of an image was for."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import below, trace

from profiler.analysis.reads.access import classify
from profiler.analysis.reads.attribution import (
    UNMAPPED,
    by_structure,
    requests_by_structure,
    structure_of,
    with_requests,
)
from profiler.facts.structures import roles_of
from profiler.trace import STRUCTURE_COLUMNS, FileFacts, Trace, empty_table

MAP = [(0, 0, 100, "header"), (0, 100, 500, "L2 table"), (0, 600, 700, "data cluster"), (2, 0, 50, "header")]


def structures(*rows: tuple[int, int, int, str]) -> pd.DataFrame:
    columns = ("file", "start", "end", "kind")
    made = empty_table(STRUCTURE_COLUMNS)
    table = pd.DataFrame(rows, columns=columns)
    table["role"] = roles_of(table["kind"])
    return pd.concat([made, table]).astype(STRUCTURE_COLUMNS)


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


# ---- requests --------------------------------------------------------------------------------------------

DISK = FileFacts(b"/dev/sda", "8:0", size=2**40, kind="block")
PARTITION = {"disk_number": "8:0", "start_bytes": 1000}
IMAGES = [(0, 0, 5000, 400, 0), (0, 400, 9000, 300, 1), (2, 0, 7000, 50, 1)]
"""Files 0 and 2 on their partition."""


def requested(
    *requests: tuple[int, int | None, int],
    reads: tuple[tuple[int, int, int], ...] = (),
    extents: list[tuple[int, int, int, int, int]] = IMAGES,
    facts: dict[str, object] = PARTITION,
    **meta: object,
) -> Trace:
    """A trace of the kernel tracer with MAP, and requests (file, offset on it, size) of a disk, number 3."""
    files = [FileFacts(path, "8:1", size=2**40, kind="regular") for path in (b"/a", b"/b", b"/c")]
    known = {"tracer": "kernel", "host": {"devices": {"8:1": facts}}}
    made = trace(reads, [*files, DISK], extents, **(known | meta))
    made = dataclasses.replace(made, structures=structures(*MAP))
    rows = [(n, ("request", "kernel_request")[n % 2], *row) for n, row in enumerate(requests)]
    return below(made, rows) if rows else made


def counted(made: Trace) -> list[list[object]]:
    rows: list[list[object]] = requests_by_structure(made)[1].to_numpy().tolist()
    return rows


def test_each_request_counts_for_the_structure_of_its_first_byte() -> None:
    made = requested(
        (3, 6000, 8), (3, 6099, 4096), (3, 6100, 8), (3, 6399, 8),  # the first extent: header, L2 table
        (3, 10_000, 8), (3, 10_100, 8), (3, 10_200, 8), (3, 10_299, 8),  # the second
        (3, 8049, 7), (3, 8050, 7),  # file 2, and the byte behind it
        (3, 5000, 8), (3, 5999, 8), (3, 10_300, 8), (3, None, 8), (-1, 6000, 8), (0, 6000, 8),
    )  # fmt: skip
    known, _ = requests_by_structure(made)
    assert known.tolist() == [0, 2]
    assert counted(made) == [
        [0, "L2 table", 3, 24], [0, "data cluster", 2, 16], [0, "header", 2, 4104],
        [0, UNMAPPED, 1, 8], [2, "header", 1, 7],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "unknown",
    [
        {"tracer": "ptrace"},
        {"unseen": ("readahead",)},
        {"facts": {"disk_number": None, "start_bytes": None}},
        {"facts": {}},
        {"facts": {"disk_number": 8, "start_bytes": 0}},
        {"facts": {"disk_number": "8:0", "start_bytes": -1}},
        {"facts": {"disk_number": "8:0", "start_bytes": "0"}},
        {"extents": []},
        {"extents": [(0, 0, 5000, 400, 0)]},  # cut off
        {"host": {}},
        {"host": {"devices": {"8:1": 7}}},
    ],
)
def test_requests_of_unknown_places_are_unknown_and_not_none(unknown: dict[str, Any]) -> None:
    made = requested(reads=((0, 0, 10),), **unknown)
    known, found = requests_by_structure(made)
    assert not len(known) and not len(found)
    table = with_requests(by_structure(classify(made.reads()), made.structures, np.ones(1)), known, found)
    assert table["requests"].isna().all() and len(table) == 1


def test_requests_beside_the_reads() -> None:
    made = requested(
        (3, 6000, 8), (3, 10_200, 8), (3, 6000, 8),
        reads=((0, 0, 10), (0, 100, 2**62), (0, 200, 2**62 - 1), (1, 0, 1)),
        extents=IMAGES[:2],
    )  # fmt: skip
    reads = by_structure(classify(made.reads()), made.structures, np.arange(4.0))
    found = with_requests(reads, *requests_by_structure(made))
    assert found[["file", "structure", "reads", "bytes", "seconds", "requests"]].to_numpy().tolist() == [
        [0, "L2 table", 2, 2**63 - 1, 3.0, 0],
        [0, "header", 1, 10, 0.0, 2],
        [0, "data cluster", 0, 0, 0.0, 1],
    ]
    nothing = requested()
    empty = by_structure(classify(nothing.reads()), nothing.structures, np.zeros(0))
    assert len(with_requests(empty, *requests_by_structure(nothing))) == 0


@given(
    st.lists(st.tuples(st.sampled_from([3, 3, 3, 0, -1]), st.integers(0, 99), st.integers(0, 2**62))),
    st.lists(st.tuples(st.sampled_from([0, 2]), *[st.integers(0, 60)] * 3, st.just(1)), max_size=6),
    st.lists(st.tuples(st.sampled_from([0, 2]), *[st.integers(0, 60)] * 2), max_size=6),
)
def test_requests_against_a_loop(
    rows: list[tuple[int, int, int]],
    extents: list[tuple[int, int, int, int, int]],
    ranges: list[tuple[int, int, int]],
) -> None:
    ranges = list({(file, low): (file, low, high) for file, low, high in ranges}.values())
    made = requested(*rows, extents=extents, facts=PARTITION | {"start_bytes": 10})
    made = dataclasses.replace(
        made, structures=structures(*[(file, low, high, f"kind {low}") for file, low, high in ranges])
    )
    mapped = {file for file, _, _ in ranges}
    counts: dict[tuple[int, str], list[int]] = {}
    for disk, offset, size in rows:
        holders = [
            (file, logical + offset - 10 - physical)
            for file, logical, physical, length, _ in extents
            if disk == 3 and file in mapped and 0 <= offset - 10 - physical < length
        ]
        if holders:
            file, at = holders[0]
            last = max((one for one in ranges if one[0] == file and one[1] <= at), default=(0, 0, 0))
            found = counts.setdefault((file, f"kind {last[1]}" if at < last[2] else UNMAPPED), [0, 0])
            found[0] += 1
            found[1] = min(found[1] + size, 2**63 - 1)
    assert counted(made) == [[*key, *found] for key, found in sorted(counts.items())]
