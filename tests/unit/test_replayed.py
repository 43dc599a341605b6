"""What of a trace is replayed, and what is projected beside it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import MIB, trace

from profiler.analysis.replayed import Replayed, expected_s, recorded_extents, replayed
from profiler.devices.loading import find
from profiler.errors import ColdseekError
from profiler.facts.replays import Played, Replay
from profiler.iolog import iolog
from profiler.report import json as as_json
from profiler.report import text


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2**40), st.integers(1, MIB)), min_size=1))
def test_calls_are_replayed_as_many_and_as_large_as_they_were(reads: list[tuple[int, int, int]]) -> None:
    recorded = trace(reads)
    made, sizes = replayed(recorded, "syscall", on_device=False)
    assert list(zip(made["file"], made["offset"], made["size"], strict=True)) == reads
    assert all(sizes[file] >= offset + size for file, offset, size in reads)
    names = [f"f{number}" for number in range(len(sizes))]
    rows = (made[name].tolist() for name in ("time_ns", "file", "offset", "size"))
    played = [line.split() for line in iolog(names, zip(*rows, strict=True)) if " read " in line]
    assert len(played) == len(reads)
    assert sum(int(words[-1]) for words in played) == int(recorded.reads()["size"].sum())


def test_requests_are_whole_sectors_within_their_files() -> None:
    made, sizes = replayed(trace([(0, 100, 50), (1, 8 * MIB, 4096)]), "device", on_device=False)
    assert len(made) >= 2
    assert not (made["offset"] % 512).any() and not (made["size"] % 512).any()
    assert (made["offset"] + made["size"] <= sizes[made["file"]]).all()


def test_nothing_to_replay_is_told() -> None:
    with pytest.raises(ColdseekError, match="nothing to replay"):
        replayed(trace(), "device", on_device=False)
    with pytest.raises(ColdseekError, match="--layer device"):
        replayed(trace([(0, 0, 1)]), "syscall", on_device=True)


def test_a_held_disk_takes_the_arithmetic_of_its_limit() -> None:
    device = find("iops-120")
    offsets = np.arange(240, dtype=np.int64) * MIB
    assert expected_s(device, offsets, np.full(240, 4096)) == pytest.approx(2.0, rel=0.01)


def test_a_pause_longer_than_a_read_is_what_is_waited_for() -> None:
    device = find("iops-120")
    offsets = np.arange(10, dtype=np.int64) * MIB
    apart = np.arange(10, dtype=np.int64) * 10**8
    assert expected_s(device, offsets, np.full(10, 4096), apart) == pytest.approx(0.9 + 1 / 120, rel=0.01)
    none = np.zeros(10, np.int64)
    assert expected_s(device, offsets, np.full(10, 4096), none) == pytest.approx(10 / 120, rel=0.01)


def test_recorded_extents_count_pieces_that_lie_apart() -> None:
    rows = [(0, 0, 0, 4096, 0), (0, 4096, 4096, 4096, 0), (0, 8192, MIB, 4096, 1)]
    recorded = trace([(0, 0, 4096)], extents=rows)
    made, _ = replayed(recorded, "device", on_device=False)
    assert recorded_extents(recorded, made) == 2
    made, _ = replayed(unplaced := trace([(0, 0, 4096)]), "device", on_device=False)
    assert recorded_extents(unplaced, made) is None  # not known is not 0


def measured(**facts: object) -> Replay:
    known: dict[str, object] = {
        "place": "/data\x1b[31m", "kind": "directory", "layer": "device", "pauses": False,
        "tool": "fio-3.33", "requests": 2, "bytes": 8192, "runs": (Played(0.011, 0.010, 2, 8192),) * 3,
        "resident_before_bytes": (0, 0, 0), "scratch_bytes": MIB,
    }  # fmt: skip
    return Replay(**(known | facts))  # type: ignore[arg-type]


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_the_page_fits_and_shows_no_escape(columns: int) -> None:
    shown = text.replay(Replayed(measured()), columns).plain
    assert max(map(len, shown.splitlines())) <= columns and "\x1b" not in shown
    assert "10 ms" in shown and "calibrate" in shown


def test_calls_that_found_something_in_memory_are_not_called_cold() -> None:
    warm = Replayed(measured(layer="syscall", resident_before_bytes=(0, 4096, 0)))
    assert "NOT COLD" in text.replay(warm).plain and as_json.replay(warm)["cold"] is False
    assert as_json.replay(Replayed(measured()))["cold"] is True
    assert "\x1b" not in as_json.dumps(as_json.replay(warm))
