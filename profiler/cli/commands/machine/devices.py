"""coldseek devices: the device models there are."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from profiler.cli import completion
from profiler.cli.app import app
from profiler.cli.output import find_devices, say, width


@app.command(epilog="Example: coldseek devices hdd-7200")
def devices(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Say where the numbers of these come from; a preset file too.",
            metavar="[NAME...]",
            autocompletion=completion.devices,
            show_default=False,
        ),
    ] = None,
) -> None:
    """List the device presets.

    Of those that are named it says where their numbers come from.
    """
    from profiler.devices.loading import presets
    from profiler.report import text

    named = find_devices(names or [])
    if named is not None:
        text.write(text.sources(named, width()), sys.stdout)
        return
    text.write(text.devices(presets(), width()), sys.stdout)
    if sys.stdout.isatty():
        say("where the numbers of one come from: coldseek devices NAME")
