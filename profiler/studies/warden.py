"""A process above the one that works: what is run untraced ends with coldseek, even by a kill -9.

A traced program ends with its tracer (see `stops.OPTIONS`); a program that is only timed does not, and
who is killed can no longer tell what it has started. Its children are then given to the next process above
that takes orphans (see `leftovers`). That is this one: between the process that the user waits for and the
one that works, in a session of its own, where no signal of a terminal or to a group of processes comes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from types import FrameType

from profiler.capture.leaving import FATAL, SIGNALS, wait_in_front
from profiler.errors import ColdseekError
from profiler.machine.processes import leftovers
from profiler.units import show_signal

_PR_SET_PDEATHSIG = 1
_BEGINS, _ENDS, _HEARD = b"1", b"0", b"."
_lines: list[socket.socket] = []  # to the warden of this process; none: there is no warden


def step_below() -> None:
    """Go on in a process below a warden; this one only waits for it, and passes on the signals sent to it.

    If any one of the three is killed, the one that works ends, too. To be called before threads are made.
    """
    sys.stdout.flush()
    front, held = os.pipe()  # the warden's and the front's
    told, tells = os.pipe()
    wanted = {*SIGNALS, signal.SIGCHLD}
    former = signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    warden = os.fork()
    if warden:
        for end in (front, tells):
            os.close(end)
        os._exit(wait_in_front(warden, told, wanted))
    for end in (held, told):
        os.close(end)
    ours, theirs = socket.socketpair()
    above = os.getpid()
    worker = os.fork()
    if worker:
        theirs.close()
        try:
            os._exit(_Warden(worker, front, ours).watch(former))
        finally:
            os._exit(125)
    for end in (front, tells):
        os.close(end)
    ours.close()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != above:
        os._exit(125)
    signal.pthread_sigmask(signal.SIG_SETMASK, former)
    _lines.append(theirs)


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """While entered, what this process starts is ended should it be killed; without a warden it is not.

    Raises ColdseekError if the warden was killed.
    """
    if not _tell(_BEGINS):
        raise ColdseekError("the process that coldseek started to clear up was killed; start coldseek again")
    try:
        yield
    finally:
        _tell(_ENDS)


def _tell(word: bytes) -> bool:
    """Whether the warden heard it, or there is none."""
    try:
        return all(line.send(word) and line.recv(1) for line in _lines)
    except OSError:
        return False


class _Warden:
    """Waits for one worker. front: ends with the process in front. line: what the worker tells, see
    `watched`."""

    def __init__(self, worker: int, front: int, line: socket.socket) -> None:
        self._worker = worker
        self._front = front
        self._line = line
        self._run: leftovers.Leftovers | None = None

    def watch(self, mask: set[int]) -> int:
        """The exit status of the worker, after what it has left of a run was ended. mask: the signals that
        are to be blocked."""
        os.setsid()
        os.chdir("/")
        for stream in (0, 1):  # whoever reads what is written there waits for its end
            with contextlib.suppress(OSError):
                os.close(stream)
        woken = self._heed_signals(mask)
        waits = [self._front, self._line.fileno(), woken]
        how = None
        while how is None:
            ready, _, _ = select.select(waits, [], [])
            if self._front in ready:
                os.kill(self._worker, signal.SIGKILL)
                waits.remove(self._front)
            if self._line.fileno() in ready and not self._listen():
                waits.remove(self._line.fileno())  # its end is known when it has ended: SIGCHLD
            if woken in ready:
                os.read(woken, 4096)
                how = self._reap()
        if self._run is not None:
            with contextlib.suppress(TimeoutError):
                leftovers.end(self._run.running)
        code = os.waitstatus_to_exitcode(how)
        if -code in FATAL:
            sys.stderr.write(f"coldseek: ended by {show_signal(-code)}, and what it ran with it\n")
            sys.stderr.flush()
        return code if code >= 0 else 128 - code

    def _heed_signals(self, mask: set[int]) -> int:
        """Pass on those that are the worker's, answer no other; a descriptor that can be read when one
        came."""
        woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            handled = number in SIGNALS or number == signal.SIGCHLD
            with contextlib.suppress(OSError):  # of the C library's own
                signal.signal(number, self._pass_on if handled else signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return woken

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGCHLD and self._worker:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._worker, number)

    def _listen(self) -> bool:
        """Do what the worker asks for; False: it is silent for ever."""
        try:
            word = self._line.recv(1)
        except OSError:
            word = b""
        if word == _BEGINS and self._run is None:
            self._run = leftovers.Leftovers()
            self._run.__enter__()
        elif word == _ENDS and self._run is not None:
            self._run.__exit__()
            self._run = None
        with contextlib.suppress(OSError):
            self._line.send(_HEARD)
        return bool(word)

    def _reap(self) -> int | None:
        """Let go of what has ended; how the worker did, None: it has not."""
        how = None
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid == self._worker:
                    how, self._worker = status, 0
        return how
