"""Traces and tables made by hand, for tests of everything behind the capture."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from profiler.capture.calls.event_log import OP_CODES, UNKNOWN, Recorder
from profiler.facts import copies, host, images, runs
from profiler.facts.images import ImageFacts
from profiler.trace import (
    CACHE_OPS,
    DEVICE_OPS,
    EVENT_COLUMNS,
    EXTENT_COLUMNS,
    LAYERS,
    WAIT_COLUMNS,
    FileFacts,
    Meta,
    Trace,
    table,
)
from profiler.validity import validate

MIB = 2**20
GIB = 2**30


def typed(**meta: Any) -> dict[str, Any]:
    """Fields of a Meta; facts as a trace's file has them become what they are read as."""
    readers: dict[str, Any] = {"images": images, "host": host, "copies": copies}
    made = {
        name: readers[name].from_json(value) if name in readers and _is_json(value) else value
        for name, value in meta.items()
    }
    if type(meta.get("measured")) is dict:
        made["measured"] = runs.from_json(meta["measured"], meta.get("exit_status"))
    return made


def _is_json(value: Any) -> bool:
    return type(value) is dict and not any(isinstance(item, ImageFacts) for item in value.values())


def with_meta(trace: Trace, **meta: Any) -> Trace:
    """`trace` with other fields of its meta, as `typed` takes them."""
    return dataclasses.replace(trace, meta=dataclasses.replace(trace.meta, **typed(**meta)))


def trace(
    reads: Iterable[tuple[int, int | None, int]] = (),
    files: Sequence[FileFacts | bytes] = (b"/a", b"/b", b"/c"),
    extents: Iterable[tuple[int, int, int, int, int]] = (),
    direct: Iterable[int] = (),
    step_ns: int = 1000,
    duration_ns: int = 100,
    op: str = "pread64",
    **meta: Any,
) -> Trace:
    """A trace of reads (file, offset or None, size), one every `step_ns`; extents: rows of that table."""
    recorder = Recorder()
    for number, facts in enumerate(files):
        if isinstance(facts, bytes):
            facts = FileFacts(facts, device="8:1", size=16 * GIB, kind="regular", filesystem="ext4")
        recorder.file(number, facts)
    rows = list(reads)
    count = len(rows)
    past = np.zeros(count, bool)
    past[list(direct)] = True
    recorder.extend(
        {
            "time_ns": np.arange(count) * step_ns,
            "duration_ns": np.full(count, duration_ns),
            "offset": np.array([UNKNOWN if offset is None else offset for _, offset, _ in rows], np.int64),
            "requested": np.array([size for _, _, size in rows], np.int64),
            "size": np.array([size for _, _, size in rows], np.int64),
            "pid": np.full(count, 1),
            "tid": np.full(count, 1),
            "file": np.array([file for file, _, _ in rows], np.int32),
            "handle": np.zeros(count, np.int32),
            "op": np.full(count, OP_CODES[op]),
            "direct": past,
        }
    )
    made = recorder.trace(Meta(**typed(**meta)))
    columns = list(EXTENT_COLUMNS)
    made = dataclasses.replace(
        made, extents=table(EXTENT_COLUMNS, [dict(zip(columns, row, strict=True)) for row in extents])
    )
    validate(made)
    return made


def reads(*rows: tuple[int, int | None, int], **more: Any) -> pd.DataFrame:
    """The frame of reads of such a trace."""
    return trace(rows, **more).reads()


def seed_2010(**meta: Any) -> Trace:
    """The case: 1,935 reads of 4 KiB at 143360, 8392704, then every 8 MiB."""
    offsets = [143360, *(8392704 + 8 * MIB * number for number in range(1934))]
    return trace([(0, offset, 4096) for offset in offsets], files=[b"/vm/disk0.qcow2"], **meta)


def below(trace: Trace, rows: Iterable[tuple[int, str, int, int | None, int]], **columns: Any) -> Trace:
    """`trace` with events of the layers below its calls: (time_ns, op, file, offset, size), in any order.

    columns: of these events, one value for all or one each, in place of tid and pid 1, and of no duration.
    """
    layers = {**dict.fromkeys(CACHE_OPS, "cache"), **dict.fromkeys(DEVICE_OPS, "device")}
    more = pd.DataFrame(rows, columns=["time_ns", "op", "file", "offset", "size"])
    more["offset"] = more["offset"].astype("Int64")
    usual = {"pid": 1, "tid": 1, "duration_ns": pd.NA, "handle": -1, "errno": 0, "direct": False}
    more = more.assign(layer=[layers.get(op, "syscall") for op in more["op"]], requested=more["size"])
    more = more.assign(**(usual | columns))[list(EVENT_COLUMNS)].astype(EVENT_COLUMNS)
    both = [frame.astype({"layer": "str", "op": "str"}) for frame in (trace.events, more)]
    events = pd.concat(both, ignore_index=True)
    events = events.sort_values("time_ns", kind="stable", ignore_index=True).astype(EVENT_COLUMNS)
    events["layer"] = events["layer"].cat.set_categories(list(LAYERS))
    made = dataclasses.replace(trace, events=events)
    validate(made)
    return made


def waiting(trace: Trace, *rows: tuple[Any, ...]) -> Trace:
    """`trace` with waits (tid, start_ns, duration_ns or None, reason, what), in any order."""
    names = ("tid", "start_ns", "duration_ns", "reason", "what")
    waits: list[dict[str, Any]] = [
        {"what": b"", "file": -1, **dict(zip(names, row, strict=False))}
        for row in sorted(rows, key=lambda row: row[:2])
    ]
    for one in waits:
        one["duration_ns"] = pd.NA if one["duration_ns"] is None else one["duration_ns"]
    made = dataclasses.replace(trace, waits=table(WAIT_COLUMNS, waits))
    validate(made)
    return made
