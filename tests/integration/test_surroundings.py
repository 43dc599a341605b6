"""Nothing to stand on: no working directory, no standard streams, no PATH, a parent that ignores its
children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE_S, ROOT
from small_programs import ENVIRONMENT, command_of, no_hang

from profiler.capture.ptrace.tracer import probe
from profiler.capture.tracer import NAMES
from profiler.files.traces import load

pytestmark = pytest.mark.usefixtures(no_hang.__name__)


def test_a_working_directory_that_is_gone_loses_no_trace(tmp_path: Path) -> None:
    script = (
        f"import os, sys\n"
        f"sys.path[:] = [{str(ROOT)!r}, *filter(None, sys.path)]\n"
        f"os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\n"
        f"from profiler.cli import main\n"
        f"main()\n"
    )
    for state in ("keep", "cold"):
        trace = tmp_path / f"{state}.trace.parquet"
        done = subprocess.run(
            [sys.executable, "-c", script, "record", "--tracer", "ptrace", "--cache", state, "-o", trace,
             "--", "cat", "/etc/passwd"],
            cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert load(trace).meta.cwd == ""
    done = subprocess.run(
        [sys.executable, "-c", script, "doctor"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert "fadvise      works" in done.stdout


@pytest.mark.parametrize("closed", [(2,), (0, 1, 2)])
def test_closed_standard_streams(closed: tuple[int, ...], tmp_path: Path) -> None:
    trace = tmp_path / "t.trace.parquet"

    def close() -> None:
        for stream in closed:
            os.close(stream)

    done = subprocess.run(
        command_of("record", "-o", trace, "--", "cat", "/etc/passwd"),
        env=ENVIRONMENT, preexec_fn=close, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == (1 if 1 in closed else 0)  # cat needs its stdout
    assert load(trace).meta.tracer in NAMES
    done = subprocess.run(
        command_of("compare", "--runs", "1", "-o", tmp_path, "--", "cat", "/etc/passwd"),
        env=ENVIRONMENT, preexec_fn=close, timeout=PATIENCE_S,
        stdout=None if 1 in closed else subprocess.DEVNULL,
    )  # fmt: skip
    assert load(tmp_path / "warm.trace.parquet").meta.exit_status == 0


def test_children_can_be_waited_for_where_they_were_ignored(tmp_path: Path) -> None:
    """Some supervisors ignore SIGCHLD, exec passes that on, and the kernel then forgets children at once."""
    done = subprocess.run(
        command_of("compare", "--runs", "1", "--", "cat", "/etc/passwd"),
        env=ENVIRONMENT, capture_output=True, text=True, timeout=PATIENCE_S,
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_tracer_is_tried_without_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert probe().works
