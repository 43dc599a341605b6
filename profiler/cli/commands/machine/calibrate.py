"""coldseek calibrate: a device file of the user's own device."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from profiler.cli.app import app
from profiler.cli.output import can_be_made, say, width
from profiler.errors import ColdseekError
from profiler.units import show_path

if TYPE_CHECKING:
    from profiler.facts import host


@app.command(
    epilog="Examples: coldseek calibrate . -o mine.toml; coldseek calibrate --existing /usr -o old.toml; "
    "coldseek project TRACE --device mine.toml"
)
def calibrate(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="A directory, a large file, or a block device.")
    ],
    output: Annotated[
        str,
        typer.Option(
            "-o", "--output", help="Where to save it; default: named after the disk.", metavar="DEVICE.toml"
        ),
    ] = "",
    seconds: Annotated[
        float, typer.Option("--for", metavar="SECONDS", help="About how long.", min=1, max=3600)
    ] = 30,
    existing: Annotated[
        bool,
        typer.Option(
            "--existing",
            help="Of a directory: no new file, but the largest ones in it, as old files are read.",
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only errors; no table.")] = False,
) -> None:
    """Measure a device, and make a device file of it.

    Reads at random by size and distance, several at once, and in a row, past the page cache and through it.
    A device is never written to. In a directory a file of up to 1 GiB is made, without a name, so that
    nothing stays; with --existing the largest files below it are read instead: a new file lies in one
    piece, and the host of a virtual disk may still have it in memory, so that old ones can take twice as
    long.
    A hard disk's whole seek curve needs the block device, which usually needs root.
    """
    try:
        _calibrate(path, output, seconds, existing, quiet)
    except KeyboardInterrupt as error:
        say("interrupted before anything was measured; nothing was saved")
        raise typer.Exit(130) from error


def _calibrate(path: str, output: str, seconds: float, existing: bool, quiet: bool) -> None:
    from profiler.calibration.measure import calibrate as measure
    from profiler.devices.fitting.preset import to_toml
    from profiler.devices.loading import parse
    from profiler.files.writing import replacing
    from profiler.library.devices import circumstances_of, fitted_device
    from profiler.report import text as page
    from profiler.report.text.calibration import calibration

    saved = output

    def opened(facts: host.Device) -> None:
        nonlocal saved
        saved = output or f"{(facts.disk or 'device').replace('/', '-')}.toml"
        if not saved.endswith(".toml"):
            raise ColdseekError(f"{show_path(saved)} does not end in .toml, so project would not find it")
        can_be_made(saved, path)

    with _bar(quiet) as progress:
        found = measure(path, seconds, progress, opened, existing)
    command = f"coldseek calibrate {'--existing ' if existing else ''}{show_path(path)}"
    name = os.path.splitext(os.path.basename(saved))[0]
    fitted, device = fitted_device(found, name, command)
    text = to_toml(device)
    parse(text, name, show_path(saved))  # what is written can be read
    with replacing(saved) as file:
        file.write(text.encode())
    if not quiet:
        page.write(calibration(fitted, circumstances_of(found), width()), sys.stdout)
        say(use_of(saved))
    if found.interrupted:
        say("interrupted: made of the rounds that were complete")
        raise typer.Exit(130)


def use_of(saved: str) -> str:
    """What is said of a device file."""
    usable = saved if saved.isprintable() and " " not in saved else f"'{show_path(saved)}'"
    return f"saved {show_path(saved)}; use it: coldseek project TRACE --device {usable}"


@contextmanager
def _bar(quiet: bool) -> Iterator[Callable[[float, str], None]]:
    """A progress bar on a terminal, nothing in a pipe."""
    if quiet or not sys.stderr.isatty():
        yield lambda _share, _words: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    # drawn only when it is told something: a thread that draws would take its share of the processor
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as drawn:
        task = drawn.add_task("opening", total=1.0)

        def tell(share: float, words: str) -> None:
            drawn.update(task, completed=share, description=words, refresh=True)

        yield tell
