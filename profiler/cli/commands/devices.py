"""coldseek devices: the device models there are."""

from __future__ import annotations

import sys

from profiler.cli.app import app
from profiler.cli.output import width


@app.command()
def devices() -> None:
    """List the device presets, and where their numbers come from."""
    from profiler.devices.loading import presets
    from profiler.report import text

    text.write(text.devices(presets(), width()), sys.stdout)
