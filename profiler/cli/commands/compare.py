"""coldseek compare: a cold start against a warm one."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from profiler.cli.ahead import REPORT, load_ahead
from profiler.cli.app import app
from profiler.cli.commands.record import runs_as
from profiler.cli.commands.report import emit, emit_json
from profiler.cli.options import (
    AFTER,
    AS_ROOT,
    BEFORE,
    EVICT,
    FOR,
    GRACE,
    GRACE_S,
    GUEST_FILES,
    MOST_RUNS,
    OWN,
    REDACT,
    RUNS,
    STOP,
    TIMEOUT,
    TRACER,
    UNTIL,
    WITH,
    finish_of,
)
from profiler.cli.output import CompareFormat, Progress, can_be_made, command_line, keep, reading, say, width
from profiler.errors import ColdseekError, UsageError
from profiler.files.owner import Owner, invoker, make_folder
from profiler.units import show_path

if TYPE_CHECKING:
    from profiler.machine.finish.finish import Finish
    from profiler.machine.processes.halt import Halt
    from profiler.report.comparison import Comparison
    from profiler.trace import Trace

PAGE = "report.html"
"""The page, in the folder of a study."""

FAILED = 1
"""The exit status where runs failed."""


@app.command(
    epilog='Examples: coldseek compare -- python3 -c "import json, decimal, asyncio"; '
    "coldseek compare --runs 10 --format csv -- git status",
)
def compare(
    command: Annotated[
        list[str],
        typer.Argument(metavar="TRACE TRACE | -- COMMAND", help="Two traces, or a program to run."),
    ],
    runs: RUNS = None,
    copies: Annotated[
        int,
        typer.Option(
            min=1, max=256, help="Time so many at once; {n} in the words becomes 1, 2 ... N.", metavar="N"
        ),
    ] = 1,
    own: OWN = None,
    form: Annotated[CompareFormat, typer.Option("--format", help="How to print it.")] = CompareFormat.TEXT,
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            help="Of a command: keep traces and report.html in this folder. Of traces: write to this file.",
            metavar="DIR|FILE",
        ),
    ] = "",
    before: BEFORE = "",
    after: AFTER = "",
    targets: WITH = None,
    until: UNTIL = None,
    seconds: FOR = None,
    timeout: TIMEOUT = None,
    stop: STOP = False,
    grace: GRACE = GRACE_S,
    tracer: TRACER = "auto",
    evict: EVICT = "auto",
    guest_files: GUEST_FILES = False,
    as_root: AS_ROOT = False,
    redacted: REDACT = False,
) -> None:
    """Compare a cold start with a warm one, or two traces.

    A program is run both ways. Times come from untraced runs, cold and warm in turn; the reads from one
    traced run of each. Each cold run is made and measured to be cold. The program runs several times; its
    stdin and outputs are /dev/null. Each run is over when the command itself has ended; what it leaves
    running then is ended. With --until a run is over, and timed, when it is ready, and is ended then. Exits
    with 1 if runs failed: ended with another exit status than the first, or were not ready in time.

    With --runs 6 and more each median has an interval that holds the true one with 95%, and runs that stand
    apart are named. It is said where cold and warm cannot be told apart.

    With --copies N start at once and all end before the next round; the traced runs are of the first alone.
    With {n} in its words, and in those of --before, --after and --until, each has its own image or port.
    Files named so are its own (or see --own); the others are shared.
    """
    from profiler.studies.copies import PLACE, filled
    from profiler.studies.warden import step_below

    words = command_line(command)
    finishes = [
        finish_of(filled(until or (), number) if copies > 1 else until, seconds, timeout, stop, grace)
        for number in range(1, copies + 1)
    ]
    if own and copies == 1:
        raise UsageError("--own says what several starts do not share; use it with --copies")
    for one in until or () if copies > 1 else ():
        if PLACE not in one and not one.startswith(("end", "exit", "output:")):
            say(f"--until {show_path(one)} has no {{n}}: what one copy makes true is true for all")
    traces = [word for word in words if word.endswith(".parquet") and os.path.isfile(word)]
    two_traces = len(traces) == len(words) == 2
    if two_traces and copies > 1:
        raise UsageError("--copies is for a command; of two traces it is known how many starts they are of")
    if redacted and not two_traces:
        raise UsageError("--redact is for two traces: those of a command stay here")
    if two_traces and output:
        can_be_made(output, *words)
    elif two_traces and form is CompareFormat.HTML and sys.stdout.isatty():
        raise UsageError("a page is a file to open in a browser: name it with -o FILE.html")
    if not two_traces and form is CompareFormat.HTML and not output:
        raise UsageError("-o DIR names the folder that report.html goes to")
    if not two_traces:
        if words[0].endswith(".trace.parquet"):
            raise UsageError("compare takes two traces; one of these is missing or does not exist")
        step_below()
    if two_traces:
        from profiler.files.traces import load
        from profiler.report.comparison import compare_summary

        with reading(*words):
            pair = load(words[0]), load(words[1])
            if redacted:
                from profiler.report.redact import redact

                first, second = redact(*pair)
                pair, words = (first, second), ["TRACE"] * 2
            comparison = compare_summary(*pair)
            if form is CompareFormat.HTML:
                from profiler.report.page import of_comparison

                emit(of_comparison(comparison, pair, words), output)
    else:
        with stoppable(output) as kept:
            pair = run_both(
                words, runs, tracer, kept, runs_as(as_root), before=before, after=after, evict=evict,
                finish=finishes, targets=targets, copies=copies, own=own, guest_files=guest_files,
            )  # fmt: skip
            from profiler.report.comparison import compare_summary  # loaded with what it needs: see `ahead`

            comparison = compare_summary(*pair)
    from profiler.report import json, text

    if output and not two_traces:
        write_page(comparison, pair, output)
    if form is CompareFormat.JSON:
        emit_json(json.compare(comparison), output if two_traces else "")
    elif form is CompareFormat.CSV:
        from profiler.report import csv

        emit(csv.compare(comparison), output if two_traces else "")
    elif form is CompareFormat.MARKDOWN:
        from profiler.report import markdown

        emit(markdown.compare(comparison), output if two_traces else "")
    elif form is CompareFormat.TEXT and two_traces and output:
        emit(text.compare(comparison, width()).plain + "\n", output)
    elif form is CompareFormat.TEXT:
        text.write(text.compare(comparison, width()), sys.stdout)
    if comparison.failed:
        raise typer.Exit(FAILED)


def write_page(comparison: Comparison, pair: tuple[Trace, Trace], folder: str) -> None:
    """report.html of a cold and a warm start, in the folder where their traces are."""
    from profiler.report.page import of_comparison

    files = [os.path.join(folder, f"{name}.trace.parquet") for name in ("cold", "warm")]
    emit(of_comparison(comparison, pair, files), os.path.join(folder, PAGE))


class Kept:
    """What of a study lies in `folder` by now; "": nothing is kept. halt: what ends the study early."""

    def __init__(self, folder: str, halt: Halt) -> None:
        self.folder, self.halt = folder, halt
        self.names: list[str] = []

    def __str__(self) -> str:
        if not self.folder:
            return "nothing was saved; -o DIR keeps what is recorded"
        if not self.names:
            return "nothing was saved: no run had been recorded yet"
        return f"kept: {show_path(self.folder)}/{' and '.join(self.names)}"


@contextlib.contextmanager
def stoppable(folder: str) -> Iterator[Kept]:
    """One Ctrl-C or SIGTERM ends what is done in here, and it is said what is left of it. The exit status is
    that of a program that died by the signal."""
    from profiler.machine.processes.halt import Halt

    with Halt() as halt:
        kept = Kept(folder, halt)
        try:
            yield kept
        except KeyboardInterrupt as error:
            say(f"{str(error) or 'interrupted'}; {kept}")
        except ColdseekError as error:
            if not halt.number and not kept.names:
                raise
            say(str(error))
            say(str(kept))
            raise typer.Exit(128 + halt.number if halt.number else error.exit_code) from error
        else:
            return
        # without a signal a run was cut short by something else, such as a full disk
        raise typer.Exit(128 + halt.number if halt.number else ColdseekError.exit_code)


def run_both(
    words: list[str],
    runs: int | None,
    tracer: str,
    kept: Kept,
    owner: Owner | None,
    image: str = "",
    *,
    before: str,
    after: str,
    evict: str = "auto",
    finish: Sequence[Finish | None],
    targets: Sequence[str] | None,
    copies: int = 1,
    own: Sequence[str] | None = None,
    ready: Callable[[], None] = lambda: None,
    guest_files: bool = False,
) -> tuple[Trace, Trace]:
    """Study a command, which runs as `owner`; cold.trace.parquet and warm.trace.parquet go to the folder, if
    there is one, as they come. finish: when each copy is over. runs: of each kind;
    None: MOST_RUNS, or fewer that agree. ready: see `study`; what makes reports is loaded by then."""
    with Progress() as progress:
        progress.begins("loading")
        from profiler.studies.around import words_of
        from profiler.studies.cold_warm import study
        from profiler.studies.copies import Copies, filled

        folder = kept.folder
        commands = {"before": words_of(before, "--before"), "after": words_of(after, "--after")}
        several = None
        if copies > 1:
            several = Copies(
                copies, tuple(words), **commands, finishes=tuple(filter(None, finish)), own=tuple(own or ())
            )
            words = filled(words, 1)
            commands = {name: tuple(filled(command, 1)) for name, command in commands.items()}
        if folder:
            try:
                make_folder(folder, invoker())
            except OSError as error:
                why = f"{error.strerror}; give another place with -o"
                raise UsageError(f"cannot make the folder {show_path(folder)}: {why}") from error
            can_be_made(os.path.join(folder, "cold.trace.parquet"))

        def loaded() -> None:
            load_ahead(REPORT)
            ready()

        def save(traces: Mapping[str, Trace]) -> None:
            with kept.halt.held():
                for name, trace in traces.items() if folder else ():
                    keep(trace, os.path.join(folder, f"{name}.trace.parquet"))
                    kept.names = list(dict.fromkeys([*kept.names, f"{name}.trace.parquet"]))

        found = study(
            words, runs or MOST_RUNS, tracer, image=image, owner=owner, started=progress.started,
            say=progress.say, keep=save, check=kept.halt.check, evict=evict, **commands, finish=finish[0],
            targets=tuple(targets or ()), copies=several, settle=runs is None, begins=progress.begins,
            ready=loaded, guest_files=guest_files,
        )  # fmt: skip
    if kept.folder and not image:
        say(f"traces: {show_path(kept.folder)}/cold.trace.parquet and warm.trace.parquet")
    return found
