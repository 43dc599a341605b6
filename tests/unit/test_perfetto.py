"""A trace for Perfetto: read back by its own protobuf, its counts are those of the trace."""

from __future__ import annotations

import builtins
import io
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import MIB, below, trace
from report_cases import hostile, kernel

from profiler.capture.block_logs.reading import parse
from profiler.errors import ColdseekError
from profiler.report.export import export, perfetto
from profiler.report.export.lanes import lanes
from profiler.trace import DEVICE_OPS, Trace

pb2 = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
EVENT = pb2.TrackEvent


class Read:
    """What a file of Perfetto's holds. slices: (begin, end, event) of each track, by the track's number, as
    its page reads them: by time, an end closing the newest. Every begin has its end, and what overlaps on a
    track lies within each other."""

    def __init__(self, of: Trace) -> None:
        file = io.BytesIO()
        export(of, "perfetto", file)
        found = pb2.Trace()
        found.ParseFromString(file.getvalue())
        self.tracks: dict[int, Any] = {}
        self.slices: dict[int, list[tuple[int, int, Any]]] = defaultdict(list)
        self.counters: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self.instants: list[Any] = []
        open_: dict[int, list[tuple[int, Any]]] = defaultdict(list)
        for packet in sorted(found.packet, key=lambda packet: packet.timestamp):
            assert packet.trusted_packet_sequence_id == 1
            if packet.HasField("track_descriptor"):
                assert packet.track_descriptor.uuid not in self.tracks
                self.tracks[packet.track_descriptor.uuid] = packet.track_descriptor
                continue
            event, track = packet.track_event, packet.track_event.track_uuid
            assert track in self.tracks
            if event.type == EVENT.TYPE_SLICE_BEGIN:
                open_[track].append((packet.timestamp, event))
            elif event.type == EVENT.TYPE_SLICE_END:
                begin, begun = open_[track].pop()
                assert not open_[track] or open_[track][-1][0] == begin, "what overlaps is on another lane"
                self.slices[track].append((begin, packet.timestamp, begun))
            elif event.type == EVENT.TYPE_INSTANT:
                self.instants.append(event)
            else:
                name = self.tracks[track].name
                self.counters[name].append((packet.timestamp, event.counter_value))
        assert not any(open_.values())

    @property
    def events(self) -> list[Any]:
        return [*(event for rows in self.slices.values() for *_, event in rows), *self.instants]

    def of(self, category: str) -> list[Any]:
        return [event for event in self.events if list(event.categories) == [category]]


def words(event: Any) -> dict[str, Any]:
    return {word.name: word.string_value or word.int_value for word in event.debug_annotations}


@pytest.mark.parametrize("case", [trace, hostile, kernel], ids=["empty", "hostile", "kernel"])
def test_counts_are_those_of_the_trace(case: Any) -> None:
    of = case()
    found = Read(of)
    layers = Counter(of.events["layer"])
    reads = of.reads()
    assert len(found.of("read")) == len(reads)
    assert sum(words(event).get("size", 0) for event in found.of("read")) == sum(reads["size"].tolist())
    present = int((of.events["op"] == "present").sum())
    assert len(found.of("mapped")) == present
    assert len(found.of("read")) + len(found.of("call")) == layers["syscall"] - present
    assert len(found.of("page cache")) == layers["cache"]
    assert len(found.of("request")) == int(of.events["op"].isin(DEVICE_OPS).sum()) == layers["device"]
    known = of.events["duration_ns"].notna()
    assert sum(map(len, found.slices.values())) == int((known & (of.events["op"] != "present")).sum())


def test_counters_end_at_what_came_in_and_at_nothing_under_way() -> None:
    of = kernel()
    found = Read(of)
    missed = of.events[(of.events["op"] == "miss").to_numpy(bool)]
    assert found.counters["bytes brought into the page cache"][-1][1] == int(missed["size"].sum())
    depth = found.counters["requests under way, /dev/vda"]
    assert (
        depth[-1][1] == 0 and min(value for _, value in depth) >= 0 and max(value for _, value in depth) > 0
    )


