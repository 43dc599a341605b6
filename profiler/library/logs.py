"""Traces of what other programs recorded."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from profiler.errors import UsageError
from profiler.library.arguments import Named
from profiler.library.keywords import words_of_python

if TYPE_CHECKING:
    from profiler.trace import Trace

KINDS = ("strace",)


@words_of_python()
def import_log(*logs: Named, kind: str = "strace") -> Trace:
    """Make a trace of a log that another program wrote, as `coldseek import` does.

    logs: names of files, compressed too; those of strace -ff make one trace. kind: who wrote it. What was
    taken off the lines, and what the log does not tell, is in `trace.meta.notes`.

    Raises UsageError for another kind, ColdseekError for what cannot be read or is no such log.

    >>> log = pathlib.Path("start.log")
    >>> _ = log.write_text('1 0.000100 pread64(3</etc/os-release>, "", 4096, 0) = 267 <0.000010>')
    >>> coldseek.import_log("start.log").to_frame()[["path", "offset", "size"]]
                  path  offset  size
    0  /etc/os-release       0   267
    """
    from profiler.capture.strace.logs.reading import parse

    if kind not in KINDS:
        raise UsageError(f"no logs of {kind!r} can be read; there are {', '.join(KINDS)}")
    if not logs:
        raise UsageError("there is no log; give the name of its file")
    return parse(*(os.fspath(log) for log in logs))
