"""What grows in memory and then on disk reads as if it had grown in one place."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from profiler.capture.calls import spill
from profiler.capture.calls.spill import FullError, Spill, array


@given(
    st.integers(0, 40),
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.tuples(st.integers(0, 200), st.binary(min_size=1, max_size=5)),
            st.tuples(st.integers(0, 200), st.integers(0, 60)),
        ),
        max_size=30,
    ),
)
@example(0, [bytes(9), b"\x01", (7, bytes(3))])  # from the file into what is in memory
def test_reads_as_written(limit: int, steps: list[bytes | tuple[int, bytes] | tuple[int, int]]) -> None:
    held, expected = Spill(limit), bytearray()
    for step in steps:
        if isinstance(step, bytes):
            held.append(step)
            expected += step
        elif isinstance(step[1], bytes):
            start, data = step[0], step[1]
            if start + len(data) <= len(expected):
                held.write(start, data)
                expected[start : start + len(data)] = data
        else:
            assert held.read(step[0], step[1]) == expected[step[0] : step[0] + step[1]]
        assert len(held) == len(expected)
    assert held.view(np.uint8).tobytes() == expected
    assert held.read(0, len(expected)) == expected
    held.close()
    assert len(held) == 0


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files with 1 MiB of room."""
    if os.geteuid():
        pytest.skip("needs root: a file system is mounted")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], check=True)
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


def test_large_temporary_files_are_not_put_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where TMPDIR does not say otherwise."""
    words = "from profiler.capture.calls.spill import folder; print(folder())"
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    assert subprocess.check_output([sys.executable, "-c", words], text=True).strip() == "/var/tmp"
    monkeypatch.setenv("TMPDIR", "/dev/shm")
    assert subprocess.check_output([sys.executable, "-c", words], text=True).strip() == "/dev/shm"
