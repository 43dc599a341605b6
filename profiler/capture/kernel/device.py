"""From the kernel's block events to the device layer: what devices were asked to read for a program.

The way of a read: a task queues a bio (block_bio_queue). Bios that lie side by side become one request,
whoever queued them, and a large bio becomes several. A request is issued to the device (block_rq_issue), by
the task that queued its bios or later by another, and completes (block_rq_complete). A stacked device (dm,
md, NVMe multipath) has no requests: it hands each of its bios down to another device (block_bio_remap), and
so does a partition to its disk. A device that serves bios by itself (zram, pmem, brd) has no requests
either.

Nothing but sectors and time says which bio went into which request. So requests and bios are cut at each
other's ends, and each piece of a request takes the latest bio of the same piece that no request took yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.capture.kernel.buffer.pages import LAST_NS
from profiler.capture.kernel.join import Ints, numbered, paired

Columns = Mapping[str, npt.NDArray[Any]]
Flags = npt.NDArray[np.bool_]

SECTOR = 512  # bytes; the block layer counts in these, on every disk

_PIECES_AT_ONCE = 1 << 20  # take some 200 MB
_HOPS = 32  # from a bio at the bottom of a stack of devices to the one at its top: three at most a device


@dataclass(frozen=True)
class Requests:
    """What devices were asked to read for the program, one entry a request, in the order of `time_ns`.

    A request that holds nothing of the program is left out. A bio of the program on a device that serves
    bios by itself counts as a request.
    """

    time_ns: Ints  # when it was issued; of requests issued again, the last time
    duration_ns: Ints  # from then until it was complete; -1: not known
    tid: Ints  # the task that issued it
    dev: Ints  # the disk, never a partition, as the kernel numbers it: major << 20 | minor
    offset: Ints  # bytes from the start of the disk, of the first byte that is the program's
    size: Ints  # bytes of the program in it; it may have more, of others
    deferred: Flags  # the issuing task queued none of the program's bios in it
    queued_ns: Ints  # when the first of the program's bios in it was queued
    bio: Ints  # the row of `bios` that was this first one
    queuer: Ints  # the task that queued it
    issue: Ints  # the row of `issues`; -1: there is none

    def rows(self, chosen: Any) -> Requests:
        """Some of them."""
        return Requests(**{name: column[chosen] for name, column in vars(self).items()})


class Following:
    """The device layer of a program, from the block events of all tasks, window after window; reads only.

    Columns of the tables, each in the order of time_ns: all have time_ns, dev, sector, nr_sector; bios,
    issues and remaps have tid; remaps have old_dev and old_sector; bios have owned, whether the program
    queued them.

    Where the program reads a stacked device, the bios it queued there are what counts for the devices below,
    whoever passed them on. A request is given in the window in which it completes; of one that takes longer
    than a whole window the duration is not known.
    """

    def __init__(self) -> None:
        self._left: dict[str, dict[str, npt.NDArray[Any]]] = {"bios": {}, "issues": {}, "remaps": {}}
        self._asked = np.zeros(0, np.int64)  # devices that have requests, or hand their bios on
        self._served_until = -1

    def feed(
        self, tables: Mapping[str, Columns], disks: Mapping[int, int], start_ns: int, last: bool
    ) -> Requests:
        """What has ended by now; at last, what never did too. tables: the window's bios, issues, completes
        and remaps. disks: of each partition its disk: a remap names the partition that it starts from. Other
        events name disks, but may name partitions too. start_ns: when this window begins."""
        whole = _Disks(disks)
        fresh = np.zeros(len(tables["issues"]["time_ns"]), bool)
        tables = {**tables, "issues": {**tables["issues"], "superseded": fresh, "given": fresh}}
        bios, issues, remaps = (
            _joined_tables(self._left[kind], tables[kind]) for kind in ("bios", "issues", "remaps")
        )
        queued, origin = _submissions(bios, remaps, whole)
        ours = np.append(bios["owned"], False)[origin]
        given = issues["given"]
        duration, superseded = np.zeros(len(given), np.int64), issues["superseded"]
        duration[~given], passed = _durations(_rows(issues, ~given), tables["completes"])
        superseded[~given] |= passed
        superseded &= duration < 0  # the end of a later one may come before its own
        ended = (duration >= 0) | (issues["time_ns"] < start_ns) | last
        stands = np.flatnonzero(~superseded)
        issued, issue, taken = _requests(_rows(issues, stands), duration[stands], queued, origin, ours, bios)
        issue = stands[issue]

        old, new = whole.of(_ints(remaps["old_dev"])), whole.of(_ints(remaps["dev"]))
        self._asked = np.unique(np.concatenate([self._asked, _ints(issues["dev"]), old[old != new]]))
        until = LAST_NS if last else start_ns  # of later ones the first request may be yet to come
        by_itself = ours & ~np.isin(queued.disk, self._asked)
        now = by_itself & (queued.time_ns > self._served_until) & (queued.time_ns <= until)
        self._served_until = max(self._served_until, until)

        waits = ours & (queued.time_ns >= start_ns) & ~now
        waits[taken] = False
        waits[taken[~ended[issue]]] = True
        waits &= ours
        top = np.append(_ints(bios["time_ns"]), LAST_NS)[origin]
        since = int(np.minimum(queued.time_ns, top)[waits].min(initial=LAST_NS))
        # an issue that was given already takes its part of what is left again, so that no other does
        takes = np.isin(np.arange(len(given)), issue[queued.time_ns[taken] >= since])
        issues |= {"superseded": superseded, "given": given | ended}
        self._left = {
            "bios": _rows(bios, bios["time_ns"] >= since),
            "issues": _rows(issues, ~ended | takes),
            "remaps": _rows(remaps, remaps["time_ns"] >= since),
        }
        fresh = (ended & ~given)[stands]
        return _in_order(
            issued.rows(fresh[issued.issue]), _served(queued, origin, np.flatnonzero(now), bios)
        )


def _rows(table: Columns, chosen: Any) -> dict[str, npt.NDArray[Any]]:
    return {name: column[chosen] for name, column in table.items()}


def _joined_tables(first: Columns, second: Columns) -> dict[str, npt.NDArray[Any]]:
    """Rows of one kind of event after another. first: may have no columns."""
    return {name: np.concatenate([first.get(name, column[:0]), column]) for name, column in second.items()}


def requests(
    bios: Columns,
    owned: Flags,
    issues: Columns,
    completes: Columns,
    remaps: Columns,
    disks: Mapping[int, int],
) -> Requests:
    """The device layer of a whole trace, see `Following`. owned: which bios the program queued."""
    tables = {
        "bios": {**bios, "owned": owned}, "issues": issues, "completes": completes, "remaps": remaps
    }  # fmt: skip
    return Following().feed(tables, disks, 0, last=True)


class _Disks:
    """The disk of each device: a partition's, and any other device itself."""

    def __init__(self, disks: Mapping[int, int]) -> None:
        parts = np.array(sorted(disks.items()), np.int64).reshape(-1, 2)
        self._parts, self._disks = parts[:, 0], parts[:, 1]

    def of(self, devices: Ints) -> Ints:
        if not len(self._parts):
            return devices
        place = np.minimum(np.searchsorted(self._parts, devices), len(self._parts) - 1)
        return np.where(self._parts[place] == devices, self._disks[place], devices)


