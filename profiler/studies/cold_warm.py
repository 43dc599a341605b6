"""Cold against warm: the traced runs that show what is read, and the untraced ones that show what it
costs."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence

from profiler.capture.images import heads as image_heads
from profiler.capture.images.contents import with_guest_files
from profiler.capture.recording import Recording
from profiler.capture.watch.choose import chosen
from profiler.errors import ColdseekError
from profiler.facts.runs import Measured, Run, judged
from profiler.files.owner import Owner
from profiler.machine.finish.finish import Finish
from profiler.machine.page_cache import eviction
from profiler.machine.page_cache.turns import turn
from profiler.machine.processes import timed
from profiler.machine.processes.launch import find_program
from profiler.machine.processes.leftovers import GRACE_S, OWN_S
from profiler.machine.processes.settled import WITHIN
from profiler.studies.around import Around, last_lines
from profiler.studies.copies import Copies, filled
from profiler.studies.record import (
    Started,
    data_files,
    discover,
    named_files,
    past_cache,
    record_cold,
    record_warm,
)
from profiler.studies.together import together
from profiler.trace import Trace
from profiler.units import show_plural, show_status

REPAIRED = (
    "the image was marked as not closed cleanly, and the first run repaired it: what that takes is in none "
    "of the runs that were measured"
)

_TRACED = 3  # runs before the untraced ones: one to see which files are read, one cold, one warm


def study(
    command: Sequence[str],
    runs: int,
    tracer: str = "auto",
    *,
    image: str = "",
    owner: Owner | None = None,
    before: Sequence[str] = (),
    after: Sequence[str] = (),
    started: Started | None = None,
    say: Callable[[str], None] = lambda _: None,
    keep: Callable[[Mapping[str, Trace]], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
    evict: str = "auto",
    finish: Finish | None = None,
    targets: Sequence[str] = (),
    copies: Copies | None = None,
    settle: bool = False,
    begins: Callable[[str], None] = lambda _: None,
    ready: Callable[[], None] = lambda: None,
    guest_files: bool = False,
) -> tuple[Trace, Trace]:
    """Trace one cold and one warm run of `command`, then time `runs` untraced pairs of them; with `settle`
    fewer, where more would not tell more (see `settled`).

    A first run finds out which files it is about: so each cold run is proved cold on all of them. The
    program's stdin and outputs go nowhere, as it runs many times. A run is over when the command itself has
    ended; what it leaves running is ended (see `Around`). owner: the user whom it always runs as; None: the
    one who runs this. before, after: commands for around each run; (): none. keep is called with each trace,
    under "cold" or "warm", as soon as it is there, and with both again when their measured times are, so
    that what was recorded survives whatever comes after. check is called after each run, once that is kept,
    and may raise KeyboardInterrupt. evict: see `record.record`; what is chosen holds for all cold runs.
    finish: when each run is over, None: with the command; a run that is not ready in time has failed.
    targets: whom to watch besides. copies: what is timed is several at once, of which `command`, `before`,
    `after` and `finish` are the first; that one alone is traced. begins: called with what comes next, before
    each run: which it is of how many. ready: called once, before the cache is emptied for the first time:
    what is loaded later comes from the disk again. guest_files: name the guest's files that were read of a
    disk image.

    Gives the cold and the warm trace, both with all times in `meta.measured`. Raises KeyboardInterrupt where
    any run was interrupted, and ColdseekError, each after what there is was kept.
    """

    def again() -> Finish | None:
        return finish.again() if finish is not None else None

    find_program(command[0])
    grace_s = finish.wanted.grace if finish is not None else GRACE_S
    # what is ready would not end by itself, but where it is asked to
    own_s = OWN_S if finish is None or after else 0.0
    around = Around(before, after, owner, say, own_s, grace_s)
    around.check()
    if copies is not None:
        for number in copies.numbers:
            find_program(filled(copies.command, number)[0])
            before, after = (copies.around(words, number) for words in (copies.before, copies.after))
            dataclasses.replace(around, before=before, after=after).check()
    make, watched, missing = chosen(command, targets, tracer, owner, say)
    _, why = make()
    say(why)
    eviction.check(evict)
    own = again()
    layers = image_heads.layers(image, owner) if image else None
    last = _TRACED + 2 * runs
    of = f"of at most {last}" if settle else f"of {last}"
    begins(f"run 1 {of}, to see which files are read")
    with around.traced() as over:
        first = discover(command, make, over, own)
        _go_on_after(first, own)
    check()
    if own is not None and own.why:
        raise ColdseekError(f"the first run was not ready: {own.why}; see what it does with coldseek record")
    status = _status(first, own)
    files = [*named_files(command), *data_files(first)]
    if copies is not None:
        say(f"the traced runs are of one start; {copies.count} at once are timed")
        others = (one for n in copies.numbers[1:] for one in copies.files_of(n, files, named_files))
        files = list(dict.fromkeys([*files, *others]))
    ready()
    traces = {}
    with turn(say):
        how = eviction.choose(evict)  # no other coldseek measures now, whose runs would count as busy
        say(how.told)
        for number, name in enumerate(("cold", "warm"), 2):
            say(f"traced run, {name}")
            begins(f"run {number} {of}, traced, {name}")
            # a tracer traces one run: each has one of its own
            tracer_of_run, _ = make()
            own = again()
            with around.traced() as over:
                recording = Recording(command, started, silent=True, over=over, finish=own)
                if name == "cold":
                    found = record_cold(
                        tracer_of_run, recording, files, image=image, say=say, how=how, watched=watched,
                        missing=missing,
                    )  # fmt: skip
                else:
                    found = record_warm(tracer_of_run, recording, first, image=image, say=say)
                kept = (*missing, *found.meta.notes)
                found = _with(
                    found, targets=watched, notes=kept, measured=Measured(first_exit_status=status)
                )
                if layers is not None:
                    found = image_heads.with_layers(found, image, layers)
                if image_heads.was_dirty(first) and not image_heads.was_dirty(found):
                    found = _with(found, notes=(*found.meta.notes, REPAIRED))
                if guest_files:
                    found = with_guest_files(found)
                if copies is not None:
                    found = _with(found, copies=copies.facts(named_files))
                if own is not None and own.why:
                    found = _with(found, exit_status=own.status(found.meta.exit_status))
                keep({name: found})
                _go_on_after(found, own)
            check()
            traces[name] = found
            failed = _failed(_status(found, own), status)
            if failed:
                say(f"traced run, {name}{failed}")
    done = 0

    def next_one(state: str) -> None:
        begins(f"run {_TRACED + done + 1} {of}, untraced, {state}")

    def told(state: str, run: Run) -> None:
        nonlocal done
        done += 1
        check()
        ends = [one.exit_status for one in run.copies or (run,)]
        failed = _failed(next((one for one in ends if one != status), status), status)
        wrote = f": {last_lines(run.stderr)}" if failed and run.stderr else ""
        each = ", ".join(f"{one.wall_s:.3f}" for one in run.copies)
        took = f"{each} s" if each else f"{run.wall_s:.3f} s"
        most = f"{'at most ' if settle else ''}{2 * runs}"
        say(f"untraced run {done} of {most}: {state}, {took}{failed}{wrote}")

    several = (lambda: together(copies, around, owner)) if copies is not None else None
    must = [os.fsencode(image)] if image else []
    pairs = timed.pairs(command, files, runs, told, must=must, owner=owner, around=around.untraced, say=say,
                        whole=how.whole, finish=finish, several=several, on_begin=next_one,
                        settle=settle)  # fmt: skip
    measured = Measured(judged(pairs.cold, status), judged(pairs.warm, status), status)
    why = str(pairs.stopped) or "interrupted"
    notes = [f"the untraced runs were cut short: {why}"] if pairs.stopped is not None else []
    if pairs.settled:
        notes.append(
            f"timed {len(pairs.cold)} times cold and warm, of at most {runs}: "
            f"the times agree within {WITHIN:.0%}"
        )
        say(notes[-1])
    faults = [one.fault for one in pairs.coldness if not one.cold]
    if faults:
        notes.append(
            f"{faults[0]} ({len(faults)} of {show_plural(len(pairs.coldness), 'untraced cold run')})"
        )
    if not pairs.all_warm:
        why = "; reads with O_DIRECT always do" if past_cache(traces["warm"]) else ""
        notes.append(f"NOT WARM: not every untraced warm run was, some had to read from the device{why}")
    for name, trace in traces.items():
        traces[name] = _with(trace, measured=measured, notes=(*trace.meta.notes, *notes))
    keep(traces)
    if pairs.stopped is not None:
        raise pairs.stopped
    return traces["cold"], traces["warm"]


def _status(trace: Trace, finish: Finish | None) -> int | None:
    """The exit status that a traced run is judged by."""
    return trace.meta.exit_status if finish is None else finish.status(trace.meta.exit_status)


def _go_on_after(trace: Trace, finish: Finish | None) -> None:
    """Raise KeyboardInterrupt after a run that was interrupted: that was meant for all of them."""
    if trace.meta.partial and (finish is None or trace.meta.partial != finish.why):
        raise KeyboardInterrupt(trace.meta.partial)


def _with(trace: Trace, **facts: object) -> Trace:
    return dataclasses.replace(trace, meta=dataclasses.replace(trace.meta, **facts))  # type: ignore[arg-type]


def _failed(status: int | None, first: int | None) -> str:
    """What to say of a run with this exit status; "": nothing."""
    if first is None or status in (first, None):
        return ""
    return f", FAILED: exit status {show_status(status)}, the first run's was {show_status(first)}"
