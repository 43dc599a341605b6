"""coldseek compare: a cold start against a warm one."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from profiler.cli.app import app
from profiler.cli.output import Format, Progress, can_be_made, command_line, keep, say, width
from profiler.cli.record import AS_ROOT, TRACER, runs_as
from profiler.cli.report import FORMAT, emit_json
from profiler.errors import UsageError
from profiler.owner import Owner, invoker, make_folder
from profiler.units import show_path


@app.command(
    epilog='Example: coldseek compare -- python3 -c "import json, decimal, asyncio"',
)
def compare(
    command: Annotated[
        list[str],
        typer.Argument(metavar="TRACE TRACE | -- COMMAND", help="Two traces, or a program to run."),
    ],
    runs: Annotated[
        int, typer.Option(min=1, max=1000, help="Untraced runs of each kind, for the times.", metavar="N")
    ] = 3,
    form: FORMAT = Format.TEXT,
    output: Annotated[
        str, typer.Option("-o", "--output", help="Keep cold and warm trace in this folder.", metavar="DIR")
    ] = "",
    tracer: TRACER = "auto",
    as_root: AS_ROOT = False,
) -> None:
    """Compare a cold start with a warm one, or two traces.

    A program is run both ways. Times come from untraced runs, cold and warm in turn; the reads from one
    traced run of each. Each cold run is made and measured to be cold. The program runs several times; its
    stdin and outputs are /dev/null.
    """
    words = command_line(command)
    from profiler.report import json, text
    from profiler.report.comparison import compare_summary
    from profiler.trace import load

    if len(words) == 2 and all(word.endswith(".parquet") and os.path.isfile(word) for word in words):
        comparison = compare_summary(load(words[0]), load(words[1]))
    else:
        if any(word.endswith(".trace.parquet") for word in words[:1]):
            raise UsageError("compare takes two traces; one of these is missing or does not exist")
        comparison = compare_summary(*run_both(words, runs, tracer, output, runs_as(as_root)))
    if form is Format.JSON:
        emit_json(json.compare(comparison))
    else:
        text.write(text.compare(comparison, width()), sys.stdout)


def run_both(  # type: ignore[no-untyped-def]
    words: list[str], runs: int, tracer: str, folder: str, owner: Owner | None, image: str = ""
):
    """Study a command, which runs as `owner`; cold.trace.parquet and warm.trace.parquet go to `folder`, if
    one is given, as they come."""
    from profiler.capture.study import study

    if folder:
        try:
            make_folder(folder, invoker())
        except OSError as error:
            raise UsageError(f"cannot make the folder {show_path(folder)}: {error.strerror}") from error
        can_be_made(os.path.join(folder, "cold.trace.parquet"))
    with Progress() as progress:

        def save(name: str, trace) -> None:  # type: ignore[no-untyped-def]
            if folder:
                keep(trace, os.path.join(folder, f"{name}.trace.parquet"))

        found = study(
            words, runs, tracer, image=image, owner=owner, started=progress.started, say=progress.say,
            keep=save,
        )  # fmt: skip
    if folder and not image:
        say(f"traces: {show_path(folder)}/cold.trace.parquet and warm.trace.parquet")
    return found
