"""Tables of many rows as text of few bytes: columns of numbers, compressed, in JSON.

{"rows": N, "columns": {NAME: COLUMN}}. A column of numbers is {"numbers": TEXT}: 8 bytes a number, little
endian, each less the one before it, all first bytes first, then all second ones, through zlib and Base64;
null is -1. A column of texts is {"texts": [each once], "numbers": TEXT}, its numbers the places in that
list. What is read may be hostile: no more is unpacked than the rows take that there may be.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from profiler.calls import LARGEST
from profiler.errors import TraceFormatError
from profiler.files import json_values
from profiler.units import show_plural

if TYPE_CHECKING:
    import pandas as pd

_WORD = 8
_TEXT_TYPES = ("category", "object")


def dumps(frame: pd.DataFrame, columns: Mapping[str, str]) -> bytes:
    """A table of these columns (name -> dtype: whole numbers, "Int64" without negative ones, "category",
    "object" for bytes)."""
    return json_values.dumps({
        "rows": len(frame), "columns": {name: _column(frame[name], kind) for name, kind in columns.items()}
    })  # fmt: skip


def loads(text: bytes, columns: Mapping[str, str], name: str, most: int) -> pd.DataFrame:
    """The table again. name: what it is called in messages; most: rows.

    Raises TraceFormatError where there are more, ValueError, LookupError or TypeError for what is no such
    table; what the numbers mean is not looked at, but that they fit."""
    import pandas as pd

    found = json_values.loads(text)
    rows = found["rows"]
    if type(rows) is not int or not 0 <= rows <= LARGEST:
        raise ValueError("a table does not say how many rows it has")
    if rows > most:
        raise TraceFormatError(f"the table {name} has {show_plural(rows, 'row')}; at most {most:,} are read")
    return pd.DataFrame(
        {name: _series(found["columns"][name], kind, rows, name) for name, kind in columns.items()}
    )


def _column(series: pd.Series, kind: str) -> dict[str, Any]:
    if kind not in _TEXT_TYPES:
        return {"numbers": pack(series.to_numpy(np.int64, na_value=-1) if kind == "Int64" else series)}
    import pandas as pd

    places, texts = pd.factorize(series)
    shown = [one.decode("utf-8", "surrogateescape") if isinstance(one, bytes) else str(one) for one in texts]
    return {"texts": shown, "numbers": pack(places)}


def _series(column: Any, kind: str, rows: int, name: str) -> pd.Series:
    import pandas as pd

    numbers = unpack(column["numbers"], rows)
    if kind == "Int64":
        if (numbers < -1).any():
            raise ValueError(f"column {name} has numbers that cannot be")
        return pd.Series(pd.arrays.IntegerArray(np.maximum(numbers, 0), numbers < 0))
    if kind not in _TEXT_TYPES:
        if (numbers != numbers.astype(kind)).any():
            raise ValueError(f"column {name} has numbers that do not fit")
        return pd.Series(numbers.astype(kind))
    texts = column["texts"]
    if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
        raise ValueError(f"column {name} is not made of texts")
    if rows and (not len(texts) or numbers.min() < 0 or numbers.max() >= len(texts)):
        raise ValueError(f"column {name} names texts that are not there")
    if kind == "category":
        return pd.Series(pd.Categorical.from_codes(numbers, categories=pd.Index(texts, dtype=str)))
    known = np.empty(len(texts), object)
    known[:] = [one.encode("utf-8", "surrogateescape") for one in texts]
    return pd.Series(known[numbers], dtype=object)


def pack(values: Any) -> str:
    """Whole numbers as a text, as described above."""
    numbers = np.asarray(values, np.int64)
    steps = np.diff(numbers, prepend=np.int64(0)).astype("<i8")
    planes = np.ascontiguousarray(steps.view(np.uint8).reshape(-1, _WORD).T)
    return base64.b64encode(zlib.compress(planes.tobytes(), 6)).decode("ascii")


def unpack(text: Any, rows: int) -> npt.NDArray[np.int64]:
    """So many numbers of such a text. Raises TypeError or ValueError where it is none."""
    if not isinstance(text, str):
        raise TypeError("a column is no text")
    wanted = rows * _WORD
    unpacked = zlib.decompressobj()
    try:
        planes = unpacked.decompress(base64.b64decode(text, validate=True), wanted + 1)
    except zlib.error as error:
        raise ValueError("a column cannot be unpacked") from error
    if len(planes) != wanted:
        raise ValueError("a table's columns differ in length")
    steps = np.ascontiguousarray(np.frombuffer(planes, np.uint8).reshape(_WORD, rows).T).view("<i8")
    return np.cumsum(steps.reshape(-1), dtype=np.int64)
