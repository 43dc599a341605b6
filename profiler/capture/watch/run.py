"""A command, or only those who are there already, watched from outside: see `watcher`."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from profiler.capture.calls.event_log import Recorder
from profiler.capture.recording import Recording
from profiler.capture.watch.watcher import LOOK_S, Session, Whom, session
from profiler.capture.watch.whom.waits import Waits
from profiler.errors import ColdseekError
from profiler.machine import procfs
from profiler.machine.processes import launch, leftovers
from profiler.machine.processes.interrupts import Interrupts
from profiler.trace import Meta, Trace
from profiler.units import show_seconds
from profiler.version import __version__

if TYPE_CHECKING:
    from profiler.files.owner import Owner


class Watcher:
    """Launches one program and records its reads and those of whom else is watched. See `tracer.Tracer`.

    whom: see `watcher.Whom`. owner: the user whom the program is to run as.
    """

    name = "kernel"

    def __init__(self, whom: Whom | None, owner: Owner | None = None) -> None:
        self._whom = whom
        self._owner = owner

    def record(self, recording: Recording) -> Trace:
        """Run the program until all is over and give what was seen. See `tracer.Tracer.record`."""
        procfs.check()
        command, silent, finish = recording.command, recording.silent, recording.finish
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        with session(self._whom) as watching, leftovers.Leftovers() as left:
            launched = launch.launch(
                command, watching.begin, lambda: None, silent, self._owner, streams=recording.streams
            )
            run = _Run(watching, launched.pid, left, recording)
            leaves = recording.leaving is not None
            with Interrupts(launched.pid, run.end, once=silent, leaves=leaves) as interrupts:
                try:
                    recording.begins(watching.recorder)
                    if finish is not None:
                        finish.begin(launched.pid, run.end)
                    with Waits(launched.pid, watching.watched) as waits:
                        run.wait(interrupts)
                finally:
                    end_ns = time.monotonic_ns()
                    watching.stop()
                    start_ns = launched.exec_ns
                    run.leave(interrupts, start_ns)
            failure = launched.failure(command)
            if failure is not None:
                raise failure
            if not start_ns:
                raise ColdseekError("the program ended before it began; run it without coldseek to see why")
            watching.recorder.note_once(waits.told())
            meta = Meta(
                command=tuple(command), cwd=launch.working_directory(), started_at=started_at,
                tracer=self.name, tracer_version=__version__, wall_s=(end_ns - start_ns) / 1e9,
                exit_status=run.status, partial=interrupts.partial, unseen=("exec", "readahead"),
            )  # fmt: skip
            if finish is not None:
                facts = finish.facts(start_ns)
                meta = replace(meta, **{**facts, "partial": meta.partial or facts.get("partial", "")})
            return watching.trace(meta, start_ns)


@dataclass
class _Run:
    """One run of a command, until it is over. status: of the command as a shell gives it, None: it goes
    on."""

    watching: Session
    main: int
    left: leftovers.Leftovers
    recording: Recording
    status: int | None = None
    _is_over: bool = False
    _told: bool = False

    def end(self) -> None:
        """The observation is to end, nothing else."""
        self._is_over = True

    def wait(self, interrupts: Interrupts) -> None:
        """Look on until all is over."""
        with _ends(self.main) as end:
            while not self._is_over:
                if self.status is None:
                    end.poll(LOOK_S * 1000)
                    self._reap(interrupts)
                elif self.left.running() or self._waits_for_others(interrupts):
                    time.sleep(LOOK_S)
                else:
                    return
                self.watching.look()

    def _reap(self, interrupts: Interrupts) -> None:
        pid, how = os.waitpid(self.main, os.WNOHANG)
        if not pid:
            return
        code = os.waitstatus_to_exitcode(how)
        self.status = code if code >= 0 else 128 - code
        running = self.left.running()
        interrupts.main_ended(len(running))
        if self.recording.finish is not None:
            self.recording.finish.command_ended(self.status)
        elif running and self.recording.leaving is not None:
            self.recording.leaving.goes_on(self.status, self.left.running)
        if running and self.recording.over is not None and self.recording.finish is None:
            self.recording.over(self.left.running, self._kill)

    def _waits_for_others(self, interrupts: Interrupts) -> bool:
        """Whether it is not over though all that was started here has ended."""
        if self.recording.finish is None or interrupts.partial:
            return False
        if not self._told:
            self._told = True
            self.recording.finish.all_ended()
        return not self.recording.finish.over

    def leave(self, interrupts: Interrupts, start_ns: int) -> None:
        """Nothing more is recorded: what still runs is ended, or goes on."""
        running = self.left.running()
        if not running:
            return
        over, leaving, finish = self.recording.over, self.recording.leaving, self.recording.finish
        by_finish = finish is not None and finish.over
        if over is not None and by_finish:
            over(self.left.running, self._kill)
            while self.left.running():
                time.sleep(LOOK_S)
        elif finish is not None and by_finish and (finish.wanted.stop or leaving is None):
            with contextlib.suppress(TimeoutError):
                leftovers.end(self.left.running, self._kill, 0, finish.wanted.grace)
        elif leaving is None or not self._is_over:
            self._kill()
            while self.left.running():
                time.sleep(LOOK_S)
        else:
            leaving.left, leaving.signal = True, interrupts.number
            words = finish.words(start_ns) if finish is not None else ""
            leaving.say(f"{words}{'; ' if words else ''}left running: {leftovers.show(running)}")

    def _kill(self) -> None:
        for pid in self.left.running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def _ends(pid: int) -> Iterator[select.poll]:
    """What can be waited with until a process has ended."""
    descriptor = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    try:
        yield poll
    finally:
        os.close(descriptor)


def observe(
    whom: Whom,
    command: Sequence[str],
    cwd: str = "",
    seconds: float | None = None,
    started: Callable[[Recorder], None] | None = None,
    over: Callable[[], bool] = lambda: False,
) -> Trace:
    """Watch those who are there, and what they make, for `seconds`, until `over` says so, or until Ctrl-C.

    command, cwd: what stands in the trace's meta.
    """
    procfs.check()
    with session(whom) as watching:
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        watching.begin()
        start_ns = time.monotonic_ns()
        with _until_told() as told:  # first: a signal may come as soon as somebody hears that it has started
            if started is not None:
                started(watching.recorder)
            deadline = None if seconds is None else time.monotonic() + seconds
            try:
                ended = _look_on(watching, told, deadline, over)
            finally:
                stop_ns = time.monotonic_ns()
                watching.stop()
        took = (stop_ns - start_ns) / 1e9
        note = (f"observed for {show_seconds(took)}, while it {'ran to its end' if ended else 'ran on'}: "
                f"what had been read before is not in here")  # fmt: skip
        return watching.trace(
            Meta(
                command=tuple(command), cwd=cwd, started_at=started_at, tracer="kernel",
                tracer_version=__version__, wall_s=took, unseen=("early", "exec", "readahead"),
                notes=(note,),
            ),
            start_ns,
        )  # fmt: skip


def _look_on(watching: Session, told: int, deadline: float | None, over: Callable[[], bool]) -> bool:
    """Look again and again; True if it was over by itself. told: can be read when we are to stop."""
    poll = select.poll()
    poll.register(told, select.POLLIN)
    while True:
        left = LOOK_S if deadline is None else min(LOOK_S, deadline - time.monotonic())
        if left <= 0:
            return False
        if poll.poll(left * 1000):
            return False
        if over():
            return True
        watching.look()


@contextlib.contextmanager
def _until_told() -> Iterator[int]:
    """A descriptor that can be read once Ctrl-C or SIGTERM has come: they end the observation, no more."""
    reads, writes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    former_wakeup = signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    former = {
        number: signal.signal(number, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield reads
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(former_wakeup)
        os.close(reads)
        os.close(writes)
