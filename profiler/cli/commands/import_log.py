"""coldseek import: make a trace of a log that another program wrote."""

from __future__ import annotations

import os
import re
from typing import Annotated

import typer

from profiler.cli.app import Commands, app
from profiler.cli.output import can_be_made, keep, say, sum_up

_ENDING = re.compile(r"(?:\.strace)?(?:\.(?:gz|xz|zst|bz2))?\Z")
importers = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make a trace of a log of another program.",
)
app.add_typer(importers, name="import")


@importers.command(epilog="Example: strace -f -y -ttt -T -o boot.log CMD; coldseek import strace boot.log")
def strace(
    logs: Annotated[
        list[str],
        typer.Argument(help="A log of strace, compressed too; or those of strace -ff.", metavar="LOG..."),
    ],
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

    What logs get on their way - quotation marks, times of a container, line numbers, colours, HTML - is
    taken off, and told. Of strace -ff all files make one trace: coldseek import strace LOG.*

    Best is strace -f -y -ttt -T; without -f threads are missing, without -y names may be, without -ttt
    times.
    """
    base = _ENDING.sub("", os.path.basename(logs[0]))
    if len(logs) > 1:
        base = re.sub(r"\.\d+\Z", "", base)
    path = output or base + ".trace.parquet"
    can_be_made(path, *logs, follow=bool(output))
    from profiler.capture.strace.logs.reading import parse

    trace = parse(*logs)
    keep(trace, path, follow=bool(output))
    for note in trace.meta.notes:
        say(note)
    sum_up(trace, path)


@importers.callback()
def _group() -> None:
    """Make a trace of a log of another program."""
