"""What no command has foreseen ends in one line and exit status 125; where it happened is for developers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import PATIENCE_S, ROOT

MISTAKE = """
import sys
from profiler import cli
cli._register()
def doctor(): raise KeyError("a\\x1b[31mmistake\\nof two lines")
for command in cli.app.registered_commands:
    if command.callback.__name__ == "doctor": command.callback = doctor
cli._register = lambda: None
sys.argv = ["coldseek", "doctor"]
cli.main()
"""


def run(debug: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MISTAKE], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S,
        env=os.environ | {"COLDSEEK_DEBUG": debug}, check=False,
    )  # fmt: skip


def test_a_mistake_of_ours_is_one_line() -> None:
    done = run("")
    assert done.returncode == 125 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "\x1b" not in done.stderr
    assert "KeyError" in done.stderr and "COLDSEEK_DEBUG=1" in done.stderr


def test_a_developer_sees_where() -> None:
    done = run("1")
    assert done.returncode == 1 and "Traceback" in done.stderr


@pytest.mark.parametrize("command", [["report", "/nowhere"], ["record", "--", "true"]])
def test_an_interrupt_at_any_moment_of_a_start_is_no_traceback(command: list[str], tmp_path: Path) -> None:
    """Twenty moments of the first half second; what comes before coldseek's first line is Python's own."""
    for number in range(20):
        run = subprocess.Popen(
            [sys.executable, "-m", "profiler", *command], cwd=tmp_path, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
        )  # fmt: skip
        time.sleep(number / 40)
        run.send_signal(signal.SIGINT)
        _, words = run.communicate(timeout=PATIENCE_S)
        ours = words.replace("/profiler/__init__.py", "").replace("/profiler/__main__.py", "")
        assert "Traceback" not in words or "/profiler/" not in ours, words
        if "Traceback" not in words:
            assert words.count("\n") <= 4, words


def test_an_interrupt_in_the_middle_of_a_class_is_one_too(tmp_path: Path) -> None:
    """Python 3.11 and before make a RuntimeError of it."""
    package = tmp_path / "typer"
    package.mkdir()
    (package / "__init__.py").write_text(
        "class Late:\n    def __set_name__(self, *_):\n        raise KeyboardInterrupt\n"
        "class Owner:\n    late = Late()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "profiler", "doctor"], cwd=ROOT, capture_output=True, text=True,
        timeout=PATIENCE_S, env=os.environ | {"PYTHONPATH": str(tmp_path)}, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "coldseek: interrupted\n")
