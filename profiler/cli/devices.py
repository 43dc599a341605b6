"""coldseek devices: the device models there are."""

from __future__ import annotations

import sys

from profiler.cli.app import app


@app.command()
def devices() -> None:
    """List the device presets with what they stand for and where their numbers come from."""
    from profiler.devices.loading import presets

    for device in presets():
        sys.stdout.write(f"{device.name:<12} {device.title}\n")
