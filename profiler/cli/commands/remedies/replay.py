"""coldseek replay: a recorded start's reads made again on a disk, and timed."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from profiler.cli.app import app
from profiler.cli.commands.report import emit_json
from profiler.cli.options import DEVICE, FORMAT, QUIET, TRACE
from profiler.cli.output import Format, Progress, find_devices, reading, width
from profiler.cli.traces import named_or_newest


class Layer(StrEnum):
    """Which view of the reads is made again."""

    DEVICE = "device"
    SYSCALL = "syscall"


@app.command(
    epilog="Examples: coldseek replay qemu-img.trace.parquet --on /var/tmp --device mine.toml; "
    "sudo coldseek replay TRACE --on /dev/sdb --pauses"
)
def replay(
    trace: TRACE = "",
    on: Annotated[
        str, typer.Option("--on", help="A directory on the disk, or a block device.", metavar="DIR|DEVICE")
    ] = ".",
    layer: Annotated[
        Layer, typer.Option(help="The requests past the page cache, or the calls through it.")
    ] = Layer.DEVICE,
    pauses: Annotated[
        bool, typer.Option("--pauses", help="At the recorded distances; default: as fast as it goes.")
    ] = False,
    runs: Annotated[
        int, typer.Option("--runs", min=1, max=1000, help="Make the reads so many times.", metavar="N")
    ] = 3,
    device: DEVICE = None,
    form: FORMAT = Format.TEXT,
    quiet: QUIET = False,
) -> None:
    """Measure on a disk what a recorded start would wait for.

    fio makes the recorded reads again, cold, one after another; it has to be installed. In a directory it
    reads new files of the same sizes, which are removed again. A block device is only ever read.
    """
    trace = named_or_newest(trace)
    from profiler.analysis.replayed import Replayed, expected, recorded_extents, replayed
    from profiler.files.traces import load
    from profiler.report import json, text
    from profiler.studies import replay as study

    on_device = study.is_device(on)
    devices = find_devices(device or []) or []
    with reading(trace):
        recorded = load(trace)
        reads, sizes = replayed(recorded, layer.value, on_device)
    with Progress(quiet) as progress:
        measured = study.replay(
            reads, sizes, on, layer=layer.value, pauses=pauses, runs=runs, tell=progress.begins
        )
    result = Replayed(
        measured, tuple(expected(recorded, reads, measured, devices)), recorded_extents(recorded, reads)
    )
    if form is Format.JSON:
        emit_json(json.replay(result))
    else:
        text.write(text.replay(result, width()), sys.stdout)
