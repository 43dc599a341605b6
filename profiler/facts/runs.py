"""Untraced runs: what a start really costs, cold and warm."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from profiler.facts.values import Json, mapping

MOST_SECONDS = 2**62 / 1e9
"""No run takes longer (146 years): its nanoseconds would not fit in the numbers that hold them."""

MOST_COPIES = 10_000
"""More starts at once than this are believed of no trace."""

NOT_PROVED_COLD = "NOT PROVED COLD"
"""Begins the note of a run whose files were dropped from the page cache, and might not be looked at then."""

_SHORTEST = 1e-9
"""Seconds: no clock that times a run tells less. What is divided by less may be infinite."""


@dataclass(frozen=True)
class Run:
    """A run of a program that nobody traced. None: not known.

    Times in seconds. exit_status as a shell gives it: 128 + n for death by signal n. resident_before_bytes
    of resident_checked_bytes of the files looked at were cached right before. device_read_bytes, user_s and
    system_s are of the program and of every descendant that was waited for; blocked_s: how long its first
    thread waited for block devices. stderr: the end of what it wrote there, where that went nowhere and it
    failed; "" if that is not known. copies: of several starts at once each of them; the run itself is then
    all of them: the time of the slowest, the bytes of all. failed: it, or one of its copies, ended with
    another exit status than the first run of all, so that it was another thing that took this time.

    >>> coldseek.Run(wall_s=0.25, exit_status=0).failed
    False
    """

    wall_s: float
    exit_status: int | None = None
    resident_before_bytes: int | None = None
    resident_checked_bytes: int | None = None
    device_read_bytes: int | None = None
    failed: bool = False
    stderr: str = ""
    copies: tuple[Run, ...] = ()
    user_s: float | None = None
    system_s: float | None = None
    blocked_s: float | None = None


@dataclass(frozen=True)
class Measured:
    """The untraced runs of a trace. first_exit_status: of the first run of all, by which the others are
    judged; None: not known. damaged: entries in place of cold and of warm runs that are none.

    >>> measured = coldseek.Measured(cold=(coldseek.Run(2.5), coldseek.Run(2.6)))
    >>> len(measured.of("cold")), len(measured.of("warm"))
    (2, 0)
    """

    cold: tuple[Run, ...] = ()
    warm: tuple[Run, ...] = ()
    first_exit_status: int | None = None
    damaged: tuple[int, int] = (0, 0)

    def __bool__(self) -> bool:
        return bool(self.cold or self.warm or any(self.damaged))

    def of(self, state: str) -> tuple[Run, ...]:
        """Those of "cold" or "warm"."""
        return self.cold if state == "cold" else self.warm


def judged(runs: Iterable[Run], first: int | None) -> tuple[Run, ...]:
    """The runs, each failed or not by the exit status of the first run of all; None: that is not known, and
    none has."""
    return tuple(_judged(run, first) for run in runs)


def _judged(run: Run, first: int | None) -> Run:
    copies = judged(run.copies, first)
    other = first is not None and run.exit_status not in (first, None)
    return dataclasses.replace(run, copies=copies, failed=other or any(copy.failed for copy in copies))


def from_json(value: Any, exit_status: int | None = None) -> Measured:
    """Untraced runs as JSON has them (`to_json`). exit_status: of the traced run, by which they are
    judged where the first one's was not recorded."""
    values = mapping(value)
    recorded = values.get("first_exit_status")
    recorded = recorded if type(recorded) is int else None
    first = exit_status if recorded is None else recorded
    found = {}
    damaged = []
    for state in ("cold", "warm"):
        entries = values.get(state, [])
        runs = [_run(entry) for entry in entries] if isinstance(entries, list | tuple) else [None]
        found[state] = judged((run for run in runs if run is not None), first)
        damaged.append(runs.count(None))
    return Measured(found["cold"], found["warm"], recorded, (damaged[0], damaged[1]))


_COUNTS = ("exit_status", "resident_before_bytes", "resident_checked_bytes", "device_read_bytes")
_TIMES = ("user_s", "system_s", "blocked_s")


def _run(entry: Any) -> Run | None:
    values = mapping(entry)
    wall: Any = values.get("wall_s")
    if not _is_time(wall) or 0 < wall < _SHORTEST:
        return None
    counts: Json = {name: values.get(name) for name in _COUNTS}
    times: Json = {name: values.get(name) for name in _TIMES}
    if not all(count is None or (type(count) is int and 0 <= count < 2**63) for count in counts.values()):
        return None
    if not all(time is None or _is_time(time) for time in times.values()):
        return None
    several = values.get("copies", [])
    copies = [_run(copy) for copy in several] if isinstance(several, list | tuple) else [None]
    if len(copies) > MOST_COPIES or any(copy is None or copy.copies for copy in copies):
        return None
    words = values.get("stderr", "")
    known = counts | {name: float(time) for name, time in times.items() if time is not None}
    return Run(
        float(wall),
        stderr=words if isinstance(words, str) else "",
        copies=tuple(copy for copy in copies if copy is not None),
        **known,
    )


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= MOST_SECONDS


def to_json(measured: Measured) -> Json:
    """The runs as JSON has them; {} where there are none and none was asked for."""
    made: Json = (
        {} if measured.first_exit_status is None else {"first_exit_status": measured.first_exit_status}
    )
    for state, damaged in zip(("cold", "warm"), measured.damaged, strict=True):
        if entries := [*runs_json(measured.of(state)), *[None] * damaged]:
            made[state] = entries
    return made


def runs_json(runs: Sequence[Run]) -> list[Json]:
    """Runs as JSON has them; what can be told from other runs is left out."""
    return [_run_json(run) for run in runs]


def _run_json(run: Run) -> Json:
    made = dataclasses.asdict(run)
    del made["failed"], made["copies"]
    return made | {"copies": runs_json(run.copies)} if run.copies else made
