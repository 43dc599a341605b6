"""Several starts at once, of which a trace has the first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from profiler.facts.runs import MOST_COPIES
from profiler.facts.values import Json, mapping, texts

_MOST_PATTERNS, _LONGEST = 100, 4096  # believed of a trace, which may hold anything


@dataclass(frozen=True)
class CopiesFacts:
    """How many starts at once the untraced runs are of, and of which command (with `{n}`). own: shell
    patterns of the files that each has for itself; None: nobody said which."""

    count: int = 1
    command: tuple[str, ...] = ()
    own: tuple[str, ...] | None = None


def from_json(value: Any) -> CopiesFacts:
    """Copies as JSON has them (`to_json`); one for what makes no sense."""
    values = mapping(value)
    count, own = values.get("count"), values.get("own")
    patterns = [one for one in texts(values, "own") if 0 < len(one) <= _LONGEST]
    return CopiesFacts(
        count if type(count) is int and 1 < count <= MOST_COPIES else 1,
        texts(values, "command"),
        tuple(patterns[:_MOST_PATTERNS]) if isinstance(own, list | tuple) else None,
    )


def to_json(copies: CopiesFacts) -> Json:
    """Copies as JSON has them; {} for one start."""
    if copies == CopiesFacts():
        return {}
    made: Json = {"count": copies.count, "command": list(copies.command)}
    return made if copies.own is None else made | {"own": list(copies.own)}
