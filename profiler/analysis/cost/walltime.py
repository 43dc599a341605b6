"""Where the wall time of a start goes: running, waiting for the device, waiting for something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profiler.analysis.intervals import group_sums
from profiler.analysis.reads.untraced_runs import median_s
from profiler.facts.runs import Run
from profiler.trace import WAIT_REASONS, Trace
from profiler.units import show_path

Ints = npt.NDArray[np.int64]

DISK_SHARE = 0.25
"""Of the cold wall time, at least this much is "the disk". Our own choice: medians of cold times vary by 20
to 40% from day to day (CI runners: gptme#2448, 8.3 +- 3.2 s), so a smaller share is a gain that nobody could
see, whatever is done about the disk."""

DISK_S = 0.005
"""And at least so many seconds: two runs of a short command differ by as much, whatever is cached."""

CONTRADICTS = 0.5
"""Of what cold runs take longer than warm ones, the traced one has to have waited at least this part for the
device, else something else may have made the difference. Our own choice: a cold read costs more than its
wait (the system call, the copy, threads that are woken), so some of the difference is the disk's without
being a wait for it; half leaves room for that."""

TOLD_APART = 3
"""With at least so many cold and warm runs, of which the fastest cold one took longer than the slowest warm
one, the difference is none of chance: of runs of one kind that happens in 1 of 20 draws (3! 3! / 6!)."""

_WORDS = {
    "processor": "a processor", "socket": "a socket", "pipe": "a pipe", "lock": "a lock", "timer": "a timer",
    "child": "a child process", "signal": "a signal", "descriptor": "another descriptor",
}  # fmt: skip
"""Reasons to wait for something else -> what was waited for, where it has no name."""
_MOST_NAMED = 100


@dataclass(frozen=True)
class Waited:
    """What was waited for while nothing ran, in words ("/run/libvirt/libvirt-sock", "a timer"), and how
    long, in seconds."""

    what: str
    seconds: float


@dataclass(frozen=True)
class WallTime:
    """A partition of the wall time of one observed run, its whole process tree: the parts add up to wall_s.

    running_s: at least one task was on a processor. device_s: none was, and at least one waited for a read,
    a fault or metadata. other_s: none of these, and it is known what was waited for: waited_for, longest
    first. unknown_s: the rest. Parts that could not be told apart are None, and their time is in unknown_s.

    wall_s: until the start was ready, where that is known, without the time in which all that was done was
    that coldseek itself held a task: traced_s, in seconds.
    """

    wall_s: float
    running_s: float | None
    device_s: float | None
    other_s: float | None
    unknown_s: float
    waited_for: tuple[Waited, ...] = ()
    traced_s: float = 0.0


@dataclass(frozen=True)
class Answer:
    """Whether a cold start is slow because of the disk.

    cold_s, warm_s: medians of untraced runs, None: not measured. disk_s: of the cold wall time, what the
    disk is; disk_share: its share of that; is_disk: None where it is not known. measured: disk_s is from
    untraced runs, else from the waits of the traced one.
    """

    cold_s: float | None
    warm_s: float | None
    disk_s: float | None
    disk_share: float | None
    is_disk: bool | None
    measured: bool = False


# -- where the time went ------------------------------------------------------------------------------------


def wall_time(trace: Trace) -> WallTime | None:
    """Where the time of a trace's run went; None where nothing is known of it.

    From the trace's waits; without these, as of the tracers that stop a program, from what the kernel
    accounted of the untraced runs of the same kind.
    """
    wall_s = trace.meta.wall_s if trace.meta.ready_s is None else trace.meta.ready_s
    if len(trace.waits) and wall_s:
        return _observed(trace, round(wall_s * 1e9))
    return _accounted(trace)


def _observed(trace: Trace, wall_ns: int) -> WallTime | None:
    """The partition, by sweeping over the ends of all stretches in which a task was in one state."""
    states = _states(trace, wall_ns)
    points = np.unique(np.concatenate([[0, wall_ns], states.start, states.end]))
    length = np.diff(points)
    first, last = np.searchsorted(points, states.start), np.searchsorted(points, states.end)

    def covered(chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        depth = np.zeros(len(points), np.int64)
        np.add.at(depth, first[chosen], 1)
        np.add.at(depth, last[chosen], -1)
        return np.cumsum(depth)[:-1] > 0

    free = np.ones(len(length), bool)
    parts = []
    for part in (_RUNNING, _DEVICE, _TRACER):
        mine = free & covered(states.part == part)
        free &= ~mine
        parts.append(int(length[mine].sum()))
    for part in (_PROCESSOR, _OTHER):
        free_of = free & covered(states.part == part)
        parts.append(int(length[free_of].sum()))
        if part == _PROCESSOR:
            free &= ~free_of
        else:
            quiet = free_of
    running, device, traced, processor, _ = parts
    seconds, unknown = _attributed(trace, states, points, quiet)
    unknown += int(length[free & ~quiet].sum())
    seconds["a processor"] = seconds.get("a processor", 0) + processor
    other = sum(seconds.values())
    waited = sorted(((ns, what) for what, ns in seconds.items() if ns), key=lambda one: (-one[0], one[1]))
    return WallTime(
        (wall_ns - traced) / 1e9, running / 1e9, device / 1e9, other / 1e9, unknown / 1e9,
        tuple(Waited(what, ns / 1e9) for ns, what in waited[:_MOST_NAMED]), traced / 1e9,
    )  # fmt: skip


_RUNNING, _DEVICE, _TRACER, _PROCESSOR, _OTHER, _NOTHING = range(6)
_PARTS = np.array([
    {"device": _DEVICE, "tracer": _TRACER, "processor": _PROCESSOR, "ended": _NOTHING}.get(reason, _OTHER)
    for reason in WAIT_REASONS
])  # fmt: skip


@dataclass(frozen=True)
class _States:
    """Stretches of time [start, end) (ns) in which a task was in one state; row: of `waits`, -1: it ran."""

    start: Ints
    end: Ints
    part: Ints
    row: Ints


def _states(trace: Trace, wall_ns: int) -> _States:
    """What all tasks did when: the waits, and between those of one task that it ran."""
    waits = trace.waits
    tid, start = waits["tid"].to_numpy(np.int64), waits["start_ns"].to_numpy(np.int64)
    lost = waits["duration_ns"].isna().to_numpy(bool)
    end = start + waits["duration_ns"].to_numpy(np.int64, na_value=0)
    final = np.append(tid[1:] != tid[:-1], True)
    following = np.where(final, wall_ns, np.append(start[1:], 0))
    end = np.where(lost, np.maximum(start, following), end)  # till the next that is known of it
    # rows that overlap, as in a hostile trace: a task runs after the last of their ends
    until = _latest(tid, end)
    codes = np.array([WAIT_REASONS.index(one) for one in waits["reason"].cat.categories], np.int64)
    part = _PARTS[codes][waits["reason"].cat.codes.to_numpy()] if len(codes) else np.zeros(0, np.int64)
    part = np.where(lost, _NOTHING, part)
    row = np.arange(len(waits))
    opening = np.append(True, tid[1:] != tid[:-1])
    starts = np.concatenate([start, until, np.zeros(int(opening.sum()), np.int64)])
    ends = np.concatenate([end, following, start[opening]])
    ran = np.full(len(starts) - len(row), _RUNNING)
    parts, rows = np.concatenate([part, ran]), np.concatenate([row, np.full(len(ran), -1)])
    starts, ends = np.clip(starts, 0, wall_ns), np.clip(ends, 0, wall_ns)
    kept = (ends > starts) & (parts != _NOTHING)
    return _States(starts[kept], ends[kept], parts[kept], rows[kept])


def _latest(tid: Ints, end: Ints) -> Ints:
    """Of each wait the latest end so far among those of its task; tasks come one after another."""
    distinct, place = np.unique(end, return_inverse=True)
    lane = np.cumsum(np.append(0, tid[1:] != tid[:-1])) * len(distinct)
    return distinct[np.maximum.accumulate(lane + place.reshape(-1)) - lane] if len(end) else end


def _attributed(
    trace: Trace, states: _States, points: Ints, quiet: npt.NDArray[np.bool_]
) -> tuple[dict[str, int], int]:
    """What was waited for in the stretches between points in which nothing was done: in words -> ns, and for
    how long that is not known.

    A quiet time ends because somebody has what it waited for: so that is what was waited for, not what
    others, such as idle threads, sleep in for longer. Of several that end together, as all do at the end of
    the run, it is what was waited for longest.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet.astype(np.int8), [0]])))
    begins, ends = points[edges[::2]], points[edges[1::2]]
    other = np.flatnonzero(states.part == _OTHER)
    other = other[np.lexsort((states.start[other], states.end[other]))]
    place = np.searchsorted(states.end[other], ends)
    one = np.append(other, -1)[place]
    fits = (np.append(states.end, -1)[one] == ends) & (np.append(states.start, -1)[one] <= begins)
    row = np.where(fits, np.append(states.row, -1)[one], -1)
    return _in_words(trace, row, ends - begins)


