"""coldseek plot: pictures of one trace or of two."""

from __future__ import annotations

import os
from itertools import count
from typing import Annotated

import typer

from profiler.cli.app import app
from profiler.cli.completion import traces as offered
from profiler.cli.completion import values
from profiler.cli.options import DEVICE, REDACT
from profiler.cli.output import can_be_made, find_devices, reading, say
from profiler.cli.traces import SUFFIX, named_or_newest
from profiler.units import show_path


@app.command(epilog="Example: coldseek plot cold.trace.parquet warm.trace.parquet -o offsets.png")
def plot(
    traces: Annotated[
        list[str] | None,
        typer.Argument(
            help="One trace, or two to overlay; default: your newest one here.",
            metavar="[TRACE]",
            autocompletion=offered,
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            help="A .png or .svg file; default: a new one here, named after the trace.",
            metavar="FILE",
        ),
    ] = "",
    kind: Annotated[
        str,
        typer.Option(
            help="offsets: where each read was; files: a band for each file; gaps: how far apart; "
            "cost: seconds per device.",
            metavar="offsets|files|gaps|cost",
            autocompletion=values("offsets", "files", "gaps", "cost"),
        ),
    ] = "offsets",
    file: Annotated[
        str,
        typer.Option(
            help="The file to look at; default: the image, or the one that costs most.", metavar="PATH"
        ),
    ] = "",
    device: DEVICE = None,
    redacted: REDACT = False,
) -> None:
    """Draw where a start reads, how far apart, or what that costs."""
    from profiler.files.traces import load
    from profiler.report import figures
    from profiler.report.redact import redact

    names = traces or [named_or_newest("")]
    output = output or _unused(names[0], kind)
    figures.check_suffix(output)
    can_be_made(output, *names)
    with reading(*names):
        loaded, called = [load(trace) for trace in names], figures.file_names(names)
        if redacted:
            loaded, called = redact(*loaded), []  # a trace's own name tells too
        figure = figures.draw(loaded, kind, file or None, find_devices(device or []), called)
        figures.save(figure, output)
    say(f"plot: {show_path(output)}")


def _unused(trace: str, kind: str) -> str:
    """A name for a picture here that no file has, after the trace: git-offsets.png, git-offsets-2.png."""
    stem = f"{os.path.basename(trace).removesuffix(SUFFIX)}-{kind}"
    names = (f"{stem}{'' if number == 1 else f'-{number}'}.png" for number in count(1))
    return next(name for name in names if not os.path.lexists(name))
