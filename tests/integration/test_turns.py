"""Coldseeks that empty the page cache at once take turns, and none waits for itself."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE_S, ROOT, need_root
from small_programs import Recorded, until

from profiler.files.traces import load
from profiler.machine.page_cache.turns import turn


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has its turn until its stdin is closed."""
    need_root()
    code = (
        "import sys; from profiler.machine.page_cache.turns import turn\n"
        "with turn(lambda _: None): print(flush=True); sys.stdin.read()"
    )
    made = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert made.stdout is not None and made.stdout.readline()
    yield made
    made.kill()
    made.communicate()


@pytest.mark.parametrize("cache", ["cold", "warm"])
def test_a_cold_start_waits_for_another_and_says_so(
    cache: str, holder: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    recorded = Recorded("ptrace", tmp_path, "true", options=("--cache", cache))
    assert until(lambda: f"another coldseek (process {holder.pid})" in recorded.words), recorded.words
    assert recorded.process.poll() is None
    holder.kill()
    assert recorded.process.wait(PATIENCE_S) == 0
    assert load(recorded.trace).meta.exit_status == 0


def test_the_wait_can_be_interrupted(holder: subprocess.Popen[bytes], tmp_path: Path) -> None:
    recorded = Recorded("ptrace", tmp_path, "true", options=("--cache", "cold"))
    assert until(lambda: "another coldseek" in recorded.words), recorded.words
    assert recorded.end(signal.SIGINT) == 130
    assert "nothing was saved" in recorded.words and not recorded.trace.exists()


def test_what_runs_below_goes_on_at_once() -> None:
    need_root()
    said: list[str] = []
    with turn(said.append), turn(said.append):
        code = "from profiler.machine.page_cache.turns import turn\nwith turn(print): pass"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=PATIENCE_S
        )
        assert (done.returncode, done.stdout) == (0, b"")
    assert not [words for words in said if f"process {os.getpid()}" in words]


def test_a_turn_ends_even_if_a_child_lives_on() -> None:
    need_root()
    with turn(lambda _: None):
        child = os.fork()
        if child == 0:
            signal.pause()
    try:
        with open("/proc/sys/vm/drop_caches", "wb") as lock:
            assert until(lambda: _free(lock.fileno()))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _free(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(lock, fcntl.LOCK_UN)
    return True
