"""When one run is over: ready, or its time has passed, or it has ended. Knows no tracer."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from profiler.errors import NOT_READY, ColdseekError
from profiler.machine import procfs
from profiler.machine.finish import lookout, relay
from profiler.machine.finish.conditions import Condition
from profiler.units import show_path, show_seconds

GRACE_S = 3.0
"""Time that what is stopped has from being asked to end until it is killed."""

_PREPARES_S = 60.0  # until the process that looks out is there, on a machine with much to do
_CLOSES_S = 2.0
TIMED_OUT = 124
"""The exit status of a run that was not ready in time, as of timeout(1)."""

Reason = Literal["", "ready", "for", "timeout", "end"]


@dataclass(frozen=True)
class Wanted:
    """What was asked for. conditions: all of them have to come true, each once; (): the run goes on to its
    end. seconds: it is over after that time, None: whenever it is. timeout: time for it to be ready, None:
    any. stop: end what runs then; grace: seconds until it is killed."""

    conditions: tuple[Condition, ...] = ()
    seconds: float | None = None
    timeout: float | None = None
    stop: bool = False
    grace: float = GRACE_S


class Finish:
    """Watches one run. To be used in this order:

    prepare     what there is before the program starts does not count from now on
    streams     descriptors that the program is to be given, number -> which
    begin       the program runs, or is about to; `end` is called once, from a thread, when the run is over
                while something of it still runs or is waited for
    command_ended, all_ended    told by who runs it
    wait        after all_ended: whether it is over by now
    close       in any case

    reason: "" while it goes on, "ready" when all conditions came true, "for" or "timeout" when the time was
    up, "end" when all has ended and nothing is waited for. ready_ns, over_ns: when, on CLOCK_MONOTONIC;
    None: not (yet). fault: why nobody could look out any more, "" as it should be. lookout: the
    process that does; 0: none. over_fd can be read once it is over.
    """

    def __init__(
        self,
        conditions: Sequence[Condition] = (),
        seconds: float | None = None,
        timeout: float | None = None,
        stop: bool = False,
        grace: float = GRACE_S,
    ) -> None:
        self.wanted = Wanted(tuple(conditions), seconds, timeout, stop, grace)
        self.ready_ns: int | None = None
        self.over_ns: int | None = None
        self.reason: Reason = ""
        self.fault = ""
        self.lookout = 0
        self.streams: dict[int, int] = {}
        self.over_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._met: dict[int, int] = {}  # number of the condition -> when it came true
        self._end: Callable[[], None] = lambda: None
        self._line: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._begun_ns = 0
        self._own: int | None = None  # the command's exit status, if it ended before the run was over
        self._ended = self._looked = self._silent = False
        self._prepared = self._closed = False

    def again(self) -> Finish:
        """The same for another run."""
        wanted = self.wanted
        return Finish(wanted.conditions, wanted.seconds, wanted.timeout, wanted.stop, wanted.grace)

    # -- before the program ------------------------------------------------------------------------------

    def prepare(self, sinks: Mapping[int, int] | None = None) -> None:
        """Have somebody stand by who looks out. sinks: where the program's stdout and stderr would go, by
        number; None: where this process's go. Raises ColdseekError if that cannot be."""
        if self._prepared:
            return
        self._prepared = True
        conditions = self.wanted.conditions
        if not any(one.looked_for for one in conditions):
            self._silent = True
            return
        streams: list[relay.Stream] = []
        held: list[int] = []
        self._silent = not any(one.kind == "output" for one in conditions)
        try:
            if not self._silent:
                ways = dict(sinks if sinks is not None else {1: 1, 2: 2})
                same = len(ways) == 2 and _same(*ways.values())
                # not 0, 1 or 2, which mean something else to the process that looks out
                ways = {number: fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 3) for number, end in ways.items()}
                held = list(ways.values())
                streams = relay.make(ways, same)
                self.streams = {number: one.inside for one in streams for number in one.numbers}
            self._start(streams)
        except OSError as error:
            self._close_streams()
            raise ColdseekError(
                f"nobody can look out for {self.pending}: {error.strerror}; leave out --until"
            ) from error
        finally:
            for end in (*held, *(one.source for one in streams)):
                os.close(end)

    def _start(self, streams: Sequence[relay.Stream]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", lookout.__file__], stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                pass_fds=[end for one in streams for end in (one.source, one.sink)],
            )  # fmt: skip
        self._line, self.lookout = ours, self._process.pid
        told = {
            "conditions": [dataclasses.asdict(one) for one in self.wanted.conditions],
            "streams": [(one.source, one.sink, one.terminal) for one in streams],
        }
        ours.settimeout(_PREPARES_S)
        ours.sendall(json.dumps(told).encode() + b"\n")
        heard = b""
        while not heard.endswith(b"\n"):
            piece = ours.recv(1)
            if not piece:
                raise ColdseekError("the process that looks out has ended at once; leave out --until")
            heard += piece
        ours.settimeout(None)

    # -- while it runs -----------------------------------------------------------------------------------

    def begin(self, pid: int, end: Callable[[], None]) -> None:
        """The program is process `pid`; its time runs from now on."""
        self.prepare()
        self._end, self._begun_ns = end, time.monotonic_ns()
        self._close_streams()
        self._tell(pid=pid)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def command_ended(self, status: int | None = None) -> None:
        """The command itself has ended. status: as a shell gives it; None: not known."""
        if not self.over:
            self._own = status
        self._ended_now("exit")

    def all_ended(self) -> None:
        """All that is watched has ended. Where a condition may still come true, by others that the command
        has told to do it, and the command did not fail, it is not over by that."""
        self._ended_now("exit", "end")
        with self._lock:
            self._ended = True
        self._tell(look=True)
        os.eventfd_write(self._wake_fd, 1)

    @property
    def over(self) -> bool:
        return self._over.is_set()

    def wait(self, seconds: float) -> bool:
        """Whether it is over, after so many seconds at most."""
        return self._over.wait(seconds)

    def wait_out(self, ended: Callable[[], object], tell: Callable[[str], None] = lambda _: None) -> None:
        """After all has ended: wait until it is over, or `ended` says that nobody wants to wait any more.
        tell: called with a line if it takes long."""
        self.all_ended()
        told = time.monotonic() + 1
        while not self.wait(0.05) and not ended():
            if time.monotonic() > told:
                told = float("inf")
                tell(f"the command has ended; waiting for {self.pending}. Ctrl-C ends that")

    @property
    def pending(self) -> str:
        """The conditions that have not come true, in words for the user; "" if all have."""
        left = [one.text for number, one in enumerate(self.wanted.conditions) if number not in self._met]
        return " and ".join(show_path(text) for text in left)

    # -- what came of it ---------------------------------------------------------------------------------

    def facts(self, start_ns: int) -> dict[str, Any]:
        """What a trace's meta says of it; start_ns: when the program began, on CLOCK_MONOTONIC."""
        found: dict[str, Any] = {}
        if self.ready_ns is not None:
            found["ready_s"] = max(0, self.ready_ns - start_ns) / 1e9
        if self.over_ns is not None and self.reason != "end":
            found["wall_s"] = max(0, self.over_ns - start_ns) / 1e9
            found["exit_status"] = self._own
        if self.reason == "timeout":
            found["partial"] = self.why
        return found

    def words(self, start_ns: int) -> str:
        """What has come of it, for the user, or how it ended; "" while it goes on."""
        if self.reason == "ready":
            return f"ready after {show_seconds(max(0, (self.ready_ns or 0) - start_ns) / 1e9)}"
        if self.reason == "for":
            return f"{show_seconds(self.wanted.seconds or 0)} have passed (--for)"
        return self.why

    @property
    def why(self) -> str:
        """Why it was not ready, in words for the user; "" if it was, or if that was not asked for."""
        if self.fault:
            return self.fault
        if self.reason == "timeout":
            limit = show_seconds(self.wanted.timeout or 0)
            left = f"still waiting for {self.pending}" if self.pending else "it has not ended"
            return f"{NOT_READY} {limit} (--timeout): {left}"
        if self.reason == "end" and self.pending:
            return f"ended before it was ready: still waiting for {self.pending}"
        return ""

    def status(self, own: int | None) -> int | None:
        """The exit status that a run is judged by. own: the program's, None: it has none yet."""
        if self.reason in ("ready", "for"):
            return 0
        if self.reason == "timeout":
            return TIMED_OUT
        return (own or 1) if self.why else own

    def close(self) -> None:
        """Look out no more. What passes on the program's output stays until that ends."""
        if self._closed:
            return
        self._closed = True
        self._over.set()
        self._close_streams()
        with contextlib.suppress(OSError):
            os.eventfd_write(self._wake_fd, 1)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        if self._line is not None:
            self._line.close()
        if self._process is not None:
            if self._silent:
                self._reap()
            else:  # it is for whoever waits for children then
                self._process.returncode = 0
        os.close(self.over_fd)
        os.close(self._wake_fd)

    def _reap(self) -> None:
        assert self._process is not None
        try:
            self._process.wait(_CLOSES_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()

    # -- the watch ---------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """A thread's work: until it is over, or closed."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        buffer, alive = b"", self._line is not None
        while not self._over.is_set():
            poll = select.poll()
            poll.register(self._wake_fd, select.POLLIN)
            if alive and self._line is not None:
                poll.register(self._line.fileno(), select.POLLIN)
            wait = self._wait_s()
            ready = {number for number, _ in poll.poll(None if wait is None else wait * 1000)}
            if self._wake_fd in ready:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._wake_fd)
            if alive and self._line is not None and self._line.fileno() in ready:
                try:
                    piece = self._line.recv(1 << 16)
                except OSError:
                    piece = b""
                alive = bool(piece)
                *lines, buffer = (buffer + piece).split(b"\n")
                for line in lines:
                    self._hear(json.loads(line))
                if not alive and not self._closed and self._waits_for_others():
                    self.fault = f"the process that looked out for {self.pending} was killed"
            self._judge()

    def _waits_for_others(self) -> bool:
        """Whether a condition that somebody has to look for has not come true."""
        conditions = enumerate(self.wanted.conditions)
        return any(one.looked_for and number not in self._met for number, one in conditions)

    def _wait_s(self) -> float | None:
        limits = [limit for limit in (self.wanted.seconds, self.wanted.timeout) if limit is not None]
        passed = (time.monotonic_ns() - self._begun_ns) / 1e9
        return max(0.0, min(limits) - passed) if limits else None

    def _hear(self, words: Mapping[str, Any]) -> None:
        with self._lock:
            if "met" in words:
                self._met.setdefault(words["met"], words["ns"])
            if "silent" in words:
                self._silent = True
            if "looked" in words:
                self._looked = True

    def _ended_now(self, *kinds: str) -> None:
        now = time.monotonic_ns()
        with self._lock:
            for number, one in enumerate(self.wanted.conditions):
                if one.kind in kinds:
                    self._met.setdefault(number, now)
        with contextlib.suppress(OSError):
            os.eventfd_write(self._wake_fd, 1)

    def _judge(self) -> None:
        """Whether it is over, and why."""
        now, wanted = time.monotonic_ns(), self.wanted
        with self._lock:
            if self._over.is_set():
                return
            passed = (now - self._begun_ns) / 1e9
            if wanted.conditions and len(self._met) == len(wanted.conditions):
                self.ready_ns = now = max(self._met.values())
                self.reason = "ready"
            elif self.fault:
                self.reason = "timeout"
            elif wanted.seconds is not None and passed >= wanted.seconds:
                self.reason = "for"
            elif wanted.timeout is not None and passed >= wanted.timeout:
                self.reason = "timeout"
            elif self._ended and (self._looked or self._line is None) and not self._may_come():
                self.reason = "end"
            else:
                return
            self.over_ns = now
            self._over.set()
        os.eventfd_write(self.over_fd, 1)
        self._end()

    def _may_come(self) -> bool:
        """Whether others than the processes that have ended may make the conditions true."""
        left = [one for number, one in enumerate(self.wanted.conditions) if number not in self._met]
        if not left or self._own:
            return False
        return not (self._silent and any(one.kind == "output" for one in left))

    # -- the lines ---------------------------------------------------------------------------------------

    def _tell(self, **words: object) -> None:
        if self._line is not None:
            with contextlib.suppress(OSError):
                self._line.sendall(json.dumps(words).encode() + b"\n")

    def _close_streams(self) -> None:
        for end in set(self.streams.values()):
            with contextlib.suppress(OSError):
                os.close(end)
        self.streams = {}


def _same(first: int, second: int) -> bool:
    """Whether two descriptors of this process are one open file, or as good as that."""
    me = os.getpid()
    return relay.one_file(first, second) or procfs.same_open(me, first, me, second)
