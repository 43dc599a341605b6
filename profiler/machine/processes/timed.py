"""Untraced, timed runs of a program: what a start really costs here, cold and warm.

A tracer slows a program down, so times come from runs that nobody traces. Cold and warm runs take turns:
whatever else the machine does in the meantime then falls on both.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from profiler.errors import ColdseekError
from profiler.facts.runs import Run
from profiler.files.owner import Owner, acting_as
from profiler.machine.finish.finish import Finish
from profiler.machine.page_cache.cache import Coldness, make_cold
from profiler.machine.page_cache.residency import Residency, residency
from profiler.machine.page_cache.turns import turn
from profiler.machine.processes.interrupts import Interrupts
from profiler.machine.processes.launch import exec_error
from profiler.machine.processes.settled import settled

WARM_READ_SHARE = 0.05
"""A run was warm if it had to read at most this share of what the cold run before it read from the
device."""

_STDERR_BYTES = 2000  # of a failed run's last words, which are kept

_LOOK_S, _SELDOM_S = 0.01, 0.2  # between looks at what is left of a run, which are of all processes
_BLOCK = 512  # bytes; ru_inblock of getrusage(2) counts in these, whatever the file system's block is


Running = Callable[[], Iterable[int]]
Begin = Callable[[Residency | None], Run]
"""Begins a run that all is ready for, and waits for it; it is given what is cached right before."""


@dataclass(frozen=True)
class Pairs:
    """Cold and warm runs that took turns; `cold[n]` came right before `warm[n]`.

    coldness: how cold each cold run was made. stopped: what ended them early; None: nothing did. settled:
    there are fewer than were allowed, as more would not tell more.
    """

    cold: tuple[Run, ...] = ()
    warm: tuple[Run, ...] = ()
    coldness: tuple[Coldness, ...] = ()
    stopped: BaseException | None = None
    settled: bool = False

    @property
    def all_cold(self) -> bool:
        """Whether every cold run was measured to be cold."""
        return bool(self.coldness) and all(proof.cold for proof in self.coldness)

    @property
    def all_warm(self) -> bool:
        """Whether every warm run found nearly all it read in memory."""
        return bool(self.warm) and all(
            (warm.device_read_bytes or 0) <= WARM_READ_SHARE * (cold.device_read_bytes or 0)
            for cold, warm in zip(self.cold, self.warm, strict=False)
        )


def run(
    command: Sequence[str],
    *,
    output: bool = True,
    stdin: bool = True,
    before: Residency | None = None,
    owner: Owner | None = None,
    finish: Finish | None = None,
    running: Running = lambda: (),
) -> Run:
    """Run a program to its end and time it, from before it is started to its end.

    The program has our stdin, stdout and stderr; without `output` its stdout, and without `stdin` its stdin,
    are /dev/null, and its stderr is a file in memory, which takes what anybody writes at any time. `before`:
    what was cached just before, to be kept with the run. `owner`: the user it runs as; None: the one who
    runs coldseek. Raises CommandNotFoundError or CannotRunError if it cannot be started, and
    KeyboardInterrupt, whose text says what happened, where it was interrupted. It is never left running;
    what it started may be (see `leftovers`).

    finish: when it is over, if not with its end: the time is until then, and what still runs is left
    running, for `leftovers` to end; what was used is that of the processes that `running` gives then. An
    exit status is that of `Finish.status` then: 0 if it was ready, 124 if it was not in time.
    """
    actions: list[tuple[Any, ...]] = [
        (os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0)
        for number, kept in {0: stdin, 1: output}.items()
        if not kept
    ]
    words = -1 if output else os.memfd_create("stderr")
    try:
        if not output:
            actions.append((os.POSIX_SPAWN_DUP2, words, 2))
        if finish is None:
            found = _timed(command, actions, owner, once=not stdin)
        else:
            actions += [(os.POSIX_SPAWN_DUP2, end, number) for number, end in finish.streams.items()]
            found = _until(command, actions, owner, finish, running, once=not stdin)
        resident, checked = (None, None) if before is None else before.known
        return replace(
            found,
            resident_before_bytes=resident,
            resident_checked_bytes=checked,
            stderr=_tail(words) if not output and found.exit_status else "",
        )
    finally:
        if not output:
            os.close(words)


def _timed(
    command: Sequence[str], actions: Sequence[tuple[Any, ...]], owner: Owner | None, *, once: bool
) -> Run:
    environ = os.environ if owner is None else owner.environment(os.environ)
    child = None
    try:
        # vfork and exec in one: the program's start does not wait for a copy of Python's page tables.
        # Python ignores these two signals for itself; the program shall have them as usual.
        with acting_as(owner):
            start = time.perf_counter_ns()
            child = os.posix_spawnp(
                command[0], list(command), environ,
                file_actions=actions, setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
            )  # fmt: skip
        with Interrupts(child, partial(_kill, child), once=once) as interrupts:
            os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
            wall = time.perf_counter_ns() - start
            blocked_s = _blocked_s(child)
            _, status, usage = os.wait4(child, 0)
            child = None
    except OSError as error:
        raise exec_error(command[0], error.errno or 0, owner) from error
    finally:
        if child is not None:
            _kill(child)
            os.waitpid(child, 0)
    if interrupts.partial:
        raise KeyboardInterrupt(interrupts.partial)
    code = os.waitstatus_to_exitcode(status)
    return Run(
        wall_s=wall / 1e9,
        exit_status=code if code >= 0 else 128 - code,
        user_s=usage.ru_utime,
        system_s=usage.ru_stime,
        device_read_bytes=usage.ru_inblock * _BLOCK,
        blocked_s=blocked_s,
    )


def _blocked_s(process: int) -> float | None:
    """How long the first thread of a process has waited for block devices, swapping in among it; None: no
    account is kept (sysctl kernel.task_delayacct, or delayacct on the kernel's command line)."""
    with suppress(OSError, ValueError, IndexError):
        if Path("/proc/sys/kernel/task_delayacct").read_text().strip() == "1":
            words = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
            return int(words[39]) / os.sysconf("SC_CLK_TCK")  # delayacct_blkio_ticks of proc_pid_stat(5)
    return None


def _until(
    command: Sequence[str],
    actions: Sequence[tuple[Any, ...]],
    owner: Owner | None,
    finish: Finish,
    running: Running,
    *,
    once: bool,
) -> Run:
    environ = os.environ if owner is None else owner.environment(os.environ)
    try:
        with acting_as(owner):
            start = time.monotonic_ns()
            child = os.posix_spawnp(
                command[0], list(command), environ,
                file_actions=actions, setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
            )  # fmt: skip
    except OSError as error:
        raise exec_error(command[0], error.errno or 0, owner) from error
    used, status = _Used(), None
    with Interrupts(child, partial(_kill, child), once=once) as interrupts:
        program = os.pidfd_open(child)
        try:
            finish.begin(child, lambda: None)
            select.select([program, finish.over_fd], [], [])
            if not finish.over:
                _, status, usage = os.wait4(child, 0)
                used.add(usage)
                finish.command_ended(_shell_status(status))
                interrupts.main_ended(1)
                ends = any(one.kind == "end" for one in finish.wanted.conditions)
                while not finish.wait(_LOOK_S if ends else _SELDOM_S) and any(True for _ in running()):
                    if interrupts.partial:
                        break
                finish.wait_out(lambda: interrupts.partial)
            else:
                used.look([child])  # before `running` reaps it, if it has ended meanwhile
            used.look(pid for pid in running() if pid != child)
        finally:
            os.close(program)
    if interrupts.partial:
        raise KeyboardInterrupt(interrupts.partial)
    over = finish.over_ns if finish.over_ns is not None and finish.reason != "end" else time.monotonic_ns()
    own = None if status is None else _shell_status(status)
    return used.run((over - start) / 1e9, finish.status(own) or 0)


class _Used:
    """What a run has used, added up."""

    def __init__(self) -> None:
        self._user_s = self._system_s = 0.0
        self._read_bytes = 0

    def add(self, usage: resource.struct_rusage) -> None:
        self._user_s += usage.ru_utime
        self._system_s += usage.ru_stime
        self._read_bytes += usage.ru_inblock * _BLOCK

    def look(self, processes: Iterable[int]) -> None:
        """What these processes, and children that they have waited for, have used by now."""
        tick = os.sysconf("SC_CLK_TCK")
        for pid in set(processes):
            with suppress(OSError, ValueError, IndexError):
                with open(f"/proc/{pid}/stat", "rb") as source:
                    words = source.read().rpartition(b")")[2].split()
                user, system, below_user, below_system = map(int, words[11:15])  # proc_pid_stat(5)
                self._user_s += (user + below_user) / tick
                self._system_s += (system + below_system) / tick
            with suppress(OSError, ValueError), open(f"/proc/{pid}/io", "rb") as source:
                self._read_bytes += int(source.read().partition(b"\nread_bytes: ")[2].split()[0])

    def run(self, wall_s: float, exit_status: int) -> Run:
        return Run(
            wall_s,
            exit_status,
            user_s=self._user_s,
            system_s=self._system_s,
            device_read_bytes=self._read_bytes,
        )


def _shell_status(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _tail(file: int) -> str:
    """The last lines of a file."""
    size = os.fstat(file).st_size
    end = os.pread(file, _STDERR_BYTES, max(0, size - _STDERR_BYTES))
    whole = end.partition(b"\n")[2] or end if size > _STDERR_BYTES else end
    return whole.decode("utf-8", "surrogateescape").strip()


def _kill(child: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # another user's has to end by itself
        os.kill(child, signal.SIGKILL)


@contextmanager
def _nothing(_: Finish | None) -> Iterator[Running]:
    yield lambda: ()


def pairs(
    command: Sequence[str],
    files: Iterable[bytes],
    runs: int,
    on_result: Callable[[str, Run], None] | None = None,
    *,
    must: Iterable[bytes] = (),
    output: bool = False,
    owner: Owner | None = None,
    around: Callable[[Finish | None], AbstractContextManager[Running]] = _nothing,
    finish: Finish | None = None,
    say: Callable[[str], None] = lambda _: None,
    whole: bool | None = None,
    several: Callable[[], AbstractContextManager[Begin]] | None = None,
    on_begin: Callable[[str], None] = lambda _: None,
    settle: bool = False,
) -> Pairs:
    """`runs` cold and as many warm runs, taking turns: cold, warm, cold, warm ...

    files: what the program reads, by name; `must`: those of which nothing may be cached in a cold run (see
    `cache.make_cold`). Each cold run warms the cache for the warm one after it. The program reads /dev/null
    as its stdin, since the first run would leave nothing of ours to the others; its output goes nowhere
    unless `output`. owner: see `run`. whole: see `cache.make_cold`. around: what each run is done within,
    such as `Around.untraced`. finish: when each is over; see `run`. several: what gets several at once
    ready, in place of one in its around (see `together`). on_begin("cold" or "warm") is called before each
    is made ready, on_result("cold" or "warm", run) after it, say with a line where another coldseek is
    waited for (see `turns`). settle: fewer than `runs` where the medians of both kinds are settled (see
    `settled`) and all runs ended alike, the cold ones proved cold. What was measured is kept: where an
    interrupt or a failure ends it early, the runs up to there are given, with `stopped` saying why. Raises
    what `run` raises only if there are none.
    """
    files, must = list(files), list(must)

    @contextmanager
    def alone() -> Iterator[Begin]:
        one = finish.again() if finish is not None else None
        with closing(one) if one else nullcontext(), around(one) as running:
            yield lambda before: run(
                command, output=output, stdin=False, before=before, owner=owner, finish=one, running=running
            )

    done: dict[str, list[Run]] = {"cold": [], "warm": []}
    proofs: list[Coldness] = []
    stopped: BaseException | None = None
    try:
        for _ in range(runs):
            with turn(say):
                for state in done:
                    on_begin(state)
                    with (several or alone)() as begin:
                        if state == "cold":
                            proof = make_cold(files, must, whole)
                            before = proof.residency
                        else:
                            before = residency([*must, *files])
                        found = begin(before)
                        done[state].append(found)
                        if state == "cold":
                            proofs.append(proof)
                    if on_result is not None:
                        on_result(state, found)
            if settle and _settled(done, proofs, runs):
                break
    except (KeyboardInterrupt, ColdseekError) as error:
        if not done["cold"]:
            raise
        stopped = error
    early = stopped is None and len(done["cold"]) < runs
    return Pairs(tuple(done["cold"]), tuple(done["warm"]), tuple(proofs), stopped, early)


def _settled(done: Mapping[str, Sequence[Run]], proofs: Sequence[Coldness], most: int) -> bool:
    """Whether these pairs tell as much as `most` would. What failed is no time, and what was not cold may be
    next time."""
    ends = {one.exit_status for runs in done.values() for run in runs for one in run.copies or (run,)}
    return (
        len(ends) == 1
        and all(proof.cold for proof in proofs)
        and all(settled([run.wall_s for run in runs], most) for runs in done.values())
    )
