"""The script that makes many hostile logs and reads them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.parametrize("options", [[], ["--block"]])
def test_the_script_that_makes_more_of_them(options: list[str]) -> None:
    command = [sys.executable, ROOT / "scripts" / "fuzz-logs", "--count", "12", "--jobs", "2", *options]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("12 executions in ")
