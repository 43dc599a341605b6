"""The units of examples/boot."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, need_tool

UNITS = sorted((ROOT / "examples" / "boot").glob("*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_them(unit: Path, tmp_path: Path) -> None:
    need_tool("systemd-analyze")
    place = tmp_path / unit.name
    place.write_text(
        unit.read_text().replace("=coldseek ", "=/bin/true ")
    )  # it may not be installed for all
    done = subprocess.run(["systemd-analyze", "verify", place], capture_output=True, text=True)
    assert done.returncode == 0 and unit.name not in done.stderr, done.stderr


def test_they_are_those_that_the_text_names() -> None:
    text = (ROOT / "examples" / "boot" / "README.md").read_text()
    assert len(UNITS) == 2 and all(unit.name in text for unit in UNITS)
