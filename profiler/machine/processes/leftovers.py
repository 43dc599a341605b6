"""What a run leaves running when its command has ended: found, given time, and ended before the next run.

A daemon leaves its parent, its session and its terminal, but not the process that its orphans are given to
(PR_SET_CHILD_SUBREAPER of prctl(2)): while a command runs that is this one, so whatever it started is found
below this process. What another daemon started for it is not, and is not touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable

from profiler.units import show_path, show_plural

OWN_S = 0.5
"""Time that leftovers have to end by themselves."""

GRACE_S = 3.0
"""Time that they have from being asked to end until they are killed."""

_LAST_S = 10.0  # for those that make others faster than they can be killed, or may not be killed
_LOOK_S = 0.01
_SHOWN = 5  # names, and numbers of each
_SET_SUBREAPER, _GET_SUBREAPER = 36, 37  # linux/prctl.h

Running = Callable[[], Iterable[int]]


class Leftovers:
    """While entered, this process is given the orphans of what it starts. `running` finds those then."""

    def __init__(self) -> None:
        self._others: set[int] = set()
        self._former = 0

    def __enter__(self) -> Leftovers:
        self._others = {pid for pid, (parent, _) in _processes().items() if parent == os.getpid()}
        self._former = _subreaper()
        _be_subreaper(1)
        return self

    def __exit__(self, *_: object) -> None:
        _be_subreaper(self._former)

    def running(self) -> list[int]:
        """The processes that were started since, and theirs; those of them that have ended are reaped."""
        while True:
            found, below = _processes(), [os.getpid()]
            others = self._others.intersection(found)
            for above in below:
                below += [pid for pid, (parent, _) in found.items() if parent == above and pid not in others]
            ended = [pid for pid in below if found.get(pid, (0, ""))[1] == "Z"]
            # what one of these started at the last moment may have been missed
            if not any(_reaped(pid) for pid in ended):
                return [pid for pid in below[1:] if pid not in ended]


def end(
    running: Running,
    kill: Callable[[], None] | None = None,
    own_s: float = OWN_S,
    grace_s: float = GRACE_S,
) -> list[str]:
    """End what still runs: after own_s by asking, grace_s later by force. kill: kills it all; None: one by
    one.

    Gives the names of those that had to be asked, and raises TimeoutError, with their names, if they cannot
    be ended: they are another user's.
    """

    def killed() -> Iterable[int]:
        left = list(running())
        _signal(left, signal.SIGKILL)
        return left

    names: list[str] = []
    try:
        if _gone(running, own_s):
            return []
        asked = list(running())
        names = [_name(pid) for pid in asked]
        _signal(asked, signal.SIGTERM, signal.SIGCONT)  # a stopped one cannot answer
        if _gone(running, grace_s):
            return names
    finally:  # whoever interrupts this wants no more time given
        if kill is not None:
            kill()
        gone = _gone(killed, _LAST_S)
    if not gone:
        raise TimeoutError(show(running()))
    return names


def end_beside(running: Running, kill: Callable[[], None], grace_s: float) -> None:
    """`end` in a thread, without time to end by themselves: they were to go on."""

    def work() -> None:
        with contextlib.suppress(TimeoutError):
            end(running, kill, 0, grace_s)

    threading.Thread(target=work, daemon=True).start()


def show(processes: Iterable[int]) -> str:
    """Names and numbers, fit for one line: "nginx (12, 13), sh (14)"; "" if there are none."""
    named: dict[str, list[int]] = {}
    for pid in sorted(processes):
        named.setdefault(_name(pid), []).append(pid)
    shown = []
    for name, pids in list(named.items())[:_SHOWN]:
        more = f" and {len(pids) - _SHOWN} more" if len(pids) > _SHOWN else ""
        shown.append(f"{show_path(name)} ({', '.join(map(str, pids[:_SHOWN]))}{more})")
    if len(named) > _SHOWN:
        shown.append(show_plural(len(named) - _SHOWN, "other program"))
    return ", ".join(shown)


def _gone(running: Running, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while any(True for _ in running()):
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_S)
    return True


def _signal(processes: Iterable[int], *numbers: int) -> None:
    for pid in processes:
        for number in numbers:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


def _processes() -> dict[int, tuple[int, str]]:
    """Every process, with its parent and its state (proc_pid_stat(5))."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as source:
                state, parent = source.read().rpartition(b")")[2].split()[:2]
                found[int(name)] = int(parent), state.decode()
    return found


def _reaped(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):  # it is its own parent's to reap
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return False


def _name(pid: int) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", "rb") as source:
        return source.read().decode("utf-8", "surrogateescape").rstrip("\n")
    return "a process"


def _subreaper() -> int:
    found = ctypes.c_int()
    ctypes.CDLL(None).prctl(_GET_SUBREAPER, ctypes.byref(found), 0, 0, 0)
    return found.value


def _be_subreaper(value: int) -> None:
    ctypes.CDLL(None).prctl(_SET_SUBREAPER, value, 0, 0, 0)
