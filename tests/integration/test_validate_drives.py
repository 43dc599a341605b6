"""The model of a hard disk against requests measured on real ones, and the script that compares them.

The measured drives are no part of the project. They are looked for in the folder that COLDSEEK_DRIVES names.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

from profiler.devices.disks.drivestate import Rules
from profiler.devices.disks.geometry_file import parse_drive
from profiler.devices.loading import DRIVE_BAND

SCRIPT = ROOT / "scripts" / "validate-drives"
DRIVES = Path(os.environ.get("COLDSEEK_DRIVES") or "no-drives")
MOST_ERROR = 5.0  # % of the mean, each drive
MEAN_ERROR = 3.0  # its size, on average
MOST_DEMERIT = 5.0  # % of the mean, on average

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


def make(folder: Path, name: str = "made", late_ms: float = 0.0, rules: Rules | None = None) -> None:
    """A drive, and requests that took as long as the model says plus `late_ms`."""
    chance = np.random.default_rng(7)
    count = 500
    lba, blocks = chance.integers(0, 400_000, count), chance.integers(1, 64, count)
    if rules is not None:  # half of them as the buffer likes them
        near = chance.random(count - 1) < 0.5
        lba[1:] = np.where(near, lba[:-1] + blocks[:-1], lba[1:])
    reads, pauses = chance.random(count) < 0.7, chance.random(count).round(5) * 20
    drive = dataclasses.replace(parse_drive(json.dumps(MADE), name), rules=rules or Rules())
    served = drive.replay(lba * 512, blocks * 512, reads, think_s=pauses / 1e3)
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
@pytest.mark.parametrize("options", [(), ("--leave-one-out",)], ids=["all", "leave-one-out"])
def test_real_drives_are_met(options: tuple[str, ...]) -> None:
    done = run(*options, DRIVES)
    assert (done.returncode, done.stderr) == (0, "")
    _, *rows, average = [line.split() for line in done.stdout.partition("\n\n")[0].splitlines()]
    assert len(rows) == len(list(DRIVES.glob("*.csv")))
    for name, measured, predicted, error, *_ in rows:
        assert abs(float(error)) <= MOST_ERROR, name
        low, high = DRIVE_BAND
        assert low * float(predicted) <= float(measured) <= high * float(predicted), name
    assert float(average[3]) <= MEAN_ERROR
    assert float(average[5]) <= MOST_DEMERIT


def test_a_drive_is_judged_by_the_rules_that_others_choose(tmp_path: Path) -> None:
    make(tmp_path, "one", rules=Rules(streaming_segment=math.inf))
    make(tmp_path, "two", rules=Rules(streaming_segment=math.inf))
    make(tmp_path, "zzz", rules=Rules())
    done = run("--leave-one-out", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    table = done.stdout.partition("\n\n")[0].splitlines()
    header, one, two, other, average = [line.split() for line in table]
    assert header[-2:] == ["mistaken%", "most"]
    # the two that are alike choose for the third, which reads ahead behind every read, what is wrong for it
    assert (other[0], average[0]) == ("zzz", "average")
    assert float(other[6]) > 1 and float(other[3]) > 1
    assert {one[0], two[0]} == {"one", "two"}
    assert float(run(tmp_path).stdout.splitlines()[3].split()[3]) == 0  # by its own it is met


def test_what_the_others_leave_open_promises_least(tmp_path: Path) -> None:
    make(tmp_path, "one", rules=Rules())
    make(tmp_path, "two", rules=Rules())
    table, _, left_open = run("--leave-one-out", tmp_path).stdout.partition("\n\n")
    for row in table.splitlines()[1:3]:
        assert float(row.split()[3]) >= float(row.split()[7])
    for line in left_open.splitlines():  # segments longer than a track say nothing of short ones
        assert re.match(r"left open by the others than (one|two): .*streaming_segment", line)


def test_one_drive_alone_leaves_nothing_to_choose_by(tmp_path: Path) -> None:
    make(tmp_path)
    done = run("--leave-one-out", tmp_path)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == "validate-drives: to leave one out takes two drives or more\n"


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
