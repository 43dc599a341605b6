"""All events as one flat table: CSV, and Parquet for SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from profiler.report.export.rows import COLUMNS, flat
from profiler.trace import EVENT_COLUMNS, Trace

if TYPE_CHECKING:
    import pyarrow as pa


def write_csv(trace: Trace, file: BinaryIO) -> None:
    """CSV as RFC 4180 has it, in UTF-8, with a line of names; what is null is empty."""
    for number, table in enumerate(flat(trace)):
        file.write(table.to_csv(index=False, header=not number, lineterminator="\r\n").encode("utf-8"))


def write_parquet(trace: Trace, file: BinaryIO) -> None:
    """Parquet with the columns of the table, words as dictionaries."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema()
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for table in flat(trace):
            writer.write_table(pa.Table.from_pandas(table, schema=schema, preserve_index=False))


def _schema() -> pa.Schema:
    import pyarrow as pa

    words = pa.dictionary(pa.int32(), pa.string())
    types = {"int16": pa.int16(), "int32": pa.int32(), "bool": pa.bool_(), "category": words}
    added = {"path": words, "structure": words, "answer": words, "missed_bytes": pa.int64()}
    known = {name: types.get(dtype, pa.int64()) for name, dtype in EVENT_COLUMNS.items()}
    return pa.schema([(name, (known | added)[name]) for name in COLUMNS])
