"""coldseek import: make a trace of a log that another program wrote."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from profiler.cli.app import app
from profiler.cli.output import can_be_made, keep, say, sum_up

logs = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Make a trace of a log of another program."
)
app.add_typer(logs, name="import")


@logs.command(epilog="Example: strace -f -y -ttt -T -o boot.strace CMD; coldseek import strace boot.strace")
def strace(
    log: Annotated[str, typer.Argument(help="A log written by strace -o, .gz too.", metavar="LOG")],
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            help="Where to save the trace; default: LOG.trace.parquet here.",
            metavar="TRACE",
        ),
    ] = "",
) -> None:
    """Read a log of strace, with whatever options it was written.

    Best is strace -f -y -ttt -T; without -f threads are missing, without -y names may be, without -ttt
    times.
    """
    path = output or os.path.basename(log).removesuffix(".gz").removesuffix(".strace") + ".trace.parquet"
    can_be_made(path, log)
    from profiler.capture.strace_log import parse

    trace = parse(log)
    keep(trace, path)
    for note in trace.meta.notes:
        say(note)
    sum_up(trace, path)


@logs.callback()
def _group() -> None:
    """Make a trace of a log of another program."""
