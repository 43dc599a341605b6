"""A start held against its baseline."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from profiler.errors import BaselineError, UsageError
from profiler.library.arguments import (
    GRACE_S,
    Named,
    around_of,
    command_of,
    devices_of,
    finish_of,
    nothing,
    several,
)
from profiler.library.keywords import words_of_python

if TYPE_CHECKING:
    from profiler.analysis.check.held import Held
    from profiler.devices.model import Device
    from profiler.facts.starts import Start
    from profiler.files.owner import Owner

BASELINE = "coldseek-baseline.json"
RUNS_NOW, RUNS_UPDATE = 3, 5
"""Cold runs that are to count, where nobody says how many: held against a baseline, and for a new one."""


@words_of_python()
def check(
    command: Sequence[Named | bytes],
    *,
    baseline: Named = BASELINE,
    update: bool = False,
    limits: Mapping[str, str] | Iterable[str] = (),
    runs: int | None = None,
    devices: Iterable[Device | Named] | None = None,
    before: str | Sequence[Named] = (),
    after: str | Sequence[Named] = (),
    until: str | Iterable[str] = (),
    seconds: float | None = None,
    timeout: float | None = None,
    stop: bool = False,
    grace: float = GRACE_S,
    targets: str | Iterable[str] = (),
    tracer: str = "auto",
    evict: str = "auto",
    owner: Owner | None = None,
    say: Callable[[str], None] = nothing,
) -> Held:
    """Trace cold runs of a command and hold them against its baseline, as `coldseek check` does.

    Counts are compared, which hardly vary, and no wall times. `state` is "within", "regressed" or "unknown",
    and `lines` has each quantity with what it was, is, and may be.

    command: a list of words. baseline: the name of its file. update: write it anew from these runs. limits:
    name -> limit, as {"requests": "+5%"}; without any, what the spread of the baseline's runs allows. runs:
    that are to count; None: 3, or 5 with update. devices: to project on; None: the usual presets. The other
    parameters are those of `compare`.

    Raises UsageError for parameters that make no sense and where there is no baseline, BaselineError for one
    that is damaged, and otherwise as `record` does.

    >>> made = coldseek.check(["cat", "/dev/null"], baseline="cat.json", update=True, runs=1)
    >>> made.now.runs
    1
    """
    from profiler.analysis.check import limits as wanted
    from profiler.analysis.check.held import held
    from profiler.analysis.check.quantities import measured, start_of
    from profiler.devices.loading import usual
    from profiler.files import baselines
    from profiler.studies.check import cold_runs, program, tracer_of
    from profiler.version import __version__

    words, path = command_of(command), os.fspath(baseline)
    if runs is not None and runs < 1:
        raise UsageError(f"runs is {runs}; give a number from 1")
    asked = dict(map(wanted.parse, _texts(limits)))
    former = _former(path, update)
    wanted.need_baseline(former, asked, path, update)
    models, count = devices_of(devices, usual), runs or (RUNS_UPDATE if update else RUNS_NOW)
    counted, faults = [], []
    for run in cold_runs(
        words, count, tracer_of(former, tracer, several(targets)), owner=owner, say=say, evict=evict,
        before=around_of(before, "before"), after=around_of(after, "after"), targets=several(targets),
        finish=finish_of(until, seconds, timeout, stop, grace),
    ):  # fmt: skip
        if run.fault:
            faults.append(run.fault)
        else:
            counted.append(measured(run.trace, models))
    now = start_of(words, counted, program(words[0]), __version__)
    if update and now.runs == count:
        baselines.save(now, path)
    return held(former, now, asked, wanted=count, faults=faults)


def _former(path: str, update: bool) -> Start | None:
    """The baseline; None where there is none. One that is damaged may be written anew."""
    from profiler.files import baselines

    try:
        return baselines.load(path)
    except BaselineError:
        if not update:
            raise
        return None


def _texts(limits: Mapping[str, str] | Iterable[str]) -> list[str]:
    if isinstance(limits, Mapping):
        return [f"{name}={words}" for name, words in limits.items()]
    return several(limits)
