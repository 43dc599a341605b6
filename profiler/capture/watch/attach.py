"""Watching those who run already, until they end or are not to be watched any more."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence

from profiler.capture.calls.event_log import Recorder
from profiler.capture.watch.run import observe
from profiler.capture.watch.watcher import check, own_processes
from profiler.capture.watch.whom.targets import Watched, parse
from profiler.errors import UsageError
from profiler.trace import Trace


def attach(
    targets: Sequence[str],
    seconds: float | None = None,
    started: Callable[[Recorder], None] | None = None,
) -> Trace:
    """Observe targets (see `targets.parse`), and what they start, for `seconds`, until Ctrl-C, or where
    they are processes until these have ended.

    Raises ColdseekError (and its kinds) if there are no such ones or the kernel's trace cannot be had.
    """
    wanted = [parse(text) for text in targets]
    if any(target.kind == "none" for target in wanted):
        raise UsageError("attach needs somebody to watch: pid:N, unit:NAME, container:NAME, user:NAME, all")
    check()  # first: whom these words mean in a container is another question
    whom = Watched(wanted, own_processes())
    command: tuple[str, ...] = ()
    cwd = ""
    if len(wanted) == 1 and wanted[0].kind == "pid":
        command, cwd = _command(int(wanted[0].name))
    only_processes = all(target.kind == "pid" for target in wanted)
    found = observe(whom, command, cwd, seconds, started, over=lambda: only_processes and not whom.look())
    return dataclasses.replace(found, meta=dataclasses.replace(found.meta, targets=tuple(map(str, wanted))))


def _command(pid: int) -> tuple[tuple[str, ...], str]:
    """The command line and the working directory of a process, as far as they are known."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as source:
            words = source.read().split(b"\0")[:-1]
        return tuple(os.fsdecode(word) for word in words), os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return (), ""
