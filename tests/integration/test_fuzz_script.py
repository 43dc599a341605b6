"""The script that makes many hostile logs and reads them."""

from __future__ import annotations

import subprocess
import sys

from conftest import ROOT


def test_the_script_that_makes_more_of_them() -> None:
    command = [sys.executable, ROOT / "scripts" / "fuzz-logs", "--count", "12", "--jobs", "2"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("12 executions in ")
