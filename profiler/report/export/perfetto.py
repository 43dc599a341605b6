"""A trace for ui.perfetto.dev: protobuf, with tracks of threads, of the page cache and of disks.

A slice is a begin and an end on a track, and an end closes the newest slice of its track. So what overlaps
lies on tracks of one name, which the page shows as one (perfetto.dev/docs: Track events). Calls of a thread
are on the thread's track, pages that came into the page cache on one of their own, requests on one for each
disk. An arrow goes from a read by the page that it missed to the request that brought it in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.cost.below_the_program import answers, brought_in
from profiler.analysis.cost.charges import linked
from profiler.analysis.intervals import Ints, spans
from profiler.calls import READ_OPS, WRITE_OPS
from profiler.errors import ColdseekError
from profiler.report.export.lanes import lanes
from profiler.report.export.rows import as_text
from profiler.trace import DEVICE_OPS, Trace
from profiler.units import show_path

MOST = 5_000_000
"""Events of a trace; of more the page shows nothing, and the file takes gigabytes."""

_READ, _CALL, _MAPPED, _CACHE, _REQUEST = "read", "call", "mapped", "page cache", "request"
"""Categories of slices: `Trace.reads`; what else is in the layer `syscall`, but for `present`; these; the
layer `cache`; the layer `device`."""


def write_perfetto(trace: Trace, file: BinaryIO) -> None:
    """Write the trace as Perfetto has it. Raises ColdseekError without the package `perfetto`, or for more
    events than MOST."""
    if len(trace.events) > MOST:
        raise ColdseekError(
            f"the trace has {len(trace.events):,} events, and Perfetto shows no more than some {MOST:,}; "
            f"use --to parquet, or record a shorter run"
        )
    try:
        from perfetto.trace_builder.proto_builder import StreamingTraceProtoBuilder
    except ImportError as error:
        raise ColdseekError(
            "there is no Python package 'perfetto' here; install it: pip install 'coldseek[perfetto]'"
        ) from error
    page = _Page(StreamingTraceProtoBuilder(file))
    flows = _flows(trace)
    _calls(page, trace, flows)
    _mapped(page, trace)
    _cache(page, trace, flows)
    _disks(page, trace, flows)


# -- what goes where ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Flows:
    """Arrows, an entry each: the row of `Trace.events` of a read, of a page that came in (-1: none), and of
    the request that brought it in. An arrow's number is its place, from 1."""

    read: Ints
    miss: Ints
    request: Ints


def _flows(trace: Trace) -> _Flows:
    """One arrow to each request that is known to be for a read, or for a page."""
    none = np.zeros(0, np.int64)
    if not trace.saw("device") or not trace.saw("cache"):
        return _Flows(none, none, none)
    events, reads, read_rows = trace.events, trace.reads(), trace.read_rows()
    found = linked(trace, reads)
    known = np.flatnonzero(found.stretch >= 0)
    is_miss = ((events["layer"] == "cache") & (events["op"] == "miss")).to_numpy(bool)
    miss_rows, request_rows = np.flatnonzero(is_miss), np.flatnonzero(events["op"].isin(DEVICE_OPS))
    wanted = found.stretches.iloc[found.stretch[known]]
    miss = _same(wanted, events.iloc[miss_rows])  # its first page
    direct = _same(wanted, events.iloc[read_rows])  # past the page cache
    of_miss = np.append(brought_in(trace, reads)["read"].to_numpy(np.int64), -1)[miss]
    read = np.where(miss >= 0, of_miss, direct)
    kept = (miss >= 0) | (read >= 0)
    return _Flows(
        np.append(read_rows, -1)[read][kept],
        np.append(miss_rows, -1)[miss][kept],
        request_rows[known][kept],
    )


def _same(wanted: pd.DataFrame, rows: pd.DataFrame) -> Ints:
    """For each of `wanted` the place in `rows` of the first event that is the same by time, task, file and
    offset; -1: there is none."""
    names = ["time_ns", "tid", "file", "offset"]
    here = rows.assign(place=np.arange(len(rows)))[[*names, "place"]]
    here = here[here["offset"].notna().to_numpy(bool)].astype("int64").drop_duplicates(names)
    found = wanted[names].astype("int64").merge(here, "left", names)["place"]
    return found.fillna(-1).to_numpy(np.int64)


def _numbers(rows: Ints) -> dict[int, list[int]]:
    """Event -> the numbers of the arrows at it, from 1. rows: of each arrow, its event, -1: none."""
    found: dict[int, list[int]] = {}
    for number, row in enumerate(rows.tolist(), 1):
        if row >= 0:
            found.setdefault(row, []).append(number)
    return found


