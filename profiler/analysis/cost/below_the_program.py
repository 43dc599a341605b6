"""What was observed below the program: which reads the page cache answered, and what reached the device.

Only traces with the layers `cache` and `device` say so (see docs/trace.md); of all others it is unknown,
which is None here and never 0. The layers are views of the same I/O: a page is told to have come in during
a call by task and time alone, and no layer is ever added to another. Times are in nanoseconds in tables, in
seconds where a name ends in _s; sizes in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.intervals import Ints, exact_sum, group_sums, spans
from profiler.calls import READ_OPS
from profiler.trace import DEVICE_OPS, Trace

ANSWERS = ("hit", "miss", "direct", "unknown")
"""How a read was answered: nothing had to be brought in for it; something had; past the page cache
(O_DIRECT); not known."""

PARTS = ("read", "mapped", "metadata", "written")
"""Why a page was brought in: a read call or advice asked for it; a mapped file did, or the start of a
program; it is the file system's own; a write made it, and mostly nothing was read."""

ADVICE = ("fadvise_willneed", "readahead")
"""Calls that bring pages in without reading them."""

CALL_COLUMNS = ("tid", "time_ns", "duration_ns")
"""When who was in a call."""

METADATA_KINDS = ("metadata", "directory")
ASYNCHRONOUS = tuple(op for op in READ_OPS if op.startswith(("aio_", "uring_")))
"""Several of these are under way at once, served by whatever task: which of them missed is not known."""


@dataclass(frozen=True)
class FileBroughtIn:
    """Bytes of one file that were brought into the page cache; mapped_bytes of them outside of all calls."""

    path: bytes
    bytes: int
    mapped_bytes: int


@dataclass(frozen=True)
class PageCache:
    """What the page cache did.

    hits, misses, direct, unknown: number of reads by their answer, as in ANSWERS. bytes: brought in; it is
    the sum of the four below it, which are those of PARTS. faults: page faults on mapped files, hit or miss.
    files: all of which something was brought in, the most first, read by a call or not.
    """

    hits: int
    misses: int
    direct: int
    unknown: int
    bytes: int
    read_bytes: int
    mapped_bytes: int
    metadata_bytes: int
    written_bytes: int
    faults: int
    files: tuple[FileBroughtIn, ...]


@dataclass(frozen=True)
class DeviceRequests:
    """What reached the devices. bytes: the program's. seeks: requests that do not start where the previous
    one of that device ended; a device's first counts.

    kernel_requests: those that workers of the kernel issued. median_s, p99_s: of the latencies, from issue
    to completion. wait_s: time in which at least one request was under way. None where no latency is known.
    """

    requests: int
    bytes: int
    seeks: int
    kernel_requests: int
    median_s: float | None
    p99_s: float | None
    wait_s: float | None


def brought_in(trace: Trace, reads: pd.DataFrame | None = None) -> pd.DataFrame:
    """What was brought into the page cache, one row a page or folio: file, size, read (row of `reads` in
    which it happened, -1: in none of them) and part (categorical of PARTS). reads: trace.reads() if at hand.

    It happened in a call if the call's task did it while the call ran. The file system's own pages are
    `metadata` wherever they came in.
    """
    reads = trace.reads(CALL_COLUMNS) if reads is None else reads
    rows = trace.layer("cache", ("miss",), ("time_ns", "tid", "file", "size"))
    calls, others = reads[list(CALL_COLUMNS)], _other_calls(trace)
    if len(others):  # else there is nothing to be copied
        calls = pd.concat([calls, others])
    del others
    caller = _callers(rows, calls)
    del calls
    is_metadata = np.append(trace.files["kind"].isin(METADATA_KINDS).to_numpy(bool), False)
    code = {name: np.int8(number) for number, name in enumerate(PARTS)}
    part = np.full(len(rows), code["mapped"], np.int8)
    part[_callers(rows, trace.writes()) >= 0] = code["written"]
    part[caller >= 0] = code["read"]
    part[is_metadata[rows["file"].to_numpy()]] = code["metadata"]
    return pd.DataFrame(
        {
            "file": rows["file"].to_numpy(),
            "size": rows["size"].to_numpy(np.int64, na_value=0),
            "read": np.where(caller < len(reads), caller, -1),
            "part": pd.Categorical.from_codes(part, dtype=pd.CategoricalDtype(list(PARTS))),
        }
    )


