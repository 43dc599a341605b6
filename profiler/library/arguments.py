"""What people pass, and what the rooms below take: names of files and devices stand for what they name, and
one thing for several."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from profiler.errors import UsageError
from profiler.units import show_path

if TYPE_CHECKING:
    from profiler.devices.model import Device
    from profiler.machine.finish.finish import Finish
    from profiler.trace import Trace

Named = str | os.PathLike[str]
"""A file by its name."""

GRACE_S = 3.0
MOST_RUNS = 3
"""Untraced runs of each kind where nobody says how many, unless fewer agree."""


def nothing(_: str) -> None:
    """What is told of a run to nobody."""


def trace_of(trace: Trace | Named) -> Trace:
    """A trace, or the file of that name. Raises UsageError for anything else, and as `load` does."""
    if isinstance(trace, str | os.PathLike):
        from profiler.files.traces import load

        return load(trace)
    from profiler.trace import Trace

    if not isinstance(trace, Trace):
        raise UsageError(f"a trace is a Trace or the name of its file, not {_kind(trace)}")
    return trace


def device_of(device: Device | Named) -> Device:
    """A device, or the preset or the device file of that name. Raises UsageError for anything else, and as
    `devices.find` does."""
    if isinstance(device, str | os.PathLike):
        from profiler.devices.loading import find

        return find(os.fspath(device))
    from profiler.devices.model import Device

    if not isinstance(device, Device):
        raise UsageError(f"a device is a Device, the name of a preset or a device file, not {_kind(device)}")
    return device


def devices_of(
    devices: Device | Named | Iterable[Device | Named] | None, usual: Callable[[], list[Device]]
) -> list[Device]:
    """One device or several, None for the `usual` ones. Raises UsageError where there are none."""
    if devices is None:
        return usual()
    if isinstance(devices, Iterable) and not isinstance(devices, str | os.PathLike):
        several = [device_of(device) for device in devices]
        if not several:
            raise UsageError("there are no devices to project on; name one, such as 'hdd-7200'")
        return several
    return [device_of(devices)]


def command_of(command: Sequence[Named | bytes]) -> list[str]:
    """The words of a command. Raises UsageError for a text, which nobody splits, and for no words."""
    if isinstance(command, str | bytes | os.PathLike):
        raise UsageError(f"a command is a list of words, such as {_split(os.fsdecode(command))}")
    try:
        words = [os.fsdecode(word) for word in command]
    except TypeError as error:
        raise UsageError(f"a command is a list of words, which are texts or paths: {error}") from error
    if not words or not words[0]:
        raise UsageError("there is no command to run; give a list of words, such as ['ls', '/']")
    if any("\0" in word for word in words):
        raise UsageError("a word of the command holds a NUL byte, which no program can be given")
    return words


def around_of(command: str | Sequence[Named], name: str) -> tuple[str, ...]:
    """A command for around each run: its words, or a text that is split as a shell does. Empty: none."""
    if isinstance(command, str):
        try:
            return tuple(shlex.split(command))
        except ValueError as error:
            raise UsageError(f"{name} '{show_path(command)}': {error}") from error
    return tuple(command_of(command)) if command else ()


def several(words: str | Iterable[str]) -> list[str]:
    """One text or several."""
    return [words] if isinstance(words, str) else list(words)


def finish_of(
    until: str | Iterable[str] | None,
    seconds: float | None,
    timeout: float | None,
    stop: bool = False,
    grace: float = GRACE_S,
) -> Finish | None:
    """When a run is over; None: at its end, as nothing else was asked for. Raises UsageError."""
    conditions = several(until or ())
    if not conditions and seconds is None and timeout is None:
        if stop:
            raise UsageError("--stop ends what runs when it is over; say when that is with --until or --for")
        return None
    for name, value in (("--for", seconds), ("--timeout", timeout)):
        if value is not None and not 0.1 <= value <= 1e9:
            raise UsageError(f"{name} is {value:g}; it takes seconds, from 0.1 to 1e9")
    from profiler.machine.finish.conditions import parse
    from profiler.machine.finish.finish import Finish

    return Finish([parse(one) for one in conditions], seconds, timeout, stop, grace)


def _kind(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}".removeprefix("builtins.")


def _split(command: str) -> str:
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    return show_path(str(words or ["ls", "/"]))
