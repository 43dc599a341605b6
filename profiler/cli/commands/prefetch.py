"""coldseek prefetch: bring in what a recorded start reads, before it starts."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from profiler.cli.app import app
from profiler.cli.completion import traces, values
from profiler.cli.output import can_be_made, reading, say
from profiler.cli.traces import named_or_newest
from profiler.errors import UsageError
from profiler.units import show_bytes, show_path, show_plural, show_seconds

if TYPE_CHECKING:
    from profiler.machine.page_cache.prefetch import Changed, Prefetched
    from profiler.plan import Plan

MOST_SHOWN = 20


@app.command(epilog="Example: coldseek prefetch boot.trace.parquet && qemu-system-x86_64 ...")
def prefetch(
    trace: Annotated[
        str,
        typer.Argument(
            help="A trace, or a plan that --save made; default, but not as root: your newest trace here.",
            metavar="[TRACE|PLAN]",
            autocompletion=traces,
            show_default=False,
        ),
    ] = "",
    order: Annotated[
        str,
        typer.Option(
            help="device: by place on the device; time: as the start read it.",
            metavar="device|time",
            autocompletion=values("device", "time"),
        ),
    ] = "device",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be read, and read nothing.")
    ] = False,
    save: Annotated[
        str,
        typer.Option(
            help="Write the plan, a program that does it by itself and needs only Python; read nothing.",
            metavar="FILE",
        ),
    ] = "",
) -> None:
    """Bring in what a recorded start reads, before it starts.

    It is read into the page cache, in a good order and many at once.

    The start that follows then runs warm. Files that changed since the trace was recorded are left out.
    A plan (--save) is a program that runs by itself, and starts much faster than coldseek.
    """
    if not trace and os.geteuid() == 0:
        raise UsageError("as root name the trace: what it holds is read with root's rights")
    trace = named_or_newest(trace)
    from profiler import plan as plans
    from profiler import runner
    from profiler.machine.page_cache.prefetch import prefetch as read

    if plans.is_plan(trace):
        if save or order != "device":
            raise UsageError(f"{show_path(trace)} is a plan already, in its order; name a trace")
        wanted = plans.load(trace)
    else:
        wanted = _planned(trace, order, save)
    if save:
        plans.save(wanted, save)
        say(f"{_total(wanted)}; run {show_path(save)}, or coldseek prefetch {show_path(save)}")
    if dry_run:
        show(wanted)
    elif not save:
        got = read(wanted)
        for line in done(wanted, got, runner.age()):
            say(line)


def _planned(trace: str, order: str, save: str) -> Plan:
    from profiler.analysis.simulation.prefetch import plan, written
    from profiler.files.traces import load
    from profiler.plan import plan_of

    if save:
        can_be_made(save, trace)
    with reading(trace):
        found = load(trace)
        return plan_of(plan(found, order), found.files, written(found))


def _total(plan: Plan) -> str:
    return f"{show_bytes(plan.size)} in {show_plural(len(plan.stretches), 'piece')}"


def done(plan: Plan, got: Prefetched, seconds: float) -> Iterator[str]:
    """What is said of a prefetch. seconds: since coldseek was started."""
    for one in got.left_out:
        yield f"{show_path(one.path)}: {one.why}; without the file system's own blocks on it"
    yield from _of_changed(got.changed)
    files = show_plural(len(plan.files) - len(got.changed), "file")
    disk = "" if got.from_disk is None else f", {show_bytes(got.from_disk)} from the disk"
    took = f"in {show_seconds(seconds)} with its own start"
    yield f"prefetched {show_bytes(got.bytes)} of {files}{disk}, {took}"


def show(plan: Plan) -> None:
    """What would be read of which files, the most first."""
    from profiler.machine.page_cache.prefetch import changed_parts

    pieces = Counter(file for file, *_ in plan.stretches)
    sizes: Counter[int] = Counter()
    for file, _, size, _ in plan.stretches:
        sizes[file] += size
    for file, size in sizes.most_common(MOST_SHOWN):
        sys.stdout.write(f"{show_bytes(size):>10}  {pieces[file]:>6,}  {show_path(plan.files[file].path)}\n")
    more = len(sizes) - MOST_SHOWN
    files = show_plural(len(sizes), "file")
    sys.stdout.write(
        f"{_total(plan)}, of {files}" + (f", {more} of them not shown" if more > 0 else "") + "\n"
    )
    for line in _of_changed(tuple(changed_parts(plan.files).values())):
        say(line)


def _of_changed(changed: Sequence[Changed]) -> Iterator[str]:
    from profiler.machine.page_cache.prefetch import named

    if changed:
        yield f"left out: {named(changed)}"
