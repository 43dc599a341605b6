"""Ends what strace traces if coldseek dies without a chance to do so itself (kill -9). Runs as a process
of its own.

strace lets its tracees run on, untraced, when it is killed; so coldseek's death must reach the tracees
first. This program waits on its standard input: process ids of straces, a line each, then "done" - or the
end of the input without it, because whoever held the other end is no more.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

_PATIENCE_S = 10.0
_PAUSE_S = 0.02


def tracees(tracer: int) -> list[int]:
    """The processes that `tracer` traces now."""
    wanted = b"\nTracerPid:\t%d\n" % tracer
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/status", "rb") as status:
                if wanted in status.read():
                    found.append(int(name))
    return found


def kill_tracees(tracer: int) -> None:
    """Kill all that `tracer` traces, and what they make in the meantime."""
    deadline = time.monotonic() + _PATIENCE_S
    clear = 0
    while clear < 2 and time.monotonic() < deadline:  # twice: a fork may escape the first look
        running = tracees(tracer)
        clear = 0 if running else clear + 1
        for pid in running:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE_S)


def main() -> None:
    """Wait, and kill if need be."""
    words = sys.stdin.read().split()
    if "done" not in words:
        for word in words:
            kill_tracees(int(word))


if __name__ == "__main__":
    main()
