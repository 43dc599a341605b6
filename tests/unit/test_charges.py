"""What each request of a cold start was for, and that each is counted once."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import MIB, below, trace, waiting
from report_cases import CASES, check, image, kernel, python_import, rows_of

from profiler.analysis.cost.below_the_program import device_requests
from profiler.analysis.cost.charges import HOWS, charges
from profiler.analysis.cost.costs import by_file, costs
from profiler.analysis.simulation.projection import project, requests
from profiler.devices import find
from profiler.trace import EXTENT_COLUMNS, STRUCTURE_COLUMNS, FileFacts, Trace

PAGE = 4096
HOST = {"devices": {"8:1": {"disk_number": "8:0", "start_bytes": MIB}, "8:0": {}}}


def files() -> list[FileFacts]:
    """A program, a library, an image, a disk with its file system's own pages."""
    names = [b"/usr/bin/tool", b"/usr/lib/libtool.so", b"/vm/disk.qcow2"]
    regular = [FileFacts(name, "8:1", size=64 * MIB, kind="regular", filesystem="ext4") for name in names]
    return [
        *regular,
        FileFacts(b"/dev/sda1", "8:1", kind="metadata"),
        FileFacts(b"/dev/sda", "8:0", kind="block"),
    ]


def cold(reads: list[tuple[int, int, int]], **meta: Any) -> Trace:
    made = trace(reads, files(), step_ns=1_000_000, duration_ns=900_000, tracer="kernel", cache="cold",
                 host=HOST, **meta)  # fmt: skip
    # each file lies in one piece, the first at 10 MiB of the partition
    extents = [(file, 0, (10 + 100 * file) * MIB, 64 * MIB, 1) for file in range(3)]
    return dataclasses.replace(made, extents=rows_of(EXTENT_COLUMNS, extents))


def on_disk(file: int, offset: int) -> int:
    return MIB + (10 + 100 * file) * MIB + offset


def rows(found: Any) -> list[tuple[Any, ...]]:
    table = found.requests
    return list(zip(table["file"], table["of"], table["offset"], table["how"], table["size"], strict=True))


def test_requests_belong_to_the_pages_at_their_place() -> None:
    made = cold([(2, 8 * PAGE, PAGE)])
    events = [
        (1000, "miss", 2, 8 * PAGE, 4 * PAGE),
        (2000, "request", 4, on_disk(2, 8 * PAGE), 4 * PAGE),
        (1_500_000, "fault", 0, 0, PAGE),
        (1_500_100, "miss", 0, 0, 16 * PAGE),
        (1_500_200, "request", 4, on_disk(0, 0), 8 * PAGE),
        (1_500_300, "kernel_request", 4, on_disk(0, 8 * PAGE), 8 * PAGE),
        (1_600_000, "miss", 3, 5 * MIB, PAGE),
        (1_600_100, "request", 4, MIB + 5 * MIB, PAGE),
    ]
    found = charges(below(made, events))
    assert found.observed
    assert rows(found) == [
        (2, "", 8 * PAGE, "read", 4 * PAGE),
        (0, "", 0, "mapped", 8 * PAGE),
        (0, "", 8 * PAGE, "mapped", 8 * PAGE),
        (-1, "ext4 on 8:1", 5 * MIB, "metadata", PAGE),
    ]


def test_a_request_that_begins_before_the_page_is_that_pages() -> None:
    made = cold([])
    events = [(10, "miss", 1, 4 * PAGE, PAGE), (20, "request", 4, on_disk(1, 2 * PAGE), 4 * PAGE)]
    assert rows(charges(below(made, events))) == [(1, "", 4 * PAGE, "mapped", 4 * PAGE)]


def test_what_lies_nowhere_known_belongs_to_the_last_page_of_its_task() -> None:
    made = dataclasses.replace(cold([]), extents=rows_of(EXTENT_COLUMNS, []))
    events = [
        (10, "miss", 0, 0, PAGE), (20, "miss", 1, 0, PAGE), (30, "request", 4, 7 * MIB, PAGE),
        (40, "request", 4, 9 * MIB, PAGE), (50, "kernel_request", 4, 8 * MIB, PAGE),
    ]  # fmt: skip
    found = charges(below(made, events, tid=[1, 2, 1, 2, 3]))
    assert found.requests["file"].tolist() == [0, 1, 1]  # a worker of the kernel brings in nothing itself


