"""One trace is one Parquet file: its rows are the events, so that any Parquet reader opens it.

The small tables and the meta ride along as JSON in the schema's key-value metadata (keys `coldseek.meta`,
`coldseek.files`, `coldseek.extents`, `coldseek.structures`, `coldseek.contents`, `coldseek.tasks`,
`coldseek.waits`). Nothing in it is ever executed or unpickled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from profiler.calls import LARGEST
from profiler.errors import ColdseekError, TraceFormatError, UsageError
from profiler.facts import copies, host, images, runs
from profiler.facts.runs import MOST_SECONDS
from profiler.facts.structures import roles_of
from profiler.files import json_values, packed
from profiler.files.free_memory import available_bytes, within_free_memory
from profiler.files.parquet import read
from profiler.files.reading import open_regular
from profiler.files.writing import replacing
from profiler.trace import (
    EVENT_COLUMNS,
    FORMAT_VERSION,
    MOST_ROWS,
    TABLES,
    Meta,
    Trace,
    empty_table,
)
from profiler.units import show_bytes, show_path, show_plural
from profiler.validity import validate

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MAX_EVENTS = 400_000_000
"""More rows than this are refused on load: a hostile file may claim any number."""

EVENT_BYTES = 96
"""Of memory that an event takes while a trace is loaded, at the peak: 64 in the table, the rest while it is
checked. More events than there is memory for are refused."""

_ADDED: dict[str, Any] = {"guest": None, "host_path": ""}
"""Columns that a trace of an earlier version does not have, and what they hold then."""
_ADDED_TABLES = {"tasks": 3, "waits": 4, "contents": 4}
"""Tables that a trace of an earlier version than this does not have: empty then."""


def save(trace: Trace, path: str | os.PathLike[str], follow: bool = True) -> None:
    """Write the trace to `path`, whole or not at all (see `writing.replacing`).

    Raises ColdseekError where it cannot be written (no space, no permission, no such directory).

    >>> coldseek.save(trace, "saved.trace.parquet")
    >>> pd.read_parquet("saved.trace.parquet", columns=["path", "size"]).shape
    (64, 2)
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    validate(trace)
    _check_meta(trace.meta)
    schema = _arrow_schema()
    described = schema.append(pa.field(PATH, pa.dictionary(pa.int32(), pa.string()))).with_metadata(
        {
            "coldseek.meta": json_values.dumps(_meta_json(trace.meta)),
            **{
                f"coldseek.{name}": packed.dumps(getattr(trace, name), columns)
                if name in _PACKED
                else _table_to_json(getattr(trace, name))
                for name, columns in TABLES.items()
                if name != "events"
            },
        }
    )
    with replacing(path, follow) as file, pq.ParquetWriter(file, described, compression="zstd") as writer:
        for piece in trace.pieces():
            group = pa.Table.from_pandas(piece.events, schema=schema, preserve_index=False)
            group = group.append_column(described.field(PATH), _paths(piece))
            writer.write_table(group.replace_schema_metadata(described.metadata))


PATH = "path"
"""A column of the events in the file alone, for readers that do not know the table of files: the path of
each event's file as UTF-8 text, its other bytes as \\xNN; null: the file is not known."""


def _paths(piece: Trace) -> pa.DictionaryArray:
    """The path of each event's file; each group of rows has the names of its own files alone."""
    import numpy as np
    import pyarrow as pa

    files, codes = np.unique(piece.events["file"].to_numpy(np.int64), return_inverse=True)
    paths = piece.files["path"].iloc[files[files >= 0]]
    names = [path.decode("utf-8", "backslashreplace") for path in paths]
    places = codes.reshape(-1) - int((files < 0).sum())
    indices = pa.array(places, pa.int32(), mask=places < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.string()))


