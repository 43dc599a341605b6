"""The class of every read, on tables made by hand and on generated ones."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import MIB, reads, seed_2010, trace

from profiler.analysis.intervals import LAST, exact_sum, fresh, group_sums, new_bytes, spans
from profiler.analysis.reads import access


def patterns(*rows: tuple[int, int | None, int]) -> list[str]:
    return access.classify(reads(*rows))["pattern"].tolist()


def test_first_read_is_forward_and_a_seek() -> None:
    classified = access.classify(reads((0, 0, 10)))
    assert classified["pattern"].tolist() == ["forward"]
    assert classified["seek"].tolist() == [True]
    assert classified["gap"].isna().all() and classified["jump"].isna().all()


def test_classes_of_a_short_story() -> None:
    assert patterns(
        (0, 0, 4096),  # first
        (0, 4096, 4096),  # goes on
        (0, 16384, 4096),  # jumps
        (0, 8192, 4096),  # back
        (0, 0, 8192),  # all of it was read before
        (0, 8192, 8192),  # starts where the last one ended, one page of it is new
    ) == ["forward", "consecutive", "forward", "backward", "repeat", "consecutive"]


def test_files_do_not_mix() -> None:
    classified = access.classify(reads((0, 0, 100), (1, 100, 100), (0, 100, 100), (1, 0, 100)))
    assert classified["seek"].tolist() == [True, True, False, True]
    assert classified["gap"].tolist() == [pd.NA, pd.NA, 0, -200]


def test_repeat_is_by_pages_and_comes_before_consecutive() -> None:
    # the second read goes on where the first ended, within the page that was read
    assert patterns((0, 0, 100), (0, 100, 100)) == ["forward", "repeat"]
    classified = access.classify(reads((0, 0, 100), (0, 100, 100)))
    assert classified["new_bytes"].tolist() == [100, 100]
    assert classified["new_page_bytes"].tolist() == [4096, 0]
    assert not classified["seek"][1]


def test_a_gap_is_signed() -> None:
    assert access.classify(reads((0, 100, 10), (0, 200, 10), (0, 50, 10)))["gap"].tolist() == [
        pd.NA,
        90,
        -160,
    ]


def test_unknown_offsets_are_neither_seek_nor_sequential() -> None:
    classified = access.classify(
        reads((0, None, 10), (0, 0, 10), (0, None, 10), (0, 10, 4096), (0, 9000, 1))
    )
    assert classified["pattern"].tolist() == ["unknown", "forward", "unknown", "consecutive", "forward"]
    assert classified["seek"].tolist() == [False, True, False, False, True]
    total = access.totals(classified)
    assert (total.reads, total.unknown_offsets, total.seeks) == (5, 2, 2)
    assert total.scattered_ratio == pytest.approx(2 / 3)
    assert total.bytes == 10 + 10 + 10 + 4096 + 1
    assert total.unique_bytes == 10 + 4096 + 1
    assert total.reread_bytes == 0


def test_only_unknown_offsets_give_no_ratio() -> None:
    total = access.totals(access.classify(reads((0, None, 10))))
    assert total.scattered_ratio is None and total.sequential_ratio is None
    table = access.per_file(access.classify(reads((0, None, 10))))
    assert table["scattered_ratio"].isna().all()


def test_the_case_of_2010() -> None:
    classified = access.classify(seed_2010().reads())
    total = access.totals(classified)
    assert (total.reads, total.seeks, total.scattered_ratio, total.sequential_ratio) == (
        1935,
        1935,
        1.0,
        0.0,
    )
    assert total.bytes == total.unique_bytes == total.unique_page_bytes == 1935 * 4096
    assert total.patterns["strided"] == 1933
    assert access.total_strides(classified).to_dict("records") == [{"bytes": 8 * MIB, "count": 1933}]


def test_few_equal_jumps_are_no_stride() -> None:
    rows = [
        (0, 100_000 * number, 1) for number in range(access.STRIDE_MIN_COUNT)
    ]  # one jump fewer than reads
    assert "strided" not in patterns(*rows)
    assert patterns(*rows, (0, 100_000 * len(rows), 1)).count("strided") == access.STRIDE_MIN_COUNT


def test_rare_jumps_are_no_stride() -> None:
    generator = np.random.default_rng(23)
    rows = [(0, int(offset) * 4096, 4096) for offset in generator.integers(0, 200, 5000)]
    assert access.strides(access.classify(reads(*rows))).empty


def test_two_interleaved_strides_and_a_backward_one() -> None:
    pairs = [(0, base + number * MIB, 4096) for number in range(50) for base in (0, 1000 * MIB)]
    table = access.strides(access.classify(reads(*pairs, *((1, (99 - n) * MIB, 4096) for n in range(100)))))
    assert table[["file", "bytes", "count"]].values.tolist() == [
        [1, -MIB, 99],
        [0, 1000 * MIB, 50],
        [0, -999 * MIB, 49],
    ]


def test_equal_strides_of_two_files_add_up() -> None:
    rows = [(file, number * MIB, 10) for file in (0, 1) for number in range(10)]
    assert access.total_strides(access.classify(reads(*rows))).to_dict("records") == [
        {"bytes": MIB, "count": 18}
    ]


def test_histograms() -> None:
    classified = access.classify(reads((0, 0, 1), (0, 1, 4096), (0, 4097, 8191), (0, 0, 2), (0, 1026, 3)))
    gaps = access.gap_histogram(classified)
    assert gaps.values.tolist() == [[-16384, -8192, 1], [0, 0, 2], [1024, 2048, 1]]
    sizes = access.size_histogram(classified)
    assert sizes.values.tolist() == [[1, 2, 1], [2, 4, 2], [4096, 8192, 2]]


@pytest.mark.parametrize("value", [1, 2, 3, 2**53 - 1, 2**60 - 1, 2**60, 2**62, 2**63 - 1])
def test_bins_hold_their_values(value: int) -> None:
    (low, high, count) = access.log2_histogram(np.array([value])).values.tolist()[0]
    assert low <= value < high == 2 * low and count == 1
    (low, high, count) = access.log2_histogram(np.array([-value])).values.tolist()[0]
    assert low < -value <= high and low == 2 * high and count == 1


def test_hostile_sizes_cost_no_memory_and_do_not_overflow() -> None:
    classified = access.classify(
        reads(*((0, 2**62, 2**62) for _ in range(5)), (1, 0, 2**60), (0, 2**61, 2**60))
    )
    assert classified["pattern"].tolist()[:5] == ["forward", *["repeat"] * 4]
    total = access.totals(classified)
    assert total.bytes == 5 * 2**62 + 2 * 2**60
    assert total.unique_bytes == LAST - 2**62 + 2 * 2**60
    assert access.per_file(classified)["bytes"].tolist() == [2**63 - 1, 2**60]
    assert (access.gap_histogram(classified)["count"].sum(), len(access.size_histogram(classified))) == (
        5,
        2,
    )


def test_an_empty_trace_works_everywhere() -> None:
    classified = access.classify(trace().reads())
    total = access.totals(classified)
    assert (total.reads, total.seeks, total.scattered_ratio) == (0, 0, None)
    assert set(total.patterns) == set(access.PATTERNS)
    for table in (
        access.strides(classified),
        access.total_strides(classified),
        access.per_file(classified),
        access.gap_histogram(classified),
        access.size_histogram(classified),
    ):
        assert table.empty and len(table.columns)


rows = st.lists(
    st.tuples(st.integers(0, 2), st.none() | st.integers(0, 60_000), st.integers(1, 20_000)), max_size=30
)


@given(rows)
def test_against_brute_force(rows: list[tuple[int, int | None, int]]) -> None:
    classified = access.classify(reads(*rows))
    seen_bytes: set[tuple[int, int]] = set()
    seen_pages: set[tuple[int, int]] = set()
    ends: dict[int, int] = {}
    for (file, offset, size), got in zip(rows, classified.itertuples(), strict=True):
        if offset is None:
            assert (got.pattern, got.seek) == ("unknown", False)
            continue
        new = {(file, byte) for byte in range(offset, offset + size)} - seen_bytes
        pages = {
            (file, page) for page in range(offset // 4096, (offset + size - 1) // 4096 + 1)
        } - seen_pages
        seek = ends.get(file) != offset
        assert (got.new_bytes, got.new_page_bytes, got.seek) == (len(new), 4096 * len(pages), seek)
        assert (got.pattern == "repeat") == (not pages)
        assert (got.pattern == "consecutive") == (bool(pages) and not seek)
        if got.pattern == "backward":
            assert offset < ends[file]
        if got.pattern == "forward":
            assert offset > ends.get(file, -1)
        seen_bytes |= new
        seen_pages |= pages
        ends[file] = offset + size
    total = access.totals(classified)
    assert (total.unique_bytes, total.unique_page_bytes) == (len(seen_bytes), 4096 * len(seen_pages))
    assert sum(total.patterns.values()) == total.reads == len(rows)
    table = access.per_file(classified)
    assert table[list(access.PATTERNS)].sum(axis=1).tolist() == table["reads"].tolist()
    for name in (
        "reads",
        "bytes",
        "unique_bytes",
        "unique_page_bytes",
        "reread_bytes",
        "seeks",
        "unknown_offsets",
    ):
        assert table[name].sum() == getattr(total, name), name


@given(st.lists(st.tuples(st.integers(0, 2**62), st.integers(1, 2**62)), min_size=1, max_size=20))
def test_fresh_pieces_are_disjoint_and_sorted(intervals: list[tuple[int, int]]) -> None:
    start, end = spans(*(np.array(column, np.int64) for column in zip(*intervals, strict=True)))
    pieces = fresh(np.zeros(len(start), np.int64), start, end)
    assert list(zip(pieces.row, pieces.start, strict=True)) == sorted(
        zip(pieces.row, pieces.start, strict=True)
    )
    in_space = sorted(zip(pieces.start.tolist(), pieces.end.tolist(), strict=True))
    assert all(a[1] <= b[0] for a, b in pairwise(in_space))
    covered, reached = 0, 0
    for low, high in sorted(zip(start.tolist(), end.tolist(), strict=True)):
        covered += max(0, high - max(low, reached))
        reached = max(reached, high)
    assert sum(high - low for low, high in in_space) == covered


@given(
    st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 40), st.integers(1, 9)), max_size=30),
    st.sampled_from([0, 10**6, 2**50 - 100]),
)
def test_pages_and_bytes_give_the_same_pieces(rows: list[tuple[int, int, int]], base: int) -> None:
    """Intervals of whole pages may go another way through `fresh`: one byte more shuts it."""
    group, first, count = (np.array(column, np.int64) for column in zip(*rows, (7, 0, 1), strict=True))
    start, end = 4096 * (base + first), 4096 * (base + first + count)
    pages, other = (
        fresh(group, start, end),
        fresh(np.append(group, 9), np.append(start, 1), np.append(end, 2)),
    )
    for name in ("row", "start", "end"):
        assert getattr(pages, name).tolist() == getattr(other, name).tolist()[:-1]
    new = np.bincount(pages.row, pages.end - pages.start, len(group))
    assert new_bytes(group, start, end).tolist() == new.tolist()


def test_jumps_from_one_end_of_the_offsets_to_the_other() -> None:
    far = 2**62 - 10**6  # a trace's offsets are no higher
    rows = [(0, n * 1000 + (n % 2) * far, 10) for n in range(100)]
    assert (
        access.strides(access.classify(reads(*rows))).to_dict("records")
        == [
            {"file": 0, "bytes": 1000 - far, "count": 49},
            {"file": 0, "bytes": 1000 + far, "count": 50},
        ][::-1]
    )


@given(st.lists(st.tuples(st.integers(0, 2), st.none() | st.integers(0, 30), st.integers(1, 9))))
def test_seeks_alone_are_those_of_classify(rows: list[tuple[int, int | None, int]]) -> None:
    made = reads(*rows)
    assert access.seeks(made).tolist() == access.classify(made)["seek"].tolist()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2**63 - 1))))
def test_sums_are_exact_or_held(pairs: list[tuple[int, int]]) -> None:
    values = np.array([value for _, value in pairs], np.int64)
    groups = np.array([group for group, _ in pairs], np.int64)
    assert exact_sum(values) == sum(value for _, value in pairs)
    sums = [sum(value for group, value in pairs if group == wanted) for wanted in range(4)]
    assert group_sums(values, groups, 4).tolist() == [min(total, 2**63 - 1) for total in sums]
