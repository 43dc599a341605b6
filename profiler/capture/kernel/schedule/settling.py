"""The table of waits: what the scheduler tells, with what descriptors, files and requests there were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from profiler.capture.kernel import syscalls
from profiler.capture.kernel.join import Ints, asof
from profiler.capture.kernel.schedule.blocking import BLOCKING
from profiler.capture.kernel.schedule.switches import REASONS, RINGS, TIMED, UNSETTLED
from profiler.capture.watch.whom.sleeps import Sleep
from profiler.trace import WAIT_COLUMNS, WAIT_REASONS, Trace

if TYPE_CHECKING:
    import pandas as pd

_CODES = {name: code for code, name in enumerate(REASONS)}
_READS = np.array([call.name in syscalls.READS for call in BLOCKING] + [False])
_ON_DESCRIPTORS = np.array([call.reason in ("", "socket") for call in BLOCKING] + [False])
_CERTAIN = [_CODES[name] for name in ("device", "processor", "tracer", "ended")]
_FOREVER = 2**62
Rows = npt.NDArray[np.void]


def settled(
    rows: Rows,
    trace: Trace,
    sleeps: Sequence[Sleep],
    processes: Mapping[int, int],
    start_ns: int,
    end_ns: int,
) -> pd.DataFrame:
    """WAIT_COLUMNS. rows: WAIT_DTYPE, by task and time. trace: without waits. sleeps: what was seen
    otherwise. processes: task -> process. start_ns, end_ns: of the trace, by the clock of the rows."""
    rows = _within(rows, start_ns, end_ns)
    process = syscalls.processes_of(rows["tid"], processes)
    reason, what = rows["reason"].copy(), np.zeros(len(rows), np.int64)
    texts = _seen(rows, process, reason, what, sleeps, start_ns)
    under_way = _requests(rows, process, trace)
    open_ = np.isin(reason, (UNSETTLED, TIMED, RINGS))
    reason[open_ & under_way] = _CODES["device"]
    reason[reason == TIMED] = _CODES["timer"]
    file = _files(rows, trace)
    # of file systems that are no disk's, such as FUSE and NFS, data are waited for as if for anything
    fetched = (reason == UNSETTLED) & _READS[rows["call"]] & (file >= 0)
    reason[fetched] = _CODES["device"]
    reason[reason >= len(WAIT_REASONS)] = _CODES["unknown"]
    file[reason != _CODES["device"]] = -1
    return _table(rows, reason, file, what, texts)


def _within(rows: Rows, start_ns: int, end_ns: int) -> Rows:
    """The rows with times from the start of the run, cut at its ends."""
    lost = rows["duration_ns"] < 0
    ends = np.where(lost, end_ns, rows["start_ns"] + rows["duration_ns"])
    kept = (ends > start_ns) & (rows["start_ns"] < end_ns)
    rows, ends, lost = rows[kept].copy(), np.minimum(ends[kept], end_ns), lost[kept]
    rows["start_ns"] = np.maximum(rows["start_ns"] - start_ns, 0)
    rows["duration_ns"] = np.where(lost, -1, ends - start_ns - rows["start_ns"])
    rows["ran_ns"] -= start_ns
    return rows


def _seen(
    rows: Rows,
    process: Ints,
    reason: npt.NDArray[np.int8],
    what: Ints,
    sleeps: Sequence[Sleep],
    start_ns: int,
) -> list[bytes]:
    """Fill in what was seen of waits while they lasted, and of others of the same call on the same
    descriptor. Gives the texts that `what` has the places of."""
    texts: dict[bytes, int] = {b"": 0}
    tids = np.array([sleep.tid for sleep in sleeps], np.int64)
    times = np.array([sleep.time_ns - start_ns for sleep in sleeps], np.int64)
    at = asof(tids, times, rows["tid"].astype(np.int64), rows["start_ns"])
    length = np.append(rows["duration_ns"], -1)[at]
    inside = (at >= 0) & (times < np.append(rows["start_ns"], 0)[at] + length)
    alike: dict[tuple[int, int, int], tuple[int, int]] = {}
    for number in np.flatnonzero(inside).tolist():
        row, sleep = int(at[number]), sleeps[number]
        if reason[row] in _CERTAIN:
            continue
        found = _CODES[sleep.reason], texts.setdefault(sleep.what, len(texts))
        reason[row], what[row] = found[0], found[1] or what[row]
        key = int(process[row]), int(rows["call"][row]), int(rows["first"][row])
        if _ON_DESCRIPTORS[key[1]] and (found[1] or key not in alike):
            alike[key] = found
    for key, found in alike.items():
        same = (process == key[0]) & (rows["call"] == key[1]) & (rows["first"] == key[2])
        same &= np.isin(reason, (UNSETTLED, TIMED, found[0])) & (what == 0)
        reason[same], what[same] = found
    return list(texts)


def _requests(rows: Rows, process: Ints, trace: Trace) -> npt.NDArray[np.bool_]:
    """Of which waits a request that was handed to io_uring or libaio was under way at the end."""
    events = trace.events
    ops = [op for op in events["op"].cat.categories if op.startswith(("uring_", "aio_"))]
    chosen = events[events["op"].isin(ops).to_numpy(bool) & events["file"].ge(0).to_numpy(bool)]
    pid, begin = chosen["pid"].to_numpy(np.int64), chosen["time_ns"].to_numpy(np.int64)
    end = begin + chosen["duration_ns"].to_numpy(np.int64, na_value=_FOREVER)
    order = np.lexsort((begin, pid))
    pid, begin, end = pid[order], begin[order], end[order]
    latest = _running_maximum(pid, end)
    at = asof(process, rows["start_ns"] + np.maximum(rows["duration_ns"], 0), pid, begin)
    return (at >= 0) & (np.append(latest, 0)[at] > rows["start_ns"])


def _running_maximum(group: Ints, values: Ints) -> Ints:
    """Of each the largest so far in its group; groups come one after another."""
    if not len(values):
        return values
    distinct, places = np.unique(values, return_inverse=True)
    number = np.cumsum(np.append(False, group[1:] != group[:-1]))
    lane = number * len(distinct)
    found: Ints = distinct[np.maximum.accumulate(lane + places.reshape(-1)) - lane]
    return found


def _files(rows: Rows, trace: Trace) -> Ints:
    """The files that waits for data were for: what the task last asked the page cache for since it ran."""
    cache = trace.events[(trace.events["layer"] == "cache").to_numpy(bool)]
    tid, time = cache["tid"].to_numpy(np.int64), cache["time_ns"].to_numpy(np.int64)
    at = asof(rows["tid"].astype(np.int64), rows["start_ns"], tid, time)
    recent = (at >= 0) & (np.append(time, 0)[at] >= rows["ran_ns"])
    return np.where(recent, np.append(cache["file"].to_numpy(np.int64), -1)[at], -1)


def _table(
    rows: Rows, reason: npt.NDArray[np.int8], file: Ints, what: Ints, texts: Sequence[bytes]
) -> pd.DataFrame:
    import pandas as pd  # late, see profiler/trace.py

    known = np.empty(len(texts), object)
    known[:] = texts
    lost = rows["duration_ns"] < 0
    made = {
        "tid": rows["tid"],
        "start_ns": rows["start_ns"],
        "duration_ns": pd.arrays.IntegerArray(np.where(lost, 0, rows["duration_ns"]), lost),
        "reason": pd.Categorical.from_codes(reason, categories=pd.Index(WAIT_REASONS, dtype=str)),
        "file": file.astype(np.int32),
        "what": pd.Series(known[what], dtype=object),
    }
    return pd.DataFrame({name: made[name] for name in WAIT_COLUMNS})
