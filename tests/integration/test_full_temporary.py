"""Where the folder for temporary files is full: nothing that was kept is lost."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import need, need_root

from profiler.capture.calls import spill
from profiler.capture.calls.spill import FullError, Spill, array


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files with 1 MiB of room."""
    need_root()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path]
    need(subprocess.run(mount, capture_output=True).returncode == 0, "may not mount here")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(spill.tempfile, "tempdir", None)
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path], check=True)


def test_a_full_disk_loses_nothing_that_was_kept(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "available_bytes", lambda: 4 * 300_000)
    held, page = Spill(65_536), os.urandom(4096)
    kept = 0
    with pytest.raises(FullError, match=f"{small} .No space left.*set TMPDIR"):
        while kept < 10_000:
            held.append(page)
            kept += 1
    assert 1 << 20 <= kept * 4096 <= (1 << 20) + 65_536 + 300_000  # the disk, and then the memory
    assert len(held) == kept * 4096
    for number in (0, kept // 2, kept - 1):
        assert held.read(number * 4096, 4096) == page
    assert held.view(np.uint8).tobytes() == page * kept
    assert os.listdir(small) == []


def test_an_array_on_a_full_disk_is_in_memory(small: Path) -> None:
    found = array(1 << 20, np.int64, in_memory=False)
    found[:] = 7  # where the file had no room this would be the end of the process
    assert int(found.sum()) == 7 << 20
    assert array(1 << 14, np.int64, in_memory=False).sum() == 0
