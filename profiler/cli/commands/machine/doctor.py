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
    from profiler.capture import tracer
    from profiler.capture.watch import watcher
    from profiler.machine.page_cache import probes
    from profiler.report import text

    tracers = [(name, tracer.probe(name)) for name in tracer.NAMES]
    others = [("others", watcher.probe())]
    methods = list(probes.probes())
    works = {name for name, probe in [*tracers, *methods] if probe.works}
    can_trace = bool(works.intersection(tracer.NAMES))
    can_empty = bool(works & {"drop_caches", "fadvise"}) and bool(works & {"cachestat", "mincore"})
    told = answers(can_trace, can_empty, probes.tells_of_others())
    sections = (("tracers", tracers), ("watching", others), ("page cache", methods))
    text.write(text.doctor(sections, told, width()), sys.stdout)
    raise typer.Exit(0 if can_trace and can_empty else 1)


def answers(can_trace: bool, can_empty: bool, of_others: bool) -> list[tuple[str, str]]:
    """What the probes come to: a word, and to what it is the answer. of_others: whether the kernel tells
    what of other users' files is cached."""
    return [("yes" if can_trace else "NO", "a start can be traced"), _cold(can_empty, of_others)]


def _cold(can_empty: bool, of_others: bool) -> tuple[str, str]:
    """Whether a start can be made and proved cold, and of which files."""
    proved = "a start can be made and proved cold"
    if not can_empty or of_others:
        return "yes" if can_empty else "NO", proved
    return (
        "in part",
        f"{proved} as far as it reads files that you own or may write; of others, such as those of /usr, "
        f"the kernel tells only root what is cached: their starts are NOT PROVED COLD (use sudo)",
    )
