"""What goes wrong only in odd surroundings: no way on, no way out, nothing to stand on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

from profiler.capture import calls
from profiler.capture.ptrace import Ptrace
from profiler.trace import Trace, load


def python(script: str) -> list[str]:
    return [sys.executable, "-S", "-c", script]


def coldseek(*arguments: str | Path) -> list[str | Path]:
    return [sys.executable, "-m", "profiler", *arguments]


ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """A test that hangs fails after a minute, where it hangs."""

    def fail(*_: object) -> None:
        raise TimeoutError("it hangs")

    former = signal.signal(signal.SIGALRM, fail)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, former)


def reads_of(found: Trace, file: Path) -> list[tuple[int, int]]:
    reads = found.reads()
    mine = reads[reads["path"] == os.fsencode(file.resolve())]
    return [(int(offset), int(size)) for offset, size in zip(mine["offset"], mine["size"], strict=True)]


# -- nothing is left running, and nothing waits for ever
# --------------------------------------------------------


@pytest.mark.parametrize("threads", [0, 5])
def test_a_failure_of_the_tracer_ends_the_program_and_is_told(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setitem(calls.HANDLERS, "lseek", fails)
    script = (
        f"import os, threading, time\n"
        f"for _ in range({threads}): threading.Thread(target=time.sleep, args=(300,)).start()\n"
        f"time.sleep(0.2); os.lseek(os.open('/etc/passwd', 0), 5, 0)\n"
    )
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        Ptrace().record(python(script))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
