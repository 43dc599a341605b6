"""coldseek doctor: what works on this machine, and what to do where something does not."""

from __future__ import annotations

import sys

import typer

from profiler.cli.app import app
from profiler.cli.output import width


@app.command()
def doctor() -> None:
    """Say what works on this machine, and what to do where not.

    That is each tracer (kernel, ptrace, strace), watching what others start for a command (--with, attach),
    and each way to empty the page cache and to look at it. Exits with 0 if a start can be traced and made
    cold here, with 1 if not.
    """
    from profiler.capture import cache, tracer
    from profiler.capture.watch import watcher
    from profiler.report import text

    tracers = [(name, tracer.probe(name)) for name in tracer.NAMES]
    others = [("others", watcher.probe())]
    methods = list(cache.probes())
    works = {name for name, probe in [*tracers, *methods] if probe.works}
    can_trace = bool(works.intersection(tracer.NAMES))
    can_empty = bool(works & {"drop_caches", "fadvise"}) and bool(works & {"cachestat", "mincore"})
    answers = [("yes" if can_trace else "NO", "a start can be traced"), _cold(can_empty)]
    sections = (("tracers", tracers), ("watching", others), ("page cache", methods))
    text.write(text.doctor(sections, answers, width()), sys.stdout)
    raise typer.Exit(0 if can_trace and can_empty else 1)


def _cold(can_empty: bool) -> tuple[str, str]:
    """Whether a start can be made and proved cold, and of which files."""
    from profiler.capture import cache

    proved = "a start can be made and proved cold"
    if not can_empty or cache.tells_of_others():
        return "yes" if can_empty else "NO", proved
    return (
        "in part",
        f"{proved} as far as it reads files that you own or may write; of others, such as those of /usr, "
        f"the kernel tells only root what is cached: their starts are NOT PROVED COLD (use sudo)",
    )
