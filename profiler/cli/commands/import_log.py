"""coldseek import: make a trace of a log that another program wrote."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any

import typer

from profiler.cli.app import Commands, app
from profiler.cli.output import can_be_made, keep, reading, say, sum_up

_ENDING = re.compile(r"(?:\.strace)?(?:\.(?:gz|xz|zst|bz2))?\Z")
_PLAIN = re.compile(r"(?:\.(?:log|txt|blktrace|perf|ftrace|biosnoop))?(?:\.(?:gz|xz|zst|bz2))?\Z")


class Importers(Commands):
    """The kinds of logs. A log in place of a kind is told by its lines."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As of every group."""
        if args and self.get_command(ctx, args[0]) is None and os.path.isfile(args[0]):
            args = [_kind_of(args[0]), *args]
        return super().resolve_command(ctx, args)


def _kind_of(log: str) -> str:
    from profiler.capture.block_logs.formats import kind_of

    return kind_of(log)


importers = typer.Typer(
    cls=Importers,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make a trace of a log of another program. Without a kind, the lines of the log tell it.",
    epilog="Examples: coldseek import start.log; coldseek import strace boot.log",
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


LOG = Annotated[str, typer.Argument(help="A log, compressed too, or a pipe.", metavar="LOG")]
OF = Annotated[
    list[str] | None,
    typer.Option(
        "--of", help="Only what this process asked for, by name or number; may be repeated.", metavar="WHO"
    ),
]
OUTPUT = Annotated[
    str,
    typer.Option(
        "-o", "--output", help="Where to save the trace; default: LOG.trace.parquet here.", metavar="TRACE"
    ),
]


@importers.command(
    epilog="Example: blktrace -d /dev/vda -o start & CMD; kill %1; blkparse -i start -o start.log; "
    "coldseek import blktrace start.log"
)
def blktrace(log: LOG, output: OUTPUT = "", of: OF = None) -> None:
    """Read what blkparse prints of a blktrace: requests of disks.

    The trace is of the device layer only: no calls, no files. Projections take the requests as they are.
    What blkparse itself counts below is compared.
    """
    _of_block_layer("blktrace", log, output, of)


@importers.command(
    epilog="Example: biosnoop-bpfcc > start.log & CMD; kill %1; coldseek import biosnoop start.log"
)
def biosnoop(log: LOG, output: OUTPUT = "", of: OF = None) -> None:
    """Read what biosnoop of bcc prints: requests of disks.

    The trace is of the device layer only: no calls, no files. biosnoop.bt of bpftrace prints no sectors, so
    there is nothing to be read from it.
    """
    _of_block_layer("biosnoop", log, output, of)


@importers.command(
    epilog="Example: perf record -k mono -a -e block:block_rq_issue -e block:block_rq_complete "
    "-e block:block_bio_queue -- CMD; perf script > start.log; coldseek import perf start.log"
)
def perf(log: LOG, output: OUTPUT = "", of: OF = None) -> None:
    """Read what perf script prints of block events: requests of disks.

    The trace is of the device layer only: no calls, no files. With block_bio_queue it is known for whom a
    worker of the kernel makes a request.
    """
    _of_block_layer("perf", log, output, of)


@importers.command(
    epilog="Example: trace-cmd record -e block_rq_issue -e block_rq_complete -e block_bio_queue CMD; "
    "trace-cmd report > start.log; coldseek import ftrace start.log"
)
def ftrace(log: LOG, output: OUTPUT = "", of: OF = None) -> None:
    """Read what trace-cmd report prints of block events, or trace and trace_pipe of the kernel.

    The trace is of the device layer only: no calls, no files.
    """
    _of_block_layer("ftrace", log, output, of)


def _of_block_layer(kind: str, log: str, output: str, of: list[str] | None) -> None:
    path = output or _PLAIN.sub("", os.path.basename(log)) + ".trace.parquet"
    can_be_made(path, log, follow=bool(output))
    from profiler.capture.block_logs.reading import parse

    with reading(log):
        trace = parse(kind, log, of or ())
    keep(trace, path, follow=bool(output))
    for note in trace.meta.notes:
        if not note.startswith("INCOMPLETE"):  # which is said below
            say(note)
    sum_up(trace, path)


@importers.callback()
def _group() -> None:
    """Make a trace of a log of another program. Without a kind, the lines of the log tell it."""