@dataclass(frozen=True)
class _Spans:
    """Stretches of disks, [start, end) in sectors, each at a time."""

    disk: Ints
    start: Ints
    end: Ints
    time_ns: Ints

    def __getitem__(self, rows: Any) -> _Spans:
        return _Spans(self.disk[rows], self.start[rows], self.end[rows], self.time_ns[rows])


def _spans(disk: Ints, sector: npt.NDArray[Any], events: Columns) -> _Spans:
    start = _ints(sector)
    return _Spans(disk, start, start + _ints(events["nr_sector"]), _ints(events["time_ns"]))


def _ints(column: npt.NDArray[Any]) -> Ints:
    return column.astype(np.int64, copy=False)


def _joined(first: _Spans, second: _Spans) -> _Spans:
    return _Spans(
        *(
            np.concatenate([getattr(first, name), getattr(second, name)])
            for name in ("disk", "start", "end", "time_ns")
        )
    )


# ---- what was queued, and where it comes from -------------------------------------------------------------


def _submissions(bios: Columns, remaps: Columns, whole: _Disks) -> tuple[_Spans, Ints]:
    """What was queued or handed down to each disk, and of each the bio at the top that it comes from (the
    row of `bios`; -1: not known).

    A remap to a device is followed by a bio there in some stacks (dm makes a new one) and by nothing in
    others (NVMe multipath passes the same one on); such a pair is given once.
    """
    queued = _spans(whole.of(_ints(bios["dev"])), bios["sector"], bios)
    above = _spans(whole.of(_ints(remaps["old_dev"])), remaps["old_sector"], remaps)
    below = _spans(whole.of(_ints(remaps["dev"])), remaps["sector"], remaps)
    across = above.disk != below.disk
    count = len(queued.start)
    if not across.any():  # nothing but partitions: each bio is at its top
        return queued, np.arange(count)

    # From here on a row is a bio or, after these, a remap.
    rows, both = np.arange(count + len(across)), _joined(queued, below)
    parent = np.full(len(rows), -1)
    row, begun_by = _continued(bios, remaps, _joined(queued, above), below, rows[count:][~across])
    parent[row] = begun_by
    stands = rows[~np.isin(rows, begun_by)]
    steps = rows[count:][across]
    for step, submission, start, _ in _pieces(above[across], both[stands]):
        first = start == above.start[across][step]
        parent[steps[step[first]]] = stands[submission[first]]
    return both[stands], _tops(parent, count)[stands]


