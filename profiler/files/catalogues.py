"""A catalogue of traces: one Parquet file, a row a trace, sorted by contents, the same bytes for the same
rows. It may come from anybody, as a trace may."""

from __future__ import annotations

import dataclasses
import datetime
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from profiler.errors import CatalogueError, ColdseekError
from profiler.facts.fleet import DAMAGED, FAILED, GAP_BINS, SIZE_BINS, UNREADABLE, Facts, Place, Row
from profiler.files.free_memory import within_free_memory
from profiler.files.reading import open_regular
from profiler.files.writing import replacing
from profiler.units import show_path

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT_VERSION = 1
"""Format history. A loader accepts every version up to its own and refuses newer ones by number.
1: the first."""

_VERSION_KEY = b"coldseek.fleet"
MOST_ROWS = 5_000_000
"""More rows than this are refused on load: a hostile file may claim any number."""

_MOST_BYTES_A_ROW = 65_536
"""Of memory, on average: a row of its own making has a tenth of it."""

_GROUP = 16_384
"""Rows in a group of the file."""


def schema() -> pa.Schema:
    """The columns: first the trace's own, then those of `facts.fleet.Facts`."""
    import pyarrow as pa

    text, whole, real = pa.string(), pa.int64(), pa.float64()
    place = pa.struct({"name": text, "size": whole, "changed_ns": whole})
    file = pa.struct({"path": text, "reads": whole, "bytes": whole, "page_bytes": whole, "digest": text})
    special = {
        "started_at": pa.timestamp("us", tz="UTC"),
        "is_disk": pa.bool_(),
        "unseen": pa.list_(text),
        "findings": pa.list_(text),
        "patterns": pa.map_(text, whole),
        **dict.fromkeys(("seconds", "low_s", "high_s", "in_order_s"), pa.map_(text, real)),
        "structures": pa.map_(text, pa.struct({"reads": whole, "bytes": whole})),
        "sizes": pa.list_(whole),
        "gaps": pa.list_(whole),
        "sketch": pa.list_(pa.uint64()),
        "files": pa.list_(file),
        "savings": pa.list_(pa.struct({"option": text, "name": text, "device": text, "seconds": real})),
    }
    plain = {"str | None": text, "int | None": whole, "float | None": real}
    own = {"content": text, "model": text, "trace": text, "places": pa.list_(place), "trace_bytes": whole,
           "failure": text, "reason": text}  # fmt: skip
    columns = {
        item.name: special.get(item.name) or plain[str(item.type)] for item in dataclasses.fields(Facts)
    }
    return pa.schema([*own.items(), *columns.items()], {_VERSION_KEY: str(FORMAT_VERSION).encode()})


def empty() -> pa.Table:
    """A catalogue of no rows."""
    return schema().empty_table()


def table_of(rows: Iterable[Row]) -> pa.Table:
    """The rows as a table."""
    import pyarrow as pa

    return pa.Table.from_pylist([_values(row) for row in rows], schema())


def _values(row: Row) -> dict[str, Any]:
    facts = {item.name: getattr(row.facts, item.name) for item in dataclasses.fields(Facts)}
    if row.facts.started_at is not None:
        facts["started_at"] = datetime.datetime.fromisoformat(row.facts.started_at)
    for name in ("patterns", "seconds", "low_s", "high_s", "in_order_s"):
        facts[name] = sorted(facts[name].items())
    facts["structures"] = [
        (kind, dataclasses.asdict(part)) for kind, part in sorted(row.facts.structures.items())
    ]
    for name in ("files", "savings"):
        parts = facts[name]
        facts[name] = None if parts is None else [dataclasses.asdict(part) for part in parts]
    return {
        "content": row.content, "model": row.model, "trace": row.place.key,
        "places": [place_json(row.place)], "trace_bytes": row.place.size,
        "failure": row.failure, "reason": row.reason, **facts,
    }  # fmt: skip


def sorted_rows(table: pa.Table) -> pa.Table:
    """The rows in their order: by contents, then by name."""
    return table.sort_by([("content", "ascending"), ("trace", "ascending"), ("model", "ascending")])


