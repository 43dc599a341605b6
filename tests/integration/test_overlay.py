"""Files of a container: stat(2) shows them on a device that the kernel's page cache does not know."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import need, need_root

from profiler.capture import tracer
from profiler.capture.recording import Recording
from profiler.machine.page_cache.cache import drop_all

pytestmark = pytest.mark.alone


@pytest.fixture
def overlay(disk_directory: Path) -> Iterator[Path]:
    need_root()
    found = tracer.probe("kernel")
    need(found.works, f"tracer kernel: {found.why}")
    lower, upper, work, merged = (disk_directory / name for name in ("lower", "upper", "work", "merged"))
    for folder in (lower, upper, work, merged):
        folder.mkdir()
    (lower / "data").write_bytes(os.urandom(1 << 20))
    shutil.copy(shutil.which("wc") or "wc", lower / "program")
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    done = subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o", options, str(merged)], capture_output=True
    )
    need(done.returncode == 0, "this kernel has no overlayfs")
    yield merged
    subprocess.run(["umount", str(merged)], check=True)


def test_pages_are_those_of_the_files_that_the_program_sees(overlay: Path) -> None:
    made, _ = tracer.choose("kernel")
    drop_all()
    found = made.record(Recording([str(overlay / "program"), "-l", str(overlay / "data")], silent=True))
    pages = found.layer("cache")
    pages = pages[pages["op"] == "miss"].groupby("path")["size"].sum()
    assert pages[os.fsencode(overlay / "data")] == 1 << 20
    assert pages[os.fsencode(overlay / "program")] > 20_000
    assert not [path for path in pages.index if path.startswith(b"(inode")]
