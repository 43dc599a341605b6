"""coldseek report: one screen on one trace."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from profiler.cli.app import app
from profiler.cli.output import Format, can_be_made, find_devices, reading, width

TRACE = Annotated[str, typer.Argument(help="A trace (.trace.parquet).", metavar="TRACE")]
DEVICE = Annotated[
    list[str] | None,
    typer.Option(
        "--device", help="A device of coldseek devices or a preset file; repeatable.", metavar="NAME"
    ),
]
FORMAT = Annotated[Format, typer.Option("--format", help="How to print it.")]
INTO = Annotated[str, typer.Option("-o", "--output", help="Write to this file instead.", metavar="FILE")]


@app.command(epilog="Example: coldseek report qemu-img.trace.parquet --format json | jq .totals")
def report(trace: TRACE, form: FORMAT = Format.TEXT, output: INTO = "", device: DEVICE = None) -> None:
    """Say on one screen what was read, how, and what it costs cold."""
    if output:
        can_be_made(output, trace)
    from profiler.report import json, text
    from profiler.report.summary import summarise
    from profiler.trace import load

    with reading(trace):
        summary = summarise(load(trace), find_devices(device or []))
        if form is Format.JSON:
            emit_json(json.report(summary), output)
        elif output:
            to_file(text.report(summary, width()).plain + "\n", output)
        else:
            text.write(text.report(summary, width()), sys.stdout)


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
