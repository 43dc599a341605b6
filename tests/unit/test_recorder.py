"""The recorder: what tracers put in comes out as a valid trace, sorted by time, unknown kept apart from
0."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.capture.calls.event_log import OP_CODES, OPS, UNKNOWN, Recorder
from profiler.machine import procfs
from profiler.trace import CACHE_OPS, DEVICE_OPS, FileFacts, Meta
from profiler.validity import validate

READ, WRITE, OPEN = OP_CODES["pread64"], OP_CODES["write"], OP_CODES["open"]


def add(recorder: Recorder, time_ns: int = 0, op: int = READ, size: int = 4096, **more: int) -> int:
    known = {"duration_ns": 10, "pid": 1, "tid": 2, "file": -1, "handle": -1, "offset": 0, "requested": 4096}
    return recorder.add(time_ns=time_ns, op=op, size=size, **{**known, **more})


def test_an_empty_recorder_gives_an_empty_trace() -> None:
    trace = Recorder().trace(Meta())
    validate(trace)
    assert len(trace.events) == len(trace.files) == len(trace.reads()) == 0


def test_events_come_sorted_by_time_and_stay_in_order_where_it_is_equal() -> None:
    recorder = Recorder()
    for time_ns, offset in [(30, 1), (10, 2), (20, 3), (10, 4)]:
        add(recorder, time_ns, offset=offset)
    trace = recorder.trace(Meta())
    validate(trace)
    assert trace.events["time_ns"].tolist() == [10, 10, 20, 30]
    assert trace.events["offset"].tolist() == [2, 4, 3, 1]


def test_unknown_is_null_and_zero_is_zero() -> None:
    recorder = Recorder()
    add(recorder, 0, offset=UNKNOWN, size=UNKNOWN, duration_ns=UNKNOWN)
    add(recorder, 1, offset=0, size=0, duration_ns=0)
    events = recorder.trace(Meta()).events[["offset", "size", "duration_ns"]]
    assert events.iloc[0].isna().all()
    assert (events.iloc[1] == 0).all()


def test_a_file_is_known_by_its_key_and_keeps_its_first_facts() -> None:
    recorder = Recorder()
    first = recorder.file((8, 1), FileFacts(b"/a", kind="regular"))
    assert recorder.file((8, 1), FileFacts(b"/b")) == first == recorder.known((8, 1))
    assert recorder.known((8, 2)) is None
    assert recorder.file((8, 2), FileFacts(b"/b", size=0, inode=7)) == first + 1
    files = recorder.trace(Meta()).files
    assert files["path"].tolist() == [b"/a", b"/b"]
    assert files["size"].tolist() == [pd.NA, 0]


def test_a_result_can_be_filled_in_later() -> None:
    recorder = Recorder()
    file = recorder.file("f", FileFacts(b"/f", kind="regular"))
    event = add(recorder, 100, op=OP_CODES["uring_read"], size=UNKNOWN, duration_ns=UNKNOWN, file=file)
    assert (recorder.reads, recorder.read_bytes) == (0, 0)
    assert len(recorder.trace(Meta()).reads()) == 0
    recorder.complete(event, size=512, errno=0, end_ns=150)
    assert (recorder.reads, recorder.read_bytes) == (1, 512)
    reads = recorder.trace(Meta()).reads()
    assert reads[["size", "duration_ns"]].to_numpy().tolist() == [[512, 50]]


def test_a_late_failure_is_no_read() -> None:
    recorder = Recorder()
    event = add(recorder, size=UNKNOWN)
    recorder.complete(event, size=0, errno=5, end_ns=20)
    assert recorder.reads == 0
    assert recorder.trace(Meta()).events["errno"].tolist() == [5]


def test_reads_are_counted_as_they_come() -> None:
    recorder = Recorder()
    for size in (4096, 0, UNKNOWN, 100):
        add(recorder, size=size)
    add(recorder, op=WRITE)
    add(recorder, op=OPEN)
    assert (recorder.reads, recorder.read_bytes, len(recorder)) == (2, 4196, 6)


def test_many_at_once_are_the_same_as_one_by_one() -> None:
    rows = [(5, READ, 1), (3, OPEN, 0), (4, WRITE, 9), (1, READ, UNKNOWN)]
    single, bulk = Recorder(), Recorder()
    for time_ns, op, size in rows:
        add(single, time_ns, op, size)
    times, ops, sizes = (np.array(column) for column in zip(*rows, strict=True))
    same = {"duration_ns": 10, "pid": 1, "tid": 2, "file": -1, "handle": -1, "requested": 4096}
    bulk.extend({"time_ns": times, "op": ops, "size": sizes, **{k: np.full(4, v) for k, v in same.items()}})
    assert (bulk.reads, bulk.read_bytes, len(bulk)) == (single.reads, single.read_bytes, len(single))
    pd.testing.assert_frame_equal(bulk.trace(Meta()).events, single.trace(Meta()).events)


def test_what_was_noted_is_added_to_the_meta_and_more_can_follow() -> None:
    recorder = Recorder()
    recorder.unseen |= {"mmap", "exec"}
    recorder.notes.append("a word")
    meta = recorder.trace(Meta(unseen=("exec", "abi"), notes=("first",))).meta
    assert meta.unseen == ("abi", "exec", "mmap")
    assert meta.notes == ("first", "a word")
    add(recorder)
    assert len(recorder.trace(Meta()).events) == 1


@given(st.lists(st.tuples(
    st.integers(0, 2**62), st.sampled_from([UNKNOWN, 0, 1, 2**62]), st.sampled_from(range(len(OPS))),
    st.integers(1, 2**31 - 1), st.booleans(), st.integers(0, 4095),
)))  # fmt: skip
def test_whatever_goes_in_comes_out(rows: list[tuple[int, int, int, int, bool, int]]) -> None:
    recorder = Recorder()
    for time_ns, value, op, task, direct, errno in rows:
        recorder.add(time_ns, value, task, task, op, -1, -1, value, 0, value, errno, direct)
    trace = recorder.trace(Meta())
    validate(trace)
    expected = sorted(rows, key=lambda row: row[0])
    events = trace.events
    null = [pd.NA if value == UNKNOWN else value for _, value, *_ in expected]
    assert events["time_ns"].tolist() == [row[0] for row in expected]
    assert events["offset"].tolist() == events["size"].tolist() == null
    assert events["op"].tolist() == [OPS[row[2]] for row in expected]
    assert events["tid"].tolist() == [row[3] for row in expected]
    assert events["direct"].tolist() == [row[4] for row in expected]
    assert events["errno"].tolist() == [row[5] for row in expected]
    layers = {**dict.fromkeys(CACHE_OPS, "cache"), **dict.fromkeys(DEVICE_OPS, "device")}
    assert events["layer"].tolist() == [layers.get(op, "syscall") for op in events["op"]]


@pytest.mark.parametrize("name", ["pread64", "uring_read", "sendfile"])
def test_reads_of_pipes_are_no_file_reads(name: str) -> None:
    recorder = Recorder()
    for kind in ("regular", "block", "pipe", "anonymous", "character", "directory", "socket", "unknown"):
        add(recorder, op=OP_CODES[name], file=recorder.file(kind, FileFacts(kind.encode(), kind=kind)))
    add(recorder, op=OP_CODES[name], file=-1)
    assert recorder.trace(Meta()).reads()["path"].tolist() == [b"regular", b"block"]


@pytest.mark.parametrize(
    ("inode", "kept"), [(2**63 - 1, 2**63 - 1), (2**63, None), (2**64 - 1, None), (2, 2)]
)
def test_inode_numbers_of_64_bits(inode: int, kept: int | None) -> None:
    """FUSE and network file systems hash or pass on numbers of any size."""
    status = os.stat_result((0o100644, inode, 1, 1, 0, 0, 10, 0, 0, 0), {"st_mtime_ns": 0})
    recorder = Recorder()
    recorder.file(inode, procfs.describe(b"/a", status))
    trace = recorder.trace(Meta())
    validate(trace)
    number = trace.files["inode"][0]
    assert (None if number is pd.NA else int(number)) == kept
