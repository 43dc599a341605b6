"""coldseek attach: observe those who run already."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from profiler.cli.app import app
from profiler.cli.options import QUIET
from profiler.cli.output import Progress, can_be_made, keep, say, sum_up
from profiler.units import show_path

if TYPE_CHECKING:
    from profiler.capture.calls.event_log import Recorder

_ODD = re.compile(r"[^\w.@-]+", re.ASCII)


@app.command(
    epilog="Examples: coldseek attach $(pidof qemu-system-x86_64) --for 30; coldseek attach "
    "unit:nginx.service user:postgres"
)
def attach(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET...",
            help="pid:N (or N alone), unit:NAME, container:NAME, cgroup:PATH, user:NAME, all.",
        ),
    ],
    seconds: Annotated[
        float | None,
        typer.Option(
            "--for", metavar="SECONDS", help="How long; default: until they end or Ctrl-C.", min=0.1
        ),
    ] = None,
    output: Annotated[
        str, typer.Option("-o", "--output", help="Where to save the trace.", metavar="TRACE")
    ] = "",
    quiet: QUIET = False,
) -> None:
    """Record the file reads of those who run already, or of all.

    Of processes, services, containers, users, and of what they start, by the kernel's trace events: nothing
    is stopped. Needs root. Ctrl-C ends the observation, never a process. What was read before is not seen.
    """
    path = output or _ODD.sub("-", "+".join(targets)).strip("-.")[:100] + ".trace.parquet"
    can_be_made(path, follow=bool(output))
    from profiler.capture.complete import complete
    from profiler.capture.watch.attach import attach as observe

    with Progress(quiet) as progress:

        def started(recorder: Recorder) -> None:
            if not quiet:
                say(begins(targets))
            progress.started(recorder)

        trace = complete(observe(targets, seconds, started))
    keep(trace, path, follow=bool(output))
    if not quiet:
        sum_up(trace, path)


def begins(targets: Sequence[str]) -> str:
    """What is said when those are watched."""
    return f"observing {', '.join(map(show_path, targets))}; Ctrl-C ends that and nothing else"
