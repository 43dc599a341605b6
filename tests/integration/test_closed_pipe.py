"""`coldseek ... | head -1`: whoever reads has seen enough. It ends as other Unix tools do, without a word,
and nothing that was recorded is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE_S, ROOT, need_tool
from report_cases import check, image

from profiler.files.traces import load, save

ENDED = (-signal.SIGPIPE, 128 + signal.SIGPIPE)
"""By the signal; or, of commands with a process in front, with the status that a shell makes of it."""

COMMANDS = {
    "none": (),
    "help": ("--help",),
    "version": ("--version",),
    "report": ("report", "check.trace.parquet"),
    "full": ("report", "check.trace.parquet", "--full"),
    "json": ("report", "check.trace.parquet", "--format", "json"),
    "project": ("project", "check.trace.parquet"),
    "compare": ("compare", "check.trace.parquet", "warm.trace.parquet"),
    "advise": ("advise", "image.trace.parquet"),
    "devices": ("devices",),
    "doctor": ("doctor",),
}
"""What prints and does nothing else."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pipe")
    save(check(), str(place / "check.trace.parquet"))
    save(check(cache="warm", wall_s=3.0), str(place / "warm.trace.parquet"))
    save(image(), str(place / "image.trace.parquet"))
    return place


def unread(folder: Path, *words: object) -> tuple[int, str]:
    """Its exit status, and its words on stderr, where nobody reads its output from the beginning."""
    reads, writes = os.pipe()
    os.close(reads)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "profiler", *map(str, words)], cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL, stdout=writes,
            stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
    finally:
        os.close(writes)
    return done.returncode, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_it_ends_by_sigpipe_and_says_nothing(name: str, folder: Path) -> None:
    assert unread(folder, *COMMANDS[name]) == (-signal.SIGPIPE, "")


def test_in_a_shell_it_is_141(folder: Path) -> None:
    script = '"$0" -m profiler report check.trace.parquet --full | (exec true); echo "${PIPESTATUS[*]}"'
    done = subprocess.run(
        [need_tool("bash"), "-c", script, sys.executable], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=PATIENCE_S, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("141 0\n", "")


def test_what_was_recorded_is_kept(disk_directory: Path) -> None:
    status, words = unread(disk_directory, "compare", "--runs", 1, "-o", "out", "--", "cat", "/etc/passwd")
    assert status in ENDED
    assert all(line.startswith("coldseek: ") for line in words.splitlines()) and "roken pipe" not in words
    assert all(len(load(disk_directory / f"out/{name}.trace.parquet").reads()) for name in ("cold", "warm"))


def test_a_device_file_is_kept(disk_directory: Path) -> None:
    assert unread(disk_directory, "calibrate", ".", "--for", 1, "-o", "x.toml")[0] in ENDED
    assert (disk_directory / "x.toml").stat().st_size > 0


def test_where_the_output_cannot_be_written_that_is_said_once(folder: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "profiler", "devices"], cwd=folder, stdout=full, text=True,
            stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=PATIENCE_S,
            check=False,
        )  # fmt: skip
    assert done.returncode == 125
    assert done.stderr == "coldseek: [Errno 28] No space left on device\n"
