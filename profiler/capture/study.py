"""Cold against warm: the traced runs that show what is read, and the untraced ones that show what it
costs."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence

from profiler.capture import runs as timed
from profiler.capture.record import (
    Started,
    data_files,
    discover,
    find_program,
    named_files,
    past_cache,
    record_cold,
    record_warm,
)
from profiler.capture.tracer import choose
from profiler.errors import ColdseekError
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
    started: Started | None = None,
    say: Callable[[str], None] = lambda _: None,
    keep: Callable[[str, Trace], None] = lambda _name, _trace: None,
) -> tuple[Trace, Trace]:
    """Trace one cold and one warm run of `command`, then time `runs` untraced pairs of them.

    A first run finds out which files it is about: so each cold run is proved cold on all of them. The
    program's stdin and outputs are /dev/null, as it runs many times. owner: the user whom it always runs
    as; None: the one who runs this. keep("cold" or "warm", trace) is called as soon as a trace is there and
    again when its measured times are, so that what was recorded survives whatever comes after.

    Gives the cold and the warm trace, both with all times in `meta.measured`.
    """
    find_program(command[0])
    made, why = choose(tracer, owner)
    say(why)
    first = discover(command, tracer, owner)
    files = [*named_files(command), *data_files(first)]
    traces = {}
    for name in ("cold", "warm"):
        say(f"traced run, {name}")
        # a tracer traces one run: each has one of its own
        one, _ = choose(made.name, owner)
        if name == "cold":
            found = record_cold(one, command, files, image=image, started=started, say=say, silent=True)
        else:
            found = record_warm(one, command, first, image=image, started=started, say=say, silent=True)
        keep(name, found)
        traces[name] = found
        if found.meta.partial:
            raise InterruptedStudyError(found.meta.partial)
    done = 0

    def told(state: str, run: timed.Run) -> None:
        nonlocal done
        done += 1
        say(f"untraced run {done} of {2 * runs}: {state}, {run.wall_s:.3f} s")

    try:
        must = [os.fsencode(image)] if image else []
        pairs = timed.pairs(command, files, runs, told, must=must, owner=owner)
    except KeyboardInterrupt as error:
        raise InterruptedStudyError(str(error)) from error
    measured = pairs.as_dict()
    notes = [f"the untraced runs were cut short: {pairs.stopped}"] if pairs.stopped else []
    faults = [one.fault for one in pairs.coldness if not one.cold]
    if faults:
        notes.append(
            f"{faults[0]} ({len(faults)} of {show_plural(len(pairs.coldness), 'untraced cold run')})"
        )
    if not pairs.all_warm:
        why = "; reads with O_DIRECT always do" if past_cache(traces["warm"]) else ""
        notes.append(f"NOT WARM: not every untraced warm run was, some had to read from the device{why}")
    for name, trace in traces.items():
        meta = dataclasses.replace(trace.meta, measured=measured, notes=(*trace.meta.notes, *notes))
        traces[name] = dataclasses.replace(trace, meta=meta)
        keep(name, traces[name])
    return traces["cold"], traces["warm"]


class InterruptedStudyError(ColdseekError):
    """The study was interrupted before there was anything to compare; the traces so far were kept."""

    exit_code = 130

    def __init__(self, why: str) -> None:
        super().__init__(
            f"{why or 'interrupted'}: what was recorded by then was kept, run it again for the rest"
        )
