"""coldseek doctor: what works on this machine, and what to do where something does not."""

from __future__ import annotations

import sys

import typer

from profiler.cli.app import app


@app.command()
def doctor() -> None:
    """Say what works on this machine, and what to do where not.

    That is each tracer (kernel, ptrace, strace) and each way to empty the page cache and to look at it.
    Exits with 0 if a start can be traced and made cold here, with 1 if not.
    """
    from profiler.capture import cache, tracer

    tracers = [(name, tracer.probe(name)) for name in tracer.NAMES]
    methods = list(cache.probes())
    for title, probes in (("tracers", tracers), ("page cache", methods)):
        sys.stdout.write(f"{title}\n")
        for name, probe in probes:
            sys.stdout.write(f"  {name:<12} {'works' if probe.works else 'DOES NOT WORK'}: {probe.why}\n")
            if not probe.works and probe.remedy:
                sys.stdout.write(f"  {'':<12} remedy: {probe.remedy}\n")
    works = {name for name, probe in [*tracers, *methods] if probe.works}
    can_trace = bool(works.intersection(tracer.NAMES))
    can_empty = bool(works & {"drop_caches", "fadvise"}) and bool(works & {"cachestat", "mincore"})
    for good, words in (
        (can_trace, "a start can be traced"),
        (can_empty, "a start can be made and proved cold"),
    ):
        sys.stdout.write(f"{'yes' if good else 'NO'}: {words}\n")
    raise typer.Exit(0 if can_trace and can_empty else 1)
