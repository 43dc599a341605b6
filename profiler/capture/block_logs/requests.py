"""Block events to requests: when a disk was asked, when it had answered, and by whom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profiler.capture.block_logs.events import COMPLETED, ISSUED, QUEUED, READ, SECTOR, WRITE, Events, Ints
from profiler.capture.kernel.join import asof, numbered, paired

Flags = npt.NDArray[np.bool_]

UNKNOWN = -1


@dataclass(frozen=True)
class Requests:
    """The reads that disks were asked for, an entry each, by time. Times in ns, offsets and sizes in bytes.

    time_ns: when it was issued, from the first event of the log. duration_ns: until it was complete, UNKNOWN
    where that was not seen. disk: row of `Events.disks`. tid: the task that issued it. asker: the task that
    asked for its first sector, the same one where the log does not tell.
    """

    time_ns: Ints
    duration_ns: Ints
    disk: Ints
    offset: Ints
    size: Ints
    tid: Ints
    asker: Ints

    def rows(self, chosen: Flags) -> Requests:
        """Some of them."""
        return Requests(**{name: column[chosen] for name, column in vars(self).items()})


@dataclass(frozen=True)
class Found:
    """reads; and of what is none how many there were, and of how many bytes: writes, others (discards,
    flushes and the like). again: requests that were issued a second time. completed, completed_bytes: reads
    whose end was seen; strays, stray_bytes: those whose end alone was seen. span_s: from the first to the
    last event."""

    reads: Requests
    writes: int
    written_bytes: int
    others: int
    again: int
    completed: int
    completed_bytes: int
    strays: int
    stray_bytes: int
    span_s: float


def found(events: Events) -> Found:
    """The requests of a log.

    A request is issued, and its end is the next completion of the same sectors. Where a disk has no
    requests, as one that stands on others, or where the log has no such event of it, what was asked for is
    taken, from then on. Nothing but its place says for whom a request was made: its first sector was asked
    for last by that task (include/trace/events/block.h: no event names a request).
    """
    table = events.columns()
    kind, disk = table["kind"], table["disk"]
    asks = np.isin(disk, np.unique(disk[kind == ISSUED]))
    begins = (kind == ISSUED) | ((kind == QUEUED) & ~asks & (table["sectors"] > 0))
    issued = _rows(table, begins & (table["sectors"] > 0))
    ends = _rows(table, (kind == COMPLETED) & (table["sectors"] > 0))
    duration, superseded, stray = _durations(issued, ends)
    stray &= ends["does"] == READ
    stands = _rows(issued, ~superseded)
    duration = duration[~superseded]
    is_read = stands["does"] == READ
    size = stands["sectors"] * SECTOR
    writes = stands["does"] == WRITE
    ended = is_read & (duration >= 0)
    time = table["time_ns"]
    start = int(time[0]) if len(time) else 0
    reads = _rows(stands, is_read)
    return Found(
        reads=Requests(
            time_ns=reads["time_ns"] - start,
            duration_ns=duration[is_read],
            disk=reads["disk"],
            offset=reads["sector"] * SECTOR,
            size=size[is_read],
            tid=reads["tid"],
            asker=_askers(reads, _rows(table, kind == QUEUED)),
        ),
        writes=int(writes.sum()),
        written_bytes=int(size[writes].sum()),
        others=int((~is_read & ~writes).sum()),
        again=int(superseded.sum()),
        completed=int(ended.sum()),
        completed_bytes=int(size[ended].sum()),
        strays=int(stray.sum()),
        stray_bytes=int(ends["sectors"][stray].sum()) * SECTOR,
        span_s=(int(time[-1]) - start) / 1e9 if len(time) else 0.0,
    )


def _rows(table: dict[str, Ints], chosen: Flags) -> dict[str, Ints]:
    return {name: column[chosen] for name, column in table.items()}


def _durations(issued: dict[str, Ints], ends: dict[str, Ints]) -> tuple[Ints, Flags, Flags]:
    """Of each that was issued the time until it was complete, UNKNOWN where that was not seen, and whether
    it came to nothing: it went back into the queue, and was issued again. Of each end whether it is none of
    these."""
    count = len(issued["time_ns"])
    same = numbered(*(np.concatenate([issued[name], ends[name]]) for name in ("disk", "sector", "sectors")))
    begin, end = issued["time_ns"], ends["time_ns"]
    issue = paired(same[count:], end, same[:count], begin)
    known = issue >= 0
    duration = np.full(count, UNKNOWN, np.int64)
    duration[issue[known]] = end[known] - begin[issue[known]]
    last = np.full(int(same.max(initial=-1)) + 1, np.iinfo(np.int64).min)
    np.maximum.at(last, same[count:], end)
    return duration, (duration < 0) & (last[same[:count]] >= begin), ~known


def _askers(issued: dict[str, Ints], queued: dict[str, Ints]) -> Ints:
    count = len(issued["time_ns"])
    same = numbered(*(np.concatenate([issued[name], queued[name]]) for name in ("disk", "sector")))
    latest = asof(same[:count], issued["time_ns"], same[count:], queued["time_ns"])
    return np.where(latest >= 0, np.append(queued["tid"], 0)[latest], issued["tid"])
