"""What a page says in words and tables: all of it from the summary that text and JSON are made from.

Every text from outside is escaped here (`show_path`): a page only ever sets it as text.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from profiler.analysis.advice.options import Advice
from profiler.analysis.advice.program_rules import CONTRIBUTORS
from profiler.analysis.cost.costs import Cost
from profiler.analysis.reads.spread import CONFIDENCE, median_interval, outliers
from profiler.analysis.reads.untraced_runs import median_s
from profiler.facts.runs import Run
from profiler.facts.unseen import UNSEEN
from profiler.report.advice import page as advised
from profiler.report.page.marks import MAX_NAME, Kinds
from profiler.report.summary import FileSummary, Summary
from profiler.report.text.facts import about, is_loud, missing
from profiler.report.verdict.doubts import doubts, seconds
from profiler.report.verdict.failures import failures
from profiler.report.verdict.sentences import first_line, second_line, why_line
from profiler.units import show_path, show_seconds, show_short, show_status

MAX_FILES = 10_000
"""Rows of the table of files; what the rest have in common is one row more. JSON has them all."""

MAX_RUNS, MAX_NOTES, MAX_NOTE = 1_000, 200, 2_000
"""Untraced runs, notes, and characters of a note, that a page shows."""

Facts = dict[str, Any]


def facts(summary: Summary, kinds: Kinds, which: str = "") -> Facts:
    """Of one trace. which: what it is called, "": it is the only one."""
    meta, time = summary.meta, summary.time
    told = about(meta)
    return {
        "name": which,
        "about": [[label, _short(words)] for label, words in told],
        "warnings": [
            *missing(meta, which), *failures(summary), *doubts(summary, alone=not which),
            *dict.fromkeys(show_short(note, MAX_NOTE) for note in meta.notes if is_loud(note)),
        ],
        "verdict": [
            words for words in (first_line(summary), second_line(summary), why_line(summary)) if words
        ],
        "unseen": [UNSEEN.get(key, _short(key)) for key in meta.unseen],
        "notes": [show_short(note, MAX_NOTE) for note in meta.notes if not is_loud(note)][:MAX_NOTES],
        "run": {
            "started": _short(meta.started_at), "cache": _short(meta.cache), "wall_s": meta.wall_s,
            "ready_s": meta.ready_s, "exit": show_status(meta.exit_status), "slowdown": summary.slowdown,
            "tracer": _short(" ".join(filter(None, (meta.tracer, meta.tracer_version)))),
            "resident": meta.resident_before_bytes, "checked": meta.resident_checked_bytes,
        },
        "time": None if time is None else [
            ["running", time.running_s], ["device", time.device_s], ["other", time.other_s],
            ["not known", time.unknown_s],
        ],
        "waited_for": [] if time is None else [
            [_short(one.what), one.seconds] for one in time.waited_for[:10]
        ],
        "totals": {
            name: getattr(summary.totals, name)
            for name in ("reads", "bytes", "unique_bytes", "reread_bytes", "files", "seeks")
        },
        "focus": None if summary.focus is None else kinds.files.numbers.get(summary.focus.path),
        "observed": meta.device_only or (summary.charged is not None and summary.charged.observed),
        "files": _files(summary, kinds),
        "structures": _structures(summary, kinds),
        "costs": [_cost(cost, kinds) for cost in summary.costs[:200]],
        "devices": [
            {
                "device": one.device, "title": _short(one.title), "requests": one.requests,
                "bytes": one.bytes, "seconds": one.seconds, "low_s": one.low_s, "high_s": one.high_s,
                "sequential_s": one.sequential_s, "start_s": one.start_s, "copies": one.copies,
                "at_least": bool(one.missing),
            }
            for one in summary.projections
        ],
        "findings": [
            [finding.words, show_path(finding.remedy)]
            for finding in summary.findings if finding.kind != CONTRIBUTORS
        ],
        "runs": [*_runs("cold", summary.cold), *_runs("warm", summary.warm)][:MAX_RUNS],
        "medians": _medians(summary, which),
        "damaged": summary.damaged_runs,
    }  # fmt: skip


def advice(found: Advice, summary: Summary, path: bytes, trace: str) -> list[Facts]:
    """What would help, each with its command. path: of the image; trace: the name of the trace's file."""
    return [
        {
            "name": option.name, "saves": option.saves, "on": found.now[0].device,
            "now_s": found.now[0].seconds, "then_s": option.costs[0].seconds,
            "command": " ".join(advised.command(option, found, path, trace, summary.meta)),
            "more": next((more for key, more in advised.ADVISED.items() if option.key.startswith(key)), ""),
        }
        for option in found.options
    ]  # fmt: skip


