"""Small programs that several tests trace, what was seen of them, and waiting that ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from conftest import PATIENCE_S, ROOT, need

from profiler.trace import Trace

sys.path.insert(0, str(ROOT / "tests/programs"))
import elf32


@pytest.fixture
def no_hang() -> Iterator[None]:
    """A test that hangs fails some day, where it hangs."""

    def fail(*_: object) -> None:
        raise TimeoutError("it hangs")

    former = signal.signal(signal.SIGALRM, fail)
    signal.alarm(int(PATIENCE_S))
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, former)


def until(condition: Callable[[], object], seconds: float = PATIENCE_S) -> bool:
    """Wait for it; whether it came to be."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def catches(pid: int, number: int) -> bool:
    """Whether the process, or the one behind it, has a handler for the signal: before, that would end it."""
    return any(bool(_caught(each) >> (number - 1) & 1) for each in (pid, behind(pid)))


def _caught(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return int(line.split()[1], 16)
    return 0


def behind(pid: int) -> int:
    """The process that does the work of the coldseek of this number; 0: there is none yet.

    It is its child, or that of its child where that is a warden, which leads a session of its own."""
    with contextlib.suppress(OSError, IndexError):
        child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
        return child if os.getsid(child) != child else behind(child)
    return 0


def lives(pid: int) -> bool:
    """Whether the process has not ended, waited for or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Recorded:
    """coldseek record in a directory, its words in a file: what it leaves running has its stderr, too."""

    def __init__(
        self, name: str, directory: Path, *command: str, options: Sequence[str] = (),
        interpreter: str = sys.executable,
    ) -> None:  # fmt: skip
        self.trace = directory / "run.trace.parquet"
        self._words = directory / "words"
        words = [interpreter, "-m", "profiler", "record", "--tracer", name, *options]
        words += ["-o", str(self.trace), "--", *command]
        with open(self._words, "wb") as stderr:
            self.process = subprocess.Popen(
                words, cwd=directory, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]])},
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
            )  # fmt: skip

    @property
    def words(self) -> str:
        return self._words.read_text()

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


def interrupt_twice(pid: int, ended: Callable[[], object]) -> bool:
    """Press Ctrl-C, and again; whether that ended what it is to end.

    Signals that come before the first is answered are one, and some time after it they are no second one: on
    a busy machine it may take several tries. No one is sent without need: it could come too late.
    """
    for _ in range(10):
        for _ in range(2):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)
            if until(ended, 0.3):
                return True
        if until(ended, PATIENCE_S / 10):
            return True
    return False


ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
"""What a coldseek is started with, wherever that is."""


def command_of(*arguments: str | Path) -> list[str]:
    """The command that is `coldseek ARGUMENTS`, to be started in ENVIRONMENT."""
    return [sys.executable, "-m", "profiler", *map(str, arguments)]


def python(script: str) -> list[str]:
    """The command that runs it; -S: without what site-packages would read."""
    return [sys.executable, "-S", "-c", script]


def reads_of(found: Trace, file: Path) -> list[tuple[int, int]]:
    """Offset and size of each read of the file."""
    reads = found.reads()
    mine = reads[reads["path"] == os.fsencode(file.resolve())]
    return [(int(offset), int(size)) for offset, size in zip(mine["offset"], mine["size"], strict=True)]


def stopped_and_continued(data: Path) -> list[str]:
    """A program that reads 10 bytes, stops itself, is continued by its child and reads 20 bytes more.

    It ends with 0 if it was really stopped, until SIGCONT came. The child looks at it several times: under
    ptrace it stops for a moment at each of its calls.
    """
    stops, goes_on = f"{data}.stops", f"{data}.goes-on"
    return python(
        f"import os, signal, time\n"
        f"fd = os.open({str(data)!r}, 0); os.read(fd, 10)\n"
        f"me = os.getpid(); seen = []; end = time.monotonic() + {PATIENCE_S}\n"
        f"def state(): return open(f'/proc/{{me}}/stat').read().split()[2]\n"
        f"def stopped(): return [time.sleep(0.02) for _ in range(10) if state() in 'Tt'][9:]\n"
        f"signal.signal(signal.SIGCONT, lambda *_: seen.append(1))\n"
        f"if os.fork() == 0:\n"
        f"    while not (os.path.exists({stops!r}) and stopped()) and time.monotonic() < end:\n"
        f"        time.sleep(0.02)\n"
        f"    open({goes_on!r}, 'w').close(); os.kill(me, signal.SIGCONT)\n"
        f"    os._exit(time.monotonic() >= end)\n"
        f"open({stops!r}, 'w').close(); os.kill(me, signal.SIGSTOP); slept = os.path.exists({goes_on!r})\n"
        f"os.read(fd, 20); status = os.wait()[1]\n"
        f"os._exit(0 if slept and seen and status == 0 else 9)\n"
    )


READS_OF_32_BIT = [(0, 100), (elf32.BIG, 200), (1000, 50)]
"""What the program of `program_of_32_bit` reads; it ends with 3."""


def program_of_32_bit(folder: Path) -> tuple[str, Path]:
    """A program of 32 bits, made in the folder, and the file that it reads beyond 4 GiB."""
    program, data = folder / "program", folder / "big"
    with open(data, "wb") as target:
        target.truncate(elf32.BIG + 4096)
    elf32.build(program, data)
    need(subprocess.run([program]).returncode == 3, "the kernel runs no 32-bit programs")
    return str(program), data
