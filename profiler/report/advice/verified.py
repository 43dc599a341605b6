"""What was measured of what was advised, beside what was projected."""

from __future__ import annotations

from dataclasses import dataclass, replace

from profiler.analysis.advice.options import LEAST_SAVED, Advice, Estimate, Option
from profiler.units import show_percent, show_seconds

HELPS = LEAST_SAVED
"""Of what was measured the same share counts as of what is projected."""

WINS = 0.8
"""Share of the pairs of runs. If nothing had changed, three runs of each would come to that in one of ten
cases (Mann and Whitney's U of 8 and 9 of 9: 2 of 20 orders), five in one of thirteen (U from 20 of 25)."""


@dataclass(frozen=True)
class Compared:
    """What was projected and what was measured, on one subject. waits: of the measured runs, cold less warm.
    requests, bytes: observed of the traced run, None where no tracer saw the device. key, name: "now" or of
    the option. cold, warm: seconds of each untraced run."""

    key: str
    name: str
    projected: Estimate
    cold: tuple[float, ...]
    warm: tuple[float, ...]
    cold_s: float | None
    warm_s: float | None
    requests: int | None
    bytes: int | None
    copy_bytes: int
    faults: tuple[str, ...]
    failed: str

    @property
    def waits_s(self) -> float | None:
        if self.cold_s is None or self.warm_s is None:
            return None
        return max(self.cold_s - self.warm_s, 0.0)

    @property
    def error(self) -> float | None:
        """Projected less measured, as a share of measured."""
        waits = self.waits_s
        return None if not waits else (self.projected.seconds - waits) / waits


@dataclass(frozen=True)
class Verification:
    """device: the model of this machine's device that was projected on. runs: of each, cold and warm."""

    device: str
    title: str
    runs: int
    results: tuple[Compared, ...]

    def of(self, key: str) -> Compared | None:
        """What was measured of an option; None: nothing."""
        return next(
            (one for one in self.results if one.key == key and not one.failed and one.cold_s is not None),
            None,
        )

    def gain(self, key: str) -> float | None:
        """How much shorter the median cold start was with an option, as a share of that as it is, 1 at most;
        None: not measured."""
        now, then = self.of("now"), self.of(key)
        if now is None or then is None or not now.cold_s or then.cold_s is None:
            return None
        return 1 - then.cold_s / now.cold_s

    def helps(self, key: str) -> bool:
        """Whether an option was seen to help: its median cold start is shorter by HELPS, and of all pairs of
        a run with it and one as it is so many were quicker with it as WINS."""
        gain, now, then = self.gain(key), self.of("now"), self.of(key)
        if gain is None or now is None or then is None:
            return False
        quicker = sum(one < other for one in then.cold for other in now.cold)
        wins = quicker / (len(then.cold) * len(now.cold))
        return key != "now" and gain >= HELPS and wins >= WINS


def by_measured(advice: Advice, verified: Verification) -> Advice:
    """The same options: first those that were seen to help, by what they gained, last those that were seen
    not to, between them what was not measured, as it is projected."""

    def rank(option: Option) -> tuple[int, float]:
        gain = verified.gain(option.key)
        if gain is None:
            return 1, 0.0
        return 2 if verified.helps(option.key) else 0, gain

    return replace(advice, options=tuple(sorted(advice.options, key=rank, reverse=True)))


def helped(verified: Verification) -> str:
    """One line: what really helped, the most first, or that nothing did."""
    now = verified.of("now")
    if now is None or now.cold_s is None:
        return "What helps is not known: the start as it is could not be measured."
    found = [one for one in verified.results if verified.helps(one.key)]
    perhaps = [one for one in verified.results if (verified.gain(one.key) or 0.0) >= HELPS]
    named = sorted(found or perhaps, key=lambda one: one.cold_s or 0.0)
    said = ", ".join(f"{one.name} {gained(verified, one)}" for one in named)
    cold = show_seconds(now.cold_s)
    if found:
        return f"What helped, of {cold} cold: {said}."
    if perhaps:
        return (
            f"Nothing of it helped for certain, of {cold} cold: {said}, but the runs vary; try more --runs."
        )
    return f"Nothing of it helped: as it is, the start took {cold} cold."


def gained(verified: Verification, one: Compared) -> str:
    """ "1.2 s (40% less)"."""
    gain = verified.gain(one.key) or 0.0
    change = f"{show_percent(abs(gain))} {'less' if gain >= 0 else 'more'}"
    return f"{show_seconds(one.cold_s or 0.0)} ({change})"
