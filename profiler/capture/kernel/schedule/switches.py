"""When tasks were off the processors, and what they slept in: from the scheduler's events of a trace buffer.

Pure: decoded events in, rows out. A task runs from each switch to it until the switch from it; there the
kernel says how it stopped (`prev_state`): to sleep, for a disk (D) or something else (S), for its tracer
(t), because others were to run (R), or for good. What it sleeps in is the call that it began last. A switch
to it may be missing, as some machines do not tell of those from idle processors: then it runs since it was
woken up; where that is missing too, the end of its wait is not known.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from profiler.capture.kernel import syscalls
from profiler.capture.kernel.schedule.blocking import BLOCKING, MAKING, NUMBERS, RING, SWITCH, WAKING
from profiler.capture.kernel.windows import Tables
from profiler.trace import MOST_ROWS, WAIT_REASONS
from profiler.units import show_plural, show_seconds

WAIT_DTYPE = np.dtype(
    [("tid", "<i4"), ("start_ns", "<i8"), ("duration_ns", "<i8"), ("reason", "i1"), ("call", "i2"),
     ("first", "<i8"), ("ran_ns", "<i8")]
)  # fmt: skip
"""duration_ns: -1: its end was not seen. reason: index of REASONS. call, first: index of `BLOCKING` and the
argument that tells one wait from another, -1: none. ran_ns: since when it had run before."""

UNSETTLED, RINGS, TIMED = len(WAIT_REASONS), len(WAIT_REASONS) + 1, len(WAIT_REASONS) + 2
"""Reasons that are to be settled yet: by the descriptors; by the requests that are under way; by the
descriptors, but a timer where these are not known."""
REASONS = (*WAIT_REASONS, "", RING, "timed")
_CODES = {name: code for code, name in enumerate(REASONS)}
_OF_CALL = np.array(
    [*(_CODES[call.reason] for call in BLOCKING), _CODES["unknown"]], np.int8
)  # -1: the last
_MAKES = np.array([*(call.name in MAKING for call in BLOCKING), False])
_MAY_TIME_OUT = np.array([
    *(call.reason in ("", "socket", "lock", "signal", "pipe") and call.name not in syscalls.NAMES
      for call in BLOCKING), False,
])  # fmt: skip

# linux/sched.h, as sched_switch tells them
_UNINTERRUPTIBLE, _STOPPED, _TRACED, _DEAD = 0x2, 0x4, 0x8, 0x10 | 0x20
_SLEEPING = 0xFF
_HARDIRQ, _SOFTIRQ = 0x08, 0x10  # trace_flag_type of linux/trace_events.h

_CALL, _WAKE, _OUT, _IN = 0, 1, 2, 3
_MOST = MOST_ROWS["waits"]
Ints = npt.NDArray[np.int64]


class Switches:
    """Window after window of a trace; `rows` are all of it. dropped, dropped_ns: the shortest, for which
    there was no room: how many, and how long together."""

    def __init__(self, tasks: Collection[int], most: int = _MOST) -> None:
        self._tasks = np.array(sorted(tasks), np.int64)
        self._most = most
        self._left = [np.zeros(0, np.int64)] * _COLUMNS
        self._seen: set[int] = set()
        self._parts: list[npt.NDArray[np.void]] = []
        self._count = 0
        self.dropped = self.dropped_ns = 0

    def feed(self, tables: Tables, end_ns: int = -1) -> None:
        """end_ns: of the last window, when recording ended; -1: more will come."""
        new = _columns(tables)
        mine = np.isin(new[0], self._tasks)
        columns = [np.concatenate([old, column[mine]]) for old, column in zip(self._left, new, strict=True)]
        order = np.lexsort((columns[2], columns[1], columns[0]))
        tid, time, kind, value, first = (column[order] for column in columns)
        rows, left = _rows(tid, time, kind, value, first, self._seen, end_ns)
        self._left = [column[left] for column in (tid, time, kind, value, first)]
        self._seen.update(np.unique(tid[(kind == _OUT) | (kind == _IN)]).tolist())
        self._parts.append(rows)
        self._count += len(rows)
        if self._count > 2 * self._most:
            self._parts = [self.rows()]
            self._count = len(self._parts[0])

    def notes(self) -> list[str]:
        """What a reader of the waits has to know."""
        if not self.dropped:
            return []
        return [
            f"there was no room for the {show_plural(self.dropped, 'shortest wait')}, "
            f"{show_seconds(self.dropped_ns / 1e9)} together: these tasks count as running then"
        ]

    def rows(self) -> npt.NDArray[np.void]:
        """As WAIT_DTYPE, by task and time; the longest of them where there are too many."""
        rows = np.concatenate([np.zeros(0, WAIT_DTYPE), *self._parts])
        if len(rows) > self._most:
            kept = np.ones(len(rows), bool)
            length = np.where(rows["duration_ns"] < 0, np.iinfo(np.int64).max, rows["duration_ns"])
            kept[np.argpartition(length, len(rows) - self._most)[: len(rows) - self._most]] = False
            self.dropped += int((~kept).sum())
            self.dropped_ns += int(length[~kept].sum())
            rows = rows[kept]
        return rows[np.lexsort((rows["start_ns"], rows["tid"]))]


_COLUMNS = 5


def _columns(tables: Tables) -> list[Ints]:
    """All events as columns: task, time, kind, value, first argument. value: of a switch from a task its
    state, of waking whether a timer did it, of a call its number, -1 where one has ended."""
    parts: list[list[npt.NDArray[np.integer]]] = []

    def add(tid: npt.NDArray[np.integer], time: Ints, kind: int, value: npt.NDArray[np.integer] | int = -1,
            first: npt.NDArray[np.integer] | int = -1) -> None:  # fmt: skip
        count = len(time)
        parts.append([
            tid, time, np.full(count, kind), np.broadcast_to(value, count), np.broadcast_to(first, count)
        ])  # fmt: skip

    switches, wakings = tables.get(SWITCH), tables.get(WAKING)
    if switches is not None:
        add(switches["prev_pid"], switches["time_ns"], _OUT, switches["prev_state"])
        add(switches["next_pid"], switches["time_ns"], _IN)
    if wakings is not None:
        flags = wakings["common_flags"] & (_HARDIRQ | _SOFTIRQ)
        add(wakings["pid"], wakings["time_ns"], _WAKE, (flags == _HARDIRQ).astype(np.int64))
    for call in BLOCKING:
        enter, exit_ = tables.get(f"sys_enter_{call.name}"), tables.get(f"sys_exit_{call.name}")
        if enter is not None:
            first = enter.get(call.first, -1)
            add(enter["tid"], enter["time_ns"], _CALL, NUMBERS[call.name], first)
        if exit_ is not None:
            add(exit_["tid"], exit_["time_ns"], _CALL)
    columns = [np.concatenate(column).astype(np.int64) for column in zip(*parts, strict=True)]
    return columns or [np.zeros(0, np.int64)] * _COLUMNS


def _rows(
    tid: Ints, time: Ints, kind: Ints, value: Ints, first: Ints, seen: set[int], end_ns: int
) -> tuple[npt.NDArray[np.void], Ints]:
    """Rows of events that are in the order of task and time, and which of these are needed again in the
    next window: of each task its last call, and all since it last left the processor for good."""
    count = len(tid)
    if not count:
        return np.zeros(0, WAIT_DTYPE), np.zeros(0, np.int64)
    place = np.arange(count)
    begins = np.append(True, tid[1:] != tid[:-1])
    start_of = np.maximum.accumulate(np.where(begins, place, 0))
    end_of = np.append(np.flatnonzero(begins)[1:], count)[np.cumsum(begins) - 1]

    def before(wanted: npt.NDArray[np.bool_]) -> Ints:
        last = np.maximum.accumulate(np.where(wanted, place, -1))
        return np.where(last >= start_of, last, -1)

    def after(wanted: npt.NDArray[np.bool_]) -> Ints:
        """The next after each that is wanted, and of the same task; else `count`."""
        later = np.append(np.minimum.accumulate(np.where(wanted, place, count)[::-1])[::-1][1:], count)
        return np.where(later < end_of, later, count)

    call, last_in = before(kind == _CALL), before(kind == _IN)
    next_in, next_out, next_wake = after(kind == _IN), after(kind == _OUT), after(kind == _WAKE)
    times, values = np.append(time, end_ns), np.append(value, 0)
    out = np.flatnonzero(kind == _OUT)
    open_ = next_in[out] == count
    if end_ns < 0:  # it may come back in the next window
        waiting = out[open_ & (next_out[out] == count)]
        out = out[~np.isin(out, waiting)]
    else:
        waiting = out[:0]
    back, lost = next_in[out], next_out[out] < next_in[out]
    woken = next_wake[out]
    is_woken = woken < np.minimum(back, next_out[out])
    woken = np.where(woken < back, woken, back)
    state = value[out]
    made = np.where(call[out] >= 0, values[call[out]], -1)
    reason = _OF_CALL[made].copy()
    timed = (values[woken] == 1) & (woken < back) & _MAY_TIME_OUT[made] & (reason != RINGS)
    reason[timed & (reason == UNSETTLED)] = TIMED
    reason[timed & (reason != TIMED)] = _CODES["timer"]
    deep = (state & _UNINTERRUPTIBLE != 0) & ~_MAKES[made]
    reason[deep] = _CODES["device"]
    reason[state & (_TRACED | _STOPPED) != 0] = _CODES["tracer"]
    ready = state & _SLEEPING == 0
    reason[ready] = _CODES["processor"]
    over = state & _DEAD != 0
    reason[over] = _CODES["ended"]
    ends = np.where(ready | over, back, woken)
    unseen = lost & ~(is_woken & ~ready & ~over)
    ended = np.where(unseen, -1, np.maximum(times[ends] - time[out], 0))
    rows = np.zeros(len(out), WAIT_DTYPE)
    rows["tid"], rows["start_ns"], rows["duration_ns"] = tid[out], time[out], ended
    rows["reason"], rows["call"], rows["ran_ns"] = reason, made, np.append(time, -1)[last_in[out]]
    rows["first"] = np.where(call[out] >= 0, first[call[out]], -1)
    runnable = ~lost & ~ready & ~over & (woken < back)
    later = np.zeros(int(runnable.sum()), WAIT_DTYPE)
    later["tid"], later["start_ns"] = tid[out[runnable]], time[woken[runnable]]
    later["duration_ns"] = times[back[runnable]] - later["start_ns"]
    # who waited for its tracer was not let go on by anybody else
    later["reason"] = np.where(reason[runnable] == _CODES["tracer"], _CODES["tracer"], _CODES["processor"])
    later["call"] = later["first"] = later["ran_ns"] = -1
    rows, later = rows[rows["duration_ns"] != 0], later[later["duration_ns"] > 0]
    keep = np.zeros(count, bool)
    keep[waiting] = True
    away = before(keep) >= 0  # since they left, and have not come back
    keep |= away & (kind != _CALL)
    last = end_of[begins] - 1
    for known in (call[last], call[waiting], before((kind == _IN) & ~away)[last]):
        keep[known[known >= 0]] = True
    early = _before_the_first(tid, time, kind, seen)
    return np.concatenate([early, rows, later]), np.flatnonzero(keep)


def _before_the_first(tid: Ints, time: Ints, kind: Ints, seen: set[int]) -> npt.NDArray[np.void]:
    """What is known of a task begins with its first switch: a row for what was before."""
    switches = np.flatnonzero(kind >= _OUT)
    first = switches[np.append(True, np.diff(tid[switches]) != 0)] if len(switches) else switches
    first = first[~np.isin(tid[first], list(seen))]
    rows = np.zeros(len(first), WAIT_DTYPE)
    rows["tid"], rows["duration_ns"] = tid[first], time[first]
    rows["reason"], rows["call"], rows["first"], rows["ran_ns"] = _CODES["ended"], -1, -1, -1
    return rows