def test_an_arrow_goes_from_a_read_by_its_page_to_the_request() -> None:
    rows = [(50, "miss", 0, 0, 8192), (60, "request", 2, MIB, 8192), (1050, "miss", 1, 8192, 4096),
            (1060, "request", 2, 2 * MIB, 4096)]  # fmt: skip
    of = below(trace([(0, 0, 100), (1, 8192, 100), (0, 50, 20)], tracer="kernel", cache="cold"), rows)
    found = Read(of)
    leaving = {words(event)["path"]: list(event.flow_ids) for event in found.of("read") if event.flow_ids}
    passing = {words(event)["path"]: list(event.flow_ids) for event in found.of("page cache")}
    arriving = [list(event.terminating_flow_ids) for event in found.of("request")]
    assert leaving == passing == {"/a": [1], "/b": [2]} and arriving == [[1], [2]]
    assert [words(event)["answer"] for event in found.of("read")] == ["miss", "miss", "hit"]


def test_arrows_of_a_cold_start_are_whole() -> None:
    of = kernel()
    found = Read(of)
    ends = [number for event in found.of("request") for number in event.terminating_flow_ids]
    begins = {number for event in found.of("read") for number in event.flow_ids}
    pages = {number for event in found.of("page cache") for number in event.flow_ids}
    assert len(ends) == len(set(ends)) > 0 and begins <= pages == set(ends)


def test_durations_are_those_of_the_trace() -> None:
    of = kernel()
    timed = of.events[of.events["duration_ns"].notna().to_numpy(bool)]
    theirs = Counter(zip(timed["time_ns"], timed["duration_ns"], strict=True))
    mine = Read(of)
    assert Counter((a, b - a) for rows in mine.slices.values() for a, b, _ in rows) == theirs


def test_what_one_call_maps_lies_within_it() -> None:
    rows = [(5000, op, 1, n * 4096, 4096) for n, op in enumerate(("exec", "mmap", "mmap_exec", "mmap"))]
    found = Read(below(trace([(0, 0, 4096)]), rows, duration_ns=300))
    (track,) = found.slices
    assert [end - begin for begin, end, _ in found.slices[track]] == [100, 300, 300, 300, 300]


def test_calls_of_a_thread_that_overlap_lie_on_lanes_of_it() -> None:
    of = trace([(0, n * 4096, 4096) for n in range(4)], step_ns=100, duration_ns=250)
    found = Read(of)
    tracks = [found.tracks[number] for number in found.slices]
    assert [track.HasField("thread") for track in tracks] == [True, False, False]
    thread = tracks[0].uuid
    assert {track.parent_uuid for track in tracks[1:]} == {thread}


def test_pages_that_were_found_mapped_need_no_lanes() -> None:
    of = below(
        trace([(0, 0, 4096)]), [(n, "present", 1, n * 65536, 65536) for n in range(50)], duration_ns=900
    )
    found = Read(of)
    assert len(found.of("mapped")) == 50 and len(found.slices) == 1
    assert [track.name for track in found.tracks.values()].count("pages found mapped") == 1


def test_a_log_of_requests_alone_has_disks(tmp_path: Any) -> None:
    (tmp_path / "log").write_text(
        "8,0 0 1 0.000000001 7 D R 800 + 8 [a]\n8,0 0 1 0.000000009 0 C R 800 + 8 [0]\n"
    )
    found = Read(parse("blktrace", tmp_path / "log"))
    (track,) = [found.tracks[number] for number in found.slices]
    assert track.name == "disk (disk 8:0)" and list(found.counters) == ["requests under way, (disk 8:0)"]


def test_names_are_shown_as_text() -> None:
    found = Read(trace([(0, 0, 4096)], [b"/d/\x1b[31m\xff\n"]))
    (event,) = found.of("read")
    assert event.name == "\\x1b[31m\\xff\\x0a"


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("perfetto"):
            raise ImportError(name)
        return usual(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ColdseekError, match=r"pip install 'coldseek\[perfetto\]'"):
        export(trace(), "perfetto", io.BytesIO())


def test_too_many_events_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perfetto, "MOST", 2)
    with pytest.raises(ColdseekError, match="--to parquet"):
        export(trace([(0, 0, 1)] * 3), "perfetto", io.BytesIO())


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 15)), max_size=60))
def test_lanes_hold_nothing_that_overlaps_and_are_no_more_than_needed(rows: list[tuple[int, int]]) -> None:
    rows.sort(key=lambda row: row[0])
    start = np.array([begin for begin, _ in rows], np.int64)
    end = start + np.array([length for _, length in rows], np.int64)
    found = lanes(start, end)
    for lane in set(found.tolist()):
        mine = found == lane
        assert (end[mine][:-1] <= start[mine][1:]).all()
    most = max(
        (int(((start <= at) & ((at < end) | (start == at))).sum()) for at in start.tolist()), default=0
    )
    assert len(set(found.tolist())) <= most