def save(table: pa.Table, path: str) -> None:
    """Write a catalogue, whole or not at all. The same rows are the same bytes: it holds no time but those
    of the traces. Raises ColdseekError where it cannot be written."""
    import pyarrow.parquet as pq

    with replacing(path) as file:
        pq.write_table(sorted_rows(table).combine_chunks(), file, compression="zstd", row_group_size=_GROUP)


def load(path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a catalogue. columns: those that are wanted; None: all. No more memory is taken than is free.

    Raises CatalogueError for what is none, is damaged or newer, ColdseekError where it cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    shown = show_path(path)
    wanted = schema() if columns is None else pa.schema([schema().field(name) for name in columns])
    try:
        with within_free_memory(), open_regular(path) as file:
            parquet = pq.ParquetFile(file)
            _check(parquet, shown)
            parts, size = [], 0
            for batch in parquet.iter_batches(4096, columns=wanted.names, use_threads=False):
                size += batch.nbytes
                if size > _MOST_BYTES_A_ROW * max(parquet.metadata.num_rows, 64):
                    raise CatalogueError(f"{shown} is damaged (rows past all reason); {_AGAIN}")
                parts.append(batch)
            made = pa.Table.from_batches(parts, parts[0].schema) if parts else wanted.empty_table()
            made = made.select(wanted.names).cast(wanted.remove_metadata())
            made.validate(full=True)  # texts that are no UTF-8, lists that end before they begin
            _check_lists(made, shown)
            return made.replace_schema_metadata(schema().metadata)
    except (pa.ArrowException, ValueError, KeyError) as error:
        words = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise CatalogueError(f"{shown} is no catalogue ({show_path(words[0][:200])}); {_AGAIN}") from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "it is damaged"
        raise ColdseekError(f"cannot read {shown}: {reason}; make one: {_MAKE}") from error
    except MemoryError as error:
        raise ColdseekError(f"{shown} takes more memory than is free; read it where more is") from error


_MAKE = "coldseek fleet TRACES... -o CATALOGUE.parquet"
_AGAIN = f"make it again: {_MAKE}"


def _check(parquet: Any, shown: str) -> None:
    version = (parquet.schema_arrow.metadata or {}).get(_VERSION_KEY)
    if version is None:
        raise CatalogueError(f"{shown} is a Parquet file, but no catalogue of traces; {_AGAIN}")
    if not version.isdigit() or len(version) > 9 or int(version) < 1:
        raise CatalogueError(f"{shown} does not say its format version; {_AGAIN}")
    if int(version) > FORMAT_VERSION:
        raise CatalogueError(
            f"{shown} is of format {int(version)}, and this coldseek reads up to {FORMAT_VERSION}; "
            f"update coldseek"
        )
    if parquet.metadata.num_rows > MOST_ROWS:
        raise CatalogueError(
            f"{shown} claims {parquet.metadata.num_rows:,} rows; at most {MOST_ROWS:,} are read"
        )


def _check_lists(table: pa.Table, shown: str) -> None:
    """Histograms are as long as they are everywhere, and a failure is one of those that there are."""
    import pyarrow.compute as pc

    for name, length in (("sizes", SIZE_BINS), ("gaps", GAP_BINS)):
        if name in table.column_names:
            lengths = set(pc.unique(pc.list_value_length(table[name])).to_pylist())
            if not lengths <= {None, length}:
                raise CatalogueError(f"{shown} is damaged ({name} are not {length} counts); {_AGAIN}")
    if "failure" in table.column_names:
        known = {"", DAMAGED, UNREADABLE, FAILED}
        if not set(pc.unique(table["failure"]).to_pylist()) <= known:
            raise CatalogueError(f"{shown} is damaged (failures that there are not); {_AGAIN}")


def place_json(place: Place) -> dict[str, Any]:
    """A place as an entry of `places`."""
    return {"name": place.key, "size": place.size, "changed_ns": place.changed_ns}
