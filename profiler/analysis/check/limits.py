"""By how much a quantity may exceed its baseline: what was asked for, or what the baseline's own runs differ
by."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from profiler.analysis.check.quantities import COUNTS, SECONDS
from profiler.errors import UsageError
from profiler.facts.starts import Start
from profiler.units import show_path

FLOOR_SHARE, FLOOR_REQUESTS = 0.01, 4
"""No limit is tighter: 1%, or so many requests and what they bring and take."""

SPREADS = 2.0
"""The limit reaches so many times the distance between the lowest and the highest run of the baseline."""

EVERY = "all"

_LIMIT = re.compile(r"([+-]?)([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?)(%?)")


@dataclass(frozen=True)
class Limit:
    """kind: "+" at most so much above the baseline, "-" at least so much below it, "=" at most this,
    whatever the baseline says, "off" none. share: the value is a share of the baseline, not an amount."""

    kind: str
    value: float = 0.0
    share: bool = False

    def most(self, baseline: float | None) -> float | None:
        """The largest value that is within; None: there is no limit, or it is not known."""
        if self.kind == "=":
            return self.value
        if self.kind == "off" or baseline is None:
            return None
        room = baseline * self.value if self.share else self.value
        return baseline + room if self.kind == "+" else max(baseline - room, 0.0)


def parse(text: str) -> tuple[str, Limit]:
    """NAME=+5%, NAME=+20, NAME=-10%, NAME=500 or NAME=off. Raises UsageError."""
    name, equals, words = text.partition("=")
    known = name in COUNTS or name in (EVERY, SECONDS) or name.startswith(f"{SECONDS}.")
    if not equals or not known:
        names = ", ".join((*COUNTS, SECONDS, f"{SECONDS}.DEVICE", EVERY))
        raise UsageError(f"cannot read the limit {text!r}; it is NAME=+5%, with one of the names {names}")
    if words == "off":
        return name, Limit("off")
    match = _LIMIT.fullmatch(words)
    value = float(match[2]) if match else math.inf
    if match is None or not math.isfinite(value) or (match[3] and not match[1]):
        raise UsageError(
            f"cannot read the limit {text!r}; after {name}= comes +5%, +20, -10%, a most such as 500, or off"
        )
    return name, Limit(match[1] or "=", value / 100 if match[3] else value, bool(match[3]))


def need_baseline(baseline: Start | None, limits: Mapping[str, Limit], name: str, update: bool) -> None:
    """Raise UsageError where there is nothing to compare with: no baseline, and no limit that needs none.
    name: of its file. update: it is about to be written."""
    if baseline is None and not update and not any(limit.kind == "=" for limit in limits.values()):
        raise UsageError(f"there is no baseline {show_path(name)}; write it with coldseek check --update")


def asked(limits: Mapping[str, Limit], name: str) -> Limit | None:
    """The limit that was asked for, the most exact name first; None: none was."""
    family = SECONDS if name.startswith(f"{SECONDS}.") else name
    return next((limits[key] for key in (name, family, EVERY) if key in limits), None)


def median(values: Sequence[float | None]) -> float | None:
    """None where the value of any run is not known, or there are none."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known and len(known) == len(values) else None


def usual(baseline: Start, name: str) -> Limit | None:
    """The limit by the spread of the baseline's runs, and the floor; None where it does not have this."""
    values = baseline.quantities.get(name, ())
    middle = median(values)
    if middle is None:
        return None
    known = [value for value in values if value is not None]
    floor = max(FLOOR_SHARE * middle, _of_requests(baseline, name, middle))
    return Limit("+", max(floor, SPREADS * (max(known) - min(known))))


def _of_requests(baseline: Start, name: str, middle: float) -> float:
    """What FLOOR_REQUESTS come to in this quantity."""
    if name in COUNTS and not name.endswith("bytes"):
        return float(FLOOR_REQUESTS)
    requests = median(baseline.quantities.get("requests", ()))
    return middle * min(FLOOR_REQUESTS / requests, 1.0) if requests else 0.0
