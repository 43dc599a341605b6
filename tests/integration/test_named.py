"""What is named to be read or written, and is no file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE_S, need_tracer

COLDSEEK = [sys.executable, "-m", "profiler"]


@pytest.mark.parametrize(
    "command",
    [["report"], ["plot", "-o", "x.png"], ["project"], ["compare", "x.trace.parquet"], ["advise"],
     ["prefetch"], ["project", "x.trace.parquet", "--device"]],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_a_device_is_refused_and_not_waited_for(
    command: list[str], kind: str, tmp_path: Path
) -> None:
    name = (
        "/dev/zero" if kind == "device" else "pipe.toml" if "--device" in command else "pipe.trace.parquet"
    )
    if kind == "pipe":
        os.mkfifo(tmp_path / name)
    done = subprocess.run(
        [*COLDSEEK, *command, name], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode not in (0, 1) and "Traceback" not in done.stderr
    assert done.stderr.strip(), done


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_what_is_open_already_is_not_replaced(name: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("kept\n")
    (tmp_path / "link").symlink_to("/proc/self/fd/1")
    with open(log, "a") as out:
        done = subprocess.run(
            [*COLDSEEK, "record", "-q", "-o", name, "--", "echo", "said"],
            cwd=tmp_path, stdout=out, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_S,
        )  # fmt: skip
    assert done.returncode == 125 and "name another" in done.stderr
    assert log.read_text() == "kept\n"


@pytest.mark.parametrize("tracer", ["kernel", "ptrace", "strace"])
def test_a_program_has_the_descriptors_that_coldseek_was_given(tracer: str, tmp_path: Path) -> None:
    need_tracer(tracer)
    (tmp_path / "told").write_text("by descriptor 9\n")
    words = [*COLDSEEK, "record", "-q", "--tracer", tracer, "-o", "t", "--", "sh", "-c", "cat <&9"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 9<told', "sh", *words],
        cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("by descriptor 9\n", 0), done.stderr


def test_too_few_descriptors_are_said_with_what_to_do(tmp_path: Path) -> None:
    need_tracer("kernel")
    words = [*COLDSEEK, "record", "--tracer", "kernel", "-o", "t", "--", "true"]
    done = subprocess.run(
        ["sh", "-c", 'ulimit -n 20; exec "$@"', "sh", *words],
        cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 125 and "ulimit -n" in done.stderr and "Traceback" not in done.stderr
