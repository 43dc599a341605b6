"""coldseek open: why a disk image opens slowly."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from profiler.cli.app import app
from profiler.cli.compare import AFTER, BEFORE, FAILED, run_both, stoppable
from profiler.cli.output import width
from profiler.cli.record import AS_ROOT, TRACER, runs_as
from profiler.cli.report import to_file
from profiler.owner import acting_as
from profiler.units import show_path

if TYPE_CHECKING:
    from profiler.trace import Trace


@app.command("open", epilog="Example: coldseek open disk0.qcow2 --by check")
def open_image(
    image: Annotated[
        str, typer.Argument(help="A disk image: qcow2, raw, vmdk, whatever qemu-img takes.", metavar="IMAGE")
    ],
    way: Annotated[
        str,
        typer.Option(
            "--by",
            help="How to open it: by qemu-img info, check or map, or reading all its data.",
            metavar="info|check|map|read",
        ),
    ] = "info",
    former: Annotated[str, typer.Option("--with", hidden=True)] = "",
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            help="Folder for report, plots and traces; default: IMAGE.coldseek here.",
            metavar="DIR",
        ),
    ] = "",
    runs: Annotated[
        int, typer.Option(min=1, max=1000, help="Untraced runs of each kind, for the times.", metavar="N")
    ] = 3,
    before: BEFORE = "",
    after: AFTER = "",
    tracer: TRACER = "auto",
    as_root: AS_ROOT = False,
) -> None:
    """Profile opening a disk image, cold and warm: what it costs.

    Leaves report.txt, report.json, plots and the two traces in a folder, and prints the report.
    """
    from profiler.capture.warden import step_below

    step_below()
    from profiler.capture.image import open_command

    owner = runs_as(as_root)
    with acting_as(owner):  # whoever is to run qemu-img on the image may not be allowed to
        path, command = open_command(image, former or way)
    folder = output or os.path.basename(path) + ".coldseek"
    with stoppable(folder) as kept:
        around = {"before": before, "after": after}
        cold, warm = run_both(command, runs, tracer, kept, owner, path, **around)
        failed = _tell(cold, warm, folder)
    if failed:
        raise typer.Exit(FAILED)


def _tell(cold: Trace, warm: Trace, folder: str) -> bool:
    """Leave reports and plots beside the traces, and print the report; whether runs failed."""
    from profiler.report import figures, json, text
    from profiler.report.comparison import compare_summary

    comparison = compare_summary(cold, warm)
    into = {name: os.path.join(folder, name) for name in ("report.txt", "report.json")}
    page = text.report(comparison.first.summary, width())
    to_file(page.plain + "\n", into["report.txt"])
    to_file(json.dumps(json.compare(comparison)), into["report.json"])
    pair, alone = [cold, warm], [cold]
    plots = {
        "structures.png": (alone, "offsets"),  # of a single trace the colours say what was read
        "offsets.png": (pair, "offsets"),
        "gaps.png": (pair, "gaps"),
        "cost.png": (alone, "cost"),
    }
    for file, (traces, kind) in plots.items():
        figures.save(figures.draw(traces, kind), os.path.join(folder, file))
    first, *others = plots
    text.write(page, sys.stdout)
    sys.stdout.write(
        f"\nplot    {show_path(os.path.join(folder, first))} (also {', '.join(others)})\n"
        f"trace   {show_path(os.path.join(folder, 'cold.trace.parquet'))} (also warm.trace.parquet)\n"
        f"report  {show_path(into['report.txt'])} (also report.json)\n"
    )
    return comparison.failed
