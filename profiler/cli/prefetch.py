"""coldseek prefetch: bring in what a recorded start reads, before it starts."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer

from profiler.cli.app import app
from profiler.cli.output import say
from profiler.cli.report import TRACE
from profiler.units import show_bytes, show_path, show_plural, show_seconds

MOST_SHOWN = 20


@app.command(epilog="Example: coldseek prefetch boot.trace.parquet && qemu-system-x86_64 ...")
def prefetch(
    trace: TRACE,
    order: Annotated[
        str,
        typer.Option(
            help="device: by place on the device; time: as the start read it.", metavar="device|time"
        ),
    ] = "device",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be read, and read nothing.")
    ] = False,
) -> None:
    """Bring in what a recorded start reads, before it starts.

    It is read into the page cache, in a good order and many at once.

    The start that follows then runs warm. Files that changed since the trace was recorded are refused.
    """
    from profiler.analysis.prefetch import plan
    from profiler.capture.prefetch import changes, refusal
    from profiler.capture.prefetch import prefetch as read
    from profiler.trace import load

    found = load(trace)
    stretches = plan(found, order)
    size = int(stretches["size"].sum())
    total = f"{show_bytes(size)} in {show_plural(len(stretches), 'piece')}"
    if dry_run:
        by_file = stretches.groupby("file")["size"].agg(["sum", "count"]).sort_values("sum", ascending=False)
        paths = found.files["path"].to_dict()
        for number, in_all, pieces in by_file.head(MOST_SHOWN).itertuples():
            sys.stdout.write(f"{show_bytes(int(in_all)):>10}  {pieces:>6,}  {show_path(paths[number])}\n")
        more = len(by_file) - MOST_SHOWN
        files = show_plural(len(by_file), "file")
        sys.stdout.write(f"{total}, of {files}" + (f", {more} of them not shown" if more > 0 else "") + "\n")
        changed = changes(found.files.loc[by_file.index])
        if changed:
            raise refusal(changed)
        return
    began = time.monotonic()
    got = read(stretches, found.files)
    took = show_seconds(time.monotonic() - began)
    say(f"prefetched {show_bytes(got)} of {show_plural(stretches['file'].nunique(), 'file')} in {took}")
