"""A recorded command with another image, or another format, in the place of the one it names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

import numpy as np

from profiler.errors import ColdseekError
from profiler.machine.processes.launch import find_program
from profiler.trace import Trace
from profiler.units import device_name, show_path

_FORMATS = ("format", "driver")
_READ_ONLY = ("readonly=on", "read-only=on", "readonly", "snapshot=on")


def program_of(trace: Trace) -> int:
    """The number of the file that the recorded command runs, of those that the trace knows."""
    if _is_machine(trace.meta.command[0]):
        raise ColdseekError(
            "the machine could write to its disks, and the trace knows no image; record it with --image"
        )
    with in_folder(trace.meta.cwd):
        facts = os.stat(find_program(trace.meta.command[0]))
    files = trace.files
    same = (files["inode"] == facts.st_ino).fillna(False).to_numpy(bool)
    same &= (files["device"] == device_name(facts.st_dev)).to_numpy(bool)
    if not same.any():
        raise ColdseekError(
            f"the trace does not say that it is of this {show_path(trace.meta.command[0])}; record it "
            f"again, by the tracer kernel or ptrace"
        )
    return int(np.flatnonzero(same)[0])


def substituted(
    command: Sequence[str], image: bytes, copy: bytes, old_format: str, new_format: str
) -> list[str]:
    """The command with `copy` in place of the image, and its format in place of the old one, where these are
    said; qemu-system with -snapshot, unless it only reads.

    The image is found by whatever name leads to it, as an argument by itself or as a value in options like
    `file=NAME,...`. Raises ColdseekError where it is not found, or where a machine could write to it.
    """
    name, found, safe = os.fsdecode(copy), False, True
    made = [command[0]]
    for argument in command[1:]:
        if _is(argument, image):
            found, safe = True, False
            made.append(name)
            continue
        parts = _options(argument)
        places = [at for at, part in enumerate(parts) if _is(_value(part), image)]
        if places:
            found = True
            safe = safe and any(part in _READ_ONLY for part in parts)
            for at, part in enumerate(parts):
                key, _, value = part.partition("=")
                if at in places:
                    parts[at] = f"{key}={name.replace(',', ',,')}"
                elif key in _FORMATS and new_format and value == old_format:
                    parts[at] = f"{key}={new_format}"
            argument = ",".join(parts)
        made.append(argument)
    if not found:
        raise ColdseekError(
            f"the recorded command does not name {show_path(image)}, so it cannot be run on a copy of it"
        )
    if new_format and os.path.basename(command[0]).startswith("qemu-"):
        for at, argument in enumerate(made[:-1]):
            if argument in ("-f", "--format") and made[at + 1] == old_format:
                made[at + 1] = new_format
    if _is_machine(command[0]) and not safe and "-snapshot" not in made:
        if any(part in ("-blockdev", "--blockdev") for part in made):
            raise ColdseekError("the machine could write to its -blockdev; record it with read-only=on")
        made.append("-snapshot")
    return made


def _is_machine(program: str) -> bool:
    return os.path.basename(program).startswith(("qemu-system", "qemu-kvm", "kvm"))


def _is(name: str, image: bytes) -> bool:
    """Whether a name leads to the image."""
    if not name or "\0" in name:
        return False
    try:
        return os.path.samefile(name, image)
    except (OSError, ValueError):
        return False


def _options(argument: str) -> list[str]:
    """Options as QEMU takes them: a comma within a value stands twice."""
    return [part.replace("\0", ",,") for part in argument.replace(",,", "\0").split(",")]


def _value(part: str) -> str:
    return part.partition("=")[2].replace(",,", ",")


@contextlib.contextmanager
def in_folder(path: str) -> Iterator[None]:
    """Where the command was recorded: names in it start from there."""
    if not path:
        yield
        return
    try:
        context = contextlib.chdir(path)
        context.__enter__()
    except OSError as error:
        raise ColdseekError(
            f"the folder that the command was recorded in, {show_path(path)}: {error.strerror}"
        ) from error
    try:
        yield
    finally:
        context.__exit__(None, None, None)
