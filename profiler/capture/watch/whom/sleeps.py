"""What the tasks of a run sleep in, looked at while they do: the descriptors of their calls, and who is at
the other end of a socket.

The kernel's events tell when a task sleeps and in which call, but not what its descriptors are. So some
twenty times a second all tasks are looked at through /proc; nothing is stopped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import struct
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from profiler.capture.watch.whom.processes import tasks
from profiler.capture.watch.whom.waits import CALLS, descriptors, owner_of, socket_of, tcp_end, unix_end

_FIRST_S, _LOOK_S = 0.005, 0.05
_SHARE = 20  # of the time at most goes into looking
_MOST_TASKS, _MOST_DESCRIPTORS = 256, 64  # that are looked at in one look, of one task
_MOST_SLEEPS = 100_000
_MOST_LOOKUPS = 32  # of the process behind a socket: each reads what all processes have open

_ANONYMOUS = {
    "[timerfd]": "timer", "[signalfd]": "signal", "[pidfd]": "child", "[eventfd]": "descriptor",
    "[eventpoll]": "descriptor", "inotify": "descriptor", "[io_uring]": "descriptor",
}  # fmt: skip
"""What descriptors without a file are called by the kernel -> the reason to wait for them."""
_ORDER = ("socket", "pipe", "child", "timer", "signal", "descriptor", "device", "unknown")
"""Of several descriptors that are waited for together, which names the wait: what others do first."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """A task that slept at a time (CLOCK_MONOTONIC, ns). reason, what: see trace.WAIT_COLUMNS."""

    time_ns: int
    tid: int
    reason: str
    what: bytes


class Sleeps:
    """While entered, a thread looks at the processes that `whose` gives; `found` is what it saw."""

    def __init__(self, whose: Callable[[], Collection[int]]) -> None:
        self._whose = whose
        self.found: list[Sleep] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sleeps", daemon=True)
        self._places: dict[int, bytes] = {}  # inode of a socket -> what to call it
        self._once: set[int] = set()
        self._lookups = 0

    def __enter__(self) -> Sleeps:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        # for the main thread, which waits for the program and would not hear of what is delivered here
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        pause = _FIRST_S
        while not self._over.wait(pause) and len(self.found) < _MOST_SLEEPS:
            began = time.monotonic()
            self.look()
            pause = max(min(_LOOK_S, 2 * pause), _SHARE * (time.monotonic() - began))

    def look(self) -> None:
        """Look at all of them once."""
        pairs = [(pid, tid) for pid in list(self._whose()) for tid in tasks(pid)]
        for pid, tid in pairs[:_MOST_TASKS]:
            with contextlib.suppress(OSError, ValueError, IndexError, struct.error):
                found = self._sleep(pid, tid)
                if found is not None:
                    self.found.append(Sleep(time.monotonic_ns(), tid, *found))

    def _sleep(self, pid: int, tid: int) -> tuple[str, bytes] | None:
        """How a task sleeps; None: not at all, or in no call on descriptors. Raises OSError: it has ended,
        or may not be looked at."""
        with open(f"/proc/{pid}/task/{tid}/syscall", "rb") as source:
            words = source.read().split()
        how = CALLS.get(int(words[0])) if words[0].lstrip(b"-").isdigit() else None
        if how is None or how == "child" or len(words) < 3:
            return None
        numbers = list(descriptors(pid, how, int(words[1], 16), int(words[2], 16)))[:_MOST_DESCRIPTORS]
        found = [one for number in numbers for one in self._descriptor(pid, number)]
        return min(found, key=lambda one: (_ORDER.index(one[0]), not one[1]), default=None)

    def _descriptor(self, pid: int, number: int) -> Iterator[tuple[str, bytes]]:
        path = f"/proc/{pid}/fd/{number}"
        with contextlib.suppress(OSError):
            link = os.readlink(path)
            inode = socket_of(link)
            kind, _, name = link.partition(":")
            if inode:
                yield "socket", self._socket(pid, inode)
            elif kind == "pipe":
                yield "pipe", b""
            elif kind == "anon_inode":
                yield _ANONYMOUS.get(name, "descriptor"), b""
            elif stat.S_ISFIFO(mode := os.stat(path).st_mode):
                yield "pipe", os.fsencode(link)
            elif stat.S_ISREG(mode) or stat.S_ISBLK(mode):
                yield "device", b""
            else:
                yield "descriptor", os.fsencode(link)

    def _socket(self, pid: int, inode: int) -> bytes:
        """What a socket is called, once it has been waited for twice; b"": not known."""
        if inode in self._places:
            return self._places[inode]
        if inode not in self._once:  # a short question is not worth looking
            self._once.add(inode)
            return b""
        other, place = unix_end(inode)
        if not place:
            other, place = tcp_end(pid, inode)
        owner = 0
        if other and self._lookups < _MOST_LOOKUPS:
            self._lookups += 1
            owner = owner_of(other, pid)
        name = b""
        with contextlib.suppress(OSError):
            if owner:
                with open(f"/proc/{owner}/comm", "rb") as source:
                    name = source.read(64).rstrip(b"\n")
        shown = os.fsencode(place) or (b"a socket" if name else b"")
        self._places[inode] = shown + b" (%s)" % name if name else shown
        return self._places[inode]
