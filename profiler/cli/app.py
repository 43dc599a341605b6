"""The command `coldseek` itself: its name, its help, its version."""

from __future__ import annotations

from typing import Annotated

import typer

from profiler import __version__

app = typer.Typer(
    name="coldseek",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich would take longer to load than the help takes to read
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
    epilog="Start here: coldseek open disk0.qcow2    or: coldseek compare -- python3 -c 'import json'",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"coldseek {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=False)
def coldseek(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Why is a start slow when nothing is cached, and what would help?

    coldseek launches a program, sees every file read with its offset and size, compares a cold start with a
    warm one, and projects what it would cost on hard disks, SSDs and network storage.
    """
