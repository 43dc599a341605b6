"""Two traces side by side: a cold start against a warm one, or any two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from profiler.analysis.framed import Framed, plain
from profiler.analysis.host import MEMORY_FILESYSTEMS
from profiler.analysis.reads.spread import Interval, median_interval, outliers, ratio_interval, told_apart
from profiler.analysis.reads.untraced_runs import median_s
from profiler.devices.model import Device
from profiler.facts.runs import Run
from profiler.report.summarise import slowdown, summarise
from profiler.report.summary import Summary
from profiler.report.verdict.failures import failed
from profiler.trace import Trace
from profiler.units import show_plural, show_seconds


@dataclass(frozen=True, repr=False)
class Side:
    """One of the two. name: "cold", "warm", or "first", "second". runs: untraced, in this trace's cache
    state.

    median_s: of the runs' wall times; interval_s: between which the true one lies. outliers: the numbers,
    from 1, of the runs that stand apart. Both as in `analysis.reads.spread`, None: too few runs to say.
    slowdown: the tracer's, None if not known.

    >>> coldseek.compare(trace, trace).first
    <Side: first, not timed; <Summary: 64 reads, 256 KiB of 1 file; 64 seeks>>
    """

    name: str
    summary: Summary
    runs: tuple[Run, ...]
    median_s: float | None
    slowdown: float | None
    interval_s: Interval | None = None
    outliers: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        runs = show_plural(len(self.runs), "run")
        took = "not timed" if self.median_s is None else f"{show_seconds(self.median_s)}, of {runs}"
        return f"<Side: {self.name}, {took}; {self.summary!r}>"


@dataclass(frozen=True, repr=False)
class Comparison(Framed):
    """Two traces. is_pair: first is cold and second is warm, or was to be; the metas of their summaries say
    whether that was reached. ratio: median of the first through that of the second, None unless both were
    measured; ratio_interval: between which the true one lies. told_apart: whether the runs prove that the
    two take different times, None: too few to say. failed: runs of either ended otherwise than the first.
    only_first, only_second: paths read in one of them only. traces: the two, the first first.

    >>> both = coldseek.compare(trace, trace)
    >>> both
    <Comparison: first / second: ratio not known>
    >>> both.to_frame()["reads"].tolist()
    [64, 64]
    """

    first: Side
    second: Side
    is_pair: bool
    ratio: float | None
    failed: bool
    only_first: tuple[bytes, ...]
    only_second: tuple[bytes, ...]
    ratio_interval: Interval | None = None
    told_apart: bool | None = None
    traces: tuple[Trace, ...] = field(default=(), compare=False)

    def rows(self) -> Iterator[dict[str, object]]:
        """A row for each side: its times, which are null where nobody measured, and what it read."""
        for side in (self.first, self.second):
            low, high = side.interval_s or (None, None)
            took = {"median_s": side.median_s, "median_low_s": low, "median_high_s": high}
            yield {"name": side.name, "runs": len(side.runs), **took, **plain(side.summary.totals)}

    def __repr__(self) -> str:
        ratio = "ratio not known" if self.ratio is None else f"{self.ratio:.2f} times"
        if self.ratio_interval is not None:
            ratio += " ({:.2f} to {:.2f})".format(*self.ratio_interval)
        return f"<Comparison: {self.first.name} / {self.second.name}: {ratio}>"


def compare_summary(first: Trace, second: Trace, devices: Sequence[Device] | None = None) -> Comparison:
    """Compare a cold trace with a warm one (given in any order), or two arbitrary ones.

    Untraced runs come from the traces' `meta.measured`; both runs of a pair may be recorded in either.
    Without them the times are unknown: a traced wall time says nothing about the program.
    """
    states = [_state(first), _state(second)]
    if states == ["warm", "cold"]:
        first, second = second, first
    is_pair = sorted(states) == ["cold", "warm"]
    one, two = summarise(first, devices), summarise(second, devices)
    if is_pair:
        sides = _side("cold", one, one.cold or two.cold), _side("warm", two, two.warm or one.warm)
    else:
        sides = _side("first", one, _own_runs(one)), _side("second", two, _own_runs(two))
    medians = sides[0].median_s, sides[1].median_s
    # files of /proc and the like are of one run alone by nature, and those that were only mapped may leave
    # nothing to see where they are cached
    paths = [
        {
            file.path
            for file in side.summary.files
            if file.reads and file.filesystem not in MEMORY_FILESYSTEMS
        }
        for side in sides
    ]
    return Comparison(
        *sides,
        is_pair=is_pair,
        ratio=medians[0] / medians[1] if medians[0] is not None and medians[1] else None,
        traces=(first, second),
        failed=failed(one) or failed(two),
        only_first=tuple(sorted(paths[0] - paths[1])),
        only_second=tuple(sorted(paths[1] - paths[0])),
        ratio_interval=ratio_interval(sides[0].runs, sides[1].runs),
        told_apart=told_apart(sides[0].runs, sides[1].runs),
    )


def _state(trace: Trace) -> str:
    return trace.meta.cache if trace.meta.cache != "unknown" else trace.meta.cache_asked


def _side(name: str, summary: Summary, runs: tuple[Run, ...]) -> Side:
    return Side(
        name,
        summary,
        runs,
        median_s(runs),
        slowdown(summary.meta, runs),
        median_interval(runs),
        outliers(runs),
    )


def _own_runs(summary: Summary) -> tuple[Run, ...]:
    """The untraced runs in the cache state of the trace itself."""
    return {"cold": summary.cold, "warm": summary.warm}.get(summary.meta.cache, ())