def test_what_no_page_was_brought_in_for_is_the_file_systems() -> None:
    found = charges(below(cold([]), [(30, "request", 4, 7 * MIB, PAGE)]))
    assert rows(found) == [(-1, "ext4 on 8:1", 7 * MIB, "metadata", PAGE)]
    other = dataclasses.replace(cold([]), files=cold([]).files.assign(filesystem=""))
    assert rows(charges(below(other, [(30, "request", 4, 7 * MIB, PAGE)])))[0][1] == "file system on 8:0"


def test_files_without_a_disk_cost_what_came_in() -> None:
    facts = [FileFacts(b"/net/a", "0:50", size=MIB, kind="regular", filesystem="nfs4"),
             FileFacts(b"/dev/shm/a", "0:25", size=MIB, kind="regular", filesystem="tmpfs")]  # fmt: skip
    made = trace([(0, 0, PAGE)], facts, duration_ns=900, tracer="kernel", cache="cold")
    events = [(100, "miss", 0, 0, 4 * PAGE), (200, "miss", 0, MIB, PAGE), (300, "miss", 1, 0, PAGE)]
    found = below(made, events)
    assert rows(charges(found)) == [(0, "", 0, "read", 4 * PAGE), (0, "", MIB, "read", PAGE)]
    assert [(cost.requests, cost.bytes, cost.waited_s) for cost in costs(found, found.reads())] == [
        (2, 5 * PAGE, None)
    ]


def test_what_was_written_costs_nothing() -> None:
    made = trace([(0, 0, PAGE)], files(), op="pwrite64", duration_ns=900, tracer="kernel", cache="cold")
    assert not len(charges(below(made, [(100, "miss", 0, 0, PAGE)])).requests)


def test_past_the_page_cache() -> None:
    made = cold([(2, MIB, 4 * PAGE)], direct=[0])
    found = charges(below(made, [(100, "request", 4, on_disk(2, MIB), 4 * PAGE)]))
    assert rows(found) == [(2, "", MIB, "read", 4 * PAGE)]


def test_structures() -> None:
    made = dataclasses.replace(
        cold([(2, 0, PAGE)]), structures=rows_of(STRUCTURE_COLUMNS, [(2, 0, PAGE, "header", pd.NA)])
    )
    events = [(10, "miss", 2, 0, PAGE), (20, "request", 4, on_disk(2, 0), PAGE),
              (30, "miss", 2, MIB, PAGE), (40, "request", 4, on_disk(2, MIB), PAGE)]  # fmt: skip
    found = below(made, events)
    assert {cost.structure: cost.requests for cost in costs(found, found.reads())} == {
        "header": 1,
        "not in the map": 1,
    }


def test_time_under_way_is_counted_once() -> None:
    made = cold([])
    events = [(0, "miss", 0, 0, 8 * PAGE), (100, "request", 4, on_disk(0, 0), 4 * PAGE),
              (150, "request", 4, on_disk(0, 4 * PAGE), 4 * PAGE), (900, "miss", 1, 0, PAGE),
              (950, "request", 4, on_disk(1, 0), PAGE)]  # fmt: skip
    found = below(made, events, duration_ns=pd.array([pd.NA, 100, 100, pd.NA, 10], "Int64"))
    assert charges(found).requests["waited_s"].tolist() == pytest.approx([1e-7, 5e-8, 1e-8])
    unknown = below(made, events, duration_ns=pd.array([pd.NA, 100, 100, pd.NA, pd.NA], "Int64"))
    ranked = costs(unknown, unknown.reads())
    assert [cost.waited_s for cost in ranked] == [pytest.approx(1.5e-7), None]


WAITS = st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(0, 300), st.integers(0, 200)), max_size=6)


@given(WAITS)
def test_only_time_counts_in_which_a_task_waited_for_a_device(rows: list[tuple[int, int, int]]) -> None:
    events = [(0, "miss", 0, 0, 8 * PAGE), (100, "request", 4, on_disk(0, 0), 4 * PAGE),
              (150, "request", 4, on_disk(0, 4 * PAGE), 4 * PAGE)]  # fmt: skip
    made = below(cold([]), events, duration_ns=pd.array([pd.NA, 100, 100], "Int64"))
    waits = [(tid, start, length, "device") for tid, start, length in rows]
    found = charges(waiting(made, (3, 0, 400, "lock"), (4, 0, None, "device"), *waits)).requests["waited_s"]
    moments = {moment for _, start, length in rows for moment in range(start, start + length)}
    expected = [len(moments & set(range(first, last))) for first, last in ((0, 200), (200, 250))]
    assert (found * 1e9).round().tolist() == expected


