"""The command `coldseek` itself: its name, its help, its version."""

from __future__ import annotations

from typing import Annotated

import typer

from profiler.version import __version__

app = typer.Typer(
    name="coldseek",
    rich_markup_mode=None,  # plain help: rich would take longer to load than the help takes to read
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
    epilog="Start here: coldseek open disk0.qcow2    or: coldseek compare -- python3 -c 'import json'",
)


FIRST = """\
coldseek says why a start is slow when nothing is cached, and what would help.
  coldseek compare -- python3 -c 'import json'    any program, cold and warm
  coldseek open disk0.qcow2                       a disk image, with plots
  coldseek record --cache cold -- CMD ...         one run; then: coldseek report
  coldseek doctor                                 what works here; all: --help"""
"""What to type first."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"coldseek {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def coldseek(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Why is a start slow when nothing is cached, and what would help?

    coldseek launches a program, sees every file read with its offset and size, compares a cold start with a
    warm one, and projects what it would cost on hard disks, SSDs and network storage.
    """
    if context.invoked_subcommand is None:
        typer.echo(FIRST)
