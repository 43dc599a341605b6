"""A start held against its baseline: what is within its limit, what is not, and what changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from profiler.analysis.check.changes import Change, changes
from profiler.analysis.check.limits import Limit, asked, median, usual
from profiler.analysis.check.quantities import COUNTS, SECONDS
from profiler.facts.starts import Image, Start

WITHIN, REGRESSED, BETTER, UNKNOWN, UNLIMITED = STATES = (
    "within", "regressed", "better", "unknown", "unlimited",
)  # fmt: skip
"""Of a line. better: below the baseline by more than it may be above it. unknown: it has a limit, and one of
the two values is not known. unlimited: it has none."""

_SAME = 1e-9
"""Shares of a value that are rounding."""


@dataclass(frozen=True)
class Line:
    """One quantity: the medians of the baseline and of now, and the most that is within. None: not known."""

    name: str
    before: float | None
    now: float | None
    most: float | None
    state: str


@dataclass(frozen=True)
class Held:
    """before: None where there is no baseline. warnings: why the two may not be alike, a sentence each.
    faults: why runs did not count. wanted: how many runs were asked for.

    >>> held = coldseek.check(["cat", "/dev/null"], baseline="one.json", update=True, runs=1, evict="files")
    >>> held.state, held.lines[0].name
    ('within', 'requests')
    """

    before: Start | None
    now: Start
    lines: tuple[Line, ...]
    changes: tuple[Change, ...]
    warnings: tuple[str, ...]
    faults: tuple[str, ...]
    wanted: int

    @property
    def state(self) -> str:
        """Unknown where too few runs counted, or they ended otherwise than those of the baseline; else the
        worst of the lines: regressed, unknown, or within."""
        ended = self.before is None or self.before.exit_status == self.now.exit_status
        if self.now.runs < self.wanted or not ended:
            return UNKNOWN
        states = {line.state for line in self.lines}
        return next((state for state in (REGRESSED, UNKNOWN) if state in states), WITHIN)


def held(
    before: Start | None, now: Start, limits: Mapping[str, Limit], *, wanted: int, faults: Sequence[str] = ()
) -> Held:
    """Compare. limits: those that were asked for; all others come from the baseline (see `limits.usual`)."""
    names = dict.fromkeys([*now.quantities, *(before.quantities if before else ()), *limits])
    known = [name for name in names if name in COUNTS or name.startswith(f"{SECONDS}.")]
    lines = tuple(_line(name, before, now, limits) for name in known) if now.runs else ()
    if before is None or not now.runs:
        return Held(before, now, lines, (), (), tuple(faults), wanted)
    different = changes(before.parts, now.parts)
    return Held(before, now, lines, different, tuple(_unlike(before, now)), tuple(faults), wanted)


def _line(name: str, before: Start | None, now: Start, limits: Mapping[str, Limit]) -> Line:
    was = median(before.quantities.get(name, ())) if before else None
    value = median(now.quantities.get(name, ()))
    wanted = asked(limits, name)
    limit = wanted or (usual(before, name) if before else None)
    most = limit.most(was) if limit else None
    if limit is None or limit.kind == "off":
        return Line(name, was, value, None, UNLIMITED)
    if most is None or value is None:
        return Line(name, was, value, most, UNKNOWN)
    if value > most * (1 + _SAME):
        return Line(name, was, value, most, REGRESSED)
    better = was is not None and limit.kind == "+" and value < was - (most - was)
    return Line(name, was, value, most, BETTER if better else WITHIN)


def _unlike(before: Start, now: Start) -> Iterator[str]:
    """Why a difference may be none of the program's."""
    if before.command != now.command:
        yield "the baseline is of another command"
    if before.exit_status != now.exit_status:
        yield f"the exit status was {_known(before.exit_status)} and is {_known(now.exit_status)}"
    if before.program != now.program:
        yield f"the program is not the one of the baseline: {now.program.path} is another file"
    for image in sorted(set(before.images) ^ set(now.images), key=lambda one: one.path):
        yield _about(image, before.images, now.images)
    for name in dict.fromkeys((*before.machine, *now.machine)):
        was, is_now = before.machine.get(name, ""), now.machine.get(name, "")
        if was != is_now:
            yield f"{name.replace('_', ' ')} was {was or 'not known'} and is {is_now or 'not known'}"
    if before.version != now.version:
        yield f"the baseline was written by coldseek {before.version or 'of no known version'}"


def _about(image: Image, before: Sequence[Image], now: Sequence[Image]) -> str:
    paths = [{one.path for one in some} for some in (before, now)]
    if all(image.path in some for some in paths):
        return f"the image {image.path} has another size or layout"
    return f"the image {image.path} is {'new' if image.path in paths[1] else 'gone'}"


def _known(value: int | None) -> str:
    return "not known" if value is None else str(value)
