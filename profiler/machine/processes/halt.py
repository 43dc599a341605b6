"""One Ctrl-C, SIGTERM or SIGHUP ends a study of many runs, whatever it is at."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from profiler.machine.processes.interrupts import SAME_S
from profiler.units import show_signal

_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Halt:
    """While entered, each of these signals raises KeyboardInterrupt, with words for the user.

    While a program is traced or timed the signal is that one's, and coldseek's to answer by what runs it
    (see `interrupts`). That one came is known here even so: `check` raises for it then. `number`: which
    came first; 0: none.
    """

    def __init__(self) -> None:
        self._number = 0
        self._held = False
        self._over = False
        self._came = 0  # while held
        self._latest = (0, 0.0)  # signal, and when it came
        self._former: dict[int, object] = {}
        self._wakeup = -1
        self._told = (-1, -1)

    def __enter__(self) -> Halt:
        if threading.current_thread() is threading.main_thread():
            self._told = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self._wakeup = signal.set_wakeup_fd(self._told[1], warn_on_full_buffer=False)
            for number in _HANDLED:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        if self._told[0] >= 0:
            self._note()
            signal.set_wakeup_fd(self._wakeup)
            for end in self._told:
                os.close(end)

    @property
    def number(self) -> int:
        self._note()
        return self._number

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal came, whoever answered it."""
        if self.number:
            raise KeyboardInterrupt(words(self.number))

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """What is done here is not interrupted, but by a second signal; a first one is answered at the
        end."""
        self._held, self._came = True, 0
        try:
            yield
        finally:
            self._held = False
        if self._came:
            raise KeyboardInterrupt(words(self._came))

    def over(self) -> None:
        """No further signal is answered: there is only something left to say."""
        self._over = True

    def _note(self) -> None:
        with contextlib.suppress(OSError):  # nothing came, or this is no main thread
            while came := os.read(self._told[0], 64):
                self._number = self._number or next((one for one in came if one in _HANDLED), 0)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self._number = self._number or number
        now = time.monotonic()
        again = number != self._latest[0] or now - self._latest[1] > SAME_S
        self._latest = number, now
        if self._over:
            return
        if self._held and not self._came:
            self._came = number
        elif again or not self._held:
            raise KeyboardInterrupt(words(number))


def words(number: int) -> str:
    """What has happened."""
    return "interrupted by Ctrl-C" if number == signal.SIGINT else f"ended by {show_signal(number)}"
