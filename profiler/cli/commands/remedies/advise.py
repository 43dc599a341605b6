"""coldseek advise: what would make a recorded start faster, and whether it does."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from profiler.cli.app import app
from profiler.cli.commands.record import runs_as
from profiler.cli.commands.report import emit_json
from profiler.cli.consent import ask, check_author
from profiler.cli.options import AS_ROOT, DEVICE, FORMAT, TRACE, TRACER
from profiler.cli.output import Format, Progress, find_devices, reading, say, width
from profiler.cli.traces import named_or_newest
from profiler.errors import UsageError
from profiler.units import show_path, show_plural

if TYPE_CHECKING:
    from profiler.analysis.advice.options import Advice
    from profiler.devices.model import Device
    from profiler.files.owner import Owner
    from profiler.report.advice.verified import Verification
    from profiler.trace import Trace

DEVICES = ("hdd-7200", "sata-ssd", "nvme")
"""Those that are shown where none is named: they differ most."""

MEASURED_FOR = 10.0
"""Seconds to measure the device here, to project on it what is then verified."""


@app.command(epilog="Example: coldseek advise cold.trace.parquet --verify")
def advise(
    trace: TRACE = "",
    device: DEVICE = None,
    form: FORMAT = Format.TEXT,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Run the command again, as it is, prefetched and on copies of its image, and compare.",
        ),
    ] = False,
    runs: Annotated[
        int, typer.Option(min=1, max=100, help="With --verify: untraced cold runs of each.", metavar="N")
    ] = 3,
    scratch: Annotated[
        str,
        typer.Option(
            "--scratch",
            help="With --verify: make copies of an image here; default: beside it.",
            metavar="DIR",
        ),
    ] = "",
    tracer: TRACER = "auto",
    as_root: AS_ROOT = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --verify: run the recorded command without asking.")
    ] = False,
) -> None:
    """Say what would make a start faster.

    Projected are the same start after a prefetch, with more read-ahead, on a faster device and as one
    sequential read; of a disk image, on other layouts of it. With --verify the recorded command is shown and
    run cold and warm: as it is, prefetched, and on copies of the image. What was projected then stands
    beside what was measured. The image itself is only ever read. The first --device then is the one here;
    without any, it is measured.
    """
    if verify and not trace:
        raise UsageError("--verify runs the command that a trace holds: name the trace")
    trace = named_or_newest(trace)
    if verify:
        from profiler.studies.warden import step_below

        step_below()
    from profiler.analysis.advice.findings import find
    from profiler.analysis.advice.options import advise as advised
    from profiler.analysis.cost.costs import costs
    from profiler.analysis.simulation.projection import requests
    from profiler.devices.loading import find as find_device
    from profiler.devices.loading import presets
    from profiler.files.traces import load
    from profiler.report.advice import page
    from profiler.report.advice.verified import by_measured

    if scratch and not os.path.isdir(scratch):
        raise UsageError(f"there is no directory {show_path(scratch)} for --scratch")
    if scratch and not verify:
        raise UsageError("--scratch goes with --verify: without it no copies are made")
    devices = find_devices(device or []) or [find_device(name) for name in DEVICES]
    with open(trace, "rb") if verify else contextlib.nullcontext() as source, reading(trace):
        if source is not None:
            check_author(source.fileno(), trace)
        found = load(source or trace)  # what was looked at, whatever its name means by now
        reads = found.reads()
        cold = requests(found, reads)
        known = costs(found, reads, cold)
        findings = find(found, reads, cold, known)
        made = advised(found, devices, presets(), cold=cold, found=known)
    if scratch and made.image is None:
        raise UsageError("--scratch is for copies of a disk image, and this start reads none that is known")
    verified = None
    if verify:
        here, owner = devices[0] if device else None, runs_as(as_root)
        ask(found.meta.command, _run_on(found, made), owner, yes)
        try:
            verified = _verify(found, made, here, runs, scratch, tracer, owner)
        except KeyboardInterrupt as error:
            left = "" if made.image is None else "; the copies were removed"
            say(f"{str(error) or 'interrupted'}{left}")
            raise typer.Exit(130) from error
        made = by_measured(made, verified)
    path = b"" if made.image is None else found.files["path"].iloc[made.image.file]
    if form is Format.JSON:
        emit_json(page.json(made, findings, path, trace, found.meta, verified))
    else:
        lines = page.text(made, findings, path, trace, found.meta, verified, width())
        sys.stdout.write("\n".join(lines) + "\n")


def _run_on(trace: Trace, advice: Advice) -> str:
    """What is asked for: what the recorded command will do."""
    if advice.image is not None:
        return "the recorded command is run on the image and on copies of it"
    wrote = trace.writes()["file"].nunique()
    files = f"; it wrote to {show_plural(wrote, 'file')} when it was recorded" if wrote else ""
    return f"the recorded command is run again, several times{files}"


def _verify(
    trace: Trace, advice: Advice, here: Device | None, runs: int, scratch: str, tracer: str,
    owner: Owner | None,
) -> Verification:  # fmt: skip
    """Run what was advised, and project it on the device that it was run on."""
    from profiler.analysis.advice.options import advise as advised
    from profiler.analysis.cost.below_the_program import device_requests
    from profiler.analysis.simulation.prefetch import plan, written
    from profiler.machine.page_cache.prefetch import prefetch
    from profiler.plan import plan_of
    from profiler.report.advice.verified import Compared, Verification
    from profiler.studies.verify import Subject, check
    from profiler.studies.verify import verify as run_all

    image = advice.image
    check(trace, None if image is None else image.file)
    with Progress() as progress:
        if here is None:
            progress.say(f"measuring the device here, about {MEASURED_FOR:.0f} s (--device names one)")
            here = _measured(scratch or _folder(trace, advice))
        wanted = plan_of(plan(trace), trace.files, written(trace))
        subjects = [Subject("now"), Subject("prefetch", before=lambda: prefetch(wanted))]
        for option in advice.options:
            if option.convert or option.key == "defragmented":
                subjects.append(Subject(option.key, option.convert or None, not option.convert))
        file, form = (None, "") if image is None else (image.file, image.format)
        results = run_all(
            trace, file, form, subjects, runs, scratch=scratch, tracer=tracer, owner=owner,
            say=progress.say,
        )  # fmt: skip
    again = advised(trace, [here], [], all_of_them=True)
    costs = {"now": again.now[0], **{option.key: option.costs[0] for option in again.options}}
    names = {"now": "as it is", **{option.key: option.name for option in again.options}}
    compared = []
    for one in results:
        seen = device_requests(one.trace) if one.trace is not None else None
        compared.append(
            Compared(
                one.key,
                names[one.key],
                costs[one.key],
                one.cold,
                one.warm,
                one.cold_s,
                one.warm_s,
                None if seen is None else seen.requests,
                None if seen is None else seen.bytes,
                one.bytes,
                one.faults,
                one.failed,
            )
        )
    return Verification(here.name, here.title, runs, tuple(compared))


def _folder(trace: Trace, advice: Advice) -> str:
    """Where to measure the device: beside the image, or the file of which most is read."""
    from profiler.trace import host_path, read_bytes

    read = read_bytes(trace).index
    number = advice.image.file if advice.image is not None else int(read[0]) if len(read) else None
    return trace.meta.cwd if number is None else os.path.dirname(os.fsdecode(host_path(trace.files, number)))


def _measured(folder: str) -> Device:
    """The device that a folder lies on, as coldseek calibrate measures it."""
    from profiler.calibration.measure import calibrate
    from profiler.devices.fitting.fit import fit
    from profiler.devices.model import Device

    found = calibrate(folder, MEASURED_FOR)
    fitted = fit(
        found.reads, found.rates, span=found.span, capacity=found.facts.size_bytes,
        rotational=found.facts.rotational, whole=False, fresh=bool(found.host.virtual),
    )  # fmt: skip
    disk = show_path(str(found.facts.disk or "the device"))
    return Device(
        "here", f"{disk} as it was just measured", "measured", fitted.kind, fitted.model, fitted.low_ratio,
        fitted.high_ratio, handoff_us=fitted.handoff_us, pause_us=fitted.pause_us,
    )  # fmt: skip
