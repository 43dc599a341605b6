"""`coldseek advise` with bad arguments, and what is left of its copies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from made import trace

from profiler.files.traces import save
from profiler.studies import verify


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "profiler", "advise", *arguments], capture_output=True, text=True, check=False
    )


def test_one_line_each(tmp_path: Path) -> None:
    place = str(tmp_path / "cold.trace.parquet")
    save(trace([(0, 0, 10)]), place)
    for arguments, code, words in (
        ([place + "x"], 125, "No such file"),
        ([place, "--scratch", "/nowhere", "--verify"], 2, "no directory /nowhere"),
        ([place, "--scratch", str(tmp_path)], 2, "--verify"),
        ([place, "--scratch", str(tmp_path), "--verify"], 2, "reads none that is known"),
        ([place, "--device", "zork"], 2, "zork"),
    ):
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert len(done.stderr.splitlines()) == 1 and words in done.stderr


def test_nothing_is_left_whatever_happens(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), verify._scratch(str(tmp_path), None) as place:
        assert os.stat(place).st_mode & 0o777 == 0o700
        Path(place, "copy").write_bytes(b"x")
        raise KeyboardInterrupt
    assert not os.listdir(tmp_path)
