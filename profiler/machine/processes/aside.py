"""A process of nobody's that does something once, beside this one."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO

from profiler.errors import ColdseekError
from profiler.machine.processes.guard import guarded


class Aside:
    """`act` has it done and waits for that; once. Without a process there is nothing to do."""

    def __init__(self, begin: Callable[[], None] = lambda: None, result: BinaryIO | None = None) -> None:
        self._begin, self._result = begin, result
        self._once = threading.Lock()
        self._pid = 0

    def act(self) -> None:
        """Raises the ColdseekError that was raised there. An interrupt ends what is done there, too."""
        if self._result is None or not self._once.acquire(blocking=False):
            return
        self._begin()
        with self._result as result:
            try:
                self._pid = int(result.readline() or b"0")
                words = result.read()
            except KeyboardInterrupt:
                self.end()
                result.read()
                raise
            finally:
                self._pid = 0
        if words:
            raise ColdseekError(words.decode("utf-8", "surrogateescape"))

    def end(self) -> None:
        """Ask it to end, if it is at it."""
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)


@contextlib.contextmanager
def aside(do: Callable[[], None]) -> Iterator[Aside]:
    """A process that stands by to call `do`, and does so in any case in the end: should this one be killed,
    too.

    Were it this process's child, what it starts would be taken for a run's (see `leftovers`), and its end
    for that of a traced task.
    """
    here, there = os.pipe()

    def act() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        with open(there, "wb", buffering=0) as told:
            told.write(b"%d\n" % os.getpid())
            try:
                do()
            except (ColdseekError, OSError, KeyboardInterrupt) as error:
                told.write(str(error).encode("utf-8", "surrogateescape"))

    with contextlib.ExitStack() as guard:
        guard.enter_context(guarded(act, (0, 1, 2, there)))
        os.close(there)
        yield Aside(guard.close, open(here, "rb"))  # noqa: SIM115
