"""The command `coldseek` itself: its name, its help, its version."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from profiler.version import __version__


class Commands(TyperGroup):
    """A group of commands whose usage messages are in plain words."""

    def invoke(self, ctx: Any) -> Any:
        """As of every group; the words of a library for values are put into ours."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = plain(error.message)
            raise

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As of every group; one within another names what there is, which is little."""
        if ctx.parent is not None and args and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"No such command {args[0]!r}; there is: {', '.join(self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


def plain(message: str) -> str:
    """What is wrong with a value of an option, without the words of the library that found it out."""
    message = message.removeprefix("Value error, ").removesuffix(", unable to parse string as a number")
    message = message.removesuffix(", unable to parse string as an integer")
    return message.replace("Input should be", "it should be")


app = typer.Typer(
    cls=Commands,
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
