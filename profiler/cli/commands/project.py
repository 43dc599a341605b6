"""coldseek project: what a recorded start would cost elsewhere."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from profiler.cli.app import app
from profiler.cli.commands.report import emit_json
from profiler.cli.options import DEVICE, FORMAT, OWN, TRACE
from profiler.cli.output import Format, Progress, find_devices, reading, width
from profiler.cli.traces import named_or_newest
from profiler.errors import UsageError
from profiler.units import show_plural


@app.command(epilog="Example: coldseek project qemu-img.trace.parquet --device hdd-7200 --copies 4")
def project(
    trace: TRACE = "",
    device: DEVICE = None,
    copies: Annotated[
        int, typer.Option(min=1, max=10_000, help="So many such starts at once.", metavar="N")
    ] = 1,
    own: OWN = None,
    form: FORMAT = Format.TEXT,
) -> None:
    """Project the cold time of a recorded start on other devices.

    Of several starts at once (--copies) each reads what it has for itself; what they share is read once. Its
    own are the files that compare --copies ran them with, or else disk images, but not backing files.
    """
    if own and copies == 1:
        raise UsageError("--own says what several starts do not share; use it with --copies")
    trace = named_or_newest(trace)
    from profiler.analysis.simulation.projection import project as projected
    from profiler.analysis.simulation.projection import requests
    from profiler.devices.loading import presets
    from profiler.files.traces import load
    from profiler.report import json, text

    wanted, results = find_devices(device or []) or presets(), []
    with reading(trace), Progress() as progress:
        placed = requests(load(trace), own=own or None)
        for number, one in enumerate(wanted, 1):
            progress.begins(f"{show_plural(copies, 'start')} on {one.name} ({number} of {len(wanted)})")
            results.append(projected(placed, one, copies))
    if form is Format.JSON:
        emit_json(json.project(results))
    else:
        text.write(text.project(results, width()), sys.stdout)
