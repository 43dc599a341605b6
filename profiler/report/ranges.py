"""What a start touched of its files, as JSON: for loaders, and for who restores memory from a file."""

from __future__ import annotations

from typing import Any

from profiler.analysis.simulation.prefetch import ranges as touched
from profiler.report.json import path_of
from profiler.trace import Trace, host_paths

FORMAT = "coldseek.ranges/1"


def ranges(trace: Trace) -> dict[str, Any]:
    """In the order of the first touch; offset and length in bytes, first_touch_ns from the begin of the
    trace.

    mapped_by: "faults", if each fault on a mapped file was seen, or "page tables", which also hold what was
    mapped beside it and may not have been touched. Names that are no UTF-8 are escaped as Python does
    (surrogateescape).
    """
    rows, source = touched(trace)
    names = [path_of(path, "file") for path in host_paths(trace.files)]
    columns = (rows[name].tolist() for name in ("file", "offset", "size", "time_ns"))
    return {
        "schema": FORMAT,
        "mapped_by": source,
        "ranges": [
            {**names[file], "offset": offset, "length": size, "first_touch_ns": time_ns}
            for file, offset, size, time_ns in zip(*columns, strict=True)
        ],
    }
