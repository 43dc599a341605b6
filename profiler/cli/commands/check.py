"""coldseek check: whether a start has become colder than its baseline."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from profiler.cli.ahead import RECORD, load_ahead
from profiler.cli.app import app
from profiler.cli.commands.compare import stoppable
from profiler.cli.commands.record import COMMAND, RUNS_A_PROGRAM, runs_as
from profiler.cli.commands.report import INTO, emit, emit_json
from profiler.cli.options import (
    AFTER,
    AS_ROOT,
    BEFORE,
    DEVICE,
    EVICT,
    FOR,
    GRACE,
    GRACE_S,
    QUIET,
    STOP,
    TIMEOUT,
    TRACER,
    UNTIL,
    WITH,
    finish_of,
)
from profiler.cli.output import Progress, can_be_made, command_line, find_devices, say, width
from profiler.errors import BaselineError
from profiler.library.checking import BASELINE, RUNS_NOW, RUNS_UPDATE
from profiler.units import show_path, show_plural

if TYPE_CHECKING:
    from profiler.analysis.check.held import Held

STATUS = {"within": 0, "regressed": 1, "unknown": 3}
SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable that names the file which GitHub shows as the summary of a job."""


class CheckFormat(StrEnum):
    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"
    JUNIT = "junit"


@app.command(
    context_settings=RUNS_A_PROGRAM,
    epilog="Examples: coldseek check --update -- ./start.sh; coldseek check -- ./start.sh; coldseek check "
    "--limit requests=+5% --limit seconds.hdd-7200=2.5 -- ./start.sh",
)
def check(
    command: COMMAND,
    baseline: Annotated[
        str, typer.Option("--baseline", help="The file to compare with.", metavar="FILE")
    ] = BASELINE,
    update: Annotated[bool, typer.Option("--update", help="Write the baseline anew.")] = False,
    limits: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            help="NAME=+5%, NAME=+20, NAME=-10% (so much better), NAME=500 (at most) or NAME=off; "
            "repeatable. NAME is a line of the table, seconds or all.",
            metavar="LIMIT",
        ),
    ] = None,
    runs: Annotated[
        int | None,
        typer.Option(
            "--runs", min=1, max=100, help="Cold runs that count; default: 3, with --update 5.", metavar="N"
        ),
    ] = None,
    device: DEVICE = None,
    form: Annotated[CheckFormat, typer.Option("--format", help="How to print it.")] = CheckFormat.TEXT,
    output: INTO = "",
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
    as_root: AS_ROOT = False,
    quiet: QUIET = False,
) -> None:
    """Fail where a start has become colder than its baseline.

    Counts are compared, which hardly vary, and no wall times. Default limits are twice the spread of the
    baseline's runs, and at least 1% or 4 requests. The program's stdin and outputs are /dev/null. With
    $GITHUB_STEP_SUMMARY set, a summary is added to that file.

    Exits with 0 within the limits, 1 if it regressed, 3 if that cannot be told: runs that were not cold,
    failed or lost events.
    """
    words = command_line(command)
    from profiler.analysis.check import limits as wanted
    from profiler.files import baselines
    from profiler.studies.warden import step_below

    asked = dict(map(wanted.parse, limits or ()))
    finish = finish_of(until, seconds, timeout, stop, grace)
    if output:
        can_be_made(output, baseline)
    if update:
        can_be_made(baseline)
    try:
        former = baselines.load(baseline)
    except BaselineError as error:
        if not update:
            raise
        say(f"{error}: it is replaced")
        former = None
    wanted.need_baseline(former, asked, baseline, update)
    step_below()
    with stoppable("") as kept, Progress(quiet) as progress:
        progress.begins("loading")
        load_ahead((*RECORD, "profiler.report.check", "profiler.studies.check"))
        from profiler import devices
        from profiler.analysis.check.held import held
        from profiler.analysis.check.quantities import measured, start_of
        from profiler.studies.around import words_of
        from profiler.studies.check import cold_runs, program, tracer_of
        from profiler.version import __version__

        models = find_devices(device or []) or devices.usual()
        count = runs or (RUNS_UPDATE if update else RUNS_NOW)
        counted, faults = [], []
        for run in cold_runs(
            words, count, tracer_of(former, tracer, targets or ()), owner=runs_as(as_root),
            before=words_of(before, "--before"), after=words_of(after, "--after"), evict=evict,
            finish=finish, targets=tuple(targets or ()), say=(lambda _: None) if quiet else progress.say,
            begins=progress.begins, check=kept.halt.check,
        ):  # fmt: skip
            if run.fault:
                faults.append(run.fault)
            else:
                counted.append(measured(run.trace, models))
        now = start_of(words, counted, program(words[0]), __version__)
        result = held(former, now, asked, wanted=count, faults=faults)
    _emit(result, form, output)
    if update and now.runs == count:
        baselines.save(now, baseline)
        say(f"saved {show_path(baseline)}: {show_plural(now.runs, 'cold run')}; commit it")
        return
    if STATUS[result.state]:
        raise typer.Exit(STATUS[result.state])


def _emit(result: Held, form: CheckFormat, output: str) -> None:
    from profiler.files.writing import append
    from profiler.report import check as reports
    from profiler.report import text

    if form is CheckFormat.JSON:
        emit_json(reports.as_json(result), output)
    elif form is CheckFormat.MARKDOWN:
        emit(reports.markdown(result), output)
    elif form is CheckFormat.JUNIT:
        emit(reports.junit(result), output)
    elif output:
        emit(reports.text(result, width()).plain + "\n", output)
    else:
        text.write(reports.text(result, width()), sys.stdout)
    if summary := os.environ.get(SUMMARY):
        append(summary, reports.markdown(result).encode())