def _calls(page: _Page, trace: Trace, flows: _Flows) -> None:
    """The calls of each thread, on its track."""
    events = trace.events
    answered = answers(trace)
    read_rows = trace.read_rows()
    answer = np.full(len(events), "", object)
    answer[read_rows] = answered["answer"].to_numpy(object)
    is_read = np.zeros(len(events), bool)
    is_read[read_rows] = True
    arrows = _numbers(flows.read)
    rows = np.flatnonzero(((events["layer"] == "syscall") & (events["op"] != "present")).to_numpy(bool))
    names = _names(trace)
    tasks, which = np.unique(events[["pid", "tid"]].to_numpy(np.int64)[rows], axis=0, return_inverse=True)
    order = np.argsort(which.reshape(-1), kind="stable")
    bounds = np.searchsorted(which.reshape(-1)[order], np.arange(len(tasks) + 1))
    for (pid, tid), first, last in zip(tasks.tolist(), bounds[:-1], bounds[1:], strict=True):
        track = page.thread(pid, tid, names.get(pid, b""), names.get(tid, b""))
        for slice_, row in _slices(trace, rows[order[first:last]], names=True):
            slice_.category = _READ if is_read[row] else _CALL
            slice_.words["answer"] = answer[row]
            slice_.leaves = arrows.get(row, [])
            page.slice(track, slice_)


def _mapped(page: _Page, trace: Trace) -> None:
    """Pages that were found in a program's page tables: when that was, as nobody knows when they came."""
    rows = np.flatnonzero((trace.events["op"] == "present").to_numpy(bool))
    if not len(rows):
        return
    track = page.track("pages found mapped")
    for slice_, _ in _slices(trace, rows, names=True):
        slice_.category, slice_.lane = _MAPPED, 0
        slice_.begin_ns, slice_.end_ns = slice_.end_ns or slice_.begin_ns, None
        page.slice(track, slice_)


def _cache(page: _Page, trace: Trace, flows: _Flows) -> None:
    """Pages that came into the page cache, and how many bytes these are so far."""
    events = trace.events
    rows = np.flatnonzero((events["layer"] == "cache").to_numpy(bool))
    if not len(rows):
        return
    arrows = _numbers(flows.miss)
    track = page.track("page cache")
    for slice_, row in _slices(trace, rows, names=True):
        slice_.category = _CACHE
        slice_.leaves = arrows.get(row, [])
        page.slice(track, slice_)
    missed = rows[(events["op"].iloc[rows] == "miss").to_numpy(bool)]
    size = events["size"].iloc[missed].to_numpy(np.int64, na_value=0)
    total = np.minimum(np.cumsum(size.astype(np.float64)), 2.0**62).astype(np.int64)
    page.counter(
        "bytes brought into the page cache", events["time_ns"].iloc[missed].to_numpy(np.int64), total
    )


def _disks(page: _Page, trace: Trace, flows: _Flows) -> None:
    """The requests of each disk, and how many are under way."""
    events = trace.events
    rows = np.flatnonzero(events["op"].isin(DEVICE_OPS).to_numpy(bool))
    arrows = _numbers(flows.request)
    file = events["file"].to_numpy(np.int64)
    paths = [*map(show_path, trace.files["path"]), "not known"]  # file -1 -> the last
    for disk in np.unique(file[rows]).tolist():
        mine = rows[file[rows] == disk]
        track = page.track(f"disk {paths[disk]}")
        for slice_, row in _slices(trace, mine, names=False):
            slice_.category = _REQUEST
            slice_.arrives = arrows.get(row, [])
            page.slice(track, slice_)
        timed = events.iloc[mine]
        timed = timed[timed["duration_ns"].notna().to_numpy(bool)]
        begin, end = spans(*(timed[name].to_numpy(np.int64) for name in ("time_ns", "duration_ns")))
        moments, steps = np.unique(np.concatenate([begin, end]), return_inverse=True)
        change = np.zeros(len(moments), np.int64)
        np.add.at(change, steps.reshape(-1), np.repeat([1, -1], len(begin)))
        page.counter(f"requests under way, {paths[disk]}", moments, np.cumsum(change))


def _names(trace: Trace) -> dict[int, bytes]:
    """The last name of each task."""
    return dict(zip(trace.tasks["tid"].tolist(), trace.tasks["name"].tolist(), strict=True))


def _slices(trace: Trace, rows: Ints, names: bool) -> Iterator[tuple[_Slice, int]]:
    """The events of these rows, which come by time, and their rows. names: they are called by their files,
    else by what they are."""
    events = trace.events.iloc[rows]
    known = events["duration_ns"].notna().to_numpy(bool)
    start, end = spans(
        events["time_ns"].to_numpy(np.int64), events["duration_ns"].to_numpy(np.int64, na_value=0)
    )
    first = ~_part_of_the_call_before(events, start, end)
    lane = lanes(start[first], end[first])[np.cumsum(first) - 1]
    paths = [*trace.files["path"], b""]  # file -1 -> the last
    columns = [events[name].tolist() for name in ("op", "file", "offset", "size", "tid")]
    for row, begin, until, is_known, where, op, file, offset, size, tid in zip(
        rows.tolist(), start.tolist(), end.tolist(), known.tolist(), lane.tolist(), *columns, strict=True
    ):
        path = paths[file]
        called = show_path(os.path.basename(path) or path) if names and path else op
        words: dict[str, str | int] = {"op": op, "path": as_text(path) if names else "", "task": tid}
        for name, number in (("offset", offset), ("size", size)):
            if number is not pd.NA:
                words[name] = number
        yield _Slice(called, begin, until if is_known else None, where, words), row