def test_a_disk_that_is_held_is_waited_for_before_it_is_given_the_request() -> None:
    """By a control group: the task waits 90 ms, and then the request takes 1 ms."""
    made = below(cold([]), [(0, "miss", 0, 0, PAGE), (95_000_000, "request", 4, on_disk(0, 0), PAGE)],
                 duration_ns=pd.array([pd.NA, 1_000_000], "Int64"))  # fmt: skip
    held = waiting(made, (1, 5_000_000, 90_000_000, "device"))
    assert charges(held).requests["waited_s"].tolist() == pytest.approx([0.090])


def test_a_warm_trace_says_nothing_of_a_cold_start() -> None:
    found = charges(kernel(cache="warm"))
    assert not found.observed and charges(kernel()).observed
    assert found.requests["how"].isin(HOWS).all()


@pytest.mark.parametrize("case", CASES)
def test_simulated_requests_are_those_that_are_projected(case: str) -> None:
    made = CASES[case]()
    made = dataclasses.replace(made, meta=dataclasses.replace(made.meta, cache="unknown"))
    ranked, start = costs(made, made.reads()), requests(made)
    projected = project(start, find("hdd-7200"))
    assert sum(cost.requests for cost in ranked) == projected.requests
    assert sum(cost.bytes for cost in ranked) == projected.bytes
    assert sum(cost.waited_s or 0 for cost in ranked) == pytest.approx(projected.seconds)
    assert not any(cost.observed for cost in ranked)


def test_advice_is_no_mapped_page() -> None:
    made = trace([(0, 0, 4 * MIB)], op="fadvise_willneed")
    assert {cost.how for cost in costs(made, made.reads())} == {"read"}
    assert {cost.how for cost in costs(check(), check().reads())} == {"read"}


def test_ranked_by_what_is_waited_for() -> None:
    found = costs(python_import(), python_import().reads())
    waited = [cost.waited_s for cost in found]
    assert waited == sorted(waited, reverse=True)  # type: ignore[type-var]
    shares = by_file(found)
    assert (
        sum(shares.values()) == pytest.approx(1) and list(shares.values()) == sorted(shares.values())[::-1]
    )
    assert by_file(()) == {}


@pytest.mark.parametrize("made", [kernel, image])
def test_observed_costs_add_up(made: Any) -> None:
    found = made()
    ranked, seen = costs(found, found.reads()), device_requests(found)
    assert seen is not None and seen.wait_s is not None
    assert sum(cost.requests for cost in ranked) == seen.requests
    assert sum(cost.bytes for cost in ranked) == seen.bytes
    assert sum(cost.waited_s or 0 for cost in ranked) == pytest.approx(seen.wait_s)


PLACE = st.integers(0, 300).map(lambda page: page * PAGE)
ON_DISK = PLACE.map(lambda place: on_disk(0, place))
EVENT = st.one_of(
    st.tuples(st.just("miss"), st.integers(0, 3), PLACE, st.integers(1, 40)),
    st.tuples(st.just("request"), st.just(4), ON_DISK, st.integers(1, 40)),
    st.tuples(st.just("kernel_request"), st.just(4), st.integers(0, 2**61), st.integers(0, 2**40)),
)


@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), EVENT, st.integers(1, 3), st.none() | st.integers(0, 10**6)),
        max_size=40,
    ),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_every_request_and_byte_is_counted_once(drawn: list[Any], placed: bool) -> None:
    made = cold([(0, 0, PAGE), (2, 0, PAGE)])
    if not placed:
        made = dataclasses.replace(made, extents=rows_of(EXTENT_COLUMNS, []))
    drawn = sorted(drawn, key=lambda row: row[0])
    events = [(time, op, file, offset, pages * PAGE) for time, (op, file, offset, pages), _, _ in drawn]
    durations = pd.array([pd.NA if one is None else one for *_, one in drawn], "Int64")
    found = below(made, events, tid=[tid for _, _, tid, _ in drawn], duration_ns=durations)
    ranked, seen = costs(found, found.reads()), device_requests(found)
    assert seen is not None
    assert sum(cost.requests for cost in ranked) == seen.requests
    assert sum(cost.bytes for cost in ranked) == seen.bytes
    assert sum(cost.waited_s or 0 for cost in ranked) == pytest.approx(seen.wait_s or 0)
    assert len({(cost.path, cost.structure, cost.how) for cost in ranked}) == len(ranked)
    assert all((cost.file < 0) == (cost.how == "metadata") for cost in ranked)
    waited = Counter({cost.file: 0.0 for cost in ranked})
    assert set(by_file(ranked)) <= set(waited)
    assert np.isclose(sum(by_file(ranked).values()), 1) or not by_file(ranked)
