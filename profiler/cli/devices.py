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

    for device in presets():
        sys.stdout.write(f"{device.name:<12}{device.title}\n")
        indent = " " * 12
        source = " ".join(device.source.split())
        for line in textwrap.wrap(source, width(), initial_indent=indent, subsequent_indent=indent):
            sys.stdout.write(line + "\n")
