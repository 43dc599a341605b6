"""Where in the disk that the guest sees the places of an image are."""

from __future__ import annotations

import numpy as np

from profiler.report.page.marks import Files
from profiler.report.page.packing import Pack
from profiler.trace import Trace

MAX_PLACES = 200_000
"""As many as a trace may hold (trace.MOST_ROWS)."""


def places(trace: Trace, files: Files, pack: Pack) -> dict[str, object] | None:
    """The structures that have a place in the guest's disk, by file and start; None: none has."""
    table = trace.structures[trace.structures["guest"].notna().to_numpy(bool)].iloc[:MAX_PLACES]
    paths = trace.files["path"].to_numpy(object)
    numbers = {
        file: files.numbers.get(paths[file], -1) for file in table["file"].unique().tolist() if file >= 0
    }
    file = np.array([numbers.get(one, -1) for one in table["file"].tolist()], np.int64)
    if not (file >= 0).any():
        return None
    table, file = table[file >= 0], file[file >= 0]
    start, end, guest = (table[name].to_numpy(np.int64) for name in ("start", "end", "guest"))
    order = np.lexsort((start, file))
    start, end, guest, file = start[order], end[order], guest[order], file[order]
    return {
        "file": pack.column(file),
        "start": pack.column(np.diff(start, prepend=0), signed=True),
        "size": pack.column(end - start),
        "guest": pack.column(np.diff(guest, prepend=0), signed=True),
    }
