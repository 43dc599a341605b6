"""A process that clears up after this one: a kill -9 leaves no time to do so oneself."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial

_DESCRIPTORS = 65536  # nobody has more open, as good as ever


@contextlib.contextmanager
def guarded(clear: Callable[[], None], needs: Sequence[int]) -> Iterator[None]:
    """While entered, a process of its own waits to call `clear` should this one be killed.

    It calls it after the end too, when there should be nothing left to clear. needs: the descriptors that
    `clear` works with; it has no others. The process is nobody's child, so that a tracer that waits for all
    of its children never meets it.
    """
    # Not inherited by exec: a program that lives on must not seem to be this process. What was only forked
    # has to close it or end, as another guard does.
    waits, held = os.pipe()
    apart(partial(_stand_by, clear, waits), (waits, *needs))
    os.close(waits)
    try:
        yield
    finally:
        os.close(held)


def apart(act: Callable[[], None], needs: Sequence[int]) -> int:
    """Call `act` in a process of its own, which is nobody's child and deaf to what ends others; the number
    of its group, for `os.killpg`. needs: the descriptors that it works with; it has no others."""
    between = os.fork()
    if between == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
                    signal.signal(number, signal.SIG_IGN)
                _close_all_but(needs)
                act()
        finally:
            os._exit(0)
    os.waitpid(between, 0)
    return between


def _close_all_but(needs: Sequence[int]) -> None:
    first = 0
    for kept in sorted(set(needs)):
        if first < kept:  # Python asks the kernel to close up to kept - 1: from 0 on, everything
            os.closerange(first, kept)
        first = kept + 1
    os.closerange(first, _DESCRIPTORS)


def _stand_by(clear: Callable[[], None], waits: int) -> None:
    """Wait until the other end of the pipe is closed, by a death perhaps, then clear up."""
    os.chdir("/")
    os.read(waits, 1)
    clear()
