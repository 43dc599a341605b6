"""The model of a hard disk against requests measured on real ones, and the script that compares them.

The measured drives are no part of the project. They are looked for in the folder that COLDSEEK_DRIVES names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from profiler.devices.drivefile import parse_drive

SCRIPT = ROOT / "scripts" / "validate-drives"
DRIVES = Path(os.environ.get("COLDSEEK_DRIVES") or "no-drives")
MOST_ERROR = 4.0  # % of the mean, each drive
MOST_DEMERIT = 6.0  # % of the mean, on average

MADE: dict[str, Any] = {
    "rpm": 7200,
    "surfaces": 4,
    "head_switch_ms": 0.8,
    "seek_curve_ms": [[1, 1.0], [300, 5.0], [999, 12.0]],
    "zones": [
        {
            "first_cylinder": 0,
            "last_cylinder": 999,
            "sectors_per_track": 120,
            "track_skew_sectors": 15,
            "cylinder_skew_sectors": 20,
        }
    ],
    "buffer_segments": 2,
    "buffer_segment_sectors": 150,
}


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def make(folder: Path, name: str = "made", late_ms: float = 0.0) -> None:
    """A drive, and requests that took as long as the model says plus `late_ms`."""
    chance = np.random.default_rng(7)
    count = 500
    lba, blocks = chance.integers(0, 400_000, count), chance.integers(1, 64, count)
    reads, pauses = chance.random(count) < 0.7, chance.random(count).round(5) * 20
    served = parse_drive(json.dumps(MADE), name).replay(lba * 512, blocks * 512, reads, think_s=pauses / 1e3)
    times = served.responses * 1e3 + late_ms
    rows = [
        f"{'R' if read else 'W'},{start},{size},{time:.9f},{pause:.5f}"
        for read, start, size, time, pause in zip(reads, lba, blocks, times, pauses, strict=True)
    ]
    (folder / f"{name}.json").write_text(json.dumps(MADE))
    (folder / f"{name}.csv").write_text(
        "\n".join(["op,lba,blocks,response_ms,since_previous_ms", *rows]) + "\n"
    )


@pytest.mark.skipif(not DRIVES.is_dir(), reason="needs the measured drives (set COLDSEEK_DRIVES)")
def test_real_drives_are_met() -> None:
    done = run(DRIVES)
    assert (done.returncode, done.stderr) == (0, "")
    _, *rows, average = [line.split() for line in done.stdout.splitlines()]
    assert len(rows) == len(list(DRIVES.glob("*.csv")))
    for name, _, _, error, _, _ in rows:
        assert abs(float(error)) <= MOST_ERROR, name
    assert float(average[5]) <= MOST_DEMERIT


def test_a_drive_like_the_model_is_met_exactly(tmp_path: Path) -> None:
    make(tmp_path)
    done = run(tmp_path, cwd="/")
    assert (done.returncode, done.stderr) == (0, "")
    header, row, average = [line.split() for line in done.stdout.splitlines()]
    assert header[1:] == ["measured_ms", "predicted_ms", "error%", "demerit_ms", "demerit%"]
    assert row[0] == "made"
    assert row[1] == row[2]
    assert [abs(float(value)) for value in row[3:]] == [0, 0, 0]
    assert average[0] == "average"


def test_errors_and_demerits(tmp_path: Path) -> None:
    make(tmp_path, "early", -0.5)
    make(tmp_path, "late", 0.5)
    early, late, average = [line.split() for line in run(tmp_path).stdout.splitlines()[1:]]
    assert (early[0], late[0]) == ("early", "late")
    assert float(early[3]) > 0 > float(late[3])
    assert early[4] == late[4] == average[4] == "0.500"
    assert float(average[3]) == pytest.approx((float(early[3]) - float(late[3])) / 2, abs=0.01)


def test_the_measured_times_are_compared_with_and_not_used(tmp_path: Path) -> None:
    make(tmp_path, "early", 0.0)
    make(tmp_path, "late", 30.0)
    early, late, _ = [line.split() for line in run(tmp_path).stdout.splitlines()[1:]]
    assert early[2] == late[2]


def test_help_has_an_example() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "example: scripts/validate-drives" in done.stdout


def test_wrong_usage() -> None:
    assert run().returncode == 2
    assert run("a", "b").returncode == 2


def test_a_folder_without_drives(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        done = run(folder)
        assert (done.returncode, done.stdout) == (125, "")
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("bad.json", "{", "bad.json is no JSON file"),
        ("bad.json", '{"rpm": -3}', "-3 is not a number"),
        ("bad.json", "\x00\xff", "bad.json"),
        ("bad.csv", "", "bad.csv: its first line does not name the column op"),
        ("bad.csv", "op,lba,blocks,response_ms,since_previous_ms\n", "has no requests"),
        ("bad.csv", "op,lba,blocks,response_ms,since_previous_ms\nW,1,1,1,1\n", "has no reads"),
        ("bad.csv", "op,lba,blocks,response_ms,since_previous_ms\nX,1,1,1,1\n", "line 2: op is"),
        ("bad.csv", "op,lba,blocks,response_ms,since_previous_ms\nR,1,0,1,1\n", "line 2: blocks is"),
        ("bad.csv", "op,lba,blocks,response_ms,since_previous_ms\nR,-1,1,1,1\n", "line 2: lba is"),
        ("bad.csv", "op,lba,blocks,response_ms,since_previous_ms\nR,1,1,nan,1\n", "line 2: response_ms is"),
        ("bad.csv", "op,lba,blocks,response_ms,since_previous_ms\nR,1,1\n", "line 2: response_ms is"),
        ("bad.csv", "op,lba,blocks,response_ms,since_previous_ms\nR,1,1,0,1\n", "no read took any time"),
    ],
)
def test_a_broken_file_is_named_and_the_others_are_compared(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    make(tmp_path, "bad")
    make(tmp_path, "good")
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    done = run(tmp_path)
    assert done.returncode == 125
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["drive", "good", "average"]


def test_requests_beyond_the_end_are_said(tmp_path: Path) -> None:
    make(tmp_path)
    with open(tmp_path / "made.csv", "a") as log:
        log.write("R,480000,1,9,20\n")
    done = run(tmp_path)
    assert done.returncode == 0
    assert "1 requests end beyond the last sector" in done.stderr
