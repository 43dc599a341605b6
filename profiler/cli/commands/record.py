"""coldseek record: trace one run of any program."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from profiler.cli.ahead import RECORD, load_ahead
from profiler.cli.app import app
from profiler.cli.completion import values
from profiler.cli.options import (
    AS_ROOT,
    EVICT,
    FOR,
    GRACE,
    GRACE_S,
    GUEST_FILES,
    QUIET,
    STOP,
    TIMEOUT,
    TRACER,
    UNTIL,
    WITH,
    finish_of,
)
from profiler.cli.output import Progress, can_be_made, command_line, keep, say, sum_up
from profiler.cli.traces import SUFFIX
from profiler.errors import UsageError
from profiler.files.owner import Owner, invoker
from profiler.units import show_seconds

if TYPE_CHECKING:
    from profiler.capture.calls.event_log import Recorder
    from profiler.machine.finish.finish import Finish
    from profiler.trace import Trace

COMMAND = Annotated[list[str], typer.Argument(metavar="-- COMMAND", help="The program and its arguments.")]
RUNS_A_PROGRAM = {"allow_interspersed_args": False}
"""Options end where the command begins: what follows is the command's own."""


def runs_as(as_root: bool) -> Owner | None:
    """The user whom programs are to run as; None: the one who runs coldseek."""
    return None if as_root else invoker()


@app.command(
    context_settings=RUNS_A_PROGRAM,
    epilog="Example: coldseek record --cache cold -- qemu-img check disk0.qcow2",
)
def record(
    command: COMMAND,
    tracer: TRACER = "auto",
    cache: Annotated[
        str,
        typer.Option(
            help="Leave the page cache as it is, or make it cold or warm before.",
            metavar="keep|cold|warm",
            autocompletion=values("keep", "cold", "warm"),
        ),
    ] = "keep",
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            help="Where to save the trace; default: COMMAND.trace.parquet here.",
            metavar="TRACE",
        ),
    ] = "",
    evict: EVICT = "auto",
    repeat: Annotated[
        int,
        typer.Option(
            help="Record so many runs, as NAME.1.trace.parquet and so on; see coldseek prefetch --in.",
            metavar="N",
            min=1,
            max=1000,
        ),
    ] = 1,
    targets: WITH = None,
    until: UNTIL = None,
    seconds: FOR = None,
    timeout: TIMEOUT = None,
    stop: STOP = False,
    grace: GRACE = GRACE_S,
    guest_files: GUEST_FILES = False,
    as_root: AS_ROOT = False,
    quiet: QUIET = False,
) -> None:
    """Run a program, record every file read, and save the trace.

    The program keeps its stdin, stdout, stderr, signals and exit status; coldseek's own words go to stderr.
    With --until the recording ends when it is ready, and leaves it running unless --stop; it exits with 0
    then, and with 124 where --timeout ran out.
    """
    words = command_line(command)
    finish_of(until, seconds, timeout, stop, grace)  # what is wrong with it is said before the first run
    if repeat > 1 and (until or seconds is not None) and not stop:
        raise UsageError("--repeat would start it again while it runs; end each run with --stop")
    path = output or os.path.basename(words[0]) + ".trace.parquet"
    paths = [path] if repeat == 1 else [_numbered(path, number) for number in range(1, repeat + 1)]
    for name in paths:
        can_be_made(name, follow=bool(output))
    from profiler.capture import leaving

    leaving.step_behind()
    if cache == "cold":
        load_ahead(RECORD)
    statuses = []
    for name in paths:
        finish = finish_of(until, seconds, timeout, stop, grace)
        statuses.append(
            _run(
                words, name, bool(output), tracer, cache, evict, finish, targets, guest_files, as_root, quiet
            )
        )
    raise typer.Exit(next(filter(None, statuses), 0))


def _numbered(path: str, number: int) -> str:
    """boot.trace.parquet, 2 -> boot.2.trace.parquet"""
    base = path.removesuffix(SUFFIX)
    return f"{base}.{number}{path[len(base) :]}"


def _run(
    words: list[str], path: str, is_named: bool, tracer: str, cache: str, evict: str, finish: Finish | None,
    targets: list[str] | None, guest_files: bool, as_root: bool, quiet: bool,
) -> int:  # fmt: skip
    """Record a run and save it; gives the exit status. is_named: the user chose the path."""
    from profiler.capture import leaving
    from profiler.machine.finish.finish import TIMED_OUT
    from profiler.machine.processes.halt import Halt
    from profiler.studies.record import record as run

    saved = False
    with Halt() as halt, Progress(quiet) as progress:
        tell = (lambda _: None) if quiet else progress.say
        left = leaving.Leaving(progress.say)
        begun = contextlib.ExitStack()

        def started(recorder: Recorder) -> None:
            begun.enter_context(halt.held())  # from now on, until what was recorded is saved
            progress.started(recorder)

        try:
            with begun:
                trace = run(
                    words, tracer, cache, owner=runs_as(as_root), started=started, say=tell, leaving=left,
                    evict=evict,
                    finish=finish, targets=tuple(targets or ()),
                )  # fmt: skip
                if guest_files:
                    from profiler.capture.images.contents import with_guest_files

                    trace = with_guest_files(trace)
                progress.clear()
                keep(trace, path, follow=is_named)
                saved = True
        except KeyboardInterrupt as error:
            if not saved:
                halt.over()
                progress.clear()
                say(f"{error}; nothing was saved")
                raise typer.Exit(128 + (halt.number or signal.SIGINT)) from error
    if finish is not None and finish.over and not left.left and not quiet and not trace.meta.partial:
        say(_how_it_ended(finish, trace))
    if not quiet:
        sum_up(trace, path)
    if finish is not None and finish.reason == "timeout":
        return TIMED_OUT
    return _exit_status(trace, left.signal)


def _how_it_ended(finish: Finish, trace: Trace) -> str:
    """What is said where nothing was left running."""
    if finish.reason == "end":
        return finish.why or "all has ended"
    if trace.meta.ready_s is not None:
        return f"ready after {show_seconds(trace.meta.ready_s)}"
    return "the time is over (--for)"


def _exit_status(trace: Trace, number: int) -> int:
    """The command's own; where it goes on, that of the signal that ended the recording."""
    if trace.meta.exit_status is not None:
        return trace.meta.exit_status
    return 128 + number if number else 0
