"""coldseek fleet: thousands of traces, as one catalogue."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from profiler.cli.app import Commands, app
from profiler.cli.options import DEVICE, QUIET
from profiler.cli.output import Progress, can_be_made, find_devices, say
from profiler.units import show_path, show_plural

CATALOGUE = "fleet.parquet"
DEVICES = ("hdd-7200", "nvme")


class Fleet(Commands):
    """A group whose first word may be a trace: then `add` is meant."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own = {*self.list_commands(ctx), "-h", "--help"}
        return super().parse_args(ctx, ["add", *args] if args and args[0] not in own else args)


fleet = typer.Typer(
    cls=Fleet,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Thousands of traces as one catalogue: outliers, regressions, what costs the most.",
    epilog="Examples: coldseek fleet /var/traces; coldseek fleet report fleet.parquet; "
    "coldseek fleet sql fleet.parquet 'select host, count(*) from fleet group by host'",
)
app.add_typer(fleet, name="fleet")


@fleet.command(
    epilog="Examples: coldseek fleet /var/traces; coldseek fleet 'traces/2026-11-*' -o november.parquet; "
    "coldseek fleet s3://bucket/traces --scheduler tcp://dask:8786"
)
def add(
    traces: Annotated[
        list[str],
        typer.Argument(
            help="Folders, traces, patterns in quotes, or URLs of fsspec.", metavar="DIR|GLOB|URL..."
        ),
    ],
    catalogue: Annotated[
        str,
        typer.Option("-o", "--output", help="The catalogue: made, or added to.", metavar="FILE"),
    ] = CATALOGUE,
    device: DEVICE = None,
    advice: Annotated[
        bool,
        typer.Option("--advice", help="With what advice would save; takes several times as long."),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=0, max=1024, help="Processes; default: one a processor.", metavar="N"),
    ] = None,
    scheduler: Annotated[
        str,
        typer.Option(
            "--scheduler",
            help="Work on a Dask cluster, as tcp://HOST:8786, instead.",
            metavar="URL",
        ),
    ] = "",
    quiet: QUIET = False,
) -> None:
    """Make a row of each trace, or only of those that are new to the catalogue.

    A trace that is damaged is a row with the reason. A trace whose name, size and time are in the catalogue
    is not read again; nor is one worked out again whose contents are. 'coldseek fleet DIR' is the same as
    'coldseek fleet add DIR'.
    """
    can_be_made(catalogue)
    from profiler.analysis.fleet.facts import model_of
    from profiler.devices import find
    from profiler.fleet.examine import Asked
    from profiler.fleet.update import update
    from profiler.version import __version__

    devices = tuple(find_devices(device or []) or map(find, DEVICES))
    asked = Asked(devices, advice, model_of(devices, __version__, advice))
    count = len(os.sched_getaffinity(0)) if workers is None else workers
    with Progress(quiet) as progress:
        counts = update(
            catalogue, traces, asked, workers=count, scheduler=scheduler,
            tell=lambda done, of: progress.begins(f"{done:,} of {show_plural(of, 'trace')}"),
        )  # fmt: skip
    if not quiet:
        broken = f", {counts.failed:,} of them broken" if counts.failed else ""
        say(
            f"{show_plural(counts.traces, 'trace')}: {counts.new:,} new{broken}; "
            f"{show_path(catalogue)} has {show_plural(counts.rows, 'row')}; "
            f"see coldseek fleet report {show_path(catalogue)}"
        )
