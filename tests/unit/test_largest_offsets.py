"""Offsets up to the largest that a file can have, through everything that is made of a trace."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made import below, trace

import profiler
from profiler.analysis.simulation.prefetch import plan
from profiler.calls import LARGEST
from profiler.capture.calls.event_log import EVENT_DTYPE, OP_CODES, UNKNOWN, Recorder
from profiler.errors import TraceFormatError
from profiler.files.traces import load, save
from profiler.report import figures, json, text
from profiler.report.comparison import compare_summary
from profiler.report.summarise import summarise
from profiler.trace import FileFacts, Meta, Trace
from profiler.validity import validate

PLACES = [0, 2**40, 2**61 - 50, 2**62 - 100, 2**62, 2**62 + 1, LARGEST - 8191 - 4096, LARGEST - 100]
FILES = [FileFacts(b"/huge", device="8:1", size=LARGEST, kind="regular", filesystem="ext4"), b"/other"]


def huge(**more: object) -> Trace:
    return trace([(file, place, 100) for place in PLACES for file in (0, 1)], files=FILES, **more)


def test_each_read_survives_saving_and_loading(tmp_path: Path) -> None:
    save(huge(), tmp_path / "huge.trace.parquet")
    reads = load(tmp_path / "huge.trace.parquet").reads()
    assert reads["offset"].tolist()[::2] == PLACES
    assert reads["size"].eq(100).all()


@pytest.mark.parametrize("op", ["pread64", "read"])
@pytest.mark.parametrize("direct", [(), range(16)])
def test_every_report_can_be_made_of_them(op: str, direct: range, tmp_path: Path) -> None:
    reads = huge(op=op, direct=direct, tracer="kernel")
    found = below(reads, [(50, "miss", 0, LARGEST - 8191, 4096), (60, "fault", 0, 2**62 + 4096, 4096)])
    summary = summarise(found)
    assert summary.totals.reads == 16
    assert summary.totals.bytes == 1600
    # of each file two reads overlap but for a byte, and the last two pages of all count as one byte
    assert summary.totals.unique_bytes == 1600 - 2 * 99 - 2 * 99
    text.report(summary, 80)
    json.dumps(json.report(summary))
    compare_summary(found, found)
    for kind in ("offsets", "gaps", "cost"):
        figures.save(figures.draw([found], kind), tmp_path / f"{kind}.png")
    projected = profiler.project(found, profiler.device("hdd-7200"))
    assert 0 < projected.seconds < 60
    plan(found)


def test_what_no_file_can_hold_is_refused() -> None:
    found = huge()
    found.events["size"] = pd.array([LARGEST] * len(found.events), dtype="Int64")
    with pytest.raises(TraceFormatError, match="largest offset"):
        validate(found)


def test_an_event_that_makes_no_sense_does_not_cost_the_others() -> None:
    recorder = Recorder()
    recorder.file("a", FileFacts(b"/a", kind="regular"))
    rows = np.zeros(8, EVENT_DTYPE)
    rows["op"], rows["size"], rows["requested"] = OP_CODES["pread64"], 10, 10
    rows["duration_ns"] = UNKNOWN
    for row, (name, value) in enumerate({
        "time_ns": -5, "duration_ns": -1, "offset": LARGEST - 5, "requested": -7, "size": -3, "file": 9,
        "errno": -2,
    }.items()):  # fmt: skip
        rows[name][row] = value
    recorder.append(rows)
    found = recorder.trace(Meta())
    validate(found)
    assert len(found.events) == 8
    assert found.events["offset"].isna().sum() == 1
    assert "7 events made no sense in part" in found.meta.notes[0]
