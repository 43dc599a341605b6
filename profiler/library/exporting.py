"""Traces for other tools."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from profiler.library.arguments import Named, trace_of
from profiler.library.keywords import words_of_python

if TYPE_CHECKING:
    from profiler.trace import Trace


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
