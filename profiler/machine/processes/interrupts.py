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
_LOOK_S = 0.05  # after a signal came, until it is looked whether its handler has run
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

    A handler runs when the main thread is back from the call that it waits in. A signal that comes right
    before such a call, or as the kernel begins it anew after SIGCONT, does not end the call. So a thread
    beside sends it once more to the main thread until the handler has run.
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
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._told: tuple[int, int] | None = None  # a pipe that the number of each signal is written to

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in _HANDLED:
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and background jobs ignore some
                    self._former[number] = signal.signal(number, self._handle)
            self._begin_watch()
        return self

    def _begin_watch(self) -> None:
        reads, writes = os.pipe()
        os.set_blocking(writes, False)
        former = signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
        if former != -1:  # somebody else's, as of an event loop that wakes up by itself
            signal.set_wakeup_fd(former, warn_on_full_buffer=False)
            os.close(reads)
            os.close(writes)
            return
        self._told = reads, writes
        self._thread = threading.Thread(
            target=self._watch, args=(reads, threading.get_ident()), name="interrupts", daemon=True
        )
        self._thread.start()

    def _watch(self, reads: int, main: int) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while (came := os.read(reads, 1)) and not self._over.is_set():
            number, since = came[0], time.monotonic() - 2 * _LOOK_S
            while (
                number in self._former
                and not self._over.wait(_LOOK_S)
                and self._latest.get(number, -1e9) < since
            ):
                signal.pthread_kill(main, number)

    def _end_watch(self) -> None:
        if self._told is None or self._thread is None:
            return
        self._over.set()
        signal.set_wakeup_fd(-1)
        reads, writes = self._told
        with contextlib.suppress(BlockingIOError):  # a full pipe has enough to read
            os.write(writes, b"\0")  # closing it tells nothing while a child of ours has it too
        self._thread.join()
        os.close(writes)
        os.close(reads)

    def __exit__(self, *_: object) -> None:
        self._end_watch()
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


def _forget_pipe() -> None:
    """In a child that goes on as a copy: what reaches it is not for its parent's main thread."""
    if threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(-1)


os.register_at_fork(after_in_child=_forget_pipe)


def _from_terminal() -> bool:
    """Whether we are the terminal's foreground job: then Ctrl-C was typed, and the program has it too."""
    with contextlib.suppress(OSError):  # no terminal; the standard streams may all be something else
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
        try:
            return os.tcgetpgrp(terminal) == os.getpgrp()
        finally:
            os.close(terminal)
    return False
