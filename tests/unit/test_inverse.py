"""Which file a request read: against a loop over all extents, with the numbers of traces that lie."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
from hypothesis import example, given
from hypothesis import strategies as st
from made import below, trace

from profiler.analysis.intervals import LAST
from profiler.analysis.simulation.inverse import read_from, requests
from profiler.trace import EXTENT_COLUMNS, FileFacts

Extent = tuple[int, int, int, int, str, int]
"""File, logical, physical, length, disk, start of the partition."""

MOST = 2**62
LARGE = (MOST - 1, MOST, MOST + 1, 2**63 - 8193, 2**63 - 1)
NUMBERS = st.one_of(st.integers(0, 50), st.integers(0, 2**63 - 1), st.sampled_from(LARGE))
EXTENTS = st.lists(
    st.tuples(
        st.integers(0, 3), NUMBERS, NUMBERS, NUMBERS, st.sampled_from(["8:0", "9:0"]),
        st.sampled_from([0, 7, 2**61]),
    ),
    max_size=12,
)  # fmt: skip
POINTS = st.lists(
    st.tuples(
        st.sampled_from(["8:0", "9:0", ""]),
        st.one_of(st.integers(0, 120), st.integers(0, MOST), st.just(MOST)),
    )
)


def by_loop(disk: str, offset: int, extents: list[Extent]) -> tuple[int, int]:
    for file, logical, physical, length, name, begin in extents:
        inside = offset - begin - physical
        hostile = max(logical, physical) > MOST or logical + inside >= LAST
        if name == disk and 0 <= inside < length and not hostile:
            return file, logical + inside
    return -1, -1


@given(POINTS, EXTENTS)
@example([("8:0", MOST)], [(0, MOST, 0, 2**63 - 1, "8:0", 0), (1, 0, MOST, 1, "8:0", 0)])
@example([("8:0", 5), ("8:0", 70)], [(0, 0, 0, 100, "8:0", 0), (1, 0, 5, 10, "8:0", 0)])
def test_against_a_loop(points: list[tuple[str, int]], extents: list[Extent]) -> None:
    columns = ["file", "logical", "physical", "length", "disk", "start"]
    table = pd.DataFrame(extents, columns=columns).assign(flags=0)
    table = table.astype({**EXTENT_COLUMNS, "disk": "object", "start": "int64"})
    file, place = read_from(
        np.array([disk for disk, _ in points], object), np.array([at for _, at in points], np.int64), table
    )
    assert [*zip(file.tolist(), place.tolist(), strict=True)] == [by_loop(*one, extents) for one in points]


def test_other_disks_and_other_events_are_left_out() -> None:
    files = [FileFacts(b"/a", "8:1", size=100, kind="regular")]
    files += [FileFacts(b"/dev/%d" % n, f"8:{16 * n}", size=2**40, kind="block") for n in range(2)]
    devices = {"8:1": {"disk_number": "8:16", "start_bytes": 0}}
    made = trace([(0, 0, 10)], files, [(0, 30, 0, 50, 1)], tracer="kernel", host={"devices": devices})
    made = below(
        made,
        [(1, "request", 1, 9, 1), (2, "request", 2, 9, 2), (3, "miss", 2, 9, 4), (4, "request", 2, 50, 8)],
    )
    assert requests(made, np.array([0])).to_numpy().tolist() == [[0, 39, 2]]
    assert len(requests(made, np.zeros(0, np.int64))) == 0
    bare = dataclasses.replace(made, extents=made.extents[:0])
    assert len(requests(bare, np.zeros(0, np.int64))) == 0
