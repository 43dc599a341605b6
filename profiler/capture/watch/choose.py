"""Whether others than the command are to be watched, and who: asked for, or because the command is a
client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from profiler.capture.tracer import Tracer, choose, make_tracer
from profiler.capture.watch.run import Watcher
from profiler.capture.watch.watcher import missing, own_processes
from profiler.capture.watch.whom.clients import coming, daemons_of
from profiler.capture.watch.whom.targets import Target, Watched, parse
from profiler.errors import ColdseekError, UsageError

if TYPE_CHECKING:
    from profiler.files.owner import Owner

UNWATCHED = "not watched: "
"""With this begins, behind INCOMPLETE where nobody asked for it, who does the work and was not watched."""

Make = Callable[[], tuple[Tracer, str]]
"""Makes the tracer of one run, and says in a line what it is."""


class Chosen(NamedTuple):
    """make: what makes the tracer of each run. watched: the targets. notes: for the trace, on whose reads
    are not in it."""

    make: Make
    watched: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def chosen(
    command: Sequence[str],
    asked: Sequence[str] = (),
    tracer: str = "auto",
    owner: Owner | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Chosen:
    """What makes the tracer of each run, and whom it watches besides.

    asked: targets as `targets.parse` takes them; (): those that the command is known to ask for its work.
    Raises UsageError for what is no target, and ColdseekError where they were asked for and cannot be
    watched.
    """
    alone = _alone(tracer, owner)
    return _watching(command, asked, tracer, owner, say, alone) or Chosen(alone)


def _alone(asked: str, owner: Owner | None) -> Make:
    """Makes the tracer of the command alone. What works here is tried once, for the first run: the kernel
    takes a fifth of a second for it, and will not have changed its mind at the second."""
    told: tuple[str, str] | None = None

    def make() -> tuple[Tracer, str]:
        nonlocal told
        if told is not None:
            name, why = told
            return make_tracer(name, owner), why
        tracer, why = choose(asked, owner)
        told = tracer.name, why
        return tracer, why

    return make


def _watching(
    command: Sequence[str],
    asked: Sequence[str],
    tracer: str,
    owner: Owner | None,
    say: Callable[[str], None],
    alone: Make,
) -> Chosen | None:
    """The same where somebody else is to be watched; None: nobody is. alone: makes the tracer of the command
    alone."""
    targets, told = coming([parse(text) for text in asked], command), ""
    if {target.kind for target in targets} == {"none"}:  # beside others it is refused below
        left_out = ", ".join(map(str, daemons_of(command)[0]))
        # who reads the trace later has to know
        return (
            Chosen(alone, notes=(f"{UNWATCHED}{left_out}, who do the work, as asked",)) if left_out else None
        )
    if not targets:
        targets, told = daemons_of(command)
        if not targets:
            if told:
                say(told)
            return None
    if asked and tracer not in ("auto", "kernel"):
        raise UsageError(f"--with needs the kernel tracer: leave out --tracer {tracer}")
    fault = _fault(tracer)
    if fault and asked:
        raise ColdseekError(f"--with cannot be had here: {fault}")
    if fault:
        words = f"{UNWATCHED}{', '.join(map(str, targets))}, who do the command's work: {fault}"
        say(words)
        return Chosen(alone, notes=(f"INCOMPLETE: {words}",))
    if told:
        say(told)
    return Chosen(_make(targets, owner), tuple(map(str, targets)))


def _make(targets: Sequence[Target], owner: Owner | None) -> Make:
    Watched(targets, own_processes())  # says what cannot be before anything is done
    why = f"tracer kernel: watches {', '.join(map(str, targets))} too, and stops nothing"

    def make() -> tuple[Tracer, str]:
        return Watcher(Watched(targets, own_processes()), owner), why

    return make


def _fault(tracer: str) -> str:
    """Why others cannot be watched; "": they can be."""
    if tracer not in ("auto", "kernel"):
        return f"the {tracer} tracer sees only what it starts itself"
    try:
        return missing()
    except ColdseekError as error:
        return str(error)
