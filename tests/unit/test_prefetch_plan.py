"""The plan of what to bring in before a start."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import GIB, MIB, below, trace
from report_cases import kernel

from profiler.analysis.simulation.prefetch import GAP, ORDERS, plan, written
from profiler.errors import UsageError
from profiler.plan import plan_of
from profiler.trace import FileFacts, Trace

PAGE = 4096
WHOLE = [(0, 0, GIB, 16 * GIB, 1)]  # of file 0, at 1 GiB on the device


def planned(made: Trace, **more: object) -> list[tuple[int, int, int]]:
    rows = plan(made, **more)  # type: ignore[arg-type]
    return list(zip(*(rows[name].tolist() for name in ("file", "offset", "size")), strict=True))


def test_pages_of_reads_once_each() -> None:
    made = trace([(0, 100, 10), (0, 0, PAGE), (0, 8 * MIB, 1)], extents=WHOLE)
    assert planned(made) == [(0, 0, PAGE), (0, 8 * MIB, PAGE)]
    assert plan(made)["device_offset"].tolist() == [GIB, GIB + 8 * MIB]


def test_small_gaps_are_read_over() -> None:
    rows = [(0, 0, PAGE), (0, PAGE + GAP, PAGE), (0, 3 * PAGE + 2 * GAP, PAGE)]
    assert planned(trace(rows, extents=WHOLE)) == [(0, 0, 2 * PAGE + GAP), (0, 3 * PAGE + 2 * GAP, PAGE)]
    assert len(planned(trace(rows, extents=WHOLE), gap=0)) == 3


def test_a_gap_in_the_file_that_is_none_on_the_device_is_kept() -> None:
    extents = [(0, 0, GIB, PAGE, 0), (0, 2 * PAGE, 2 * GIB, PAGE, 1)]
    made = trace([(0, 0, PAGE), (0, 2 * PAGE, PAGE)], extents=extents)
    assert planned(made) == [(0, 0, PAGE), (0, 2 * PAGE, PAGE)]


def test_orders() -> None:
    far_first = [(0, 0, 9 * GIB, MIB, 0), (0, MIB, GIB, MIB, 1)]
    made = trace([(0, 0, PAGE), (0, MIB, PAGE)], extents=far_first)
    assert planned(made, order="device") == [(0, MIB, PAGE), (0, 0, PAGE)]
    assert planned(made, order="time") == [(0, 0, PAGE), (0, MIB, PAGE)]
    with pytest.raises(UsageError, match="no order named 'fast'; there are device, time"):
        plan(made, "fast")


def test_what_needs_no_prefetch() -> None:
    proc = FileFacts(b"/proc/x", "0:5", kind="regular", filesystem="proc")
    pipe = FileFacts(b"pipe", kind="pipe")
    made = trace(
        [(0, 0, PAGE), (1, 0, PAGE), (2, 0, PAGE), (2, None, PAGE)], [proc, pipe, b"/c"], direct=[2]
    )
    assert planned(made) == []
    hole = trace([(0, GIB, PAGE)], extents=[(0, 0, 0, PAGE, 1)])
    assert planned(hole) == []
    assert planned(trace()) == []


def test_what_the_start_itself_wrote_is_told() -> None:
    """It is not what it was then. A disk stays the same disk."""
    disk = FileFacts(b"/dev/sdb", "8:16", size=GIB, kind="block")
    reads = trace([(0, 0, PAGE), (1, 0, PAGE), (2, 0, PAGE)], [b"/a", b"/b", disk])
    made = below(reads, [(9, "pwrite64", 1, MIB, 1), (9, "pwrite64", 2, MIB, 1)])
    assert written(made) == [1]
    assert planned(made) == [(0, 0, PAGE), (1, 0, PAGE), (2, 0, PAGE)]
    assert [file.written for file in plan_of(plan(made), made.files, written(made)).files] == [
        False,
        True,
        False,
    ]
    assert written(trace()) == []


def test_nothing_beyond_the_end_of_the_file() -> None:
    short = FileFacts(b"/a", "8:1", size=PAGE + 1, kind="regular", filesystem="ext4")
    assert planned(trace([(0, 0, 9 * PAGE)], [short])) == [(0, 0, 2 * PAGE)]


def test_what_was_mapped_counts_where_it_was_observed() -> None:
    made = kernel()
    files = {made.files["path"].iloc[number] for number in plan(made)["file"]}
    assert b"/usr/lib/libc.so.6" in files or any(b"libc" in path for path in files)


def test_what_was_found_mapped_counts() -> None:
    found = below(trace([(0, 0, PAGE)]), [(5, "present", 1, 8 * PAGE, 16 * PAGE)])
    assert planned(found) == [(0, 0, PAGE), (1, 8 * PAGE, 16 * PAGE)]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 400), st.integers(1, 40)), max_size=30),
    st.sampled_from([0, PAGE, GAP]),
    st.sampled_from(ORDERS),
)
def test_every_page_is_in_it_and_none_twice(rows: list[tuple[int, int, int]], gap: int, order: str) -> None:
    made = trace([(file, page * PAGE, pages * PAGE) for file, page, pages in rows])
    found = plan(made, order, gap)
    pages = [
        (file, page)
        for file, offset, size in found[["file", "offset", "size"]].to_numpy().tolist()
        for page in range(offset // PAGE, (offset + size) // PAGE)
    ]
    wanted = {(file, page + more) for file, page, pages in rows for more in range(pages)}
    assert len(set(pages)) == len(pages)
    assert wanted <= set(pages)
    if gap == 0:
        assert wanted == set(pages)
    if order == "device":
        assert (np.diff(found["device_offset"]) > 0).all()


def test_the_file_systems_own_blocks_come_first_in_the_order_of_the_device() -> None:
    made = kernel()
    number = made.files["kind"].tolist().index("metadata")
    device = below(made, [(0, "miss", number, at, PAGE) for at in (GIB, 7 * MIB, 7 * MIB + 3 * PAGE)])
    made = dataclasses.replace(made, events=device.events)
    own = {row for row in planned(made) if row[0] == number}
    assert {(number, 7 * MIB, 4 * PAGE), (number, GIB, PAGE)} <= own
    for order in ORDERS:
        first = planned(made, order=order)[: len(own)]
        assert set(first) == own and first == sorted(first)
    assert planned(made, metadata=False) == [row for row in planned(made) if row[0] != number]
