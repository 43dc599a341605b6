"""scripts/validate-starts on one small start: a table with each way to trace it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, need, need_root

pytestmark = [pytest.mark.alone, pytest.mark.full]

DEVICE = """\
kind = "flash"
title = "some disk"
source = "made up: only the held runs count"
latency_us = [[4096, 110], [131072, 220]]
transfer_mb_per_s = 1200
channels = 4
"""


def test_a_small_start(tmp_path: Path) -> None:
    need_root()
    device = tmp_path / "disk.toml"
    device.write_text(DEVICE)
    command = [
        sys.executable,
        ROOT / "scripts" / "validate-starts",
        "perl",
        "--rates",
        "400",
        "--rounds",
        "1",
    ]
    done = subprocess.run(
        [*command, "--device", device],  # in /var/tmp, which nobody may use too
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "could not be traced" not in done.stderr, done.stderr
    need("no control group can hold a disk" not in done.stderr, "needs a control group that holds a disk")
    lines = [line.split() for line in done.stdout.splitlines()[2:-1]]
    assert [line[:2] for line in lines] == [
        ["perl", way] for way in ("cold", "warm", "nobody") for _ in "12"
    ]
    assert {line[7] for line in lines} == {"free", "400"}
    cold, _ = lines[:2]
    observed, projected = (int(cell.replace(",", "")) for cell in cold[2:4])
    assert observed > 20 and abs(projected / observed - 1) < 0.25
