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
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from profiler.analysis.cost.below_the_program import DeviceRequests, PageCache
from profiler.analysis.cost.costs import Cost
from profiler.analysis.cost.walltime import Answer, WallTime
from profiler.analysis.reads.readers import Reader
from profiler.analysis.reads.spread import median_interval, outliers
from profiler.analysis.reads.untraced_runs import first_status, mean_s, median_s
from profiler.analysis.replayed import Replayed
from profiler.analysis.simulation.projection import Projection
from profiler.analysis.simulation.sharing import Sharing
from profiler.facts import host
from profiler.facts.runs import Run
from profiler.report.comparison import Comparison, Side
from profiler.report.summary import FileSummary, Summary, Task
from profiler.report.verdict.sentences import verdict

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
            "command": [text_of(part) for part in meta.command],
            "cwd": text_of(meta.cwd),
            "started_at": text_of(meta.started_at),
            "image": text_of(meta.image),
            "tracer": text_of(meta.tracer),
            "tracer_version": text_of(meta.tracer_version),
            "cache": text_of(meta.cache),
            "resident_before_bytes": meta.resident_before_bytes,
            "resident_checked_bytes": meta.resident_checked_bytes,
            "wall_s": meta.wall_s,
            "wall_is_traced": True,
            "ready_s": meta.ready_s,
            "targets": [text_of(target) for target in meta.targets],
            "copies": meta.copies.count,
            "tracer_slowdown": summary.slowdown,
            "exit_status": meta.exit_status,
            "late_reads": None if meta.wall_s is None else summary.late.reads,
            "late_bytes": None if meta.wall_s is None else summary.late.bytes,
            "first_exit_status": first_status(meta),
            "lost_events": meta.lost_events,
            "partial": text_of(meta.partial),
            "unseen": [text_of(key) for key in meta.unseen],
            "notes": [text_of(note) for note in meta.notes],
            "complete": meta.complete,
            "host": _plain(host.to_json(meta.host)),
            "tasks": [_task(task) for task in summary.tasks],
        },
        "totals": {
            name: getattr(totals, name)
            for name in (
                "reads", "bytes", "unique_bytes", "unique_page_bytes", "reread_bytes", "files", "seeks",
                "scattered_ratio", "sequential_ratio", "ends_of_file", "unknown_offsets",
            )
        } | {
            "writes": summary.writes, "written_bytes": summary.written_bytes,
            **{f"pseudo_{name}": getattr(summary.pseudo, name) for name in ("files", "reads", "bytes")},
        },
        "patterns": totals.patterns,
        "strides": [asdict(stride) for stride in summary.strides],
        "gaps": [asdict(one) for one in summary.gaps],
        "sizes": [asdict(one) for one in summary.sizes],
        "focus": None if summary.focus is None else path_of(summary.focus.path)["path"],
        "image": None if summary.image is None else path_of(summary.image.path)["path"],
        "chain": None if summary.chain is None else asdict(summary.chain) | {
            "members": [path_of(path) for path in summary.chain.members]
        },
        "costs": [_cost(cost) for cost in summary.costs],
        "parts": [asdict(part) for part in summary.parts],
        "files": [_file(file) for file in summary.files],
        "read_by": [_reader(reader) for reader in summary.readers],
        "page_cache": _page_cache(summary.page_cache),
        "device": _observed(DeviceRequests, summary.device) | {"accounted_bytes": meta.device_read_bytes},
        "measured": {
            "cold": _runs(summary.cold),
            "warm": _runs(summary.warm),
            "damaged": summary.damaged_runs,
        },
        "time": _time(summary.time),
        "answer": _answer(summary.answer),
        "projections": [_projection(one) for one in summary.projections],
        "findings": [asdict(one) for one in summary.findings],
    }  # fmt: skip


def project(projections: Sequence[Projection]) -> Json:
    """`coldseek.project/1`."""
    return {"schema": "coldseek.project/1", "projections": [_projection(one) for one in projections]}