def _in_words(trace: Trace, row: Ints, length: Ints) -> tuple[dict[str, int], int]:
    """Lengths (ns) of which each is of a row of `waits`, -1: of none, added up by what was waited for; and
    those of which that is not known."""
    import pandas as pd

    known = row >= 0
    row, length, unknown = row[known], length[known], int(length[~known].sum())
    reasons = trace.waits["reason"].to_numpy(object)[row]
    places, whats = pd.factorize(trace.waits["what"].to_numpy(object)[row])
    found: dict[str, int] = {}
    for reason in set(reasons.tolist()):
        mine = reasons == reason
        if reason not in _WORDS:
            unknown += int(length[mine].sum())
            continue
        sums = group_sums(length[mine], places[mine], len(whats))
        for place in np.flatnonzero(sums).tolist():
            words = show_path(whats[place]) if whats[place] else _WORDS[reason]
            found[words] = found.get(words, 0) + int(sums[place])
    return found, unknown


def _accounted(trace: Trace) -> WallTime | None:
    """As far as the kernel's accounts of untraced runs reach: what their processes ran, and waited for block
    devices. Both are sums over all tasks, so no more of them is believed than there was time; which of the
    two was the case at one time is not known of more than one task, and running comes first."""
    state = "warm" if trace.meta.cache == "warm" else "cold"
    runs = trace.meta.measured.of(state)
    good = [run for run in runs if not run.failed and run.user_s is not None and run.system_s is not None]
    if not good or trace.meta.copies.count > 1:
        return None
    middle = sorted(good, key=lambda run: run.wall_s)[len(good) // 2]
    wall = middle.wall_s
    running = min(wall, (middle.user_s or 0.0) + (middle.system_s or 0.0))
    if middle.blocked_s is None:
        return WallTime(wall, running, None, None, max(0.0, wall - running))
    device = min(wall - running, middle.blocked_s)
    return WallTime(wall, running, device, None, max(0.0, wall - running - device))


# -- the answer ---------------------------------------------------------------------------------------------


def answer(trace: Trace, time: WallTime | None) -> Answer:
    """Whether it is the disk.

    What the disk costs is what a cold start takes longer than a warm one, of the untraced runs. Where a
    traced cold run waited for the device for much less than that, it is no more than that share, if the
    difference may be chance, or if the run waited long enough for something else to explain it; what is left
    then is the processor's part of cold reads, which many fast ones are made of. Without a pair of cold and
    warm runs the waits of the traced one tell, whatever was cached.
    """
    cold_runs, warm_runs = trace.meta.measured.cold, trace.meta.measured.warm
    cold, warm = median_s(cold_runs), median_s(warm_runs)
    known = time is not None and time.device_s is not None and time.wall_s > 0
    share = (time.device_s or 0.0) / time.wall_s if time is not None and known else None
    if cold is None or warm is None:
        if time is None or share is None:
            return Answer(cold, warm, None, None, None)
        whole = time.wall_s if cold is None or trace.meta.cache != "cold" else cold
        return Answer(cold, warm, share * whole, share, _is_disk(share * whole, whole))
    disk = max(0.0, cold - warm)
    if time is not None and share is not None and trace.meta.cache == "cold":
        # who waits for the disk wakes up more often, and waits for a processor then where others run
        ready = sum(one.seconds for one in time.waited_for if one.what == _WORDS["processor"])
        of_its_own = (time.device_s or 0.0) / (time.wall_s - ready) if ready < time.wall_s else 0.0
        elsewhere = ((time.other_s or 0.0) + time.unknown_s - ready) / time.wall_s
        explained = not _told_apart(cold_runs, warm_runs) or (share + elsewhere) * cold > disk
        if of_its_own * cold < CONTRADICTS * disk and explained:
            disk = share * cold
    return Answer(cold, warm, disk, disk / cold if cold else None, _is_disk(disk, cold), measured=True)


def _told_apart(cold: Sequence[Run], warm: Sequence[Run]) -> bool:
    cold_s, warm_s = ([run.wall_s for run in runs if not run.failed] for runs in (cold, warm))
    return min(len(cold_s), len(warm_s)) >= TOLD_APART and min(cold_s) > max(warm_s)


def _is_disk(disk_s: float, whole_s: float) -> bool:
    return disk_s >= DISK_S and disk_s >= DISK_SHARE * whole_s
