"""coldseek prefetch: bring in what a recorded start reads, before it starts."""

from __future__ import annotations

import os
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from profiler.cli.app import app
from profiler.cli.completion import traces, values
from profiler.cli.options import DEVICE
from profiler.cli.output import can_be_made, find_devices, reading, say, width
from profiler.cli.traces import named_or_newest
from profiler.errors import ColdseekError, UsageError
from profiler.units import show_bytes, show_path, show_plural, show_seconds

if TYPE_CHECKING:
    from profiler.machine.page_cache.prefetch import Budget, Changed, Prefetched
    from profiler.plan import Plan
    from profiler.trace import Trace

MOST_SHOWN = 20


class PlanFormat(StrEnum):
    """What a plan can be printed as."""

    TEXT = "text"
    RANGES = "ranges"


@app.command(epilog="Example: coldseek prefetch boot.trace.parquet --save boot.plan; ./boot.plan && PROGRAM")
def prefetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Traces of one start, or a plan of --save; default, but not as root: your newest here.",
            metavar="[TRACE...|PLAN]",
            autocompletion=traces,
            show_default=False,
        ),
    ] = None,
    order: Annotated[
        str,
        typer.Option(
            help="device: by place on the device; time: as the start read it.",
            metavar="device|time",
            autocompletion=values("device", "time"),
        ),
    ] = "device",
    least: Annotated[
        int | None,
        typer.Option(
            "--in", help="Of several traces: what so many of them read; default: 2.", metavar="N", min=1
        ),
    ] = None,
    budget: Annotated[
        str,
        typer.Option(
            help="Read at most so much, or so long, of what the start needs first; as 20MiB or 1.5s.",
            metavar="SIZE|TIME",
        ),
    ] = "",
    beside: Annotated[
        bool, typer.Option("--beside", help="Return at once, and read while the start runs.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be read and whether it pays; read nothing.")
    ] = False,
    device: DEVICE = None,
    save: Annotated[
        str,
        typer.Option(
            help="Write the plan, a program that does it by itself and needs only Python; read nothing.",
            metavar="PLAN",
        ),
    ] = "",
    unit: Annotated[
        str,
        typer.Option(
            help="With --save: write a systemd service too, and the drop-in that has UNIT wait for it.",
            metavar="UNIT",
        ),
    ] = "",
    hook: Annotated[
        str,
        typer.Option(
            help="With --save: write a hook too, that runs it before a guest or a container.",
            metavar="libvirt|oci",
            autocompletion=values("libvirt", "oci"),
        ),
    ] = "",
    form: Annotated[
        PlanFormat,
        typer.Option(
            "--format", help="ranges: print what the start touched, in order, as JSON; read nothing."
        ),
    ] = PlanFormat.TEXT,
) -> None:
    """Bring in what a recorded start reads, before it starts.

    It is read into the page cache, in a good order and many at once.

    The start that follows then runs warm. Files that changed since the trace was recorded are left out.
    A plan (--save) is a program that runs by itself, and starts much faster than coldseek.

    Of several traces, only what at least two of them read is in the plan.
    """
    if not names and os.geteuid() == 0:
        raise UsageError("as root name the trace: what it holds is read with root's rights")
    names = names or [named_or_newest("")]
    if (unit or hook) and not save:
        raise UsageError("--unit and --hook run a plan; say with --save where it is to be")
    limit = _budget(budget)
    from profiler import plan as plans
    from profiler import runner
    from profiler.machine.page_cache.prefetch import prefetch as read

    if any(map(plans.is_plan, names)):
        if len(names) > 1 or save or order != "device" or least or form is not PlanFormat.TEXT:
            raise UsageError(f"{show_path(names[0])} is a plan already, in its order; name a trace")
        wanted, starts = plans.load(names[0]), []
    else:
        if save:
            can_be_made(save, names[0])
        starts = _loaded(names)
        if form is PlanFormat.RANGES:
            _print_ranges(starts)
            return
        wanted = _planned(names, starts, order, least)
    if save:
        plans.save(wanted, save)
        say(f"{_total(wanted)}; run {show_path(save)}, or coldseek prefetch {show_path(save)}")
        for line in (*_losses(starts), *_runs_it(save, unit, hook)):
            say(line)
    if dry_run:
        show(wanted)
        if len(starts) == 1:
            _project(starts[0], device)
    elif not save and (not beside or runner.step_aside()):
        got = read(wanted, budget=limit, beside=beside)
        for line in done(wanted, got, runner.age(), bool(starts)):
            say(line)


def _budget(words: str) -> Budget:
    from profiler.machine.page_cache.prefetch import Budget
    from profiler.runner import budget

    try:
        return Budget(*budget(words)) if words else Budget()
    except ValueError as error:
        raise UsageError(f"--budget {words!r}: {error}") from error


