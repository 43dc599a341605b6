"""Device files as values, TOML or JSON: read within bounds, and their numbers looked over."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from typing import Any

from profiler.errors import ColdseekError
from profiler.files.reading import open_regular
from profiler.units import show_path

MOST_BYTES = {"TOML": 2**16, "JSON": 2**20}
"""Of a device file. The presets have one thousand, drives with their geometry four. Fewer of TOML: for a key
of many parts `tomllib` takes a time that grows with the square of their number."""

_PARSERS = {"TOML": tomllib.loads, "JSON": json.loads}

Bounds = tuple[float, float]
"""What a number may be, both ends included. Outside of this it is a slip of the pen."""


def form_of(path: str) -> str:
    """What a device file of this name is in: "JSON" by its ending, else "TOML"."""
    return "JSON" if path.endswith(".json") else "TOML"


def read(path: str) -> str:
    """The text of the device file at `path`. Raises ColdseekError naming it if it cannot be read, is larger
    than MOST_BYTES or no text."""
    shown, form = show_path(path), form_of(path)
    try:
        with open_regular(path) as source:
            data = source.read(MOST_BYTES[form] + 1)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise ColdseekError(f"cannot read the device file {shown}: {why}") from error
    if len(data) > MOST_BYTES[form]:
        raise ColdseekError(f"{shown} is larger than {MOST_BYTES[form]:,} bytes, so no device file")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ColdseekError(f"{shown} is no {form} file: not UTF-8 text") from error


def values_of(text: str, form: str, shown: str) -> dict[str, Any]:
    """The values of a device file's text, by their keys. form: "TOML" or "JSON". `shown` names the file in
    errors: ColdseekError for a text that is not of this form, or no table of values."""
    try:
        values = _PARSERS[form](text)
    except (ValueError, RecursionError) as error:
        raise ColdseekError(f"{shown} is no {form} file: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict):
        raise ColdseekError(f"{shown} describes no device: it is no {form} object")
    return values


def number(
    values: Mapping[str, Any], key: str, bounds: Bounds, shown: str, default: float | None = None
) -> float:
    """The number of this key; `default`, if there is one, where it is missing or null. Raises ColdseekError
    naming the file and the key."""
    value = values.get(key)
    if value is None and default is not None:
        return default
    if value is None:
        raise ColdseekError(f"{shown}: {key} is missing")
    return within(value, bounds, key, shown)


def within(value: object, bounds: Bounds, named: str, shown: str) -> float:
    """A value as a number within its bounds. Raises ColdseekError, which calls it `named`."""
    if not is_number(value, bounds):
        low, high = bounds
        raise ColdseekError(
            f"{shown}: {named} = {show_path(str(value)[:40])} is not a number from {low:g} to {high:g}"
        )
    return float(value)  # type: ignore[arg-type]


def is_number(value: object, bounds: Bounds) -> bool:
    """Whether it is a number within these bounds. True and false are none."""
    low, high = bounds
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
