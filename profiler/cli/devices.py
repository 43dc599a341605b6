"""coldseek devices: the device models there are."""

from __future__ import annotations

import sys
import textwrap

from profiler.cli.app import app
from profiler.cli.output import width


@app.command()
def devices() -> None:
    """List the device presets, and where their numbers come from."""
    from profiler.devices.loading import presets

    known = presets()
    room = max(len(device.name) for device in known) + 2
    for device in known:
        sys.stdout.write(f"{device.name:<{room}}{device.title}\n")
        indent = " " * room
        source = " ".join(device.source.split())
        for line in textwrap.wrap(source, width(), initial_indent=indent, subsequent_indent=indent):
            sys.stdout.write(line + "\n")
