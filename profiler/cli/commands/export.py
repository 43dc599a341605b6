"""coldseek export: a trace as other tools read it."""

from __future__ import annotations

from typing import Annotated

import typer

from profiler.cli.app import app
from profiler.cli.completion import values
from profiler.cli.options import REDACT, TRACE
from profiler.cli.output import can_be_made, reading, say
from profiler.cli.traces import named_or_newest
from profiler.units import show_path

KINDS = ("csv", "parquet", "folded", "fio", "fio-job", "vmtouch", "nydus", "stargz", "soci", "perfetto")


@app.command(
    epilog="Examples: coldseek export --to parquet -o events.parquet; coldseek export git.trace.parquet "
    "--to vmtouch -o git.list, then vmtouch -t -0 -b git.list"
)
def export(
    kind: Annotated[
        str,
        typer.Option(
            "--to",
            help=f"{', '.join(KINDS[:-1])} or {KINDS[-1]}.",
            metavar="KIND",
            autocompletion=values(*KINDS),
        ),
    ],
    output: Annotated[str, typer.Option("-o", "--output", help="The file to write.", metavar="FILE")],
    trace: TRACE = "",
    redacted: REDACT = False,
) -> None:
    """Write a trace as other tools read it.

    csv, parquet: all events on rows that need no other table. folded: stacks for flame graphs. fio, fio-job:
    the requests, for fio to make again. vmtouch, nydus, stargz, soci: what to bring in before a start.
    perfetto: a time line of threads, page cache and disks, for ui.perfetto.dev.
    """
    from profiler.files.traces import load
    from profiler.files.writing import replacing
    from profiler.report import export as exports
    from profiler.report.redact import redact

    name = named_or_newest(trace)
    can_be_made(output, name)
    with reading(name), replacing(output) as file:
        loaded = load(name)
        exports.export(redact(loaded)[0] if redacted else loaded, kind, file)
    known = exports.KINDS[kind]
    say(f"saved {show_path(output)}: {known.title}; {known.reader.replace('FILE', show_path(output))}")
