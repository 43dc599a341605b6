"""The reports as JSON: `coldseek.report/1`, `coldseek.compare/1`, `coldseek.project/1`. They grow only by
adding.

What is not known is null; there is no NaN. Texts are ASCII with JSON's escapes, so that no file name can
reach a terminal as an escape sequence. Paths are bytes and JSON is text: a path that is valid UTF-8 stands
as it is; in any other the bytes that are not stand as \\xNN, and `path_hex` beside `path` holds all of its
bytes in hexadecimal, so nothing is lost. Texts of the command line are treated alike, without the
hexadecimal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from profiler.analysis.measured import Run, first_status, median_s
from profiler.analysis.observed import DeviceRequests, PageCache
from profiler.analysis.projection import Projection
from profiler.report.comparison import Comparison, Side
from profiler.report.summary import FileSummary, Summary
from profiler.report.verdict import verdict

Json = dict[str, Any]


def dumps(report: Json) -> str:
    """The text of a report: one JSON object, indented, ending in a newline."""
    return json.dumps(report, indent=1, allow_nan=False) + "\n"


def report(summary: Summary) -> Json:
    """`coldseek.report/1`."""
    meta, totals = summary.meta, summary.totals
    return {
        "schema": "coldseek.report/1",
        "verdict": verdict(summary),
        "trace": {
            "command": [_text(part) for part in meta.command],
            "cwd": _text(meta.cwd),
            "started_at": _text(meta.started_at),
            "image": _text(meta.image),
            "tracer": _text(meta.tracer),
            "tracer_version": _text(meta.tracer_version),
            "cache": _text(meta.cache),
            "resident_before_bytes": meta.resident_before_bytes,
            "resident_checked_bytes": meta.resident_checked_bytes,
            "wall_s": meta.wall_s,
            "wall_is_traced": True,
            "tracer_slowdown": summary.slowdown,
            "exit_status": meta.exit_status,
            "first_exit_status": first_status(meta),
            "lost_events": meta.lost_events,
            "partial": _text(meta.partial),
            "unseen": [_text(key) for key in meta.unseen],
            "notes": [_text(note) for note in meta.notes],
            "complete": meta.complete,
            "host": _plain(meta.host),
        },
        "totals": {
            name: getattr(totals, name)
            for name in (
                "reads", "bytes", "unique_bytes", "unique_page_bytes", "reread_bytes", "files", "seeks",
                "scattered_ratio", "sequential_ratio", "ends_of_file", "unknown_offsets",
            )
        } | {"writes": summary.writes, "written_bytes": summary.written_bytes},
        "patterns": totals.patterns,
        "strides": [asdict(stride) for stride in summary.strides],
        "gaps": [asdict(one) for one in summary.gaps],
        "sizes": [asdict(one) for one in summary.sizes],
        "focus": None if summary.focus is None else _path(summary.focus.path)["path"],
        "files": [_file(file) for file in summary.files],
        "page_cache": _page_cache(summary.page_cache),
        "device": _observed(DeviceRequests, summary.device) | {"accounted_bytes": meta.device_read_bytes},
        "measured": {
            "cold": _runs(summary.cold),
            "warm": _runs(summary.warm),
            "damaged": summary.damaged_runs,
        },
        "projections": [_projection(one) for one in summary.projections],
        "findings": [asdict(one) for one in summary.findings],
    }  # fmt: skip


def project(projections: Sequence[Projection]) -> Json:
    """`coldseek.project/1`."""
    return {"schema": "coldseek.project/1", "projections": [_projection(one) for one in projections]}


def compare(comparison: Comparison) -> Json:
    """`coldseek.compare/1`. For two traces that are no pair, `cold` and `warm` are null, `first` and
    `second` the two sides; for a pair it is the other way round.
    """
    sides = {"cold": None, "warm": None, "first": None, "second": None}
    made = {side.name: _side(side) for side in (comparison.first, comparison.second)}
    return {
        "schema": "coldseek.compare/1",
        **(sides | made),
        "ratio": comparison.ratio,
        "failed": comparison.failed,
        "only_first": [_path(path)["path"] for path in comparison.only_first],
        "only_second": [_path(path)["path"] for path in comparison.only_second],
    }


def _side(side: Side) -> Json:
    resident = [run.resident_before_bytes for run in side.runs if run.resident_before_bytes is not None]
    return {
        "wall_s": [run.wall_s for run in side.runs if not run.failed],
        "median_s": side.median_s,
        "resident_before_bytes": max(resident) if resident else side.summary.meta.resident_before_bytes,
        "runs": [_run(run) for run in side.runs],
        "tracer_slowdown": side.slowdown,
        "report": report(side.summary),
    }


def _page_cache(found: PageCache | None) -> Json:
    files = [_path(file.path) | {"bytes": file.bytes, "mapped_bytes": file.mapped_bytes}
             for file in found.files] if found else None  # fmt: skip
    return _observed(PageCache, found) | {"files": files}


def _observed(kind: type[PageCache | DeviceRequests], found: PageCache | DeviceRequests | None) -> Json:
    """The fields of `kind`, all null if nobody looked."""
    keys = [field.name for field in fields(kind)]
    return {"observed": found is not None, **{key: getattr(found, key, None) for key in keys}}


def _runs(runs: tuple[Run, ...]) -> Json:
    return {"median_s": median_s(runs), "runs": [_run(run) for run in runs]}


def _run(run: Run) -> Json:
    return asdict(run) | {"stderr": _text(run.stderr)}


def _file(file: FileSummary) -> Json:
    return {
        **_path(file.path),
        "size": file.size,
        "filesystem": _text(file.filesystem),
        **{
            name: getattr(file, name)
            for name in (
                "reads", "bytes", "unique_bytes", "unique_page_bytes", "reread_bytes", "seeks",
                "scattered_ratio", "sequential_ratio", "unknown_offsets", "usual_size", "patterns",
            )
        },
        "strides": [asdict(stride) for stride in file.strides],
        "structures": {
            _text(one.kind): {
                name: getattr(one, name)
                for name in ("reads", "bytes", "unique_bytes", "seeks", "requests", "hdd_share")
            }
            for one in file.structures
        },
    }  # fmt: skip


def _projection(one: Projection) -> Json:
    return {
        name: getattr(one, name)
        for name in (
            "device", "title", "copies", "requests", "bytes", "seconds", "low_s", "high_s", "busy_s",
            "start_s", "start_low_s", "start_high_s", "placed", "shares",
        )
    }  # fmt: skip


def _path(path: bytes) -> Json:
    try:
        return {"path": path.decode("utf-8")}
    except UnicodeDecodeError:
        return {"path": path.decode("utf-8", "backslashreplace"), "path_hex": path.hex()}


def _text(text: str) -> str:
    """Text from outside, where bytes that are no UTF-8 became surrogates, as text that any parser takes."""
    return re.sub("[\ud800-\udfff]", _escape, text)


def _escape(surrogate: re.Match[str]) -> str:
    code = ord(surrogate.group())
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def _plain(value: Any) -> Any:
    """A value of `Meta.host` as JSON, whatever it is."""
    if isinstance(value, dict):
        return {_text(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if value - value == 0 else None
    if value is None or isinstance(value, bool | int):
        return value
    return _text(str(value))
