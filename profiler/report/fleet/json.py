"""A fleet as JSON: `coldseek.fleet/1`, which grows only by adding."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from profiler.analysis.fleet.findings import Fleet
from profiler.report.fleet.words import verdict
from profiler.report.json import text_of

Json = dict[str, Any]


def fleet(report: Fleet) -> Json:
    """`coldseek.fleet/1`. What is not known is null; times are in UTC."""
    made: Json = _plain(asdict(report))
    return {"schema": "coldseek.fleet/1", "verdict": verdict(report), **made}


def rows(names: Sequence[str], values: Sequence[Sequence[Any]]) -> Json:
    """`coldseek.fleet-sql/1`: what a query gives."""
    return {
        "schema": "coldseek.fleet-sql/1",
        "columns": [text_of(name) for name in names],
        "rows": [[_plain(value) for value in row] for row in values],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {text_of(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if value - value == 0 else None  # no NaN, no infinities
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    return text_of(str(value))