def _part_of_the_call_before(events: pd.DataFrame, start: Ints, end: Ints) -> npt.NDArray[np.bool_]:
    """Which events are of the same call as the one before, and move no data: to execute a program maps
    several files. They lie within each other, on one lane."""
    moves = events["op"].isin((*READ_OPS, *WRITE_OPS, *DEVICE_OPS)).to_numpy(bool)
    found = np.zeros(len(events), bool)
    found[1:] = (start[1:] == start[:-1]) & (end[1:] == end[:-1]) & ~moves[1:] & ~moves[:-1]
    return found


# -- protobuf ----------------------------------------------------------------------------------------


@dataclass
class _Slice:
    """end_ns: None where it is not known. leaves, arrives: numbers of the arrows that go on from here, and
    of those that end."""

    name: str
    begin_ns: int
    end_ns: int | None
    lane: int
    words: dict[str, str | int]
    category: str = ""
    leaves: Sequence[int] = ()
    arrives: Sequence[int] = ()


@dataclass
class _Track:
    """number: of the first lane. lanes: numbers of all; name: what the page shows them as."""

    number: int
    name: str
    parent: int
    lanes: dict[int, int]


class _Page:
    """Packets, one after another, as perfetto_trace.proto has them; all of one sequence."""

    def __init__(self, builder: Any) -> None:
        from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import CounterDescriptor, TrackEvent

        self._builder, self._event, self._units = builder, TrackEvent, CounterDescriptor
        self._last = 0
        self._processes: dict[int, int] = {}

    def track(self, name: str) -> _Track:
        """A track that belongs to no process."""
        return _Track(0, name, 0, {})

    def thread(self, pid: int, tid: int, process: bytes, name: bytes) -> _Track:
        """The track of a thread, in its process."""
        if pid not in self._processes:
            packet, self._processes[pid] = self._described()
            described = packet.track_descriptor.process
            described.pid, described.process_name = pid, show_path(process)
            self._builder.write_packet(packet)
        packet, number = self._described()
        packet.track_descriptor.parent_uuid = self._processes[pid]
        described = packet.track_descriptor.thread
        described.pid, described.tid, described.thread_name = pid, tid, show_path(name)
        self._builder.write_packet(packet)
        return _Track(number, "overlapping calls", number, {0: number})

    def slice(self, track: _Track, slice_: _Slice) -> None:
        """A slice, or an instant where its end is not known. Those of a lane come by time."""
        packet = self._at(slice_.begin_ns)
        event = packet.track_event
        event.track_uuid = self._lane(track, slice_.lane)
        event.name = slice_.name
        event.categories.append(slice_.category)
        event.type = self._event.TYPE_INSTANT if slice_.end_ns is None else self._event.TYPE_SLICE_BEGIN
        event.flow_ids.extend(slice_.leaves)
        event.terminating_flow_ids.extend(slice_.arrives)
        for name, value in slice_.words.items():
            if value == "":
                continue
            word = event.debug_annotations.add()
            word.name = name
            if isinstance(value, str):
                word.string_value = value
            else:
                word.int_value = value
        self._builder.write_packet(packet)
        if slice_.end_ns is not None:
            packet = self._at(slice_.end_ns)
            packet.track_event.type = self._event.TYPE_SLICE_END
            packet.track_event.track_uuid = self._lane(track, slice_.lane)
            self._builder.write_packet(packet)

    def counter(self, name: str, moments: Ints, values: Ints) -> None:
        """A number as it changes with time."""
        packet, number = self._described()
        packet.track_descriptor.name = name
        is_size = name.startswith("bytes")
        unit = self._units.UNIT_SIZE_BYTES if is_size else self._units.UNIT_COUNT
        packet.track_descriptor.counter.unit = unit
        self._builder.write_packet(packet)
        for moment, value in zip(moments.tolist(), values.tolist(), strict=True):
            packet = self._at(moment)
            packet.track_event.type = self._event.TYPE_COUNTER
            packet.track_event.track_uuid = number
            packet.track_event.counter_value = value
            self._builder.write_packet(packet)

    def _lane(self, track: _Track, lane: int) -> int:
        if lane not in track.lanes:
            packet, track.lanes[lane] = self._described()
            packet.track_descriptor.name = track.name
            if track.parent:
                packet.track_descriptor.parent_uuid = track.parent
            self._builder.write_packet(packet)
        return track.lanes[lane]

    def _described(self) -> tuple[Any, int]:
        """A packet that describes a track, and the track's number."""
        self._last += 1
        packet = self._builder.create_packet()
        packet.trusted_packet_sequence_id = 1
        packet.track_descriptor.uuid = self._last
        return packet, self._last

    def _at(self, time_ns: int) -> Any:
        packet = self._builder.create_packet()
        packet.timestamp = time_ns
        packet.trusted_packet_sequence_id = 1
        return packet
