"""Values of JSON that may hold anything, as what they should be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]


def mapping(value: Any) -> Json:
    """An object; an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def number(values: Mapping[str, Any], name: str, most: int) -> int | None:
    """A whole number of 0 to `most`; a larger one is `most`."""
    value = values.get(name)
    return min(value, most) if type(value) is int and value >= 0 else None


def text(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    return value if isinstance(value, str) else None


def flag(values: Mapping[str, Any], name: str) -> bool | None:
    value = values.get(name)
    return value if isinstance(value, bool) else None


def texts(values: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list of texts, without what is none."""
    value = values.get(name)
    return tuple(part for part in value if isinstance(part, str)) if isinstance(value, list | tuple) else ()


def known(value: int | None, usual: int) -> int:
    """The value; `usual` where it is not known."""
    return usual if value is None else value
