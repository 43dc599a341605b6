"""The end of an observation while what is observed goes on: nothing that a program left running is killed.

`record` is two processes: one that the user waits for, and behind it the tracer. Where the observation ends
before what is observed, the tracer becomes the `keeper` of that, and a copy of it saves what was recorded.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from profiler.capture.ptrace import keeper
from profiler.machine.processes import leftovers
from profiler.units import show_signal, show_status

SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)
FATAL = (signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT)
"""Deaths that a shell tells of only where it waits for the process itself."""

_PR_SET_PDEATHSIG = 1
_LOOK_S = 0.5
_WAIT_S = 1.0
"""What a command leaves running has mostly ended by then, and there is nothing to say."""


@dataclass
class Leaving:
    """What `record` does about processes that outlive the program. say: called with each line worth telling.

    signal: by which the observation was ended; 0: by none. left: whether processes were left running.
    """

    say: Callable[[str], None]
    signal: int = 0
    left: bool = False

    def goes_on(self, status: int, running: Callable[[], Iterable[int]]) -> None:
        """The program has ended and others of its processes, which `running` gives, have not: said if they
        still run in a moment."""
        timer = threading.Timer(_WAIT_S, self._tell, (status, running))
        timer.daemon = True
        timer.start()

    def _tell(self, status: int, running: Callable[[], Iterable[int]]) -> None:
        names = leftovers.show(running())
        if names and not self.left:
            self.say(
                f"the command has ended with exit status {show_status(status)}; still running, and "
                f"recorded: {names}. Ctrl-C ends the recording and leaves them running"
            )

    def let_go(
        self,
        number: int,
        processes: Iterable[int],
        clones: keeper.Clones | None = None,
        log: int = -1,
        words: str = "",
    ) -> None:
        """The observation ends: what goes on is a copy of this process that traces nobody; this one stays
        behind. number: of the signal that ended it, 0: none did. clones, log: see `keeper.become`. words:
        why it ends, for the user."""
        self.signal, self.left, tracer = number, True, os.getpid()
        names = leftovers.show(processes) or "processes that cannot be named"
        try:
            copy = os.fork() == 0
        except OSError as error:  # too many processes: what runs is worth more than what was recorded
            self.say(f"no process can be made to save the trace ({error.strerror}): nothing was saved")
            copy = False
        if not copy:
            keeper.become(clones or {}, log)
        self.say(
            f"{words}{'; ' if words else ''}left running: {names}; process {tracer} stays behind so that "
            f"they can, and ends with them"
        )


# -- who is waited for -------------------------------------------------------------------------------------


class Behind:
    """The process that does the work, behind the one that the user waits for. front: that one; told: where
    to write the exit status for it."""

    def __init__(self, front: int, told: int) -> None:
        self._front = front
        self._told = told

    def done(self, status: int) -> None:
        """All is done: whoever waits may go on, even though a process stays."""
        with contextlib.suppress(OSError):
            os.write(self._told, bytes((status & 0xFF,)))
            os.kill(self._front, signal.SIGCHLD)


_behind: list[Behind] = []


def done(status: int) -> None:
    """All is done with this exit status, whoever waits for it in front."""
    for behind in _behind:
        behind.done(status)


def step_behind() -> None:
    """Go on in a child; this process only waits for it, and passes on the signals that are sent to it.

    If it is killed the child is, too, and with that what it traces, as if the two were one.
    """
    reads, writes = os.pipe()
    wanted = {*SIGNALS, signal.SIGCHLD}
    former = signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    front = os.getpid()
    worker = os.fork()
    if worker:
        os.close(writes)
        os._exit(wait_in_front(worker, reads, wanted))
    os.close(reads)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != front:
        os._exit(125)
    signal.pthread_sigmask(signal.SIG_SETMASK, former)
    _behind.append(Behind(front, writes))


def wait_in_front(worker: int, told: int, wanted: set[signal.Signals]) -> int:
    """The exit status of the work, by a process whose child does it. told: where the child may write it
    before it ends. wanted: the signals that are blocked."""
    os.set_blocking(told, False)
    lost = 0
    while True:
        came = signal.sigtimedwait(wanted, _LOOK_S)
        if came is not None and came.si_signo != signal.SIGCHLD:
            # what is typed on a terminal reaches all of its processes by itself, and is not sent by anybody;
            # but of a terminal that closes only the leader of the session is told
            if came.si_code <= 0 or came.si_signo == signal.SIGHUP:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, came.si_signo)
            continue
        with contextlib.suppress(BlockingIOError):
            status = os.read(told, 1)
            if status:
                return status[0]
            lost += 1  # nobody is left who could tell
        pid, how = os.waitpid(worker, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(how)
            if -code in FATAL:
                name = show_signal(-code)
                sys.stderr.write(f"coldseek: ended by {name}, and the program with it; nothing was saved\n")
            return code if code >= 0 else 128 - code
        if lost > 2:
            sys.stderr.write("coldseek: what was to save the trace was killed; nothing was saved\n")
            return 125
