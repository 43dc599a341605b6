"""What thousands of starts come to: groups, those that stand out, those that became worse."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

OUTLIER = 3.5
"""A start stands out if its modified z-score is larger: 0.6745 times its distance from the median through
the median absolute deviation (Iglewicz, Hoaglin: "How to Detect and Handle Outliers", 1993)."""

PER_MAD = 1.4826
"""Times the median absolute deviation it is the standard deviation of a normal distribution; 1 / 0.6745."""

LEAST_SPREAD = 0.02
"""Of the median: counts of one start hardly vary, and no deviation is taken to be smaller than this."""

LEAST_GROUP = 5
"""In a smaller group nothing stands out."""

LEAST_BEFORE, LEAST_AFTER = 5, 3
"""Starts on either side of a change."""

CHANCE = 0.01
"""A change in time is told if it would come by chance in less than this share of all fleets: of one group,
divided by the number of groups (Bonferroni)."""

LEAST_WORSE = 0.05
"""And if the median rose by this share at least; the models are not known better."""

COMMON = 0.9
"""A page or file is common to the starts of a group if this share of them needs it."""


@dataclass(frozen=True)
class Reason:
    """Why traces have no facts, and how many."""

    failure: str
    reason: str
    traces: int


@dataclass(frozen=True)
class Group:
    """The starts of one group. Seconds on the device of the report: median_s; mad_s, the median absolute
    deviation; p95_s; total_s of all. wall_s: median of the traced runs. disk: of how many starts it is known
    whether it is the disk, and of how many it is."""

    name: str | None
    starts: int
    hosts: int
    median_s: float
    mad_s: float
    p95_s: float
    total_s: float
    requests: float | None
    bytes: float | None
    wall_s: float | None
    disk_known: int
    disk: int


@dataclass(frozen=True)
class Difference:
    """What differs from the group: a fact, a count, or a file, in words or numbers. usual: the commonest, or
    the median."""

    what: str
    here: str | float | None
    usual: str | float | None


@dataclass(frozen=True)
class Outlier:
    """A start that is slower than its group. measure: one of MEASURES. score: modified z-score."""

    trace: str
    host: str | None
    started_at: datetime.datetime | None
    group: str | None
    measure: str
    value: float
    median: float
    score: float
    differs: tuple[Difference, ...] = ()


MEASURES = {"seconds": "projected wait", "wall_s": "traced wall time"}


@dataclass(frozen=True)
class Regression:
    """A group that became slower. since, trace, host: of the first start after the change. chance: of such a
    change in a group that did not change, by the test of Pettitt ("A Non-Parametric Approach to the
    Change-Point Problem", Applied Statistics 28, 1979)."""

    group: str | None
    measure: str
    since: datetime.datetime
    trace: str
    host: str | None
    before: float
    after: float
    starts_before: int
    starts_after: int
    chance: float
    differs: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class Dearest:
    """An image, or a command without one, by what all of its starts wait together."""

    start: str | None
    starts: int
    total_s: float
    share: float


@dataclass(frozen=True)
class Saved:
    """What an option of the advice would save over the fleet. images: starts of so many images or commands.
    a_day_s: over the days that the traces span; None: they span less than one."""

    option: str
    name: str
    images: int
    starts: int
    total_s: float
    a_day_s: float | None


@dataclass(frozen=True)
class CommonFile:
    """A file that most starts of a group need. starts: so many. page_bytes: the median. same: the pages are
    the same in all of them."""

    path: str
    starts: int
    page_bytes: float
    same: bool


@dataclass(frozen=True)
class Shared:
    """Pages common to the starts of a group: what to keep warm or share. bytes: of those that the share
    COMMON of the starts needs, estimated from the sketches; of: of those that any needs. low, high: the band
    of bytes, two standard deviations. alike: all need the very same pages."""

    group: str | None
    starts: int
    bytes: float
    low: float
    high: float
    of: float
    alike: bool
    files: tuple[CommonFile, ...]


@dataclass(frozen=True)
class Fleet:
    """A catalogue, worked out. traces: its rows. broken: without facts, by reason. incomplete: that lost
    events or were cut short, other_model: made by another version or for other devices, earlier: before
    `since`; these are left out of all that follows. undated: that do not say when they were. counted: the
    rest. first, last: of the starts that are dated. by: what they are grouped by. advised: of how many the
    advice was worked out."""

    device: str
    by: str
    traces: int
    counted: int
    incomplete: int
    other_model: int
    earlier: int
    undated: int
    advised: int
    broken: tuple[Reason, ...]
    first: datetime.datetime | None
    last: datetime.datetime | None
    hosts: int
    total_s: float
    groups: tuple[Group, ...]
    group_count: int
    outliers: tuple[Outlier, ...]
    outlier_count: int
    regressions: tuple[Regression, ...]
    dearest: tuple[Dearest, ...]
    savings: tuple[Saved, ...]
    shared: tuple[Shared, ...]
