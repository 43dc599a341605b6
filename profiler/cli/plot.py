"""coldseek plot: pictures of one trace or of two."""

from __future__ import annotations

from typing import Annotated

import typer

from profiler.cli.app import app
from profiler.cli.output import can_be_made, find_devices, reading, say
from profiler.cli.report import DEVICE
from profiler.units import show_path


@app.command(epilog="Example: coldseek plot cold.trace.parquet warm.trace.parquet -o offsets.png")
def plot(
    traces: Annotated[list[str], typer.Argument(help="One trace, or two to overlay.", metavar="TRACE")],
    output: Annotated[str, typer.Option("-o", "--output", help="A .png or .svg file.", metavar="FILE")],
    kind: Annotated[
        str,
        typer.Option(
            help="offsets: where each read was; gaps: how far apart; cost: seconds per device.",
            metavar="offsets|gaps|cost",
        ),
    ] = "offsets",
    file: Annotated[
        str,
        typer.Option(help="The file to look at; default: the image, or the one read most.", metavar="PATH"),
    ] = "",
    device: DEVICE = None,
) -> None:
    """Draw where a start reads, how far apart, or what that costs."""
    from profiler.report import figures
    from profiler.trace import load

    figures.check_suffix(output)
    can_be_made(output, *traces)
    with reading(*traces):
        figure = figures.draw(
            [load(trace) for trace in traces], kind, file or None, find_devices(device or []),
            figures.file_names(traces),
        )  # fmt: skip
        figures.save(figure, output)
    say(f"plot: {show_path(output)}")