def _loaded(names: Sequence[str]) -> list[Trace]:
    from profiler.files.traces import load

    starts = []
    for name in names:
        with reading(name):
            starts.append(load(name))
        if starts[-1].meta.device_only:
            raise UsageError(
                f"{show_path(name)} has requests of disks and knows no files; record the start itself"
            )
    return starts


def _planned(names: Sequence[str], starts: Sequence[Trace], order: str, least: int | None) -> Plan:
    from profiler.plan import plan_of

    with reading(names[0]):
        if len(starts) == 1:
            from profiler.analysis.simulation.prefetch import plan, written

            if least not in (None, 1):
                raise UsageError(f"--in {least}: there is one trace; name several of the same start")
            return plan_of(plan(starts[0], order), starts[0].files, written(starts[0]))
        from profiler.analysis.starts import Starts
        from profiler.report.text.prefetch import alike

        several = Starts(starts)
        stretches, files, changing = several.plan(order, least or 2)
        say(alike(several.alike(least or 2)))
        return plan_of(stretches, files, changing)


def _print_ranges(starts: Sequence[Trace]) -> None:
    from profiler.cli.commands.report import emit_json
    from profiler.report.ranges import ranges

    if len(starts) > 1:
        raise UsageError("--format ranges tells of one start; name one trace")
    emit_json(ranges(starts[0]))


def _project(trace: Trace, device: Sequence[str] | None) -> None:
    from profiler.analysis.advice.paying import paying
    from profiler.devices import usual
    from profiler.report.text import write
    from profiler.report.text.prefetch import pays

    try:
        results = paying(trace, find_devices(device or []) or usual())
    except ColdseekError as error:
        say(f"whether it pays is not known: {error}")
        return
    write(pays(results, width()), sys.stdout)


def _losses(starts: Sequence[Trace]) -> Iterator[str]:
    """Where the plan of a start does not pay: said before it is run. Of several starts, the last tells."""
    from profiler.analysis.advice.paying import paying
    from profiler.devices import usual

    try:
        losses = [result.device for result in paying(starts[-1], usual()) if result.verdict != "before"]
    except ColdseekError as error:
        yield f"whether it pays is not known: {error}"
        return
    if losses:
        yield f"run before the start it does not pay on {', '.join(losses)} (projected; see --dry-run)"


def _runs_it(save: str, unit: str, hook: str) -> Iterator[str]:
    """Write what runs the plan; gives what to do with it."""
    from profiler.files.writing import replacing
    from profiler.report.units import drop_in
    from profiler.report.units import hook as hook_of
    from profiler.report.units import service as service_of

    path = os.path.abspath(save)
    if unit:
        base = f"{save}-{unit.rpartition('.')[0]}"
        name = os.path.basename(base) + ".service"
        for suffix, text in ((".service", service_of(path, unit)), (".conf", drop_in(name, unit))):
            with replacing(base + suffix) as file:
                file.write(text.encode())
        to = f"/etc/systemd/system/{unit}.d/prefetch.conf"
        yield _command("install", "-D", "-m", "644", f"{base}.service", f"/etc/systemd/system/{name}")
        yield _command("install", "-D", "-m", "644", f"{base}.conf", to) + "; systemctl daemon-reload"
    if hook:
        text, suffix, where = hook_of(path, hook), "", "/etc/libvirt/hooks/qemu.d/"
        if hook == "oci":
            suffix, where = ".json", "/usr/share/containers/oci/hooks.d/"
        with replacing(f"{save}-{hook}{suffix}", mode=0o666 if suffix else 0o777) as file:
            file.write(text.encode())
        yield _command("cp", f"{save}-{hook}{suffix}", where)


def _command(*words: str) -> str:
    return show_path(shlex.join(words))


def _total(plan: Plan) -> str:
    return f"{show_bytes(plan.size)} in {show_plural(len(plan.stretches), 'piece')}"


def done(plan: Plan, got: Prefetched, seconds: float, of_trace: bool) -> Iterator[str]:
    """What is said of a prefetch. seconds: since coldseek was started. of_trace: it was planned now."""
    for device in got.left_out:
        yield f"{show_path(device.path)}: {device.why}; without the file system's own blocks on it"
    yield from _of_changed(got.changed)
    files = show_plural(len(plan.files) - len(got.changed), "file")
    disk = "" if got.from_disk is None else f", {show_bytes(got.from_disk)} from the disk"
    took = f"in {show_seconds(seconds)} with its own start"
    yield f"prefetched {show_bytes(got.bytes)} of {files}{disk}, {took}"
    if of_trace:
        yield "a plan starts in a fraction of that time: coldseek prefetch TRACE --save PLAN"


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