def _continued(
    bios: Columns, remaps: Columns, ends: _Spans, begins: _Spans, by_partition: Ints
) -> tuple[Ints, Ints]:
    """Which rows are the same as a remap just before, and those remaps' rows.

    A remap leads to sectors of a disk, or to those of a partition though it names the disk. The partition's
    own remap then starts from there. The bio that is queued in the end is where the last remap led to.
    """
    count = len(bios["tid"])
    rows = np.append(np.arange(count), by_partition)
    tid = np.concatenate([_ints(bios["tid"]), _ints(remaps["tid"])])
    at = _joined(ends[rows], begins)
    same = numbered(np.concatenate([tid[rows], tid[count:]]), at.disk, at.start, at.end)
    remap = paired(same[: len(rows)], ends.time_ns[rows], same[len(rows) :], begins.time_ns)
    return rows[remap >= 0], count + remap[remap >= 0]


def _tops(parent: Ints, count: int) -> Ints:
    """Of each row the bio (a row below `count`) farthest up, following `parent`; -1: none is known."""
    top = itself = np.where(np.arange(len(parent)) < count, np.arange(len(parent)), -1)
    for _ in range(_HOPS):
        further = np.append(top, -1)[parent]
        top, before = np.where(further >= 0, further, itself), top
        if np.array_equal(top, before):
            break
    return top


# ---- requests ---------------------------------------------------------------------------------------------


def _durations(issues: Columns, completes: Columns) -> tuple[Ints, Flags]:
    """Of each issue the time until it was complete in ns, -1 where that was not seen, and whether it came to
    nothing: the request went back into the queue, and is there a second time.
    """
    count = len(issues["time_ns"])
    same = numbered(
        *(
            np.concatenate([_ints(issues[name]), _ints(completes[name])])
            for name in ("dev", "sector", "nr_sector")
        )
    )
    begin, end = _ints(issues["time_ns"]), _ints(completes["time_ns"])
    issue = paired(same[count:], end, same[:count], begin)
    found = issue >= 0
    duration = np.full(count, -1, np.int64)
    duration[issue[found]] = end[found] - begin[issue[found]]
    last = np.full(len(same), np.iinfo(np.int64).min)
    np.maximum.at(last, same[count:], end)
    return duration, (duration < 0) & (last[same[:count]] >= begin)


