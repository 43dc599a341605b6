"""The columns of a Parquet file as a table, in little more memory than the table takes.

A file of a few kilobytes can hold billions of rows, and its metadata can say anything. So rows are decoded a
batch at a time, into a table that has room for as many as the file claims; where it holds more or fewer, it
is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from profiler.errors import TraceFormatError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_BATCH = 65_536  # rows
_MOST_WORDS = 2**15 - 1  # of a categorical column: so many have a code of 16 bits
_MOST_LETTERS = 2**20  # bytes of these words together


def read(parquet: Any, columns: Mapping[str, str], schema: pa.Schema) -> pd.DataFrame:
    """The columns of a pyarrow.parquet.ParquetFile as a table.

    columns: name -> dtype of pandas, one of those of numpy, "Int64", "category". schema: of Arrow, to which
    each is cast. Raises TraceFormatError where rows or values are not what was claimed, and whatever pyarrow
    raises.
    """
    import pandas as pd
    import pyarrow as pa

    rows = parquet.metadata.num_rows
    made = {name: _column(dtype, rows) for name, dtype in columns.items()}
    filled = 0
    # threads would hold several columns of a batch at a time, and could not be started where memory is short
    for batch in parquet.iter_batches(_BATCH, columns=list(columns), use_threads=False):
        until = filled + len(batch)
        if until > rows:
            raise TraceFormatError(f"the file holds more than the {rows} events that it claims")
        whole = pa.Table.from_batches([batch]).select(list(columns)).cast(schema)
        for name, column in made.items():
            column.put(filled, until, whole[name].combine_chunks())
        filled = until
    if filled < rows:
        raise TraceFormatError(f"the file claims {rows} events and holds {filled}")
    # of a dictionary with `copy` pandas would make another table of it
    return pd.DataFrame({name: column.made() for name, column in made.items()}, copy=False)


def _column(dtype: str, rows: int) -> _Plain:
    kind = {"Int64": _Nullable, "category": _Words}.get(dtype, _Plain)
    return kind(dtype, rows)


class _Plain:
    """A column without nulls. Of memory that is not written to Linux gives nothing away."""

    stored = ""

    def __init__(self, dtype: str, rows: int) -> None:
        self.values = np.empty(rows, self.stored or dtype)

    def put(self, start: int, stop: int, part: Any) -> None:
        if part.null_count:
            raise TraceFormatError("the events have no value where there has to be one")
        self.values[start:stop] = part.to_numpy(zero_copy_only=False)

    def made(self) -> Any:
        return self.values


class _Nullable(_Plain):
    """Int64: exact where some are null, which must not make floats of the others."""

    stored = "int64"

    def __init__(self, dtype: str, rows: int) -> None:
        super().__init__(dtype, rows)
        self.missing = np.empty(rows, bool)

    def put(self, start: int, stop: int, part: Any) -> None:
        self.missing[start:stop] = part.is_null().to_numpy(zero_copy_only=False)
        super().put(start, stop, part.fill_null(0))

    def made(self) -> Any:
        import pandas as pd

        return pd.arrays.IntegerArray(self.values, self.missing)


class _Words(_Plain):
    """A categorical column: each batch has a dictionary of its own."""

    stored = "int16"

    def __init__(self, dtype: str, rows: int) -> None:
        super().__init__(dtype, rows)
        self.codes: dict[str, int] = {}

    def put(self, start: int, stop: int, part: Any) -> None:
        words = part.dictionary
        if words.nbytes > _MOST_LETTERS or words.null_count:
            raise TraceFormatError("the events have names of operations that are none")
        codes = [self.codes.setdefault(word, len(self.codes)) for word in words.to_pylist()]
        if len(self.codes) > _MOST_WORDS:
            raise TraceFormatError("the events have more operations than there are")
        super().put(start, stop, part.indices)
        self.values[start:stop] = np.array([*codes, 0], np.int16)[self.values[start:stop]]

    def made(self) -> Any:
        import pandas as pd

        kind = pd.CategoricalDtype(pd.Index(list(self.codes), dtype="str"))
        return pd.Categorical.from_codes(self.values, dtype=kind)
