"""Every event of a trace on a row that needs no other table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from profiler.analysis.cost.below_the_program import answers
from profiler.analysis.reads.attribution import structure_of
from profiler.trace import Trace

COLUMNS = (
    "time_ns", "duration_ns", "pid", "tid", "layer", "op", "path", "offset", "requested", "size", "errno",
    "direct", "structure", "answer", "missed_bytes",
)  # fmt: skip
"""As in docs/trace.md; path: text (`as_text`), null where the file is not known. structure: of the image,
where the event begins in one. answer: of a read, whether the page cache had it: hit, miss, direct, unknown;
missed_bytes: what it brought in."""


def as_text(path: bytes) -> str:
    """A path as UTF-8 text, its other bytes as \\xNN."""
    return path.decode("utf-8", "backslashreplace")


def flat(trace: Trace) -> Iterator[pd.DataFrame]:
    """Tables of COLUMNS, one after another all events in the order of time; one table at least."""
    answered = answers(trace)
    row = trace.read_rows()
    paths = np.array([*map(as_text, trace.files["path"]), None], object)  # where file -1 points
    begin = 0
    for piece in trace.pieces():
        events = piece.events
        inside = slice(*np.searchsorted(row, [begin, begin + len(events)]))
        answer = np.full(len(events), None, object)
        missed = pd.array([pd.NA] * len(events), dtype="Int64")
        at = row[inside] - begin
        answer[at] = answered["answer"].to_numpy(object)[inside]
        missed[at] = answered["missed_bytes"].array[inside]
        structure = structure_of(events, trace.structures)
        yield events.assign(
            path=paths[events["file"].to_numpy(np.int64)],
            structure=pd.Series(structure, events.index, object).mask(structure == ""),
            answer=answer,
            missed_bytes=missed,
        )[list(COLUMNS)]
        begin += len(events)
