"""What a task sleeps in: looked at while it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from conftest import need_root
from small_programs import until

from profiler.capture.watch.whom.sleeps import Sleeps
from profiler.capture.watch.whom.waits import Waits

WAYS = {
    "pipe": ("import os; print(flush=True); a, b = os.pipe(); os.read(a, 1)", "pipe", b""),
    "eventfd": ("import os; print(flush=True); os.eventfd_read(os.eventfd(0))", "descriptor", b""),
    "fifo": (
        "import os; os.mkfifo('f'); print(flush=True); os.read(os.open('f', os.O_RDWR), 1)", "pipe", b"/f",
    ),
    "poll": (
        "import select, socket; a, b = socket.socketpair(); print(flush=True)\n"
        "p = select.poll(); p.register(a, 1); p.register(0, 1); p.poll()", "socket", b"",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_what_is_slept_in_is_seen(way: str, tmp_path: Path) -> None:
    need_root()
    text, reason, what = WAYS[way]
    command = [sys.executable, "-c", text]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path) as program:
        try:
            assert program.stdout is not None
            program.stdout.readline()
            with Sleeps(lambda: [program.pid]) as sleeps:
                assert until(lambda: any(one.reason == reason for one in list(sleeps.found)))
            seen = [one for one in sleeps.found if one.reason == reason]
            assert seen[-1].tid == program.pid and seen[-1].what.endswith(what)
        finally:
            program.kill()


def test_those_who_have_ended_or_run_are_not_seen() -> None:
    with subprocess.Popen(["true"]) as program:
        program.wait()
        sleeps = Sleeps(lambda: [program.pid])
        sleeps.look()
    assert sleeps.found == []


def blocks(thread: int, number: int) -> bool:
    """Whether a thread of ours blocks a signal."""
    status = Path(f"/proc/self/task/{thread}/status").read_text()
    (mask,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigBlk:")]
    return bool(int(mask, 16) >> (number - 1) & 1)


@pytest.mark.parametrize("looker", [Sleeps(list), Waits(os.getpid())], ids=["sleeps", "waits"])
def test_a_thread_that_looks_leaves_ctrl_c_to_the_main_thread(looker: Sleeps | Waits) -> None:
    """The main thread waits in waitpid, and hears of no signal that another thread took."""
    before = {int(name) for name in os.listdir("/proc/self/task")}
    with looker:
        (thread,) = {int(name) for name in os.listdir("/proc/self/task")} - before
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            assert until(partial(blocks, thread, number), 10), number
