"""What a trace has to be before it is used: it may come from anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from profiler.calls import LARGEST
from profiler.errors import TraceFormatError
from profiler.facts.structures import ROLES
from profiler.trace import TABLES, WAIT_REASONS, Trace

if TYPE_CHECKING:
    import pandas as pd


def validate(trace: Trace) -> None:
    """Raise TraceFormatError unless the tables have their columns, dtypes and bounds."""
    import pandas as pd

    for name, columns in TABLES.items():
        frame = getattr(trace, name)
        if list(frame.columns) != list(columns):
            raise TraceFormatError(f"table {name} has columns {list(frame.columns)}, not {list(columns)}")
        for column, dtype in columns.items():
            found = frame[column].dtype
            if not (isinstance(found, pd.CategoricalDtype) if dtype == "category" else found == dtype):
                raise TraceFormatError(f"{name}.{column} is of type {found}, not {dtype}")
        if "file" in frame and name != "files":
            index = frame["file"].to_numpy()
            if len(index) and (index.min() < -1 or index.max() >= len(trace.files)):
                raise TraceFormatError(f"{name}.file names files that are not in the table of files")
    events, files = trace.events, trace.files
    if not np.array_equal(files["file"].to_numpy(), np.arange(len(files))):
        raise TraceFormatError("files.file does not count the rows from 0")
    for name, columns in TABLES.items():
        for column in (one for one, dtype in columns.items() if dtype == "object"):
            if not all(isinstance(value, bytes) for value in getattr(trace, name)[column]):
                raise TraceFormatError(f"{name}.{column} holds something other than bytes")
    if not events["time_ns"].is_monotonic_increasing:
        raise TraceFormatError("the events are not sorted by time")
    for piece in trace.pieces():
        _check_numbers(piece.events)
    places = {
        "extents": ("logical", "physical", "length"),
        "structures": ("start", "end", "guest"),
        "contents": ("start", "end"),
    }
    for name, names in places.items():
        if any(getattr(trace, name)[column].lt(0).any() for column in names):
            raise TraceFormatError(f"table {name} has negative offsets")
    if not set(trace.structures["role"]) <= set(ROLES):
        raise TraceFormatError("structures.role has words that are no roles")
    least = {"tid": 0, "pid": 0, "parent": -1, "start_ns": 0, "end_ns": 0}
    for column, lowest in least.items():
        if trace.tasks[column].lt(lowest).any():
            raise TraceFormatError(f"tasks.{column} has numbers that cannot be")
    _check_waits(trace.waits)
    if any(not 0 <= number < len(files) for number in trace.meta.images):
        raise TraceFormatError("meta.images is of other files; record it again")


def _check_waits(waits: pd.DataFrame) -> None:
    start, duration = waits["start_ns"].to_numpy(), waits["duration_ns"].to_numpy(np.int64, na_value=0)
    tid = waits["tid"].to_numpy()
    if (tid < 0).any() or (start < 0).any() or (duration < 0).any() or (start > LARGEST - duration).any():
        raise TraceFormatError("waits has numbers that cannot be")
    sorted_ = (tid[1:] > tid[:-1]) | ((tid[1:] == tid[:-1]) & (start[1:] >= start[:-1]))
    if not sorted_.all():
        raise TraceFormatError("the waits are not sorted by task and time")
    if not set(waits["reason"].cat.categories) <= set(WAIT_REASONS) or waits["reason"].isna().any():
        raise TraceFormatError("waits.reason has words that are no reasons")


def _check_numbers(events: pd.DataFrame) -> None:
    for column in ("time_ns", "duration_ns", "offset", "requested", "size"):
        if events[column].lt(0).any():
            raise TraceFormatError(f"events.{column} has negative values")
    offset, size = (events[column].to_numpy(np.int64, na_value=0) for column in ("offset", "size"))
    if (offset - 1 > LARGEST - size).any():
        raise TraceFormatError("an event ends behind the largest offset that a file can have")
