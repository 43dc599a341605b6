"""Bring stretches of files into the page cache, several at a time, before a start asks for them: what
`profiler/runner.py` does, with its errors in coldseek's words."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from profiler import runner
from profiler.errors import ColdseekError
from profiler.plan import KnownFile, Plan, row
from profiler.runner import METADATA
from profiler.units import show_path, show_plural

_SHOWN = 5


@dataclass(frozen=True)
class Changed:
    """A file that is not what it was. why: in words, without its name."""

    path: bytes
    why: str


def changes(files: Sequence[KnownFile]) -> tuple[Changed, ...]:
    """Which of these files are gone or changed since they were recorded. What is a file system's own always
    changes: nothing is known of what it was."""
    return tuple(changed_parts(files).values())


def changed_parts(files: Sequence[KnownFile]) -> dict[int, Changed]:
    """The same, by their places among `files`."""
    parts = {}
    for place, file in enumerate(files):
        if file.kind != METADATA and (why := _change(file)):
            parts[place] = Changed(file.path, why)
    return parts


def named(changed: Sequence[Changed]) -> str:
    """What changed, and how, in one line."""
    names = "; ".join(f"{show_path(file.path)} {file.why}" for file in changed[:_SHOWN])
    more = f"; and {show_plural(len(changed) - _SHOWN, 'more file')}" if len(changed) > _SHOWN else ""
    return f"changed since the trace was recorded: {names}{more}"


def refusal(changed: Sequence[Changed]) -> ColdseekError:
    """The error that names them, in one line."""
    return ColdseekError(f"{named(changed)}; record it again")


@dataclass(frozen=True)
class Budget:
    """How much of a plan is read at most, what the start needs first; None: without a limit."""

    bytes: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Prefetched:
    """bytes: that are in the page cache now; from_disk: those among them that were not there before, None
    where the kernel does not count them. left_out: devices whose file system's own blocks could not be read.
    changed: files that are not what they were, or cannot be read, and were left out.

    >>> coldseek.Prefetched(bytes=8192, from_disk=4096, left_out=()).changed
    ()
    """

    bytes: int
    from_disk: int | None
    left_out: tuple[Changed, ...]
    changed: tuple[Changed, ...] = ()


def prefetch(
    plan: Plan,
    budget: Budget = Budget(),
    beside: bool = False,
) -> Prefetched:
    """Read the stretches of the plan, in its order, into the page cache. beside: fewer requests at once, and
    what is needed first comes first.

    What file systems keep of their own comes first, as files cannot even be looked at without it; where it
    cannot be read, which takes root, that is not an error. Files that changed are left out. Raises
    ColdseekError where that leaves nothing, and for more than fits in memory.
    """
    if not os.path.exists("/proc/self/mountinfo"):
        from profiler.machine import procfs  # only then: a prefetch is to start fast

        procfs.check()
    if why := runner.too_large(runner.chosen(plan.stretches, budget.bytes)):
        raise ColdseekError(why)
    before = runner.fetched()
    size, whys = runner.prefetch(
        [row(file) for file in plan.files], plan.stretches, budget.bytes, budget.seconds, beside
    )
    after = runner.fetched()
    left_out = [(plan.files[place], why) for place, why in sorted(whys.items())]
    devices = tuple(Changed(file.path, why) for file, why in left_out if file.kind == METADATA)
    changed = tuple(Changed(file.path, why) for file, why in left_out if file.kind != METADATA)
    if changed and not size and budget.seconds is None:
        raise refusal(changed)
    return Prefetched(size, None if before is None or after is None else after - before, devices, changed)


def _change(file: KnownFile) -> str:
    """What is different; "": nothing."""
    place, why = runner.open_known(row(file), only_look=True)
    if place is not None:
        os.close(place)
    return why
