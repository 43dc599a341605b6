"""Real logs of one program, made with every combination of options: they all tell of the same reads."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest

from profiler.capture.strace.log import Log
from profiler.capture.strace.logs import reading
from profiler.files.traces import load, save
from profiler.trace import Trace

DATA = Path(__file__).resolve().parents[1] / "data" / "strace"
EXPECTED = json.loads((DATA / "expected.json").read_text())
ALL = sorted(path.name for path in DATA.glob("*.strace*"))
FOLLOWED = [name for name in ALL if name.startswith("f-") or name == "f.strace"]
TIMED = [f"{name}.strace" for name in (
    "f-C", "f-n-i", "f-r", "f-seccomp", "f-stderr", "f-t", "f-tt-T", "f-tt-r", "f-y-T-ns", "f-y-seconds",
    "f-y-ttt-T-s0", "f-yy-ttt-T",
)]  # fmt: skip
ABSOLUTE = ["f-C", "f-n-i", "f-stderr", "f-y-T-ns", "f-y-seconds", "f-yy-ttt-T", "f-y-ttt-T-s0"]


def demo_reads(trace: Trace) -> list[list[object]]:
    reads = trace.reads()
    names = [path.rpartition(b"/")[2].removesuffix(b" (deleted)").decode("latin1") for path in reads["path"]]
    rows = zip(names, reads["offset"].tolist(), reads["size"].tolist(), strict=True)
    return [list(row) for row in rows if row[0] in ("data", 'a>b, "c" = 3\n\xff')]


@pytest.mark.parametrize("name", FOLLOWED)
def test_every_layout_tells_the_same_reads(name: str) -> None:
    trace = reading.parse(DATA / name)
    assert demo_reads(trace) == EXPECTED["all tasks"]
    assert trace.meta.exit_status == 5
    assert trace.meta.partial == ""
    assert "threads" not in trace.meta.unseen
    assert not any("could not be read" in note for note in trace.meta.notes)
    assert trace.meta.command[0] == "/usr/bin/python3"
    zero = trace.files["path"].map(lambda path: path.endswith(b"/dev/zero"))
    assert trace.files["kind"][zero].tolist() in (["character"], [])


@pytest.mark.parametrize("name", ["plain.strace", "ff.strace.1234"])
def test_without_f_only_the_first_process_is_seen(name: str) -> None:
    trace = reading.parse(DATA / name)
    first = EXPECTED["first process only"]
    # the child has moved the position that they share, and these logs do not know
    assert demo_reads(trace)[:-1] == first[:-1]
    assert "threads" in trace.meta.unseen
    assert trace.meta.partial == ""


def test_the_pid_of_an_ff_log_is_in_its_name() -> None:
    assert set(reading.parse(DATA / "ff.strace.1234").events["pid"]) == {1234}


@pytest.mark.parametrize("name", TIMED)
def test_times_and_durations(name: str) -> None:
    trace = reading.parse(DATA / name)
    assert trace.meta.wall_s is not None
    assert 0 < trace.meta.wall_s < 60 or name in ("f-t.strace", "f-y-seconds.strace")
    assert trace.events["time_ns"].is_monotonic_increasing
    has_durations = "-T" in name or "seccomp" in name
    assert trace.reads()["duration_ns"].notna().all() == has_durations


@pytest.mark.parametrize("name", ABSOLUTE)
def test_started_at_comes_from_absolute_times(name: str) -> None:
    assert reading.parse(DATA / f"{name}.strace").meta.started_at.startswith("2026-")


@pytest.mark.parametrize("name", ALL)
def test_fast_and_general_path_agree(name: str) -> None:
    fast, general = (reading.read([DATA / name], Log(fast=fast)) for fast in (True, False))
    assert fast.meta == general.meta
    pd.testing.assert_frame_equal(fast.files, general.files)
    pd.testing.assert_frame_equal(fast.events, general.events)


@pytest.mark.parametrize("name", ALL)
def test_gzip_and_carriage_returns_change_nothing(name: str, tmp_path: Path) -> None:
    plain = (DATA / name).read_bytes()
    packed, dos = tmp_path / (name + ".gz"), tmp_path / name
    packed.write_bytes(gzip.compress(plain))
    dos.write_bytes(plain.replace(b"\n", b"\r\n"))
    expected = reading.parse(DATA / name)
    for path in (packed, dos):
        trace = reading.parse(path)
        assert trace.meta == expected.meta
        pd.testing.assert_frame_equal(trace.events, expected.events)


@pytest.mark.parametrize("name", ALL)
def test_the_trace_can_be_saved(name: str, tmp_path: Path) -> None:
    trace = reading.parse(DATA / name)
    save(trace, tmp_path / "x.trace.parquet")
    assert len(load(tmp_path / "x.trace.parquet").events) == len(trace.events)


@pytest.mark.parametrize("cut", [1, 40, 200, 1000, 5001])
def test_a_log_that_is_cut_off_says_so(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.strace"
    path.write_bytes((DATA / "f-y-ttt-T-s0.strace").read_bytes()[:-cut])
    trace = reading.parse(path)
    assert trace.meta.partial or cut in (1, 40)  # with 40 the log still tells of exit_group
    found = demo_reads(trace)
    assert found == EXPECTED["all tasks"][: len(found)]
