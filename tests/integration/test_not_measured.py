"""What was not measured is not claimed: pages that nobody could look at, and reads past the page cache."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from conftest import need
from small_programs import no_hang, python

from profiler.machine.page_cache import cache, residency
from profiler.report import text
from profiler.report.comparison import compare_summary
from profiler.studies.cold_warm import study
from profiler.studies.record import record

pytestmark = pytest.mark.usefixtures(no_hang.__name__)


def nothing_to_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a user whose program reads nothing but files of the system."""
    monkeypatch.setattr(residency, "look", lambda path, descriptor: None)
    monkeypatch.setattr(cache, "can_drop_all", lambda: False)


@pytest.mark.parametrize("state", ["cold", "warm"])
def test_a_state_of_the_cache_that_nobody_could_look_at_is_not_claimed(
    state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing_to_be_seen(monkeypatch)
    said: list[str] = []
    found = record(python("import json"), "ptrace", state, say=said.append)
    assert (found.meta.cache, found.meta.cache_asked) == ("unknown", state)
    assert (found.meta.resident_before_bytes, found.meta.resident_checked_bytes) == (None, None)
    assert found.meta.notes[-1].startswith(f"NOT PROVED {state.upper()}: no file ")
    assert found.meta.notes[-1].endswith("with sudo: root may look at all") == (os.geteuid() != 0)
    assert said[-1] == found.meta.notes[-1]


def test_a_comparison_of_what_nobody_could_look_at_keeps_its_times(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_to_be_seen(monkeypatch)
    made = compare_summary(*study(["cat", "/etc/passwd"], 2, "ptrace"))
    assert made.is_pair and len(made.first.runs) == len(made.second.runs) == 2
    assert all(run.resident_before_bytes is None for side in (made.first, made.second) for run in side.runs)
    words = text.compare(made).plain
    assert words.startswith("NOT PROVED COLD")
    assert "0 B of 0 B" not in words and "not measured" not in words


@pytest.fixture
def past_the_cache(disk_directory: Path) -> list[str]:
    """A program that reads with O_DIRECT."""
    file = disk_directory / "file"
    file.write_bytes(os.urandom(1 << 20))
    command = ["dd", f"if={file}", "of=/dev/null", "bs=256K", "iflag=direct", "status=none"]
    need(subprocess.run(command).returncode == 0, "needs a disk that can be read with O_DIRECT")
    return command


def test_reads_past_the_cache_are_never_warm_and_that_is_said(past_the_cache: list[str]) -> None:
    said: list[str] = []
    found = record(past_the_cache, "ptrace", "warm", say=said.append)
    words = "with O_DIRECT, past the page cache: a warm start does not help these"
    assert found.meta.notes[-1] == said[-1]
    assert said[-1].startswith("4 of ") and said[-1].endswith(words)
    cold, warm = study(past_the_cache, 1, "ptrace")
    assert warm.meta.notes[-1].startswith("NOT WARM: ")
    assert warm.meta.notes[-1].endswith("; reads with O_DIRECT always do")
    assert not any(words in note for note in cold.meta.notes)


def test_files_that_could_not_be_looked_at_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The image was, the libraries were not: the start is cold as far as that goes."""
    mine = tmp_path / "mine"
    mine.write_bytes(bytes(10_000_000))
    look = residency.look
    monkeypatch.setattr(cache, "can_drop_all", lambda: False)
    monkeypatch.setattr(
        residency,
        "look",
        lambda path, descriptor: look(path, descriptor) if path.endswith(b"mine") else None,
    )
    found = record(["cat", str(mine)], "ptrace", "cold")
    assert found.meta.cache == "cold"
    assert "could not be looked at" in found.meta.notes[-1]
    mine.write_bytes(b"little")
    found = record(["cat", str(mine)], "ptrace", "cold")
    assert found.meta.cache == "unknown"
    assert found.meta.notes[-1].startswith("NOT PROVED COLD")
