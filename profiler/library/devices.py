"""Devices: found by name, changed in a number, measured."""

from __future__ import annotations

import dataclasses
import datetime
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from profiler.errors import UsageError
from profiler.library.arguments import Named, device_of
from profiler.library.keywords import words_of_python
from profiler.units import show_bytes, show_path, show_plural, show_seconds

if TYPE_CHECKING:
    from profiler.calibration.measure import Measured
    from profiler.devices.fitting.fit import Fitted
    from profiler.devices.model import Device

SUFFIX = ".toml"


@words_of_python()
def device(name: Device | Named, **changes: float) -> Device:
    """A device to project on: a preset by its name, or a device file, TOML or JSON.

    name: of a preset (`presets`), or of a file; a name that has a slash or ends in .toml is one. changes:
    numbers of its model that are others, by the keys of a device file, such as rpm=5400.

    Raises UsageError for an unknown name, which offers the nearest, an unknown key, and a number out of
    bounds; ColdseekError for a file that cannot be read or is no device.

    >>> coldseek.device("hdd-7200").title
    '7,200 rpm desktop disk of 2010'
    >>> coldseek.device("hdd-7200", rpm=-1)
    Traceback (most recent call last):
    profiler.errors.UsageError: hdd-7200: rpm = -1 is not a number from 300 to 100000
    """
    from profiler.devices.loading import BOUNDS

    named = device_of(name)
    if not changes:
        return named
    keys = {field.name for field in dataclasses.fields(named.model)} & set(BOUNDS)  # type: ignore[arg-type]
    for key, value in changes.items():
        if key not in keys:
            raise UsageError(f"{named.name} has no {show_path(key)}; it has {', '.join(sorted(keys))}")
        low, high = BOUNDS[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            shown = show_path(str(value)[:40])
            raise UsageError(f"{named.name}: {key} = {shown} is not a number from {low:g} to {high:g}")
    model = dataclasses.replace(named.model, **changes)  # type: ignore[type-var]
    words = ", ".join(f"{key} {value:g}" for key, value in changes.items())
    return dataclasses.replace(named, model=model, title=f"{named.title}, with {words}")


@words_of_python()
def calibrate(
    path: Named,
    *,
    seconds: float = 30,
    existing: bool = False,
    output: Named | None = None,
    progress: Callable[[float, str], None] = lambda _share, _words: None,
) -> Device:
    """Measure the device that a path lies on, as `coldseek calibrate` does; it is only ever read.

    path: a directory, in which a file of up to 1 GiB without a name is made for it; a large file; or a block
    device, which takes root. seconds: about how long, from 1 to 3600. existing: of a directory, read the
    largest files that are in it. output: save it there too, as a .toml. progress: called with the share of
    the time that is over, and words.

    Raises UsageError for a time out of bounds, ColdseekError where reads do not reach a device.

    >>> here = coldseek.calibrate(".", seconds=1)
    >>> coldseek.project(trace, here).seconds > 0
    True
    """
    if not 1 <= seconds <= 3600:
        raise UsageError(f"seconds is {seconds:g}; give a number from 1 to 3600")
    saved = "" if output is None else os.fspath(output)
    if saved and not saved.endswith(SUFFIX):
        raise UsageError(f"{show_path(saved)} does not end in {SUFFIX}, by which a device file is known")
    from profiler.calibration.measure import calibrate as measure
    from profiler.devices.fitting.preset import to_toml
    from profiler.files.writing import replacing

    found = measure(os.fspath(path), seconds, progress, existing=existing)
    name = os.path.splitext(os.path.basename(saved))[0] or (found.facts.disk or "device").replace("/", "-")
    command = f"coldseek calibrate {'--existing ' if existing else ''}{show_path(os.fspath(path))}"
    _, device = fitted_device(found, name, command)
    if saved:
        with replacing(saved) as file:
            file.write(to_toml(device).encode())
    return device


def fitted_device(found: Measured, name: str, command: str) -> tuple[Fitted, Device]:
    """What was measured, as a model fits it, and the device of that name. command: that measured it."""
    from profiler.devices.fitting.fit import fit
    from profiler.devices.fitting.preset import source
    from profiler.devices.model import Device
    from profiler.machine.cgroups import holds

    fitted = fit(
        found.reads, found.rates, span=found.span, capacity=found.facts.size_bytes,
        rotational=found.facts.rotational, whole=found.kind == "block device",
        fresh=found.kind == "directory" and bool(found.host.virtual),
    )  # fmt: skip
    today = datetime.date.today().isoformat()
    circumstances = f"Measured {today} by '{command}': {circumstances_of(found)}."
    title = f"{_disk(found)}, measured {today}"
    return fitted, Device(
        name, title, source(fitted, circumstances), fitted.kind, fitted.model,
        fitted.low_ratio, fitted.high_ratio, handoff_us=fitted.handoff_us, pause_us=fitted.pause_us,
        counts="bios" if holds(str(found.facts.disk_number)) else "requests",
    )  # fmt: skip


def circumstances_of(found: Measured) -> str:
    """What was read to measure it, on what, and for how long."""
    what = {
        "directory": "a new file of",
        "file": "a file of",
        "files": "files of",
        "block device": "a block device of",
    }
    kernel = f"Linux {found.host.kernel}"
    on = f", {found.filesystem}" if found.filesystem else ""
    rounds = f"{show_plural(found.rounds, 'round')} in {show_seconds(found.seconds)}"
    return f"{what[found.kind]} {show_bytes(found.size)} on {_disk(found)}{on}, {kernel}; {rounds}"


def _disk(found: Measured) -> str:
    facts = found.facts
    named = facts.disk or "an unknown device"
    words = [facts.model or "", show_bytes(facts.size_bytes) if facts.size_bytes else ""]
    if found.host.virtual:
        words.append("virtual")
    known = ", ".join(word for word in words if word)
    return f"{show_path(named)} ({show_path(known)})" if known else show_path(named)
