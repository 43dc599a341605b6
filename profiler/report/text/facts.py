"""What pages say of a run: what is missing of it, what it was of, how the cache was, what was not seen."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from profiler.facts.runs import NOT_PROVED_COLD, Run
from profiler.facts.unseen import UNSEEN
from profiler.report.summary import Summary
from profiler.report.text.page import DIM, HEAD, LOUD, WARN, Page
from profiler.report.verdict.doubts import ALIKE, doubts
from profiler.report.verdict.failures import LOUD as FAILED
from profiler.report.verdict.failures import failures
from profiler.trace import Meta
from profiler.units import show_bytes, show_path, show_plural

MAX_NOTES = 4
"""Notes beyond these are counted, not shown; JSON has them all."""

SLOWER = 1.05
"""A traced run that took less than this times the untraced ones was not measurably slowed down."""


def warnings(page: Page, summary: Summary) -> None:
    """What comes before all else: what is missing, what failed, what was not as it was to be."""
    completeness(page, summary.meta, "")
    verdict(page, failures(summary))
    doubtful(page, doubts(summary))
    loud_notes(page, [summary.meta])


def verdict(page: Page, sentences: Iterable[str], lines: int = 4) -> None:
    """Sentences, a paragraph each, of at most so many lines."""
    for sentence in sentences:
        style = LOUD if sentence.startswith(FAILED) else WARN if sentence.startswith(ALIKE) else HEAD
        page.paragraph(sentence, style, lines)


def doubtful(page: Page, sentences: Iterable[str]) -> None:
    """What makes the times doubtful, a paragraph each."""
    for sentence in sentences:
        page.paragraph(sentence, WARN)


def completeness(page: Page, meta: Meta, which: str) -> None:
    """What is missing comes first: numbers that are too low must not be read unwarned."""
    for sentence in missing(meta, which):
        page.loud(sentence)


def missing(meta: Meta, which: str = "") -> list[str]:
    """What was lost and what was cut off, a sentence each. which: of the traces, where they are two."""
    of = f" ({which})" if which else ""
    said = []
    if meta.lost_events:
        said.append(
            f"INCOMPLETE{of}: {show_plural(meta.lost_events, 'event')} lost; all counts are too low."
        )
    if meta.partial:
        said.append(f"PARTIAL{of}: {show_path(meta.partial)}; what came after is missing.")
    return said


def loud_notes(page: Page, metas: Iterable[Meta]) -> None:
    for note in dict.fromkeys(note for meta in metas for note in meta.notes if is_loud(note)):
        page.loud(show_path(note))


def is_loud(note: str) -> bool:
    """Whether a note says that something is missing, or that the cache was not as the page calls it."""
    return note.startswith(("INCOMPLETE", "NOT COLD", NOT_PROVED_COLD, "NOT WARM", "NOT PROVED WARM"))


def about(meta: Meta) -> list[tuple[str, str]]:
    """Label and words of what a trace is of: its command, and who else was watched, or they alone."""
    command = " ".join(shlex.quote(show_path(part)) for part in meta.command)
    watched = ", ".join(map(show_path, meta.targets))
    told = [("command", command or "not known")] if command or not watched else []
    return told + ([("watched", watched)] if watched else [])


def tracing(slowdown: float | None, untraced: str = "") -> str:
    """What tracing cost, if that is known; a program does not become faster by it, as its runs vary."""
    if not slowdown:
        return ""
    no_slower = "; tracing made no measurable difference"
    return f", {slowdown:.1f} times as long{untraced}" if slowdown >= SLOWER else no_slower


def resident(cached: int | None, checked: int | None) -> str:
    """How much of what was looked at was in the page cache."""
    if cached is None:
        return "not known"
    return show_bytes(cached) + ("" if checked is None else f" of {show_bytes(checked)}")


def runs_facts(runs: Sequence[Run]) -> str:
    """The worst of several runs: most resident before, most read from the device, failures."""
    looked = [run for run in runs if run.resident_before_bytes is not None]
    device = [run.device_read_bytes for run in runs if run.device_read_bytes is not None]
    parts = []
    if looked:
        worst = max(looked, key=lambda run: run.resident_before_bytes or 0)
        parts.append(
            f"{resident(worst.resident_before_bytes, worst.resident_checked_bytes)} resident before"
        )
    if device:
        parts.append(f"{show_bytes(max(device))} from the device")
    failed = sum(run.failed for run in runs)
    if failed:
        parts.append(f"{show_plural(failed, 'run')} FAILED")
    return ", ".join(parts) or "what was resident before is not known"


def unseen(page: Page, metas: Iterable[Meta], most: int | None = MAX_NOTES) -> None:
    metas = list(metas)
    keys = list(dict.fromkeys(key for meta in metas for key in meta.unseen))
    if keys:
        page.row("not seen", "; ".join(UNSEEN.get(key, show_path(key)) for key in keys), WARN)
    else:
        page.row("not seen", "nothing that the tracer knows of")
    notes = list(dict.fromkeys(note for meta in metas for note in meta.notes if not is_loud(note)))
    shown = notes[:most]
    for number, note in enumerate(shown):
        page.row("note" if number == 0 else "", show_path(note), WARN, lines=4 if most else None)
    if len(notes) > len(shown):
        more = f"and {show_plural(len(notes) - len(shown), 'more note')}; --format json has them all"
        page.row("", more, DIM)