def answers(
    trace: Trace, reads: pd.DataFrame | None = None, brought: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The frame of `trace.reads()` with two columns more: answer, categorical of ANSWERS, and missed_bytes
    (Int64), what its task brought in while it ran, read-ahead and metadata included; null where the answer
    is unknown. reads, brought: trace.reads() and `brought_in` of it if at hand.

    Unknown are all reads of a trace without the layer `cache`, reads whose end was not seen, asynchronous
    ones, and, once events were lost, reads without a miss: theirs may be among the lost.
    """
    reads = trace.reads() if reads is None else reads
    if not trace.saw("cache"):
        missed, unknown = np.zeros(len(reads), np.int64), np.ones(len(reads), bool)
        direct = ~unknown
    else:
        brought = brought_in(trace, reads) if brought is None else brought
        inside = brought[(brought["read"] >= 0).to_numpy(bool)]
        missed = group_sums(inside["size"].to_numpy(), inside["read"].to_numpy(), len(reads))
        direct = reads["direct"].to_numpy(bool)
        unclear = reads["duration_ns"].isna().to_numpy(bool) | reads["op"].isin(ASYNCHRONOUS).to_numpy(bool)
        unknown = ~direct & (unclear | ((missed == 0) & (trace.meta.lost_events > 0)))
    answer = np.select(
        [unknown, direct, missed > 0],
        [ANSWERS.index(name) for name in ("unknown", "direct", "miss")],
        ANSWERS.index("hit"),
    )
    return reads.assign(
        missed_bytes=pd.arrays.IntegerArray(missed, unknown),
        answer=pd.Categorical.from_codes(answer, dtype=pd.CategoricalDtype(list(ANSWERS))),
    )


def page_cache(trace: Trace, reads: pd.DataFrame | None = None) -> PageCache | None:
    """What the page cache did in this run; None if no tracer looked. reads: trace.reads() if at hand."""
    if not trace.saw("cache"):
        return None
    reads = trace.reads((*CALL_COLUMNS, "op", "direct")) if reads is None else reads
    brought = brought_in(trace, reads)
    reads_by = answers(trace, reads, brought)["answer"].value_counts()
    size = brought["size"].to_numpy()
    bytes_by = {part: exact_sum(size[(brought["part"] == part).to_numpy(bool)]) for part in PARTS}
    return PageCache(
        hits=int(reads_by["hit"]),
        misses=int(reads_by["miss"]),
        direct=int(reads_by["direct"]),
        unknown=int(reads_by["unknown"]),
        bytes=sum(bytes_by.values()),
        read_bytes=bytes_by["read"],
        mapped_bytes=bytes_by["mapped"],
        metadata_bytes=bytes_by["metadata"],
        written_bytes=bytes_by["written"],
        faults=len(trace.layer("cache", ("fault",), ("op",))),
        files=_files(trace, brought),
    )


def device_requests(trace: Trace) -> DeviceRequests | None:
    """What reached the devices in this run; None if no tracer looked."""
    if not trace.saw("device"):
        return None
    rows = trace.layer("device", DEVICE_OPS, ("time_ns", "duration_ns", "op", "file", "offset", "size"))
    size = rows["size"].to_numpy(np.int64, na_value=0)
    timed = rows[rows["duration_ns"].notna().to_numpy(bool)]
    start, latency = (timed[name].to_numpy(np.int64) for name in ("time_ns", "duration_ns"))
    median_s, p99_s = (np.quantile(latency, [0.5, 0.99]) / 1e9).tolist() if len(latency) else (None, None)
    return DeviceRequests(
        requests=len(rows),
        bytes=exact_sum(size),
        seeks=_seeks(rows["file"].to_numpy(), rows["offset"].to_numpy(np.int64, na_value=-1), size),
        kernel_requests=int((rows["op"] == "kernel_request").sum()),
        median_s=median_s,
        p99_s=p99_s,
        wait_s=_covered(*spans(start, latency)) / 1e9 if len(latency) else None,
    )


def _other_calls(trace: Trace) -> pd.DataFrame:
    """The calls that can bring pages in beside the reads: advice, and reads that got nothing."""
    events = trace.events
    nothing = ~events["size"].gt(0).fillna(False).to_numpy(bool) & events["op"].isin(READ_OPS).to_numpy(bool)
    advice = events["op"].isin(ADVICE).to_numpy(bool)
    chosen: pd.DataFrame = events[list(CALL_COLUMNS)][
        (nothing | advice) & (events["layer"] == "syscall").to_numpy(bool)
    ]
    return chosen


def _callers(rows: pd.DataFrame, calls: pd.DataFrame) -> Ints:
    """For each of `rows` the place in `calls` of the call that its task was in then; -1: in none of them.

    Of calls of one task that overlap, as asynchronous ones do, it is the one that began last.
    """
    found = np.full(len(rows), -1, np.int64)
    ended = np.flatnonzero(calls["duration_ns"].notna().to_numpy(bool)).astype(np.int32)
    if not len(ended) or not len(rows):
        return found
    time, when = (frame["time_ns"].to_numpy(np.int64) for frame in (calls, rows))
    duration = calls["duration_ns"].to_numpy(np.int64, na_value=0)
    callers = _by_task(calls["tid"].to_numpy(), ended)
    del ended
    for task, asked in _by_task(rows["tid"].to_numpy(), np.arange(len(rows), dtype=np.int32)).items():
        mine = callers.get(task)
        if mine is None:
            continue
        if (np.diff(time[mine]) < 0).any():
            mine = mine[np.argsort(time[mine], kind="stable")]
        begin, end = spans(time[mine], duration[mine])
        last = np.searchsorted(begin, when[asked], side="right") - 1
        running = (last >= 0) & (when[asked] <= np.maximum.accumulate(end)[last])
        found[asked[running]] = mine[last[running]]
    return found


def _by_task(tid: npt.NDArray[np.int32], rows: npt.NDArray[np.int32]) -> dict[int, npt.NDArray[np.int32]]:
    """Task -> those of these rows that are its, in their order."""
    codes, tasks = pd.factorize(tid[rows])
    bounds = np.cumsum(np.bincount(codes, minlength=len(tasks)))[:-1]
    if len(tasks) < 2**15:
        codes = codes.astype(np.int16)  # these are sorted much faster
    return dict(zip(tasks.tolist(), np.split(rows[np.argsort(codes, kind="stable")], bounds), strict=True))


def _files(trace: Trace, brought: pd.DataFrame) -> tuple[FileBroughtIn, ...]:
    numbers, which = np.unique(brought["file"].to_numpy(), return_inverse=True)
    which, size = which.reshape(-1), brought["size"].to_numpy()
    mapped = (brought["part"] == "mapped").to_numpy(bool)
    total = group_sums(size, which, len(numbers))
    of_maps = group_sums(np.where(mapped, size, 0), which, len(numbers))
    paths = [*trace.files["path"], b""]  # file -1 -> the last
    return tuple(
        FileBroughtIn(paths[numbers[row]], int(total[row]), int(of_maps[row]))
        for row in np.argsort(-total, kind="stable").tolist()
    )


def _seeks(device: npt.NDArray[np.int32], offset: Ints, size: Ints) -> int:
    """How many requests do not start where the previous one of their device ended; unknown offsets (-1)
    apart."""
    known = offset >= 0
    start, end = spans(offset[known], size[known])
    order = np.argsort(device[known], kind="stable")
    device, start, end = device[known][order], start[order], end[order]
    going_on = (start[1:] == end[:-1]) & (device[1:] == device[:-1])
    return len(start) - int(going_on.sum())


def _covered(start: Ints, end: Ints) -> int:
    """The length of the union of [start, end), which come sorted by their starts."""
    reached = np.append(start[:1], np.maximum.accumulate(end)[:-1])
    return exact_sum(np.maximum(end - np.maximum(start, reached), 0))