def _requests(
    issues: Columns, duration: Ints, queued: _Spans, origin: Ints, ours: Flags, bios: Columns
) -> tuple[Requests, Ints, Ints]:
    """The issues that hold something of ours; and which issue took which submission, row by row."""
    issued = _spans(_ints(issues["dev"]), issues["sector"], issues)
    count = len(issued.start)
    never = np.iinfo(np.int64).max
    tid, bio_tid = _ints(issues["tid"]), _ints(bios["tid"])
    size, start, bio = np.zeros(count, np.int64), np.full(count, never), np.full(count, never)
    deferred = np.ones(count, bool)
    taken: list[tuple[Ints, Ints]] = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for issue, submission, sector, length in _pieces(issued, queued):
        taken.append((issue, submission))
        mine = ours[submission]
        issue, submission, sector, length = issue[mine], submission[mine], sector[mine], length[mine]
        first = origin[submission]
        np.add.at(size, issue, length * SECTOR)
        np.minimum.at(start, issue, sector)
        np.minimum.at(bio, issue, first)  # bios are in the order of time
        deferred[issue[bio_tid[first] == tid[issue]]] = False
    held = np.flatnonzero(size)
    takers, submissions = (np.concatenate(column) for column in zip(*taken, strict=True))
    return (
        Requests(
            time_ns=issued.time_ns[held],
            duration_ns=duration[held],
            tid=tid[held],
            dev=issued.disk[held],
            offset=start[held] * SECTOR,
            size=size[held],
            deferred=deferred[held],
            queued_ns=_ints(bios["time_ns"])[bio[held]],
            bio=bio[held],
            queuer=bio_tid[bio[held]],
            issue=held,
        ),
        takers,
        submissions,
    )


def _served(queued: _Spans, origin: Ints, rows: Ints, bios: Columns) -> Requests:
    """These submissions as requests: their device has none."""
    bio = origin[rows]
    return Requests(
        time_ns=queued.time_ns[rows],
        duration_ns=np.full(len(rows), -1, np.int64),
        tid=_ints(bios["tid"])[bio],
        dev=queued.disk[rows],
        offset=queued.start[rows] * SECTOR,
        size=(queued.end[rows] - queued.start[rows]) * SECTOR,
        deferred=np.zeros(len(rows), bool),
        queued_ns=_ints(bios["time_ns"])[bio],
        bio=bio,
        queuer=_ints(bios["tid"])[bio],
        issue=np.full(len(rows), -1, np.int64),
    )


def _in_order(first: Requests, second: Requests) -> Requests:
    columns = {name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in vars(first)}
    return Requests(**columns).rows(np.argsort(columns["time_ns"], kind="stable"))


# ---- pieces -----------------------------------------------------------------------------------------------


def _pieces(takers: _Spans, queued: _Spans) -> Iterator[tuple[Ints, Ints, Ints, Ints]]:
    """Which stretch of each taker was queued as what: rows of `takers`, rows of `queued`, the first sectors
    of the pieces and their lengths in sectors, a bounded number at a time. Stretches that nobody is known to
    have queued are left out.

    All ends on a disk cut it into segments; of each segment, each taker takes the latest that was queued and
    not yet taken. A later read of the same sectors so finds its own, and of tasks that read the same at the
    same time each counts once.
    """
    for disk in np.intersect1d(takers.disk, queued.disk):
        mine, theirs = np.flatnonzero(takers.disk == disk), np.flatnonzero(queued.disk == disk)
        spans = _joined(queued[theirs], takers[mine])
        ends = np.concatenate([spans.start, spans.end])
        at = numbered(ends)
        first, last = np.split(at, 2)
        points = np.empty(at.max() + 1, np.int64)
        points[at] = ends
        length = np.diff(points)
        for low, high in _bounds(first, last, len(length)):
            rows = np.flatnonzero((first < high) & (last > low))
            begin = np.maximum(first[rows], low)
            count = np.minimum(last[rows], high) - begin
            row = np.repeat(rows, count)
            segment = np.arange(len(row)) + np.repeat(begin - (np.cumsum(count) - count), count)
            is_queued = row < len(theirs)
            taker, source = row[~is_queued], row[is_queued]
            wanted = segment[~is_queued]
            found = paired(wanted, spans.time_ns[taker], segment[is_queued], spans.time_ns[source])
            taken = found >= 0
            taker, wanted = taker[taken] - len(theirs), wanted[taken]
            yield mine[taker], theirs[source[found[taken]]], points[wanted], length[wanted]


def _bounds(first: Ints, last: Ints, segments: int) -> Iterator[tuple[int, int]]:
    """Ranges of segments that together are all, each with about _PIECES_AT_ONCE pieces, or one segment."""
    ends = [np.bincount(place, minlength=segments + 1)[:segments] for place in (first, last)]
    pieces = np.cumsum(np.cumsum(ends[0] - ends[1]))  # up to the end of each segment
    total = int(pieces[-1]) if segments else 0
    cuts = np.searchsorted(pieces, np.arange(_PIECES_AT_ONCE, total, _PIECES_AT_ONCE), side="right")
    return pairwise(np.unique(np.concatenate([[0], cuts, [segments]])).tolist())
