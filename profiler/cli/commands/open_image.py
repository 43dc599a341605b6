"""coldseek open: why a disk image opens slowly."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from profiler.cli.ahead import STUDY, load_ahead
from profiler.cli.app import app
from profiler.cli.commands.compare import FAILED, PAGE, run_both, stoppable, write_page
from profiler.cli.commands.record import runs_as
from profiler.cli.commands.report import to_file
from profiler.cli.completion import values
from profiler.cli.drawing import Plots, drawer
from profiler.cli.options import (
    AFTER,
    AS_ROOT,
    BEFORE,
    EVICT,
    FOR,
    GRACE,
    GRACE_S,
    GUEST_FILES,
    RUNS,
    STOP,
    TIMEOUT,
    TRACER,
    UNTIL,
    WITH,
    finish_of,
)
from profiler.cli.output import width
from profiler.files.owner import acting_as
from profiler.units import show_path

if TYPE_CHECKING:
    from rich.text import Text

    from profiler.report.comparison import Comparison
    from profiler.trace import Trace


WAYS = ("info", "check", "map", "read", "vm")
"""As in machine/qemu_img.py, which help does without. As --with they mean --by, which had that name
before."""

_COLD, _WARM = "cold.trace.parquet", "warm.trace.parquet"
PLOTS: Plots = {
    "structures.png": ((_COLD,), "offsets"),  # of a single trace the colours say what was read
    "offsets.png": ((_COLD, _WARM), "offsets"),
    "gaps.png": ((_COLD, _WARM), "gaps"),
    "cost.png": ((_COLD,), "cost"),
}


@app.command("open", epilog="Example: coldseek open disk0.qcow2 --by check")
def open_image(
    image: Annotated[
        str, typer.Argument(help="A disk image: qcow2, raw, vmdk, whatever qemu-img takes.", metavar="IMAGE")
    ],
    way: Annotated[
        str,
        typer.Option(
            "--by",
            help="How to open it: by qemu-img info, check or map; reading all its data; or as a virtual "
            "machine does, with all that is behind it, up to the boot loader.",
            metavar="info|check|map|read|vm",
            autocompletion=values(*WAYS),
        ),
    ] = "info",
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            help="Folder for report, plots and traces; default: IMAGE.coldseek here.",
            metavar="DIR",
        ),
    ] = "",
    runs: RUNS = None,
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
) -> None:
    """Profile opening a disk image, cold and warm: what it costs.

    Leaves the report as a page, report.html, as text and as JSON, plots and the two traces in a folder, and
    prints it.
    """
    from profiler.studies.warden import step_below

    step_below()
    from profiler.machine.qemu_img import open_command

    finish = finish_of(until, seconds, timeout, stop, grace)
    former = [one for one in targets or () if one in WAYS]
    watched = [one for one in targets or () if one not in WAYS]
    owner = runs_as(as_root)
    with acting_as(owner):  # whoever is to run qemu-img on the image may not be allowed to
        path, command = open_command(image, former[-1] if former else way)
    folder = output or os.path.basename(path) + ".coldseek"
    load_ahead(STUDY)  # before the drawer is made, which has it then, too
    with stoppable(folder) as kept, drawer(folder, PLOTS) as beside:
        cold, warm = run_both(
            command, runs, tracer, kept, owner, path, before=before, after=after, evict=evict,
            finish=[finish], targets=watched, ready=beside.wait_loaded,
            guest_files=guest_files,
        )  # fmt: skip
        comparison, page = report_of(cold, warm, folder)
        drawn = beside.draw()  # which begins with the first of them that is asked for
        try:
            tell(page, folder, lambda: write_page(comparison, (cold, warm), folder), drawn)
        except BrokenPipeError:
            for _ in drawn:  # nobody reads our words any more; the figures are wanted all the same
                pass
            raise
    if comparison.failed:
        raise typer.Exit(FAILED)


def report_of(cold: Trace, warm: Trace, folder: str) -> tuple[Comparison, Text]:
    """Work out the report, leave all of it beside the traces, and give the screen of it."""
    from profiler.report import json, text
    from profiler.report.comparison import compare_summary

    comparison = compare_summary(cold, warm)
    summary = comparison.first.summary
    to_file(text.report(summary, width()).plain + "\n", os.path.join(folder, "report.txt"))
    to_file(json.dumps(json.compare(comparison)), os.path.join(folder, "report.json"))
    shows = text.terminal(sys.stdout, width())
    return comparison, text.screen(summary, shows, trace=os.path.join(folder, _COLD))


def tell(page: Text, folder: str, write: Callable[[], None], drawn: Iterable[str]) -> None:
    """Print the report and where things lie: the page as it is written, the figures as they are drawn, each
    in a line."""
    from profiler.report import text

    text.write(page, sys.stdout)
    sys.stdout.write("\n")
    _line("trace", folder, _COLD, _WARM)
    _line("report", folder, "report.txt", "report.json")
    write()
    _line("page", folder, PAGE)
    for file in drawn:
        _line("plot", folder, file)


def _line(what: str, folder: str, first: str, other: str = "") -> None:
    """A line that says where something lies; at once."""
    also = f" (also {other})" if other else ""
    sys.stdout.write(f"{what:8}{show_path(os.path.join(folder, first))}{also}\n")
    sys.stdout.flush()
