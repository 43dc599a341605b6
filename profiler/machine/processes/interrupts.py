"""Ctrl-C and its like while a program is traced: they are the program's to answer."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType

from profiler.units import show_signal

_HANDLED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)
SAME_S = 0.1
"""Two of a signal within that are one: sent to a process group it reaches the process in front, too, which
passes it on."""
_AGAIN_S = 2.0  # a second Ctrl-C within this time ends a program that does not answer the first
_GRACE_S = 3.0  # from asking the program to end until that is not waited for any more


class Interrupts:
    """While entered, SIGINT, SIGQUIT, SIGTERM and SIGHUP reach the traced program `pid`, or each of several,
    and never end coldseek itself.

    Ctrl-C on a terminal reaches the program by itself and is only noted here; sent to coldseek alone it is
    passed on. A second one within two seconds, SIGTERM or SIGHUP ask the program to end, and where it does
    not, `end` is called: that ends the run, or with `leaves` only the observation. Afterwards `partial` says
    what cut the run short, "" if nothing did: to end an observation of what the program has left running
    does not. `number`: of the signal that came first, 0: none did. Ctrl-\\ is the program's alone: some
    print where they are, the others end. once: one Ctrl-C is enough, for a program that nobody talks to.
    """

    def __init__(
        self, pid: int | Sequence[int], end: Callable[[], None], *, once: bool = False, leaves: bool = False
    ) -> None:
        self.partial = ""
        self.number = 0
        self._leaves = leaves
        self._once = once
        self._pids = [pid] if isinstance(pid, int) else list(pid)
        self._stop = end
        self._last_s = -1e9
        self._ending: threading.Timer | None = None
        self._only_others_left = False
        self._former: dict[int, object] = {}
        self._latest: dict[int, float] = {}  # signal -> when it came

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in _HANDLED:
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and background jobs ignore some
                    self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        if self._ending is not None:
            self._ending.cancel()

    def main_ended(self, others: int) -> None:
        """The program itself has ended and so many of its tasks still run: from now on Ctrl-C is for
        those."""
        self._only_others_left = others > 0

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        twice = self._latest.get(number, -1e9)
        self._latest[number] = now
        if now - twice < SAME_S:
            return
        name = show_signal(number)
        self.number = self.number or number
        if self._only_others_left and self._leaves and number != signal.SIGQUIT:
            self._stop()
        elif number == signal.SIGINT:
            again = time.monotonic() - self._last_s < _AGAIN_S
            self._last_s = time.monotonic()
            self.partial = self.partial or "interrupted by Ctrl-C"
            if self._only_others_left:
                self.partial = "ended by Ctrl-C while background processes of the program still ran"
                self._stop()
            elif again:
                self._end("ended by a second Ctrl-C")
            else:
                if not _from_terminal():
                    self._pass_on(signal.SIGINT)
                if self._once:
                    self._stop_later()
        elif number == signal.SIGQUIT:
            if not _from_terminal():
                self._pass_on(signal.SIGQUIT)
        else:
            self.number = number
            self._end(f"ended by {name}")

    def _end(self, why: str) -> None:
        self.partial = why
        if self._only_others_left:
            self._stop()
            return
        self._pass_on(signal.SIGTERM)
        self._stop_later()

    def _stop_later(self) -> None:
        if self._ending is None:
            self._ending = threading.Timer(_GRACE_S, self._stop)
            self._ending.daemon = True
            self._ending.start()

    def _pass_on(self, number: int) -> None:
        # another user's, as sudo is, cannot be signalled: it has to end by itself
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
                os.kill(pid, signal.SIGCONT)  # a stopped program cannot answer


def _from_terminal() -> bool:
    """Whether we are the terminal's foreground job: then Ctrl-C was typed, and the program has it too."""
    with contextlib.suppress(OSError):  # no terminal; the standard streams may all be something else
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
        try:
            return os.tcgetpgrp(terminal) == os.getpgrp()
        finally:
            os.close(terminal)
    return False
