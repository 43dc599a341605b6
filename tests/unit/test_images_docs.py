"""docs/images.md: its tables are whole, and each test that they name is there."""

from __future__ import annotations

import re

from conftest import ROOT

from profiler.images import formats
from profiler.images.readers import (
    parallels,
    qcow1,
    qcow2,
    qed,
    vdi,
    vhdx,
    vmdk,
    vmdk_sesparse,
    vpc,
)  # fmt: skip

TEXT = (ROOT / "docs" / "images.md").read_text("utf-8")
NAMES = {"vpc": "VHD", "qed": "QED", "vdi": "VDI", "vhdx": "VHDX", "vmdk": "VMDK", "parallels": "Parallels"}
"""What the page calls a format."""


def table(first: str) -> list[list[str]]:
    """The rows of the table whose first cell of its head is `first`."""
    _, found, rest = TEXT.partition(f"| {first} |")
    assert found
    lines = rest.split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_format_and_kind_is_in_the_table_of_kinds() -> None:
    rows = {row[0]: row[1] for row in table("format")}
    for module, name in (
        (qcow2, "qcow2, versions 2 and 3"), (vmdk, "VMDK"), (vmdk_sesparse, "VMDK, SESPARSE extents"),
        (vpc, "VHD (vpc)"), (vhdx, "VHDX"), (vdi, "VDI"), (qed, "QED"), (qcow1, "qcow (version 1)"),
        (parallels, "Parallels"),
    ):  # fmt: skip
        assert not {kind for kind in module.KINDS if f"`{kind}`" not in rows[name]}, name
    assert "raw" in rows


def test_every_format_is_checked_by_tests_that_are_there() -> None:
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    rows = table("format and variant")
    for name in (*formats.READ, "luks", "bochs", "cloop", "dmg"):
        found = [row for row in rows if re.search(rf"\b{NAMES.get(name, name)}\b", row[0])]
        assert found, name
    for row in rows:
        assert len(row) == 4 and all(row), row
        named = re.findall(r"`(test_\w+)`", row[3])
        assert named, row
        assert not [one for one in named if f"\ndef {one}(" not in tests], row
