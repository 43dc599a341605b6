"""The trace that is meant where none is named: the caller's own newest one here."""

from __future__ import annotations

import os
import stat

from profiler.cli.output import say
from profiler.errors import UsageError
from profiler.files.owner import invoker
from profiler.units import show_path

SUFFIX = ".trace.parquet"  # as of profiler.trace, which takes long to load


def traces_here(prefix: str = "") -> list[str]:
    """Names of the traces in the working directory that are the caller's own files, the newest first. Under
    sudo root's are the caller's too. A trace of somebody else's is only ever taken by its name.
    """
    caller = invoker()
    ours = {os.geteuid()} | ({caller.uid} if caller else set())
    found: list[tuple[int, str]] = []
    with os.scandir(".") as entries:
        for entry in entries:
            if not entry.name.endswith(SUFFIX) or not entry.name.startswith(prefix):
                continue
            try:
                facts = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISREG(facts.st_mode) and facts.st_uid in ours:
                found.append((facts.st_mtime_ns, entry.name))
    return [name for _, name in sorted(found, reverse=True)]


def named_or_newest(trace: str) -> str:
    """The trace that was named, else the newest one here, which is told. Raises UsageError if there is
    none."""
    if trace:
        return trace
    try:
        found = traces_here()
    except OSError:
        found = []
    if not found:
        raise UsageError(
            "no trace was named, and there is none of yours here; make one: coldseek record -- COMMAND"
        )
    say(f"{show_path(found[0])}, the newest trace here")
    return found[0]
