"""coldseek report: one screen on one trace."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from profiler.cli.app import app
from profiler.cli.options import DEVICE, FORMAT, TRACE
from profiler.cli.output import Format, can_be_made, find_devices, reading, width
from profiler.cli.traces import named_or_newest

INTO = Annotated[str, typer.Option("-o", "--output", help="Write to this file instead.", metavar="FILE")]
FULL = Annotated[
    bool,
    typer.Option("--full", help="All there is to say: each file, who read it, every device, all notes."),
]


@app.command(epilog="Example: coldseek report qemu-img.trace.parquet --format json | jq .totals")
def report(
    trace: TRACE = "",
    form: FORMAT = Format.TEXT,
    output: INTO = "",
    device: DEVICE = None,
    full: FULL = False,
) -> None:
    """Say on one screen where the cold time goes, and what costs it."""
    name, trace = trace, named_or_newest(trace)
    if output:
        can_be_made(output, trace)
    from profiler.report import json, text
    from profiler.report.summary import summarise
    from profiler.trace import load

    named = find_devices(device or [])
    with reading(trace):
        summary = summarise(load(trace), named)
    if form is Format.JSON:
        emit_json(json.report(summary), output)
        return
    shows = text.terminal(sys.stdout, width())
    wanted = [one.name for one in named or ()]
    page = text.report(summary, width()) if full else text.screen(summary, shows, wanted, name)
    if output:
        to_file(page.plain + "\n", output)
    else:
        text.write(page, sys.stdout)


def emit_json(value: dict[str, object], output: str = "") -> None:
    """JSON to stdout, or to a file."""
    from profiler.report import json

    words = json.dumps(value)
    if output:
        to_file(words, output)
    else:
        sys.stdout.write(words)


def to_file(words: str, path: str) -> None:
    """Write text to a file, whole or not at all."""
    from profiler.writing import replacing

    with replacing(path) as file:
        file.write(words.encode())
