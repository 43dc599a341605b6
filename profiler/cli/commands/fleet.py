"""coldseek fleet: thousands of traces, as one catalogue."""

from __future__ import annotations

import datetime
import os
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from profiler.cli.app import Commands, app
from profiler.cli.commands.report import INTO, emit, emit_json
from profiler.cli.options import DEVICE, FORMAT, QUIET, REPORT_FORMAT
from profiler.cli.output import (
    Format,
    Progress,
    ReportFormat,
    can_be_made,
    find_devices,
    reading,
    say,
    width,
)
from profiler.errors import UsageError
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
    help="Find outliers and regressions in thousands of traces.",
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


class By(StrEnum):
    START = "start"
    HOST = "host"
    IMAGE = "image"
    COMMAND = "command"
    KERNEL = "kernel"


IN_CATALOGUE = Annotated[str, typer.Argument(help="Made by coldseek fleet.", metavar="CATALOGUE")]


@fleet.command(
    epilog="Examples: coldseek fleet report fleet.parquet --by host; coldseek fleet report fleet.parquet "
    "--since 7d --format html -o week.html"
)
def report(
    catalogue: IN_CATALOGUE,
    by: Annotated[
        By, typer.Option("--by", help="What starts are compared by; start: the image, or the command.")
    ] = By.START,
    since: Annotated[
        str, typer.Option("--since", help="Leave out what was before: 7d, 12h, 2026-11-01.", metavar="WHEN")
    ] = "",
    device: Annotated[
        str, typer.Option("--on", help="The device whose waiting counts; default: hdd-7200.", metavar="NAME")
    ] = "",
    form: REPORT_FORMAT = ReportFormat.TEXT,
    output: INTO = "",
) -> None:
    """Say what stands out, what became slower, what costs the most, what would help."""
    if output:
        can_be_made(output, catalogue)
    if form is ReportFormat.HTML and not output and sys.stdout.isatty():
        raise UsageError("a page is a file to open in a browser: name it with -o FILE.html")
    from profiler.files import catalogues
    from profiler.fleet import moments, reduce
    from profiler.report import fleet as forms
    from profiler.report import text

    start = moments.since(since, datetime.datetime.now(datetime.UTC)) if since else None
    with reading(catalogue):
        table = catalogues.load(catalogue, reduce.COLUMNS)
    found = reduce.fleet(table, by.value, start, device)
    if form is ReportFormat.JSON:
        emit_json(forms.as_json(found), output)
    elif form is ReportFormat.MARKDOWN:
        emit(forms.markdown(found), output)
    elif form is ReportFormat.HTML:
        emit(forms.html(found), output)
    elif output:
        emit(forms.text(found, width()).plain + "\n", output)
    else:
        text.write(forms.text(found, width()), sys.stdout)


@fleet.command(
    epilog="Example: coldseek fleet sql fleet.parquet \"select host, median(seconds['hdd-7200']) as s "
    'from fleet group by host order by s desc limit 5"'
)
def sql(
    catalogue: IN_CATALOGUE,
    query: Annotated[str, typer.Argument(help="SQL of DuckDB; the table is fleet.", metavar="SQL")],
    form: FORMAT = Format.TEXT,
    output: INTO = "",
) -> None:
    """Ask the catalogue in SQL; docs/fleet.md has its columns and ten queries.

    The query sees the table fleet and nothing else: no files, no network, no extensions.
    """
    if output:
        can_be_made(output, catalogue)
    from profiler.files import catalogues
    from profiler.fleet import engine
    from profiler.report import fleet as forms

    with reading(catalogue):
        table = catalogues.load(catalogue)
    names, rows = engine.query(table, query)
    if form is Format.JSON:
        emit_json(forms.rows_as_json(names, rows), output)
    else:
        emit(forms.rows_as_text(names, rows), output)
