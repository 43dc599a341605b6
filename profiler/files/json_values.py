"""JSON of a trace, which may come from anybody: written without NaN and infinities, read whatever it holds,
and then looked over."""

from __future__ import annotations

import json
import math
from typing import Any

MOST_DEEP = 32
"""Lists and objects within each other. What coldseek writes itself is four deep."""

LARGEST_NUMBER = 2**64
"""No whole number of a trace is larger, or smaller than its negative."""

_MOST_DIGITS = 4_000  # of a whole number: Python refuses to read or show more than 4,300


def dumps(value: Any) -> bytes:
    """ASCII without blanks. Raises ValueError for NaN and infinities."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def loads(text: bytes) -> Any:
    """The value. A number that is none, or is past all reason, is an infinity, so that `fault` can say where
    it stands. Raises ValueError or RecursionError for what is no JSON."""
    return json.loads(text, parse_constant=_infinite, parse_int=_whole)


def fault(value: Any) -> str:
    """What is wrong with a value of JSON, in words; "": nothing is."""
    level = [value]
    for _ in range(MOST_DEEP + 1):
        for one in level:
            absurd = isinstance(one, float) and not math.isfinite(one)
            if absurd or (isinstance(one, int) and abs(one) > LARGEST_NUMBER):
                return "a number past all reason"
        level = [part for one in level for part in _parts(one)]
        if not level:
            return ""
    return f"lists in lists, more than {MOST_DEEP} deep"


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return [*value] if isinstance(value, list | tuple) else []


def _whole(text: str) -> int | float:
    return int(text) if len(text) <= _MOST_DIGITS else math.inf


def _infinite(text: str) -> float:
    return math.inf