def replay(result: Replayed) -> Json:
    """`coldseek.replay/1`. Of the runs, `seconds` are those that are compared."""
    measured = result.measured
    known = {name: getattr(measured, name) for name in (
        "kind", "layer", "pauses", "requests", "bytes", "scratch_bytes", "extents", "folded", "median_s",
    )}  # fmt: skip
    return {
        "schema": "coldseek.replay/1",
        **path_of(os.fsencode(measured.place)),
        "tool": text_of(measured.tool),
        **known,
        "recorded_extents": result.recorded_extents,
        "cold": not measured.warm,
        "runs": [
            {"seconds": seconds, **asdict(run), "resident_before_bytes": resident}
            for seconds, run, resident in zip(
                measured.times, measured.runs, measured.resident_before_bytes, strict=True
            )
        ],
        "projections": [
            asdict(one)
            | {"device": text_of(one.device),
               "to_measured": one.seconds / measured.median_s if measured.median_s else None}
            for one in result.projected
        ],
    }  # fmt: skip


def compare(comparison: Comparison) -> Json:
    """`coldseek.compare/1`. For two traces that are no pair, `cold` and `warm` are null, `first` and
    `second` the two sides; for a pair it is the other way round.
    """
    sides = {"cold": None, "warm": None, "first": None, "second": None}
    made = {side.name: _side(side) for side in (comparison.first, comparison.second)}
    return {
        "schema": "coldseek.compare/1",
        **(sides | made),
        "copies": [side.summary.meta.copies.count for side in (comparison.first, comparison.second)],
        "ratio": comparison.ratio,
        "ratio_interval": comparison.ratio_interval,
        "told_apart": comparison.told_apart,
        "failed": comparison.failed,
        "only_first": [path_of(path)["path"] for path in comparison.only_first],
        "only_second": [path_of(path)["path"] for path in comparison.only_second],
    }


def _side(side: Side) -> Json:
    resident = [run.resident_before_bytes for run in side.runs if run.resident_before_bytes is not None]
    return {
        "wall_s": [run.wall_s for run in side.runs if not run.failed],
        "median_s": side.median_s,
        "interval_s": side.interval_s,
        "outliers": side.outliers,
        "mean_s": mean_s(side.runs),
        "resident_before_bytes": max(resident) if resident else side.summary.meta.resident_before_bytes,
        "runs": [_run(run) for run in side.runs],
        "tracer_slowdown": side.slowdown,
        "report": report(side.summary),
    }


def _time(time: WallTime | None) -> Json:
    """Where the wall time went; all null where nothing is known of it."""
    keys = ("wall_s", "running_s", "device_s", "other_s", "unknown_s", "traced_s")
    waited = [] if time is None else time.waited_for
    return {key: getattr(time, key, None) for key in keys} | {
        "waited_for": [{"what": text_of(one.what), "seconds": one.seconds} for one in waited]
    }


def _answer(found: Answer | None) -> Json:
    keys = ("cold_s", "warm_s", "disk_s", "disk_share", "is_disk", "measured")
    return {key: getattr(found, key, None) for key in keys}


def _page_cache(found: PageCache | None) -> Json:
    files = [path_of(file.path) | {"bytes": file.bytes, "mapped_bytes": file.mapped_bytes}
             for file in found.files] if found else None  # fmt: skip
    return _observed(PageCache, found) | {"files": files}


def _observed(kind: type[PageCache | DeviceRequests], found: PageCache | DeviceRequests | None) -> Json:
    """The fields of `kind`, all null if nobody looked."""
    keys = [field.name for field in fields(kind)]
    return {"observed": found is not None, **{key: getattr(found, key, None) for key in keys}}


def _runs(runs: tuple[Run, ...]) -> Json:
    return {
        "median_s": median_s(runs), "interval_s": median_interval(runs), "outliers": outliers(runs),
        "mean_s": mean_s(runs), "runs": [_run(run) for run in runs],
    }  # fmt: skip


def _run(run: Run) -> Json:
    found = asdict(run) | {"stderr": text_of(run.stderr), "copies": [_run(one) for one in run.copies]}
    if not run.copies:
        del found["copies"]
    return found


