"""coldseek advise: what would make a recorded start of a disk image faster, and whether it does."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from profiler.cli.app import app
from profiler.cli.consent import ask, check_author
from profiler.cli.output import Format, Progress, find_devices, reading, say, width
from profiler.cli.record import AS_ROOT, TRACER, runs_as
from profiler.cli.report import DEVICE, FORMAT, TRACE, emit_json
from profiler.errors import ColdseekError, UsageError
from profiler.units import show_path

if TYPE_CHECKING:
    from profiler.analysis.whatif import Advice
    from profiler.devices.model import Device
    from profiler.owner import Owner
    from profiler.report.advice import Verification
    from profiler.trace import Trace

DEVICES = ("hdd-7200", "sata-ssd", "nvme")
"""Those that are shown where none is named: they differ most."""

MEASURED_FOR = 10.0
"""Seconds to measure the device here, to project on it what is then verified."""


@app.command(epilog="Example: coldseek advise cold.trace.parquet --verify")
def advise(
    trace: TRACE,
    device: DEVICE = None,
    form: FORMAT = Format.TEXT,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Make these copies, run the command on each and compare; they are removed."
        ),
    ] = False,
    runs: Annotated[
        int, typer.Option(min=1, max=100, help="With --verify: untraced cold runs of each.", metavar="N")
    ] = 3,
    scratch: Annotated[
        str,
        typer.Option(
            "--scratch",
            help="With --verify: make the copies here; default: beside the image.",
            metavar="DIR",
        ),
    ] = "",
    tracer: TRACER = "auto",
    as_root: AS_ROOT = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="With --verify: run the recorded command without asking.")
    ] = False,
) -> None:
    """Say what would make the start of a disk image faster.

    Projected are the same start on other layouts of the image, after a prefetch, and on a faster device.
    With --verify the recorded command is shown, copies are made, it is run on each, cold and warm, and what
    was projected stands beside what was measured. The image itself is only ever read. The first --device
    then is the one here; without any, it is measured.
    """
    if verify:
        from profiler.capture.warden import step_below

        step_below()
    from profiler.analysis.findings import find
    from profiler.analysis.projection import requests
    from profiler.analysis.whatif import advise as advised
    from profiler.analysis.whatif import image_of
    from profiler.devices.loading import find as find_device
    from profiler.devices.loading import presets
    from profiler.report import advice as page
    from profiler.trace import load

    if scratch and not os.path.isdir(scratch):
        raise UsageError(f"there is no directory {show_path(scratch)} for --scratch")
    if scratch and not verify:
        raise UsageError("--scratch goes with --verify: without it no copies are made")
    devices = find_devices(device or []) or [find_device(name) for name in DEVICES]
    with open(trace, "rb") if verify else contextlib.nullcontext() as source, reading(trace):
        if source is not None:
            check_author(source.fileno(), trace)
        found = load(source or trace)  # what was looked at, whatever its name means by now
        image = image_of(found)
        if image is None:
            raise ColdseekError(
                f"{show_path(trace)} is of no disk image whose structures are known; record a command that "
                f"reads one, as in: coldseek record --cache cold -- qemu-img map disk0.qcow2"
            )
        reads = found.reads()
        findings = find(found, reads, requests(found, reads))
        made = advised(found, image, devices, presets())
    verified = None
    if verify:
        here, owner = devices[0] if device else None, runs_as(as_root)
        ask(found.meta.command, "the recorded command is run on the image and on copies of it", owner, yes)
        try:
            verified = _verify(found, made, here, runs, scratch, tracer, owner)
        except KeyboardInterrupt as error:
            say(f"{str(error) or 'interrupted'}; the copies were removed")
            raise typer.Exit(130) from error
    path = found.files["path"].iloc[image.file]
    if form is Format.JSON:
        emit_json(page.json(made, findings, path, trace, found.meta, verified))
    else:
        lines = page.text(made, findings, path, trace, found.meta, verified, width())
        sys.stdout.write("\n".join(lines) + "\n")


def _verify(
    trace: Trace, advice: Advice, here: Device | None, runs: int, scratch: str, tracer: str,
    owner: Owner | None,
) -> Verification:  # fmt: skip
    """Run what was advised, and project it on the device that it was run on."""
    from profiler.analysis.observed import device_requests
    from profiler.analysis.prefetch import plan
    from profiler.analysis.whatif import advise as advised
    from profiler.capture.prefetch import prefetch
    from profiler.capture.verify import Subject, check
    from profiler.capture.verify import verify as run_all
    from profiler.plan import plan_of
    from profiler.report.advice import Compared, Verification

    image = advice.image
    check(trace, image.file)
    with Progress() as progress:
        if here is None:
            progress.say(f"measuring the device here, about {MEASURED_FOR:.0f} s (--device names one)")
            folder = scratch or os.path.dirname(os.fsdecode(trace.files["path"].iloc[image.file]))
            here = _measured(folder)
        wanted = plan_of(plan(trace), trace.files)
        subjects = [Subject("now")]
        for option in advice.options:
            if option.convert or (option.key == "defragmented" and len(image.files) == 1):
                subjects.append(Subject(option.key, option.convert or None, not option.convert))
            elif option.key == "prefetch":
                subjects.append(Subject(option.key, before=lambda: prefetch(wanted)))
        results = run_all(
            trace, image.file, image.format, subjects, runs, scratch=scratch, tracer=tracer, owner=owner,
            say=progress.say,
        )  # fmt: skip
    again = advised(trace, image, [here], [], all_of_them=True)
    costs = {"now": again.now[0], **{option.key: option.costs[0] for option in again.options}}
    names = {"now": "as it is", **{option.key: option.name for option in advice.options}}
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


def _measured(folder: str) -> Device:
    """The device that a folder lies on, as coldseek calibrate measures it."""
    from profiler.capture.calibrate import calibrate
    from profiler.devices.fitting import fit
    from profiler.devices.model import Device

    found = calibrate(folder, MEASURED_FOR)
    fitted = fit(
        found.reads, found.rates, span=found.span, capacity=found.facts["size_bytes"],
        rotational=found.facts["rotational"], whole=False, fresh=bool(found.host["virtual"]),
    )  # fmt: skip
    disk = show_path(str(found.facts["disk"] or "the device"))
    return Device(
        "here", f"{disk} as it was just measured", "measured", fitted.kind, fitted.model, fitted.low_ratio,
        fitted.high_ratio,
    )  # fmt: skip
