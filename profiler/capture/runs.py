"""Untraced, timed runs of a program: what a start really costs here, cold and warm.

A tracer slows a program down, so times come from runs that nobody traces. Cold and warm runs take turns:
whatever else the machine does in the meantime then falls on both.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from profiler.capture.cache import Coldness, Residency, make_cold, residency
from profiler.capture.interrupts import Interrupts
from profiler.capture.launch import exec_error
from profiler.capture.turns import turn
from profiler.errors import ColdseekError
from profiler.owner import Owner, acting_as

WARM_READ_SHARE = 0.05
"""A run was warm if it had to read at most this share of what the cold run before it read from the
device."""

_STDERR_BYTES = 2000  # of a failed run's last words, which are kept

_BLOCK = 512  # bytes; ru_inblock of getrusage(2) counts in these, whatever the file system's block is


@dataclass(frozen=True)
class Run:
    """One run of a program that nobody traced. stderr: the end of what it wrote there, where that went
    nowhere and the run failed.

    Times in seconds; user_s, system_s and device_read_bytes are of the program and of every descendant that
    was waited for. exit_status as a shell gives it: 128 + n for death by signal n. resident_before_bytes of
    resident_checked_bytes of the files looked at were cached right before; None: not looked.
    """

    wall_s: float
    exit_status: int
    user_s: float
    system_s: float
    device_read_bytes: int
    resident_before_bytes: int | None = None
    resident_checked_bytes: int | None = None
    stderr: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For `Meta.measured`; JSON-able."""
        return asdict(self)


@dataclass(frozen=True)
class Pairs:
    """Cold and warm runs that took turns; `cold[n]` came right before `warm[n]`.

    coldness: how cold each cold run was made. stopped: why there are fewer than were asked for; None: there
    are not.
    """

    cold: tuple[Run, ...] = ()
    warm: tuple[Run, ...] = ()
    coldness: tuple[Coldness, ...] = ()
    stopped: BaseException | None = None

    @property
    def all_cold(self) -> bool:
        """Whether every cold run was measured to be cold."""
        return bool(self.coldness) and all(proof.cold for proof in self.coldness)

    @property
    def all_warm(self) -> bool:
        """Whether every warm run found nearly all it read in memory."""
        return bool(self.warm) and all(
            warm.device_read_bytes <= WARM_READ_SHARE * cold.device_read_bytes
            for cold, warm in zip(self.cold, self.warm, strict=False)
        )

    def as_dict(self) -> dict[str, Any]:
        """For `Meta.measured`: {"cold": [RUN ...], "warm": [RUN ...]}, RUN as of `Run.as_dict`."""
        return {"cold": [run.as_dict() for run in self.cold], "warm": [run.as_dict() for run in self.warm]}


def run(
    command: Sequence[str],
    *,
    output: bool = True,
    stdin: bool = True,
    before: Residency | None = None,
    owner: Owner | None = None,
) -> Run:
    """Run a program to its end and time it, from before it is started to its end.

    The program has our stdin, stdout and stderr; without `output` its stdout, and without `stdin` its stdin,
    are /dev/null, and its stderr is a file in memory, which takes what anybody writes at any time. `before`:
    what was cached just before, to be kept with the run. `owner`: the user it runs as; None: the one who
    runs coldseek. Raises CommandNotFoundError or CannotRunError if it cannot be started, and
    KeyboardInterrupt, whose text says what happened, where it was interrupted. It is never left running;
    what it started may be (see `leftovers`).
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
        found = _timed(command, actions, owner, once=not stdin)
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
            _, status, usage = os.wait4(child, 0)
            wall = time.perf_counter_ns() - start
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
    )


def _tail(file: int) -> str:
    """The last lines of a file."""
    size = os.fstat(file).st_size
    end = os.pread(file, _STDERR_BYTES, max(0, size - _STDERR_BYTES))
    whole = end.partition(b"\n")[2] or end if size > _STDERR_BYTES else end
    return whole.decode("utf-8", "surrogateescape").strip()


def _kill(child: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # another user's has to end by itself
        os.kill(child, signal.SIGKILL)


def pairs(
    command: Sequence[str],
    files: Iterable[bytes],
    runs: int,
    on_result: Callable[[str, Run], None] | None = None,
    *,
    must: Iterable[bytes] = (),
    output: bool = False,
    owner: Owner | None = None,
    around: Callable[[], AbstractContextManager[object]] = nullcontext,
    say: Callable[[str], None] = lambda _: None,
) -> Pairs:
    """`runs` cold and as many warm runs, taking turns: cold, warm, cold, warm ...

    files: what the program reads, by name; `must`: those of which nothing may be cached in a cold run (see
    `cache.make_cold`). Each cold run warms the cache for the warm one after it. The program reads /dev/null
    as its stdin, since the first run would leave nothing of ours to the others; its output goes nowhere
    unless `output`. owner: see `run`. around: what each run is done within, such as `Around.untraced`.
    on_result("cold" or "warm", run) is called after each, say with a line where another coldseek is waited
    for (see `turns`). What was measured is kept: where an interrupt or a
    failure ends it early, the runs up to there are given, with `stopped` saying why. Raises what `run`
    raises only if there are none.
    """
    files, must = list(files), list(must)
    done: dict[str, list[Run]] = {"cold": [], "warm": []}
    proofs: list[Coldness] = []
    stopped: BaseException | None = None
    try:
        for _ in range(runs):
            with turn(say):
                for state in done:
                    with around():
                        if state == "cold":
                            proof = make_cold(files, must)
                            before = proof.residency
                        else:
                            before = residency([*must, *files])
                        found = run(command, output=output, stdin=False, before=before, owner=owner)
                        done[state].append(found)
                        if state == "cold":
                            proofs.append(proof)
                    if on_result is not None:
                        on_result(state, found)
    except (KeyboardInterrupt, ColdseekError) as error:
        if not done["cold"]:
            raise
        stopped = error
    return Pairs(tuple(done["cold"]), tuple(done["warm"]), tuple(proofs), stopped)
