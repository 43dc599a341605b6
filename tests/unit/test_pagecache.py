"""First touches: what a cold start has to fetch."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from made import trace

from profiler.analysis.pagecache import first_touches
from profiler.capture.recorder import FileFacts
from profiler.trace import Trace


def touches(made: Trace) -> list[list[int]]:
    table = first_touches(made.reads(), made.files)
    return table[["read", "file", "offset", "size"]].values.tolist()


def test_whole_pages_once() -> None:
    made = trace([(0, 10, 20), (0, 4000, 200), (0, 0, 8192), (1, 0, 1)])
    assert touches(made) == [[0, 0, 0, 4096], [1, 0, 4096, 4096], [3, 1, 0, 4096]]


def test_a_read_around_what_is_there_gives_two_requests() -> None:
    assert touches(trace([(0, 8192, 4096), (0, 0, 20480)])) == [
        [0, 0, 8192, 4096],
        [1, 0, 0, 8192],
        [1, 0, 12288, 8192],
    ]


def test_direct_reads_always_count_and_leave_nothing_behind() -> None:
    made = trace([(0, 512, 512), (0, 512, 512), (0, 0, 100), (0, 0, 512)], direct=[0, 1, 3])
    assert touches(made) == [[0, 0, 512, 512], [1, 0, 512, 512], [2, 0, 0, 4096], [3, 0, 0, 512]]


def test_memory_file_systems_and_unknown_offsets_cost_nothing() -> None:
    files = [
        FileFacts(b"/dev/shm/x", kind="regular", filesystem="tmpfs"),
        FileFacts(b"/proc/cpuinfo", kind="regular", filesystem="proc"),
        FileFacts(b"/x", kind="regular", filesystem=""),
    ]
    assert touches(trace([(0, 0, 10), (1, 0, 10), (2, None, 10), (2, 4096, 10)], files)) == [
        [3, 2, 4096, 4096]
    ]


def test_times_are_those_of_the_reads() -> None:
    made = trace([(0, 0, 10), (0, 0, 10), (0, 4096, 10)], step_ns=7)
    assert first_touches(made.reads(), made.files)["time_ns"].tolist() == [0, 14]


def test_hostile_size() -> None:
    assert touches(trace([(0, 0, 2**60), (0, 2**62, 2**62)]))[0] == [0, 0, 0, 2**60]


def test_empty() -> None:
    assert touches(trace()) == []
    assert touches(trace([], files=[])) == []


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 90_000), st.integers(1, 30_000)), max_size=25))
def test_requests_cover_exactly_the_union_of_pages(rows: list[tuple[int, int, int]]) -> None:
    made = trace(rows)
    table = first_touches(made.reads(), made.files)
    asked = [
        (row.file, page)
        for row in table.itertuples()
        for page in range(row.offset // 4096, (row.offset + row.size) // 4096)
    ]
    assert len(asked) == len(set(asked))
    assert set(asked) == {
        (file, page)
        for file, offset, size in rows
        for page in range(offset // 4096, -(-(offset + size) // 4096))
    }
    assert np.all(np.diff(table["read"]) >= 0)
    assert (table["size"] > 0).all()
