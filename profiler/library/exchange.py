"""Traces of what other programs recorded, and for other programs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from profiler.errors import UsageError
from profiler.library.arguments import Named, trace_of
from profiler.library.keywords import words_of_python
from profiler.units import show_path

if TYPE_CHECKING:
    from profiler.trace import Trace

KINDS = ("strace", "blktrace", "biosnoop", "perf", "ftrace")


@words_of_python()
def import_log(*logs: Named, kind: str | None = None) -> Trace:
    """Make a trace of a log that another program wrote, as `coldseek import` does.

    logs: names of files, compressed too; those of strace -ff make one trace, of another kind there is one.
    kind: who wrote it, "strace", "blktrace", "biosnoop", "perf" or "ftrace"; None: its lines tell. All but
    strace's are of the device layer only. What was taken off the lines, and what the log does not tell, is
    in `trace.meta.notes`.

    Raises UsageError for another kind, ColdseekError for what cannot be read or is no such log.

    >>> log = pathlib.Path("start.log")
    >>> _ = log.write_text('1 0.000100 pread64(3</etc/os-release>, "", 4096, 0) = 267 <0.000010>')
    >>> coldseek.import_log("start.log").to_frame()[["path", "offset", "size"]]
                  path  offset  size
    0  /etc/os-release       0   267
    """
    if not logs:
        raise UsageError("there is no log; give the name of its file")
    if kind not in (*KINDS, None):
        raise UsageError(f"no logs of '{show_path(str(kind))}' can be read; there are {', '.join(KINDS)}")
    names = [os.fspath(log) for log in logs]
    if kind is None:
        from profiler.capture.block_logs.formats import kind_of

        kind = kind_of(names[0])
    if kind == "strace":
        from profiler.capture.strace.logs.reading import parse as of_strace

        return of_strace(*names)
    if len(names) > 1:
        raise UsageError(f"a trace is of one log of {kind}, and there are {len(names)}")
    from profiler.capture.block_logs.reading import parse

    return parse(kind, names[0])


@words_of_python()
def export(trace: Trace | Named, *, to: str, output: Named) -> None:
    """Write a trace as other tools read it, as `coldseek export` does.

    trace: a trace, or the name of its file. to: what is made, such as "csv", "parquet", "perfetto" or
    "folded"; docs/export.md has all. output: the name of the file, which is written whole or not at all.

    Raises UsageError for another kind, ColdseekError where it cannot be written or the trace has nothing of
    that kind, and as `load` does.

    >>> coldseek.export(trace, to="csv", output="reads.csv")
    >>> len(pd.read_csv("reads.csv"))
    64
    """
    from profiler.files.writing import replacing
    from profiler.report.export import export as write

    source = trace_of(trace)
    with replacing(os.fspath(output)) as file:
        write(source, to, file)
