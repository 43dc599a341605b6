"""Results that are tables too: what a notebook shows of them, and what people go on with."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

_SCALARS = (bool, int, float, str)


class Framed:
    """A result with rows. Each is a mapping, name -> number, text or None (not known)."""

    def rows(self) -> Iterable[Mapping[str, object]]:
        """The rows of `to_frame`: one, of its own plain fields, unless a result has others."""
        return [plain(self)]

    def to_frame(self) -> pd.DataFrame:
        """The result as a table: sizes in bytes, times in seconds, names of files as text (UTF-8, other
        bytes as \\\\xNN). Whole numbers are Int64, and null is not known."""
        import pandas as pd

        frame = pd.DataFrame([dict(row) for row in self.rows()])
        types = {name: _type_of(frame[name]) for name in frame}
        return frame.astype({name: dtype for name, dtype in types.items() if dtype})

    def _repr_html_(self) -> str:
        html: str = self.to_frame().to_html(max_rows=20)
        return html


def plain(thing: object) -> dict[str, object]:
    """The fields of a dataclass that are numbers, texts or names of files; all others are left out."""
    fields = {field.name: getattr(thing, field.name) for field in dataclasses.fields(thing)}  # type: ignore[arg-type]
    return {
        name: as_text(value) if isinstance(value, bytes) else value
        for name, value in fields.items()
        if value is None or isinstance(value, (*_SCALARS, bytes))
    }


def as_text(name: bytes) -> str:
    """A file's name as text: UTF-8, other bytes as \\\\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _type_of(column: pd.Series) -> str:
    """The type of a column that pandas would make floats or objects of; "": it is right as it is."""
    known = column.dropna()
    if not len(known):
        return "Float64"  # of a number, or else there would be a text
    return "Int64" if all(type(value) is int and abs(value) < 2**63 for value in known.tolist()) else ""
