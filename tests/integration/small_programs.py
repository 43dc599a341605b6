"""Small programs that several tests trace, what was seen of them, and waiting that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT, need

from profiler.trace import Trace

sys.path.insert(0, str(ROOT / "tests/programs"))
import elf32


@pytest.fixture
def no_hang() -> Iterator[None]:
    """A test that hangs fails after a minute, where it hangs."""

    def fail(*_: object) -> None:
        raise TimeoutError("it hangs")

    former = signal.signal(signal.SIGALRM, fail)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, former)


def until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    """Wait for it; whether it came to be."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


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

    It ends with 0 if it was really stopped, until SIGCONT came.
    """
    return python(
        f"import os, signal, time\n"
        f"fd = os.open({str(data)!r}, 0); os.read(fd, 10)\n"
        f"me = os.getpid(); seen = []\n"
        f"signal.signal(signal.SIGCONT, lambda *_: seen.append(1))\n"
        f"if os.fork() == 0:\n"
        f"    time.sleep(0.5); state = open(f'/proc/{{me}}/stat').read().split()[2]\n"
        f"    os.kill(me, signal.SIGCONT); os._exit(0 if state in 'Tt' else 1)\n"
        f"began = time.monotonic(); os.kill(me, signal.SIGSTOP); slept = time.monotonic() - began\n"
        f"os.read(fd, 20); status = os.wait()[1]\n"
        f"os._exit(0 if slept > 0.2 and seen and status == 0 else 9)\n"
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
