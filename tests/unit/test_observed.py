"""What was observed below the calls: answers of the page cache, and requests on devices."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import below, trace

from profiler.analysis.cost.below_the_program import (
    FileBroughtIn,
    PageCache,
    answers,
    device_requests,
    page_cache,
)
from profiler.files.traces import load, save
from profiler.trace import CACHE_OPS, DEVICE_OPS, LAYERS, FileFacts, Trace

PAGE = 4096
FILES = [
    *(FileFacts(path, kind="regular") for path in (b"/image", b"/lib/libc.so.6")),
    FileFacts(b"/dev/vda", kind="metadata"),
    FileFacts(b"/dev/vda", kind="block"),
    FileFacts(b"/dev/vdb", kind="block"),
]
IMAGE, LIBRARY, METADATA, DISK, OTHER_DISK = range(5)


def run(*reads: int, **more: Any) -> Trace:
    """Reads of these pages of the image, at 0, 1000, 2000 ns ..., for 100 ns each."""
    rows = [(IMAGE, page * PAGE, PAGE) for page in reads]
    return trace(rows, **({"files": FILES, "tracer": "kernel"} | more))


def answered(made: Trace) -> list[str]:
    return answers(made)["answer"].tolist()


def missed(made: Trace) -> list[int | None]:
    return [None if size is pd.NA else size for size in answers(made)["missed_bytes"]]


def observed(made: Trace) -> PageCache:
    found = page_cache(made)
    assert found is not None
    return found


# ---- the page cache ---------------------------------------------------------------------------------------


def test_a_read_is_a_miss_if_its_task_brought_something_in_while_it_ran() -> None:
    misses = [(0, "miss", IMAGE, 0, PAGE), (50, "miss", IMAGE, PAGE, 7 * PAGE), (2100, "miss", IMAGE, 0, 1)]
    made = below(run(0, 1, 2), misses)
    assert answered(made) == ["miss", "hit", "miss"]
    assert missed(made) == [8 * PAGE, 0, 1]
    assert list(answers(made).columns[:-2]) == list(made.reads().columns)


def test_what_another_task_brings_in_is_not_the_reads() -> None:
    made = below(run(0), [(50, "miss", IMAGE, 0, PAGE)], tid=2)
    assert answered(made) == ["hit"]
    assert observed(made).mapped_bytes == PAGE


def test_between_two_reads_nothing_is_of_a_read() -> None:
    made = below(run(0, 1), [(101, "miss", LIBRARY, 0, PAGE), (999, "miss", LIBRARY, PAGE, PAGE)])
    assert answered(made) == ["hit", "hit"]
    found = observed(made)
    assert (found.bytes, found.read_bytes, found.mapped_bytes) == (2 * PAGE, 0, 2 * PAGE)


def test_the_parts_add_up() -> None:
    made = below(run(0, 1), [
        (10, "miss", IMAGE, 0, PAGE), (20, "miss", METADATA, 0, PAGE), (500, "miss", METADATA, PAGE, PAGE),
        (600, "fault", LIBRARY, 0, PAGE), (610, "miss", LIBRARY, 0, 16 * PAGE),
        (700, "fault", LIBRARY, 0, PAGE), (3000, "miss", -1, None, PAGE),
    ])  # fmt: skip
    made = below(made, [(4000, "write", IMAGE, 0, PAGE)], duration_ns=50)
    made = below(made, [(4050, "miss", IMAGE, 9 * PAGE, PAGE)])
    assert missed(made) == [2 * PAGE, 0]
    assert observed(made) == PageCache(
        hits=1, misses=1, direct=0, unknown=0, bytes=21 * PAGE,
        read_bytes=PAGE, mapped_bytes=17 * PAGE, metadata_bytes=2 * PAGE, written_bytes=PAGE, faults=2,
        files=(
            FileBroughtIn(b"/lib/libc.so.6", 16 * PAGE, 16 * PAGE),
            FileBroughtIn(b"/image", 2 * PAGE, 0),
            FileBroughtIn(b"/dev/vda", 2 * PAGE, 0),
            FileBroughtIn(b"", PAGE, PAGE),
        ),
    )  # fmt: skip


@pytest.mark.parametrize(("op", "size"), [("readahead", 0), ("fadvise_willneed", 0), ("pread64", 0)])
def test_advice_and_the_end_of_a_file_bring_in_too(op: str, size: int) -> None:
    made = below(run(), [(0, op, IMAGE, 0, size)], duration_ns=100)
    made = below(made, [(60, "miss", IMAGE, 0, PAGE)])
    assert (observed(made).read_bytes, observed(made).mapped_bytes) == (PAGE, 0)


def test_past_the_page_cache() -> None:
    made = below(run(0, 1, direct=[1]), [(1050, "miss", METADATA, 0, PAGE)])
    assert answered(made) == ["hit", "direct"]
    assert missed(made) == [0, PAGE]


def test_without_the_layer_nothing_is_known() -> None:
    for unlooked in (run(0, 1, tracer="ptrace"), run(0, 1, unseen=("readahead",))):
        assert page_cache(unlooked) is None and device_requests(unlooked) is None
        assert answered(unlooked) == ["unknown"] * 2 and missed(unlooked) == [None] * 2


def test_that_nothing_happened_is_known() -> None:
    found = observed(run(0, 1))
    assert (found.hits, found.misses, found.bytes, found.files) == (2, 0, 0, ())


def test_an_empty_trace() -> None:
    assert answered(run()) == [] and answered(trace()) == []
    assert observed(run()).bytes == 0
    assert observed(below(run(), [(5, "miss", LIBRARY, 0, PAGE)])).mapped_bytes == PAGE
    found = device_requests(run())
    assert found is not None and (found.requests, found.seeks, found.median_s, found.wait_s) == (
        0, 0, None, None,
    )  # fmt: skip


def test_a_hit_is_not_sure_once_events_were_lost() -> None:
    made = below(run(0, 1, 2, lost_events=1, direct=[2]), [(50, "miss", IMAGE, 0, PAGE)])
    assert answered(made) == ["miss", "unknown", "direct"]
    assert missed(made) == [PAGE, None, 0]


def test_a_read_without_an_end_is_unknown() -> None:
    made = run(0, 1)
    events = made.events.assign(duration_ns=pd.array([pd.NA, 100], "Int64"))
    made = below(dataclasses.replace(made, events=events), [(50, "miss", IMAGE, 0, PAGE)])
    assert answered(made) == ["unknown", "hit"]


def test_asynchronous_reads_are_unknown() -> None:
    made = below(run(0, 1, op="uring_read", duration_ns=5000), [(1500, "miss", IMAGE, 0, PAGE)])
    assert answered(made) == ["unknown"] * 2
    assert observed(made).read_bytes == PAGE


drawn_rows = st.lists(
    st.tuples(
        st.integers(0, 300), st.sampled_from(("miss", "pread64", "write", "fault")), st.integers(1, 3)
    ),
    max_size=40,
)


@settings(max_examples=25)
@given(drawn_rows, st.integers(0, 30))
def test_as_one_by_one(drawn: list[tuple[int, str, int]], duration: int) -> None:
    """Against the definition in plain loops; the calls of a task do not overlap."""
    free = {1: -1, 2: -1, 3: -1}
    groups: dict[tuple[int, bool], list[tuple[int, str, int, int, int]]] = {}
    for at, op, tid in sorted(drawn):
        call = op in ("pread64", "write")
        if not call or at > free[tid]:
            free[tid] = at + duration if call else free[tid]
            groups.setdefault((tid, call), []).append((at, op, IMAGE, 0, PAGE))
    made = run()
    for (tid, call), rows in groups.items():
        made = below(made, rows, tid=tid, duration_ns=duration if call else pd.NA)
    misses = [row for row in made.layer("cache").itertuples() if row.op == "miss"]
    inside = {
        op: [
            sum(miss.tid == call.tid and 0 <= miss.time_ns - call.time_ns <= duration for miss in misses)
            for call in calls.itertuples()
        ]
        for op, calls in (("read", made.reads()), ("write", made.writes()))
    }
    assert missed(made) == [PAGE * count for count in inside["read"]]
    found = observed(made)
    assert (found.read_bytes, found.written_bytes, found.bytes) == (
        PAGE * sum(inside["read"]), PAGE * sum(inside["write"]), PAGE * len(misses),
    )  # fmt: skip
    assert found.hits == inside["read"].count(0) == len(made.reads()) - found.misses


def test_hostile_times_and_sizes() -> None:
    end = 2**63 - 1
    made = below(run(0), [(end, "pread64", IMAGE, 2**62, 2**62), (end - 1, "pread64", IMAGE, 0, 1)],
                 duration_ns=end, tid=-(2**31))  # fmt: skip
    made = below(made, [(end, "miss", IMAGE, 2**62, 2**62)] * 3, tid=2**31 - 1)
    made = below(made, [(end, "request", DISK, 2**62, 2**62)] * 3, duration_ns=end)
    assert observed(made).bytes == 3 * 2**62
    found = device_requests(made)
    assert found is not None and found.bytes == 3 * 2**62


def test_many_reads_and_as_many_misses() -> None:
    made = run(*range(100_000))
    reads = made.reads()
    misses = made.events.assign(
        time_ns=made.events["time_ns"] + np.where(np.arange(len(reads)) % 2, 50, 500),
        layer=pd.Categorical(["cache"] * len(reads), categories=list(LAYERS)),
        op=pd.Categorical(["miss"] * len(reads), categories=["pread64", "miss"]),
    )
    events = pd.concat([made.events.astype({"op": misses["op"].dtype}), misses])
    made = dataclasses.replace(made, events=events.sort_values("time_ns", kind="stable", ignore_index=True))
    found = observed(made)
    assert (found.misses, found.hits, found.mapped_bytes) == (50_000, 50_000, 50_000 * PAGE)


# ---- devices ----------------------------------------------------------------------------------------------


def test_requests() -> None:
    made = below(
        run(0), [(0, "request", DISK, 0, PAGE), (1000, "request", DISK, PAGE, PAGE)], duration_ns=600
    )
    made = below(made, [(1100, "kernel_request", DISK, 9 * PAGE, 512)], duration_ns=1000)
    made = below(made, [(1200, "request", OTHER_DISK, 2 * PAGE, PAGE), (9000, "request", DISK, None, PAGE)])
    found = device_requests(made)
    assert found is not None
    assert (found.requests, found.kernel_requests, found.bytes) == (5, 1, 4 * PAGE + 512)
    assert found.seeks == 3  # the first of each disk, and one that jumps; where the last lies is not known
    assert (found.median_s, found.p99_s) == (pytest.approx(600e-9), pytest.approx(992e-9))
    assert found.wait_s == pytest.approx(1700e-9)  # 0 to 600 and 1000 to 2100: what overlaps counts once


def test_requests_of_devices_in_turn_are_no_seeks() -> None:
    turns = [(at, "request", (DISK, OTHER_DISK)[at % 2], at // 2 * PAGE, PAGE) for at in range(20)]
    found = device_requests(below(run(), turns))
    assert found is not None and found.seeks == 2


# ---- the trace --------------------------------------------------------------------------------------------


def test_layers_are_apart_and_are_kept(tmp_path: Any) -> None:
    made = below(
        run(0), [(50, "miss", METADATA, 0, PAGE), (60, "request", DISK, 0, PAGE), (70, "miss", -1, 0, 1)]
    )
    save(made, tmp_path / "x.trace.parquet")
    for one in (made, load(tmp_path / "x.trace.parquet")):
        assert one.layer("cache")["path"].tolist() == [b"/dev/vda", b""]
        assert one.layer("device")["op"].tolist() == ["request"]
        assert len(one.reads()) == 1
        assert observed(one) == observed(made)
    assert {"miss", "fault"} == set(CACHE_OPS) and {"request", "kernel_request"} == set(DEVICE_OPS)


def test_which_layers_were_looked_at() -> None:
    assert run().saw("cache") and run().saw("device")
    assert not run(0, tracer="strace").saw("cache")
    only = below(run(0, tracer="new"), [(50, "miss", IMAGE, 0, PAGE)])
    assert only.saw("cache") and not only.saw("device")