def _files(summary: Summary, kinds: Kinds) -> list[Facts]:
    rows = [_file(file, kinds) for file in summary.files[:MAX_FILES]]
    rest = summary.files[MAX_FILES:]
    if rest:
        sums: Facts = {
            name: sum(getattr(file, name) for file in rest)
            for name in ("reads", "bytes", "unique_bytes", "seeks")
        }
        rows.append({"file": None, "path": f"{len(rest):,} more files", "role": "", "share": None, **sums})
    return rows


def _file(file: FileSummary, kinds: Kinds) -> Facts:
    return {
        "file": kinds.files.numbers.get(file.path), "path": _short(file.path), "role": file.role,
        "reads": file.reads, "bytes": file.bytes, "unique_bytes": file.unique_bytes, "seeks": file.seeks,
        "share": file.share,
    }  # fmt: skip


def _structures(summary: Summary, kinds: Kinds) -> list[Facts]:
    return [
        {
            "file": kinds.files.numbers.get(file.path), "path": _base(file.path), "kind": _short(one.kind),
            "reads": one.reads, "bytes": one.bytes, "unique_bytes": one.unique_bytes, "seeks": one.seeks,
            "requests": one.requests, "hdd_share": one.hdd_share,
        }
        for file in summary.files for one in file.structures
    ][:MAX_FILES]  # fmt: skip


def _cost(cost: Cost, kinds: Kinds) -> Facts:
    called = show_short(cost.path, 80) if cost.file < 0 else _base(cost.path)
    return {
        "what": f"{called}: {_short(cost.structure)}" if cost.structure else called or "files not known",
        "how": cost.how, "requests": cost.requests, "bytes": cost.bytes, "waited_s": cost.waited_s,
        "observed": cost.observed, "file": kinds.files.numbers.get(cost.path) if cost.file >= 0 else None,
    }  # fmt: skip


def _medians(summary: Summary, which: str) -> list[str]:
    """ "cold median 1.2 s, 95%: 1.1 s to 1.3 s", and of the warm runs; without what was not timed."""
    of = "" if which in ("cold", "warm", "") else f"{which}, "
    said = []
    for state, runs in (("cold", summary.cold), ("warm", summary.warm)):
        middle, interval = median_s(runs), median_interval(runs)
        between = "" if interval is None else f", {CONFIDENCE:.0%}: {seconds(interval)}"
        if middle is not None:
            said.append(f"{of}{state} median {show_seconds(middle)}{between}")
    return said


def _runs(state: str, runs: Sequence[Run]) -> list[Facts]:
    apart = outliers(runs) or ()
    return [
        {
            "state": state, "wall_s": run.wall_s, "resident": run.resident_before_bytes,
            "checked": run.resident_checked_bytes, "device": run.device_read_bytes,
            "exit": show_status(run.exit_status), "failed": run.failed, "apart": number in apart,
        }
        for number, run in enumerate(runs, 1)
    ]  # fmt: skip


def _short(words: str | bytes) -> str:
    return show_short(words, MAX_NAME)


def _base(path: bytes) -> str:
    return show_short(os.path.basename(path) or path, 80)
