"""Several cold runs of one command, each proved cold: what a start is held against its baseline by."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from profiler.capture.recording import Recording
from profiler.capture.tracer import NAMES, probe
from profiler.capture.watch.choose import chosen
from profiler.errors import ColdseekError
from profiler.facts.starts import Program, Start
from profiler.files.owner import Owner
from profiler.files.reading import open_regular
from profiler.machine.finish.finish import Finish
from profiler.machine.page_cache import eviction
from profiler.machine.page_cache.turns import turn
from profiler.machine.processes.launch import find_program
from profiler.machine.processes.leftovers import GRACE_S, OWN_S
from profiler.studies.around import Around
from profiler.studies.record import data_files, discover, named_files, record_cold
from profiler.trace import Trace
from profiler.units import show_plural, show_status

TRIES = 2
"""So many runs for each that is to count: one that was not cold is made again."""

_LARGEST_PROGRAM = 2**30
_PIECE = 2**20


@dataclass(frozen=True)
class Ran:
    """A run; its exit status is that by which it is judged, as of one that was ready. fault: why it does not
    count; "": it does."""

    trace: Trace
    fault: str


def cold_runs(
    command: Sequence[str],
    runs: int,
    tracer: str = "auto",
    *,
    owner: Owner | None = None,
    before: Sequence[str] = (),
    after: Sequence[str] = (),
    evict: str = "auto",
    finish: Finish | None = None,
    targets: Sequence[str] = (),
    say: Callable[[str], None] = lambda _: None,
    begins: Callable[[str], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
    ready: Callable[[], None] = lambda: None,
) -> Iterator[Ran]:
    """Trace cold runs of `command` until `runs` of them count, TRIES times as many at most.

    A first run finds out which files it reads, and how it ends: the others are to end so too. Its stdin and
    outputs go nowhere. What is left running is ended after each run. The parameters are those of
    `cold_warm.study`. Raises KeyboardInterrupt where a run was interrupted, and ColdseekError.
    """
    find_program(command[0])
    grace_s = finish.wanted.grace if finish is not None else GRACE_S
    around = Around(before, after, owner, say, OWN_S if finish is None or after else 0.0, grace_s)
    around.check()
    make, _, missing = chosen(command, targets, tracer, owner, say)
    if missing:
        raise ColdseekError(missing[0])
    _, why = make()
    say(why)
    eviction.check(evict)
    own = finish.again() if finish is not None else None
    begins("a first run, to see which files are read")
    with around.traced() as over:
        first = discover(command, make, over, own)
    _go_on_after(first, own)
    check()
    if own is not None and own.why:
        raise ColdseekError(f"the first run was not ready: {own.why}; see what it does with coldseek record")
    status = first.meta.exit_status if own is None else own.status(first.meta.exit_status)
    files = list(dict.fromkeys([*named_files(command), *data_files(first)]))
    ready()
    with turn(say):
        how = eviction.choose(evict)
        say(how.told)
        counted = 0
        for number in range(1, TRIES * runs + 1):
            begins(f"cold run {number}, {counted} of {runs} count")
            tracer_of_run, _ = make()
            own = finish.again() if finish is not None else None
            with around.traced() as over:
                recording = Recording(command, silent=True, over=over, finish=own)
                trace = record_cold(tracer_of_run, recording, files, how=how)
            _go_on_after(trace, own)
            check()
            # what this run read and the first did not is dropped before the next one
            files = list(dict.fromkeys([*files, *data_files(trace)]))
            ended = trace.meta.exit_status if own is None else own.status(trace.meta.exit_status)
            fault = _fault(trace, ended, status, own)
            if fault:
                say(f"cold run {number} does not count: {fault}")
            counted += not fault
            meta = dataclasses.replace(trace.meta, exit_status=ended)
            yield Ran(dataclasses.replace(trace, meta=meta), fault)
            if counted == runs:
                return


def _fault(trace: Trace, ended: int | None, status: int | None, finish: Finish | None) -> str:
    """Why a run does not count, which ended with one exit status and was to with another; "": it does."""
    meta = trace.meta
    if finish is not None and finish.why:
        return finish.why
    if not meta.complete:
        return meta.partial or f"{show_plural(meta.lost_events, 'event')} lost"
    if ended != status:
        return f"exit status {show_status(ended)}, the first run's was {show_status(status)}"
    if meta.cache == "cold" or meta.not_proved_cold:
        return ""  # the numbers are those of the calls, which are the same
    return next((note for note in meta.notes if note.startswith("NOT COLD")), "not cold")


def _go_on_after(trace: Trace, finish: Finish | None) -> None:
    """Raise KeyboardInterrupt after a run that was interrupted."""
    if trace.meta.partial and (finish is None or trace.meta.partial != finish.why):
        raise KeyboardInterrupt(trace.meta.partial)


def tracer_of(baseline: Start | None, asked: str, targets: Sequence[str]) -> str:
    """The tracer to take: the one of the baseline where none is asked for and it works here. Two tracers see
    the mapped pages of a program a little differently."""
    name = baseline.machine.get("tracer", "") if baseline else ""
    if asked != "auto" or targets or name not in NAMES or not probe(name).works:
        return asked
    return name


def program(name: str) -> Program:
    """The executable that a command begins with; what cannot be read of it is not known."""
    path = os.path.realpath(find_program(name))
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > _LARGEST_PROGRAM:
                return Program(path, size)
            digest = hashlib.sha256()
            while piece := file.read(_PIECE):
                digest.update(piece)
    except (OSError, ColdseekError):
        return Program(path)
    return Program(path, size, digest.hexdigest())