def load(trace: str | os.PathLike[str] | BinaryIO) -> Trace:
    """Read a trace, by name or as an open file. It may come from anywhere: all of it is checked before it is
    used, and no more memory is taken for it than is free.

    Raises TraceFormatError for what is no trace, is damaged or newer, ColdseekError where it cannot be read
    or does not fit in memory.

    >>> coldseek.save(trace, "saved.trace.parquet")
    >>> coldseek.load(pathlib.Path("saved.trace.parquet"))
    <Trace: 64 reads, 256 KiB of 1 file; 64 events; import>
    """
    import pandas  # noqa: F401  (before memory is bounded)
    import pyarrow as pa
    import pyarrow.parquet as pq

    named = trace if isinstance(trace, str | os.PathLike) else ""
    if not named and not hasattr(trace, "read"):
        raise UsageError(f"a trace is a file, by its name or open, not {type(trace).__name__}")
    shown = show_path(os.fspath(named or getattr(trace, "name", "the trace")))
    try:
        with (
            within_free_memory(),
            open_regular(named) if named else contextlib.nullcontext(cast(BinaryIO, trace)) as source,
        ):
            try:
                parquet = pq.ParquetFile(source)
            except MemoryError:
                raise
            except (pa.ArrowException, OSError, ValueError) as error:
                raise TraceFormatError(
                    f"{shown} is no coldseek trace (not a whole Parquet file); "
                    f"make one with 'coldseek record', or 'coldseek import strace' for an strace log"
                ) from error
            try:
                return _from_parquet(parquet, shown)
            except TraceFormatError as error:
                raise TraceFormatError(f"{shown}: {error}") from error
            except MemoryError:
                raise
            except (*_DAMAGE, pa.ArrowException) as error:
                raise TraceFormatError(
                    f"{shown} is damaged ({_first_line(error)}); record it again"
                ) from error
    except OSError as error:
        raise ColdseekError(f"cannot read {shown}: {os.strerror(error.errno or 0)}") from error
    except MemoryError as error:
        raise ColdseekError(
            f"cannot read {shown}: it takes more memory than is free; read it where there is more, or "
            f"record it again if it is damaged"
        ) from error


_DAMAGE = (ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError)
"""What reading a damaged file may raise; pyarrow's own errors come beside these."""


def _from_parquet(parquet: Any, shown: str) -> Trace:
    metadata = parquet.schema_arrow.metadata or {}
    if b"coldseek.meta" not in metadata:
        raise TraceFormatError("a Parquet file, but no coldseek trace; make one with 'coldseek record'")
    facts = json_values.loads(metadata[b"coldseek.meta"])
    if not isinstance(facts, dict):
        raise TraceFormatError("the trace's meta is damaged; record it again")
    version = facts.get("version")
    if type(version) is not int or version < 1:
        raise TraceFormatError("the trace does not say its format version; record it again")
    if version > FORMAT_VERSION:
        raise TraceFormatError(
            f"trace format {str(version)[:20]} is newer than this coldseek, which reads up to "
            f"{FORMAT_VERSION}; update coldseek"
        )
    meta = _meta_from(facts)
    _check_meta(meta)
    _bound(parquet.metadata.num_rows, shown)
    small = {
        name: empty_table(columns)
        if version < _ADDED_TABLES.get(name, 0) and f"coldseek.{name}".encode() not in metadata
        else packed.loads(metadata[f"coldseek.{name}".encode()], columns, name, MOST_ROWS[name])
        if name in _PACKED
        else _table_from_json(metadata, name)
        for name, columns in TABLES.items()
        if name != "events"
    }
    trace = Trace(
        meta=meta,
        **small,
        events=read(parquet, EVENT_COLUMNS, _arrow_schema()),
    )
    validate(trace)
    return trace


def _bound(rows: int, shown: str) -> None:
    """Raise ColdseekError for more events than there may be, or than there is memory for."""
    if rows > MAX_EVENTS:
        raise TraceFormatError(f"the file claims {rows} events; at most {MAX_EVENTS} are read")
    free = available_bytes()
    if free is not None and rows * EVENT_BYTES > free:
        raise ColdseekError(
            f"{shown} holds {show_plural(rows, 'event')}, which take {show_bytes(rows * EVENT_BYTES)} of "
            f"memory, and {show_bytes(free)} are free; read it where there is more, or record a shorter run"
        )


