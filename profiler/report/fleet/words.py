"""What the report of a fleet says, in sentences and tables, for all forms but JSON. What is from outside is
escaped here."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from dataclasses import dataclass

from profiler.analysis.fleet.findings import (
    COMMON,
    LEAST_GROUP,
    MEASURES,
    OUTLIER,
    Difference,
    Fleet,
    Outlier,
    Regression,
)
from profiler.units import show_bytes, show_count, show_path, show_plural, show_seconds, show_short

MOST_ROWS = 15
"""Of a table; JSON has more."""

_MOST_DIFFERENCES = 5
_NAME, _TRACE = 34, 46
"""Characters of a name in a table, of a trace in a sentence."""

_BYTES = ("request_bytes", "bytes", "unique_bytes", "image_size", "memory_bytes", "image_cluster")


@dataclass(frozen=True)
class Section:
    """A part of the report. sentences: before the table. rows: the first is the head; none: there is no
    table. right: columns of numbers. notes: behind it."""

    title: str
    sentences: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    right: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def verdict(fleet: Fleet) -> str:
    """What it comes to, in a sentence."""
    starts = show_plural(fleet.counted, "start")
    hosts = f" on {show_plural(fleet.hosts, 'host')}" if fleet.hosts else ""
    words = f"{starts}{hosts}: {show_seconds(fleet.total_s)} of cold waiting on {show_path(fleet.device)}."
    stand_out = show_plural(fleet.outlier_count, "start")
    return (
        f"{words} {stand_out} {'stands' if fleet.outlier_count == 1 else 'stand'} out, "
        f"{show_plural(len(fleet.regressions), 'group')} became slower."
    )


def losses(fleet: Fleet) -> list[str]:
    """What is not in the numbers, first."""
    broken = sum(reason.traces for reason in fleet.broken)
    told = [
        (broken, "broken", "no facts; the table below says why"),
        (fleet.incomplete, "INCOMPLETE", "lost events or were cut short: left out"),
        (
            fleet.other_model,
            "of another model",
            "another version or other devices: left out; add them again",
        ),
        (fleet.earlier, "earlier", "before --since: left out"),
        (fleet.undated, "undated", "do not say when they were: in no regression"),
    ]
    return [f"{show_plural(count, 'trace')} {what}: {why}" for count, what, why in told if count]


def sections(fleet: Fleet) -> list[Section]:
    """All parts, those that say something to do first."""
    parts = (
        _broken(fleet), _regressions(fleet), _outliers(fleet), _dearest(fleet), _savings(fleet),
        _groups(fleet), _shared(fleet),
    )  # fmt: skip
    return [part for part in parts if part is not None]


def span(fleet: Fleet) -> str:
    if fleet.first is None or fleet.last is None:
        return "not known when"
    return f"{when(fleet.first)} to {when(fleet.last)} UTC"


def when(moment: datetime.datetime | None) -> str:
    return "not known" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _broken(fleet: Fleet) -> Section | None:
    if not fleet.broken:
        return None
    rows = [
        (show_count(each.traces), each.failure, show_short(each.reason, 100))
        for each in fleet.broken[:MOST_ROWS]
    ]
    return Section("Broken traces", (), (("traces", "what", "why"), *rows), (0,))


def _regressions(fleet: Fleet) -> Section:
    if not fleet.regressions:
        return Section("Became slower", ("No group became slower in time by more than chance.",))
    rows = [
        (
            name(each.group), MEASURES[each.measure], show_seconds(each.before), show_seconds(each.after),
            f"{each.after / each.before - 1:+.0%}" if each.before else "", show_count(each.starts_after),
            when(each.since),
        )
        for each in fleet.regressions[:MOST_ROWS]
    ]  # fmt: skip
    notes = [_change(each) for each in fleet.regressions[:_MOST_DIFFERENCES]]
    head = (fleet.by, "what", "before", "after", "", "starts since", "first bad start")
    return Section("Became slower", (), (head, *rows), (2, 3, 4, 5), tuple(notes))


def _change(each: Regression) -> str:
    host = f" on {show_short(each.host, _NAME)}" if each.host else ""
    what = differences(each.differs) or "nothing else that is known differs"
    return (
        f"First bad start of {name(each.group)}: {show_short(each.trace, _TRACE)}{host}; since then {what}."
    )


def _outliers(fleet: Fleet) -> Section:
    if not fleet.outliers:
        words = f"No start stands out in a group of {LEAST_GROUP} or more."
        return Section("Stand out", (words,))
    rows = [
        (
            _who(each, fleet.by), name(each.group), MEASURES[each.measure], show_seconds(each.value),
            show_seconds(each.median), f"{each.score:,.1f}", when(each.started_at),
        )
        for each in fleet.outliers[:MOST_ROWS]
    ]  # fmt: skip
    head = ("trace" if fleet.by == "host" else "host", fleet.by, "what", "took", "usual", "score", "when")
    notes = [_why(each) for each in fleet.outliers[:_MOST_DIFFERENCES]]
    if fleet.outlier_count > len(rows):
        notes.append(f"{fleet.outlier_count - len(rows):,} more; --format json has them.")
    words = f"Slower than their group since it last changed, by over {OUTLIER} deviations (median and MAD)."
    return Section("Stand out", (words,), (head, *rows), (3, 4, 5), tuple(notes))


def _who(each: Outlier, by: str) -> str:
    if by == "host":
        return show_short(os.path.basename(each.trace), 30)
    return show_short(each.host, 20) if each.host else "not known"


def _why(each: Outlier) -> str:
    what = differences(each.differs) or "nothing that is known differs"
    return f"{show_short(each.trace, _TRACE)}: {what}."


def differences(found: Sequence[Difference]) -> str:
    return "; ".join(_difference(each) for each in found[:_MOST_DIFFERENCES])


def _difference(each: Difference) -> str:
    here, usual = (_value(each.what, value) for value in (each.here, each.usual))
    what = show_short(each.what.replace("_", " ") if not each.what.startswith("bytes of") else each.what, 60)
    return f"{what} {here}, usual {usual}"


def _value(what: str, value: str | float | None) -> str:
    if value is None:
        return "none"
    if isinstance(value, str):
        return show_short(value, _NAME)
    is_size = what in _BYTES or what.startswith("bytes of")
    return show_bytes(value) if is_size else f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


def _dearest(fleet: Fleet) -> Section:
    rows = [
        (show_seconds(each.total_s), f"{each.share:.1%}", show_count(each.starts), name(each.start))
        for each in fleet.dearest[:MOST_ROWS]
    ]
    head = ("waiting in all", "share", "starts", "image or command")
    return Section("Cost the most", (), (head, *rows), (0, 1, 2))


def _savings(fleet: Fleet) -> Section:
    if not fleet.advised:
        words = "What the advice would save was not worked out; coldseek fleet add --advice does."
        return Section("What advice would save", (words,))
    device = show_path(fleet.device)
    told = [
        f"{show_path(each.name)} on {_images(each.images)}, "
        f"{show_plural(each.starts, 'start')}: "
        + (
            f"{show_seconds(each.total_s)} of waiting"
            if each.a_day_s is None
            else f"{show_seconds(each.a_day_s)} of waiting a day"
        )
        + f" on {device}."
        for each in fleet.savings[:MOST_ROWS]
    ]
    part = "" if fleet.advised == fleet.counted else f"Of {fleet.advised:,} of {fleet.counted:,} starts."
    return Section("What advice would save", tuple([part] * bool(part) + (told or ["Nothing."])))


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)} or command{'s' * (count != 1)}"


def _groups(fleet: Fleet) -> Section:
    rows = [
        (
            name(each.name), show_count(each.starts), show_count(each.hosts), show_seconds(each.median_s),
            show_seconds(each.mad_s), show_seconds(each.p95_s),
            "" if each.requests is None else f"{each.requests:,.0f}",
            "" if each.bytes is None else show_bytes(each.bytes),
        )
        for each in fleet.groups[:MOST_ROWS]
    ]  # fmt: skip
    head = (fleet.by, "starts", "hosts", "median", "MAD", "95%", "requests", "bytes")
    left = fleet.group_count - len(rows)
    notes = (f"{show_plural(left, 'group')} more; --format json has them.",) if left > 0 else ()
    return Section("Groups", (), (head, *rows), tuple(range(1, len(head))), notes)


def _shared(fleet: Fleet) -> Section:
    if not fleet.shared:
        return Section("Common pages", (f"No group of {LEAST_GROUP} starts or more has pages.",))
    rows = [
        (
            name(each.group), show_count(each.starts),
            show_bytes(each.bytes) if each.alike else f"{show_bytes(each.low)} to {show_bytes(each.high)}",
            show_bytes(each.of), show_short(each.files[0].path, _NAME) if each.files else "",
        )
        for each in fleet.shared[:MOST_ROWS]
    ]  # fmt: skip
    words = f"What {COMMON:.0%} of the starts of a group need: to keep warm, or to share. From sketches."
    head = (fleet.by, "starts", "common", "of all", "most of it")
    return Section("Common pages", (words,), (head, *rows), (1, 2, 3))


def name(words: str | None) -> str:
    return "not known" if words is None else show_short(words, _NAME)
