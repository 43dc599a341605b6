"""Cold against warm: the traced runs that show what is read, and the untraced ones that show what it
costs."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence

from profiler.capture import runs as timed
from profiler.capture.around import Around, last_lines
from profiler.capture.launch import find_program
from profiler.capture.record import (
    Started,
    data_files,
    discover,
    named_files,
    past_cache,
    record_cold,
    record_warm,
)
from profiler.capture.tracer import choose
from profiler.capture.turns import turn
from profiler.owner import Owner
from profiler.trace import Trace
from profiler.units import show_plural


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
) -> tuple[Trace, Trace]:
    """Trace one cold and one warm run of `command`, then time `runs` untraced pairs of them.

    A first run finds out which files it is about: so each cold run is proved cold on all of them. The
    program's stdin and outputs go nowhere, as it runs many times. A run is over when the command itself has
    ended; what it leaves running is ended (see `Around`). owner: the user whom it always runs as; None: the
    one who runs this. before, after: commands for around each run; (): none. keep is called with each trace,
    under "cold" or "warm", as soon as it is there, and with both again when their measured times are, so
    that what was recorded survives whatever comes after. check is called after each run, once that is kept,
    and may raise KeyboardInterrupt.

    Gives the cold and the warm trace, both with all times in `meta.measured`. Raises KeyboardInterrupt where
    any run was interrupted, and ColdseekError, each after what there is was kept.
    """
    find_program(command[0])
    around = Around(before, after, owner, say)
    around.check()
    made, why = choose(tracer, owner)
    say(why)
    with around.traced() as over:
        first = discover(command, tracer, owner, over)
        _go_on_after(first)
    check()
    status = first.meta.exit_status
    files = [*named_files(command), *data_files(first)]
    traces = {}
    with turn(say):
        for name in ("cold", "warm"):
            say(f"traced run, {name}")
            # a tracer traces one run: each has one of its own
            one, _ = choose(made.name, owner)
            with around.traced() as over:
                if name == "cold":
                    found = record_cold(
                        one, command, files, image=image, started=started, say=say, silent=True, over=over
                    )
                else:
                    found = record_warm(
                        one, command, first, image=image, started=started, say=say, silent=True, over=over
                    )
                found = _with(found, measured={"first_exit_status": status})
                keep({name: found})
                _go_on_after(found)
            check()
            traces[name] = found
            failed = _failed(found.meta.exit_status, status)
            if failed:
                say(f"traced run, {name}{failed}")
    done = 0

    def told(state: str, run: timed.Run) -> None:
        nonlocal done
        done += 1
        check()
        failed = _failed(run.exit_status, status)
        wrote = f": {last_lines(run.stderr)}" if failed and run.stderr else ""
        say(f"untraced run {done} of {2 * runs}: {state}, {run.wall_s:.3f} s{failed}{wrote}")

    must = [os.fsencode(image)] if image else []
    pairs = timed.pairs(command, files, runs, told, must=must, owner=owner, around=around.untraced, say=say)
    measured = pairs.as_dict() | {"first_exit_status": status}
    why = str(pairs.stopped) or "interrupted"
    notes = [f"the untraced runs were cut short: {why}"] if pairs.stopped is not None else []
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


def _go_on_after(trace: Trace) -> None:
    """Raise KeyboardInterrupt after a run that was interrupted: that was meant for all of them."""
    if trace.meta.partial:
        raise KeyboardInterrupt(trace.meta.partial)


def _with(trace: Trace, **facts: object) -> Trace:
    return dataclasses.replace(trace, meta=dataclasses.replace(trace.meta, **facts))  # type: ignore[arg-type]


def _failed(status: int | None, first: int | None) -> str:
    """What to say of a run with this exit status; "": nothing."""
    if first is None or status in (first, None):
        return ""
    return f", FAILED: exit status {status}, the first run's was {first}"