def _file(file: FileSummary) -> Json:
    return {
        **path_of(file.path),
        **(path_of(file.host_path, "host_path") if file.host_path else {"host_path": None}),
        "size": file.size,
        "filesystem": text_of(file.filesystem),
        "role": file.role,
        "share": file.share,
        **{
            name: getattr(file, name)
            for name in (
                "reads", "bytes", "unique_bytes", "unique_page_bytes", "reread_bytes", "seeks",
                "scattered_ratio", "sequential_ratio", "unknown_offsets", "usual_size", "patterns",
            )
        },
        "strides": [asdict(stride) for stride in file.strides],
        "structures": {
            text_of(one.kind): {
                name: getattr(one, name)
                for name in ("reads", "bytes", "unique_bytes", "seeks", "requests", "hdd_share")
            }
            for one in file.structures
        },
        "contents": [
            {
                "kind": text_of(one.kind), **(path_of(one.path) if one.path else {"path": None}),
                "reads": one.reads, "bytes": one.bytes, "unique_bytes": one.unique_bytes,
                "hdd_share": one.hdd_share,
            }
            for one in file.contents
        ],
        "read_by": [
            {
                **path_of(one.program, "program"), **path_of(one.name, "name"),
                "pid": one.pid, "reads": one.reads, "bytes": one.bytes,
            }
            for one in file.read_by
        ],
    }  # fmt: skip


def _cost(cost: Cost) -> Json:
    return {
        **path_of(cost.path), "structure": text_of(cost.structure), "how": cost.how,
        "requests": cost.requests, "bytes": cost.bytes, "waited_s": cost.waited_s, "observed": cost.observed,
    }  # fmt: skip


def _reader(one: Reader) -> Json:
    return {
        **path_of(one.name, "name"), **path_of(one.program, "program"), "container": text_of(one.container),
        "processes": one.processes, "threads": [path_of(name)["path"] for name in one.threads],
        "reads": one.reads, "bytes": one.bytes, "unique_bytes": one.unique_bytes,
    }  # fmt: skip


def _task(one: Task) -> Json:
    return {
        "tid": one.tid, "pid": one.pid, "parent": one.parent,
        **path_of(one.name, "name"), **path_of(one.program, "program"), **path_of(one.cgroup, "cgroup"),
        "container": text_of(one.container), "start_s": one.start_s, "end_s": one.end_s,
    }  # fmt: skip


def _projection(one: Projection) -> Json:
    found = {
        name: getattr(one, name)
        for name in (
            "device", "title", "copies", "requests", "bytes", "seconds", "mean_s", "low_s", "high_s",
            "sequential_s", "busy_s", "start_s", "start_low_s", "start_high_s", "placed", "shares",
        )
    } | {
        "metadata": {"requests": one.metadata_requests, "source": one.metadata_source},
        "missing": [text_of(words) for words in one.missing], "measured_bytes": one.measured_bytes,
    }  # fmt: skip
    return found | {"sharing": _sharing(one.sharing) if one.copies > 1 else None}


def _sharing(found: Sharing) -> Json:
    return {
        "shared_files": found.shared_files, "shared_bytes": found.shared_bytes,
        "own_bytes": found.own_bytes, "own": [path_of(path)["path"] for path in found.own],
    }  # fmt: skip


def path_of(path: bytes, key: str = "path") -> Json:
    try:
        return {key: path.decode("utf-8")}
    except UnicodeDecodeError:
        return {key: path.decode("utf-8", "backslashreplace"), f"{key}_hex": path.hex()}


def text_of(text: str) -> str:
    """Text from outside, where bytes that are no UTF-8 became surrogates, as text that any parser takes."""
    return re.sub("[\ud800-\udfff]", _escape, text)


def _escape(surrogate: re.Match[str]) -> str:
    code = ord(surrogate.group())
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def _plain(value: Any) -> Any:
    """A value of `Meta.host` as JSON, whatever it is."""
    if isinstance(value, dict):
        return {text_of(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if value - value == 0 else None
    if value is None or isinstance(value, bool | int):
        return value
    return text_of(str(value))
