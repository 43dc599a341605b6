"""The report as Markdown, for tickets: what the page says, in text.

Whatever comes from outside stands in code spans, so that it can be no markup, no link and no mention.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from profiler.analysis.advice.program_rules import CONTRIBUTORS
from profiler.analysis.cost.costs import Cost
from profiler.analysis.cost.walltime import WallTime
from profiler.facts.unseen import UNSEEN
from profiler.report.comparison import Comparison
from profiler.report.summary import Summary
from profiler.report.text.comparison import compared
from profiler.report.text.facts import about, is_loud, missing
from profiler.report.verdict.doubts import doubts
from profiler.report.verdict.failures import failures
from profiler.report.verdict.sentences import first_line, second_line, why_line
from profiler.units import show_bytes, show_count, show_path, show_percent, show_seconds, show_short

MAX_FILES, MAX_COSTS = 20, 10
"""Rows of the tables; a page has them all."""

MAX_NAME = 120

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~@!$&])")


def report(summary: Summary) -> str:
    """Of one trace."""
    return _joined([_head(summary, ""), _sentences(_verdict(summary)), *_body(summary)])


def compare(comparison: Comparison) -> str:
    """Of two traces: what they come to beside each other, then each."""
    parts = [_sentences(compared(comparison))]
    for side in (comparison.first, comparison.second):
        parts += [f"## {side.name}", _head(side.summary, side.name), *_body(side.summary)]
    return _joined(parts)


def _verdict(summary: Summary) -> list[str]:
    return [words for words in (first_line(summary), second_line(summary), why_line(summary)) if words]


def _head(summary: Summary, which: str) -> str:
    meta = summary.meta
    loud = [*missing(meta, which), *failures(summary), *doubts(summary, alone=not which)]
    loud += [show_path(note) for note in dict.fromkeys(meta.notes) if is_loud(note)]
    lines = [f"{label}: {code(words)}" for label, words in about(meta)]
    return "\n\n".join([*lines, *(f"**{plain(words)}**" for words in loud)])


def _sentences(sentences: Sequence[str]) -> str:
    head, *rest = [plain(words) for words in sentences]
    return "\n\n".join([f"**{head}**", *rest])


def _body(summary: Summary) -> list[str]:
    meta = summary.meta
    unseen = [UNSEEN.get(key, show_path(key)) for key in meta.unseen] or ["nothing that the tracer knows of"]
    parts = [_time(summary.time)] if summary.time is not None else []
    parts.append(f"Not seen: {plain('; '.join(unseen))}.")
    if summary.costs:
        shown = summary.costs[:MAX_COSTS]
        waited = "waited" if all(cost.observed for cost in shown) else "projected"
        rows = [_cost(cost) for cost in shown]
        parts.append(_table(["what costs most", "how", "requests", "bytes", waited], rows, right=(2, 3, 4)))
    if summary.projections:
        rows = [
            [
                code(one.device), ("at least " if one.missing else "") + show_seconds(one.seconds),
                f"{show_seconds(one.low_s)} to {show_seconds(one.high_s)}", show_count(one.requests),
            ]
            for one in summary.projections
        ]  # fmt: skip
        parts.append(_table(["cold, on", "waits", "band", "requests"], rows, right=(1, 2, 3)))
    if summary.files:
        rows = [
            [
                code(file.path), file.role, show_count(file.reads), show_bytes(file.bytes),
                show_count(file.seeks), "not known" if file.share is None else show_percent(file.share),
            ]
            for file in summary.files[:MAX_FILES]
        ]  # fmt: skip
        heads = ["file", "role", "reads", "bytes", "seeks", "share of the cost"]
        parts.append(_table(heads, rows, right=(2, 3, 4, 5)))
    if len(summary.files) > MAX_FILES:
        parts.append(f"and {show_count(len(summary.files) - MAX_FILES)} more files.")
    for finding in summary.findings:
        if finding.kind != CONTRIBUTORS:
            parts.append(
                f"- {plain(finding.words)}: {code(finding.remedy)}"
                if finding.remedy
                else f"- {plain(finding.words)}"
            )
    return parts


def _time(time: WallTime) -> str:
    parts = {
        "running": time.running_s,
        "device": time.device_s,
        "other": time.other_s,
        "not known": time.unknown_s,
    }
    said = [f"{name} {show_seconds(seconds)}" for name, seconds in parts.items() if seconds]
    return f"Where the time went: {', '.join(said)}."


def _cost(cost: Cost) -> list[str]:
    name = cost.path if cost.file < 0 else os.path.basename(cost.path) or cost.path
    what = code(name or b"files not known") + (
        f": {plain(show_path(cost.structure))}" if cost.structure else ""
    )
    waited = "not known" if cost.waited_s is None else show_seconds(cost.waited_s)
    return [what, cost.how, show_count(cost.requests), show_bytes(cost.bytes), waited]


def code(words: str | bytes) -> str:
    """A code span that shows these words as they are, escaped as names are everywhere."""
    shown = show_short(words, MAX_NAME).replace("|", "\\|")
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def plain(words: str) -> str:
    """A sentence in which nothing is markup."""
    return _MARKUP.sub(r"\\\1", words)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> str:
    line = ["---:" if place in right else "---" for place in range(len(heads))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, line, *rows))


def _joined(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"
