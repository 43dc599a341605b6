"""coldseek report: one screen on one trace."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from profiler.cli.app import app
from profiler.cli.options import DEVICE, REDACT, REPORT_FORMAT, TRACE
from profiler.cli.output import ReportFormat, can_be_made, find_devices, reading, width
from profiler.cli.traces import named_or_newest
from profiler.errors import UsageError

INTO = Annotated[str, typer.Option("-o", "--output", help="Write to this file instead.", metavar="FILE")]
FULL = Annotated[
    bool,
    typer.Option("--full", help="All there is to say: each file, who read it, every device, all notes."),
]


@app.command(epilog="Example: coldseek report qemu-img.trace.parquet --format html -o start.html")
def report(
    trace: TRACE = "",
    form: REPORT_FORMAT = ReportFormat.TEXT,
    output: INTO = "",
    device: DEVICE = None,
    full: FULL = False,
    redacted: REDACT = False,
) -> None:
    """Say on one screen where the cold time goes, and what costs it."""
    name, trace = trace, named_or_newest(trace)
    if output:
        can_be_made(output, trace)
    if form is ReportFormat.HTML and not output and sys.stdout.isatty():
        raise UsageError("a page is a file to open in a browser: name it with -o FILE.html")
    from profiler.files.traces import load
    from profiler.report import json, text
    from profiler.report.summarise import summarise

    named = find_devices(device or [])
    with reading(trace):
        loaded = load(trace)
        if redacted:
            from profiler.report.redact import redact

            (loaded,), name = redact(loaded), "TRACE"
        summary = summarise(loaded, named)
        if form is ReportFormat.HTML:
            from profiler.report.page import of_trace

            emit(of_trace(loaded, summary, name or trace), output)
            return
    if form is ReportFormat.JSON:
        emit_json(json.report(summary), output)
        return
    if form is ReportFormat.MARKDOWN:
        from profiler.report import markdown

        emit(markdown.report(summary), output)
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

    emit(json.dumps(value), output)


def emit(words: str, output: str = "") -> None:
    """Text to stdout, or to a file."""
    if output:
        to_file(words, output)
    else:
        sys.stdout.write(words)


def to_file(words: str, path: str) -> None:
    """Write text to a file, whole or not at all."""
    from profiler.files.writing import replacing

    with replacing(path) as file:
        file.write(words.encode())
