"""Traces and other people's tables: of reads that somebody else observed, a trace; of a trace, tables as
pandas has them everywhere."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from profiler.calls import LARGEST, READ_OPS, WRITE_OPS
from profiler.errors import TraceFormatError
from profiler.trace import (
    EVENT_COLUMNS,
    FILE_COLUMNS,
    FILE_KINDS,
    LAYERS,
    TABLES,
    Meta,
    Trace,
)
from profiler.units import show_path
from profiler.validity import validate

if TYPE_CHECKING:
    import pandas as pd

NEEDED = ("path", "offset", "size")

STEP_NS = 1000
"""Between two reads of which nobody knows when they were made: the order is all that is told."""

NO_TIMES = "the times are not known: the reads are in the order of the rows, as if 1 us apart"

_EVENT_DEFAULTS: dict[str, Any] = {
    "duration_ns": None, "pid": 0, "tid": 0, "op": "pread64", "handle": -1, "errno": 0, "direct": False,
}  # fmt: skip
_FILE_DEFAULTS: dict[str, Any] = {
    "device": "", "inode": None, "mtime_ns": None, "kind": "regular", "filesystem": "",
}  # fmt: skip
_FILE_SIZE = "file_size"
_IGNORED = ("file", "layer", "host_path")
"""Columns of `Trace.reads` and `Trace.to_frame` that follow from the others."""

COLUMNS = (*NEEDED, "time_ns", "requested", *_EVENT_DEFAULTS, *_FILE_DEFAULTS, _FILE_SIZE)
"""What a table of reads may have; those that are not needed may be missing, and null in part."""


def from_frame(frame: pd.DataFrame, meta: Meta | None = None) -> Trace:
    """See `Trace.from_frame`."""
    import pandas as pd

    frame = _checked(frame)
    count = len(frame)
    notes: tuple[str, ...] = ()
    if "time_ns" in frame:
        order = np.argsort(_whole(frame, "time_ns").to_numpy(np.int64), kind="stable")
        frame = frame.iloc[order].reset_index(drop=True)
    elif count:
        notes = (NO_TIMES,)
    numbers, paths = pd.factorize(frame["path"])
    sizes = _whole(frame, "size", null=True)
    events = {
        "time_ns": _whole(frame, "time_ns") if "time_ns" in frame else pd.Series(np.arange(count) * STEP_NS),
        "layer": pd.Categorical.from_codes(
            np.zeros(count, np.int8), dtype=pd.CategoricalDtype(list(LAYERS))
        ),
        "file": pd.Series(numbers),
        "offset": _whole(frame, "offset", null=True),
        "requested": _whole(frame, "requested") if "requested" in frame else sizes.fillna(0),
        "size": sizes,
        **{name: _or_default(frame, name, value) for name, value in _EVENT_DEFAULTS.items()},
    }
    firsts = frame.iloc[np.unique(numbers, return_index=True)[1]].reset_index(drop=True)
    files = {
        "file": pd.Series(np.arange(len(paths))),
        "path": pd.Series(list(paths), dtype=object),
        "size": _whole(firsts, _FILE_SIZE, null=True) if _FILE_SIZE in frame else None,
        **{name: _or_default(firsts, name, value) for name, value in _FILE_DEFAULTS.items()},
        "host_path": b"",
    }
    _check_words("op", events["op"], (*READ_OPS, *WRITE_OPS), "no call that reads or writes")
    _check_words("kind", files["kind"], FILE_KINDS, f"none of {', '.join(FILE_KINDS)}")
    meta = meta if meta is not None else Meta(tracer="import")
    trace = Trace(
        meta=_with_notes(meta, notes),
        events=_typed(events, EVENT_COLUMNS, count),
        files=_typed(files, FILE_COLUMNS, len(paths)),
    )
    validate(trace)
    return trace


def _checked(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with paths as bytes. Raises TraceFormatError for columns that are missing or not known."""
    columns = [str(column) for column in frame.columns]
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise TraceFormatError(
            f"a table of reads has the columns {', '.join(NEEDED)}; this one has no {missing[0]}"
        )
    unknown = [name for name in columns if name not in COLUMNS and name not in _IGNORED]
    if unknown:
        near = difflib.get_close_matches(unknown[0], COLUMNS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there may be {', '.join(COLUMNS)}"
        raise TraceFormatError(f"a table of reads has no column {show_path(unknown[0])}; {hint}")
    if len(set(columns)) < len(columns):
        raise TraceFormatError("the table has two columns of one name; rename or drop one")
    return frame.reset_index(drop=True).assign(path=_paths(frame["path"]))


def _paths(column: pd.Series) -> npt.NDArray[Any]:
    """The names as bytes; each is looked at once."""
    import pandas as pd

    if column.isna().any():
        raise TraceFormatError("path is null in some rows; leave these out")
    try:
        codes, names = pd.factorize(column)
    except TypeError as error:  # what has no hash is no name
        raise TraceFormatError("path has values that are no names of files") from error
    return np.array([*map(_path, names), b""], object)[codes]


def _path(value: object) -> bytes:
    if isinstance(value, str | bytes | os.PathLike):
        try:
            path = os.fsencode(value)
        except UnicodeEncodeError:
            path = os.fspath(value).encode("utf-8", "surrogatepass")  # type: ignore[union-attr]
        if path and b"\0" not in path:
            return path
    raise TraceFormatError(f"path has '{show_path(str(value)[:40])}', which is no name of a file")


def _whole(frame: pd.DataFrame, name: str, null: bool = False) -> pd.Series:
    """A column of whole numbers from 0 to the largest that a file can hold, as Int64. null: it may be."""
    numbers = _integers(frame[name], 0, LARGEST)
    if numbers is None:
        raise TraceFormatError(f"{name} is not of whole numbers, from 0 to 2**63 - 1")
    if not null and numbers.isna().any():
        raise TraceFormatError(f"{name} is null in some rows; leave these out, or the column")
    return numbers


def _integers(column: pd.Series, low: int, high: int) -> pd.Series | None:
    """The column as Int64; None: it has other values than whole numbers from `low` to `high`."""
    import pandas as pd

    try:
        numbers: pd.Series = column.astype("Int64")
    except (TypeError, ValueError, OverflowError):
        return None
    if pd.api.types.is_bool_dtype(column) or (numbers.lt(low) | numbers.gt(high)).fillna(False).any():
        return None
    return numbers


def _or_default(frame: pd.DataFrame, name: str, default: Any) -> Any:
    """The column, without nulls where there is a default; the default alone where there is none."""
    if name not in frame:
        return default
    column = frame[name]
    if default is None or not column.isna().any():
        return column
    return column.astype(object).where(column.notna(), default).infer_objects()


def _check_words(name: str, words: Any, known: Collection[str], why: str) -> None:
    unknown = [] if isinstance(words, str) else sorted(set(map(str, words.unique())) - set(known))
    if unknown:
        raise TraceFormatError(f"{name} has '{show_path(unknown[0])}', which is {why}")


def _typed(columns: dict[str, Any], types: dict[str, str], rows: int) -> pd.DataFrame:
    """A table of a trace; a value in place of a column is that of every row. Raises TraceFormatError for
    what does not fit."""
    import pandas as pd

    made = {}
    for name, dtype in types.items():
        column = columns[name]
        if not isinstance(column, pd.Series | pd.Categorical):
            column = pd.Series([column] * rows, dtype=object) if dtype == "object" else column
            made[name] = pd.Series(column, index=pd.RangeIndex(rows), dtype=dtype)
            continue
        column = pd.Series(column)
        if dtype.lower().startswith("int"):
            bounds = np.iinfo(dtype.lower())
            column = _integers(column, int(bounds.min), int(bounds.max))
        elif dtype == "bool" and not pd.api.types.is_bool_dtype(column):
            column = None
        if column is None:
            raise TraceFormatError(f"{name} has values that are not of the type {dtype}")
        made[name] = column.astype(dtype)
    return pd.DataFrame(made)


def _with_notes(meta: Meta, notes: tuple[str, ...]) -> Meta:
    import dataclasses

    return dataclasses.replace(meta, notes=(*meta.notes, *notes))


VIEWS = ("reads", "writes", *LAYERS, *TABLES)
"""What `Trace.to_frame` gives: reads, writes, the events of a layer, or a table of the trace."""


def to_frame(trace: Trace, view: str = "reads") -> pd.DataFrame:
    """See `Trace.to_frame`."""
    if view not in VIEWS:
        near = difflib.get_close_matches(view, VIEWS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(VIEWS)}"
        raise TraceFormatError(f"a trace has no table '{show_path(view)}'; {hint}")
    if view in TABLES:
        return for_people(getattr(trace, view))
    if view in LAYERS:
        return for_people(trace.layer(view))
    return for_people(trace.reads() if view == "reads" else trace.writes())


def for_people(table: pd.DataFrame) -> pd.DataFrame:
    """The same with names as text (UTF-8, other bytes as \\\\xNN) and one type of whole numbers, Int64: so
    that tables are compared and joined as they are."""
    import pandas as pd

    columns = {}
    for name, column in table.items():
        if column.dtype == object:
            columns[str(name)] = _texts(column)
        elif pd.api.types.is_integer_dtype(column.dtype):
            columns[str(name)] = column.astype("Int64")
    return table.assign(**columns)


def _texts(column: pd.Series) -> pd.Series:
    import pandas as pd

    codes, names = pd.factorize(column)
    texts: npt.NDArray[Any] = np.array(
        [*(name.decode("utf-8", "backslashreplace") for name in names), ""], object
    )
    return pd.Series(texts[codes], index=column.index, dtype="str")
