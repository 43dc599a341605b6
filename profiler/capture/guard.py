"""A process that clears up after this one: a kill -9 leaves no time to do so oneself."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence

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
    between = os.fork()
    if between == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                _stand_by(clear, waits, needs)
        finally:
            os._exit(0)
    os.close(waits)
    os.waitpid(between, 0)
    try:
        yield
    finally:
        os.close(held)


def _stand_by(clear: Callable[[], None], waits: int, needs: Sequence[int]) -> None:
    """Wait until the other end of the pipe is closed, by a death perhaps, then clear up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    first = 0
    for kept in sorted({waits, *needs}):
        if first < kept:  # Python asks the kernel to close up to kept - 1: from 0 on, everything
            os.closerange(first, kept)
        first = kept + 1
    os.closerange(first, _DESCRIPTORS)
    os.chdir("/")
    os.read(waits, 1)
    clear()