def _meta_from(facts: dict[str, Any]) -> Meta:
    """Build Meta from JSON, each field checked against the type of its default; unknown keys are left
    aside."""
    known: dict[str, Any] = {}
    for item in dataclasses.fields(Meta):
        if item.name not in facts:
            continue
        value = facts[item.name]
        if item.name in FACTS:
            if not isinstance(value, dict):
                raise TraceFormatError(f"the trace's {item.name} is damaged; record it again")
            if wrong := json_values.fault(value):
                raise TraceFormatError(f"the trace's {item.name} is damaged ({wrong}); record it again")
            continue
        if isinstance(value, list):
            value = tuple(value)
        allowed = _META_TYPES[str(item.type).partition("[")[0]]
        if not isinstance(value, allowed) or isinstance(value, bool):
            raise TraceFormatError(f"the trace's {item.name} is damaged; record it again")
        if isinstance(value, tuple) and not all(isinstance(part, str) for part in value):
            raise TraceFormatError(f"the trace's {item.name} is damaged; record it again")
        known[item.name] = value
    status = known.get("exit_status")
    return Meta(
        **known,
        images=images.from_json(facts.get("images")),
        measured=runs.from_json(facts.get("measured"), status),
        host=host.from_json(facts.get("host")),
        copies=copies.from_json(facts.get("copies")),
    )


FACTS = {"images": images, "measured": runs, "host": host, "copies": copies}
"""The fields of the meta that are objects in JSON, and who reads and writes them."""


def _meta_json(meta: Meta) -> dict[str, Any]:
    values = {item.name: getattr(meta, item.name) for item in dataclasses.fields(Meta)}
    return values | {name: module.to_json(values[name]) for name, module in FACTS.items()}


def _check_meta(meta: Meta) -> None:
    """Raise TraceFormatError for numbers that cannot be, and for what is too deep to be walked through."""
    for item in dataclasses.fields(Meta):
        if item.name in FACTS:
            continue
        value = getattr(meta, item.name)
        wrong = json_values.fault(value)
        most = MOST_SECONDS if item.name in ("wall_s", "ready_s") else LARGEST
        if not wrong and isinstance(value, int | float) and not 0 <= value <= most:
            wrong = "a number that cannot be"
        if wrong:
            raise TraceFormatError(f"the trace's {item.name} is damaged ({wrong}); record it again")


_META_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "int | None": (int, type(None)),
    "float | None": (float, int, type(None)),
    "tuple": (tuple,),
}

_PACKED = ("waits",)
"""Tables of so many rows that their columns are not JSON's lists; see profiler/files/packed.py."""


def _arrow_schema() -> pa.Schema:
    import pyarrow as pa

    types = {
        "int16": pa.int16(), "int32": pa.int32(), "int64": pa.int64(), "Int64": pa.int64(),
        "bool": pa.bool_(), "category": pa.dictionary(pa.int16(), pa.string()),
    }  # fmt: skip
    return pa.schema(
        [pa.field(name, types[dtype], nullable=dtype == "Int64") for name, dtype in EVENT_COLUMNS.items()]
    )


def _table_to_json(frame: pd.DataFrame) -> bytes:
    import pandas as pd

    columns: dict[str, list[Any]] = {}
    for name in frame.columns:
        values = frame[name].tolist()
        columns[str(name)] = [
            value.decode("utf-8", "surrogateescape")
            if isinstance(value, bytes)
            else None
            if value is pd.NA
            else value
            for value in values
        ]
    return json_values.dumps(columns)


def _table_from_json(metadata: Mapping[bytes, bytes], name: str) -> pd.DataFrame:
    import pandas as pd

    columns = TABLES[name]
    values = json_values.loads(metadata[f"coldseek.{name}".encode()])
    if isinstance(values, dict):
        rows = len(values[next(iter(columns))])
        added: dict[str, Any] = {column: [_ADDED[column]] * rows for column in columns if column in _ADDED}
        if "role" in columns and "role" not in values:
            added["role"] = roles_of(values["kind"])
        values = {**added, **values}
    if not isinstance(values, dict) or len({len(values[column]) for column in columns}) > 1:
        raise ValueError("a table's columns differ in length")
    if rows > MOST_ROWS[name]:
        raise TraceFormatError(
            f"the table {name} has {show_plural(rows, 'row')}; at most {MOST_ROWS[name]:,} are read"
        )
    made = {}
    for column, dtype in columns.items():
        found = values[column]
        wanted = (str,) if dtype in ("str", "object") else (int,) if dtype != "Int64" else (int, type(None))
        if not isinstance(found, list) or not all(
            isinstance(value, wanted) and not isinstance(value, bool) for value in found
        ):
            raise ValueError(f"column {column} is not made of {dtype}")
        if dtype == "object":
            found = [value.encode("utf-8", "surrogateescape") for value in found]
        made[column] = pd.Series(found, dtype=dtype)
    return pd.DataFrame(made)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
