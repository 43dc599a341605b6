"""The units of examples/boot."""

from __future__ import annotations

from conftest import ROOT

UNITS = sorted((ROOT / "examples" / "boot").glob("*.service"))


def test_they_are_those_that_the_text_names() -> None:
    text = (ROOT / "examples" / "boot" / "README.md").read_text()
    assert len(UNITS) == 2 and all(unit.name in text for unit in UNITS)
