"""coldseek attach: observe a process that runs already."""

from __future__ import annotations

from typing import Annotated

import typer

from profiler.cli.app import app
from profiler.cli.output import Progress, can_be_made, keep, say, sum_up


@app.command(epilog="Example: coldseek attach $(pidof qemu-system-x86_64) --for 30")
def attach(
    pid: Annotated[int, typer.Argument(metavar="PID", help="The process.", min=1)],
    seconds: Annotated[
        float | None,
        typer.Option(
            "--for", metavar="SECONDS", help="How long; default: until it ends or Ctrl-C.", min=0.1
        ),
    ] = None,
    output: Annotated[
        str, typer.Option("-o", "--output", help="Where to save the trace.", metavar="TRACE")
    ] = "",
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only errors on stderr.")] = False,
) -> None:
    """Record the file reads of a process that runs already.

    And of those it makes, by the kernel's trace events. Needs root. Ctrl-C ends the observation, never the
    process. What it had read before is not seen; which files its descriptors name is looked up as it runs.
    """
    path = output or f"{pid}.trace.parquet"
    can_be_made(path, follow=bool(output))
    from profiler.capture.environment import complete
    from profiler.capture.kernel.attach import attach as observe

    with Progress(quiet) as progress:
        if not quiet:
            say(f"observing process {pid}; Ctrl-C ends that, not the process")
        trace = complete(observe(pid, seconds, progress.started))
    keep(trace, path, follow=bool(output))
    if not quiet:
        sum_up(trace, path)
