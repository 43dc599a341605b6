"""What a cold start costs on a device: the requests that reach it, served by a model of it.

Cold cost counts what has to be brought in if nothing is cached at the start and nothing is evicted: a
re-read is free. Device time that the program does not wait for, because it was read ahead while the program
was busy, is told apart.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.intervals import PAGE, Ints, exact_sum
from profiler.analysis.reads.untraced_runs import median_bytes, median_s
from profiler.analysis.simulation.metadata import Metadata, metadata, unseen
from profiler.analysis.simulation.page_cache import simulate
from profiler.analysis.simulation.placement import HALF, SPACE, TOGETHER, Placement, place
from profiler.analysis.simulation.projections import Projection as Projection
from profiler.analysis.simulation.sequential import sequential_s
from profiler.analysis.simulation.sharing import Sharing, own_files, sharing
from profiler.analysis.simulation.together import arrivals, behind, interleave, on_one_device, served_as
from profiler.analysis.simulation.waiting import (
    OVERLAPPING_COLUMNS,
    Slices,
    as_given,
    clock,
    clocked,
    overlapping,
    waits,
)
from profiler.devices.model import Device
from profiler.errors import ColdseekError, UsageError
from profiler.trace import DEVICE_OPS, Trace

MAX_SERVED = 5_000_000
"""Requests times copies; more are refused (about 300 bytes of memory and a microsecond each)."""

SPREADS = 2.0
"""A band reaches so many standard deviations of what is left to chance to either side: 95% of cases."""


@dataclass(frozen=True)
class Cold:
    """What reaches the device in a cold start, and when.

    requests: the columns of `placement.place`, plus own (bool: the file system's, not the program's), handed
    (bool, see `_handed`), issued_s and needed_s (on the program's clock, see `waiting`), group (int64, see
    `waiting.overlapping`) and each (bool: each of several starts has that file for itself, see `sharing`;
    without it: all of them), in the order in which they are made. placed: as in `Placement.known`. warm_s:
    the median wall time of untraced warm runs, None if there are none. metadata: where the file system's own
    requests come from, one of `metadata.SOURCES`; spread: as of `metadata.Metadata`. missing: what a cold
    start reads besides, in words, a reason each; with any the cost is at least that. measured_bytes: the
    median of what the untraced cold runs read from devices, None if that is not known. measured_copies: the
    untraced runs are of so many starts at once, warm_s is the slowest's. sharing: what several starts share.

    >>> cold = coldseek.requests(trace)
    >>> len(cold.requests), cold.placed, cold.warm_s
    (64, 'none', None)
    """

    requests: pd.DataFrame
    placed: str
    warm_s: float | None
    metadata: str = "none"
    spread: float = 0.0
    missing: tuple[str, ...] = ()
    measured_bytes: int | None = None
    measured_copies: int = 1
    sharing: Sharing = field(default_factory=Sharing)


def requests(
    trace: Trace,
    reads: pd.DataFrame | None = None,
    resident: pd.DataFrame | None = None,
    lookups: bool = True,
    own: Sequence[str] | None = None,
    read_ahead_kb: int | None = None,
    look: bool = True,
) -> Cold:
    """What reaches the device in a cold start, where it lies there, and when it is made.

    reads: trace.reads() if at hand. resident: what is in the page cache all the same, see
    `pagecache.simulate`. lookups: with what the file systems read of their own (`metadata`), which several
    starts share. own: patterns of the files that each of them has for itself, see `sharing.own_files`.
    read_ahead_kb: of all devices; None: as the trace says. look: see `metadata.metadata`.
    Of a trace that has nothing but requests of disks these are taken as they are.

    >>> cold = coldseek.requests(trace)
    >>> [coldseek.project(cold, name).requests for name in ("hdd-7200", "nvme")]
    [64, 64]
    """
    if trace.meta.device_only:
        made = as_given(trace)
        return Cold(
            made, "all", None, "among", missing=tuple(unseen(trace)), sharing=sharing(made, trace.files)
        )
    known = [] if resident is None else resident["file"].unique().tolist()
    found = metadata(trace, known, look)
    placement = _placed(trace, simulate(trace, resident=resident, read_ahead_kb=read_ahead_kb), found)
    frame, source, missing = placement.requests.assign(own=False), "none", list(unseen(trace))
    placed = placement.known
    spread = 0.0
    if lookups:
        frame, source, spread = _with_own(frame, found.requests), found.source, found.spread
        if source == "none":
            missing.append("what file systems read of their own")
        elif found.cached:
            missing.append("names and inodes, which stayed in memory")
    del placement
    # only now, as the page cache has taken much memory: of tens of millions a column is a lot
    made = frame.assign(**clocked(frame, clock(trace, reads)))
    reads = trace.reads((*OVERLAPPING_COLUMNS, "pid")) if reads is None else reads
    groups = overlapping(reads)
    made = made.assign(group=_groups(frame, groups), handed=_handed(frame, reads, groups))
    del groups, reads
    # a column of its own, which projections keep: as a part of a block it would keep all of that
    made["read"] = made["read"].to_numpy(np.int64).copy()
    of_files = ~made["own"].to_numpy(bool)
    file = made["file"].to_numpy(np.int64)
    mine = own_files(trace, own, np.unique(file[of_files]).tolist())
    made = made.assign(each=mine[file] & of_files)
    return Cold(
        made,
        placed,
        median_s(trace.meta.measured.warm),
        source,
        spread,
        tuple(missing),
        # as they were run, which is not what is asked for then
        median_bytes(trace.meta.measured.cold) if own is None else None,
        trace.meta.copies.count,
        sharing(made[of_files], trace.files),
    )


def project(what: Trace | Cold, device: Device, copies: int = 1) -> Projection:
    """The cost of a cold start on `device`, as if everything that was read lay on it.

    what: a trace, or what `requests` made of it (made once for several devices).

    Devices of the trace are laid one after another on the one that is projected, FILE_GAP apart. Of `copies`
    such starts at once each makes a request in turn, or all of a group. The files that each has for itself
    are laid behind those of the one before. What they share is read once, by the first: the others find it
    there, or wait until it is.

    On a device with `handoff_us` each read that a thread makes for another (`_handed`), and that the program
    waits for, takes so much longer.

    The band: the device's own (`Device.low_ratio`, `high_ratio`), the chance in its model, the order in
    which it serves what is queued, and how well the file systems' own requests are known.

    Raises UsageError for copies < 1, ColdseekError for more requests than MAX_SERVED.
    """
    cold = requests(what) if isinstance(what, Trace) else what
    frame, origin = _counted(cold.requests, device.counts)
    if copies < 1:
        raise UsageError(f"{copies} copies make no sense; give a number from 1")
    if copies > 1 and len(frame) * copies > MAX_SERVED:
        raise ColdseekError(
            f"{copies:,} starts of {len(frame):,} requests are too many to model; "
            f"give --copies {max(MAX_SERVED // len(frame), 1)} or fewer"
        )
    sizes = frame["size"].to_numpy(np.int64)
    offsets, span = on_one_device(frame)
    issued, needed = (frame[name].to_numpy(np.float64) for name in ("issued_s", "needed_s"))
    group = frame["group"].to_numpy(np.int64)
    turn = np.cumsum(np.diff(group, prepend=group[:1]) != 0)
    request, copy = interleave(turn, copies)
    apart = frame["each"].to_numpy(bool) if "each" in frame else np.ones(len(frame), bool)
    served = apart[request] | (copy == 0)
    here, by = request[served], copy[served]
    held, device_then = _leave(device)
    service = device_then.serve(
        (offsets[here] + behind(offsets, sizes, apart, span, copies)[by]) % SPACE,
        sizes[here],
        arrivals(issued, turn, here, copies if apart.any() else 1),
    )
    latency, occupied = np.zeros(len(request)), np.zeros(len(request))
    latency[served], occupied[served] = service.latency, service.occupied
    waited = waits(
        issued[request], needed[request], turn[request], copy, latency, occupied,
        None if served.all() else served_as(request, copy, served), held,
    )  # fmt: skip
    if device.handoff_us:
        waited += np.where(
            frame["handed"].to_numpy(bool)[request] & (waited > 0), device.handoff_us / 1e6, 0
        )
    each = np.bincount(copy, weights=waited, minlength=copies)
    slowest = int(np.argmax(each))
    seconds, busy = float(each[slowest]), float(latency.sum())
    own = cold.requests["own"].to_numpy(bool)
    warm_s = cold.warm_s if cold.measured_copies in (1, copies) else None
    mine = copy == slowest
    times = np.bincount(origin[request[mine]], weights=waited[mine], minlength=len(own)).astype(np.float64)
    chance = SPREADS * service.spread_s + cold.spread * float(times[own].sum())
    low = max((seconds - service.sooner_s) * device.low_ratio - chance, 0.0)
    high = (seconds + service.later_s) * device.high_ratio + chance if seconds else 0.0
    brought = exact_sum(sizes[apart]) * (copies - 1) + exact_sum(sizes)
    largest = int(sizes.max()) if len(sizes) else 0
    begin = int(offsets.min()) if len(offsets) else 0
    return Projection(
        device=device.name,
        title=device.title,
        copies=copies,
        requests=len(np.unique(origin[apart])) * (copies - 1) + len(own),
        bytes=brought,
        seconds=seconds,
        mean_s=min(float(each.mean()), seconds),  # equal copies: a sum of roundings may exceed the largest
        low_s=low,
        high_s=high,
        sequential_s=min(sequential_s(device, brought, largest, begin), seconds),
        busy_s=busy,
        **{
            name: None if warm_s is None else warm_s + wait
            for name, wait in (("start_s", seconds), ("start_low_s", low), ("start_high_s", high))
        },
        placed=cold.placed,
        shares={name: float(part.sum()) / busy for name, part in service.parts.items()} if busy else {},
        metadata_requests=None if cold.metadata in ("none", "among") else int(own.sum()),
        metadata_source=cold.metadata,
        missing=cold.missing,
        measured_bytes=cold.measured_bytes if cold.measured_copies == copies else None,
        sharing=cold.sharing,
        times=times,
        reads=cold.requests["read"].to_numpy(np.int64),
    )


def _placed(trace: Trace, asked: pd.DataFrame, own: Metadata) -> Placement:
    """The requests on their devices. In how many pieces of memory they lie decides into how many a device
    splits them: what was observed of a cold run tells, else half of the large ones are taken to be split."""

    def placed(scattered: float) -> Placement:
        return place(asked, trace.files, trace.extents, trace.meta.host, scattered)

    if own.source != "observed" or not trace.saw("device"):
        return placed(HALF)
    seen = int(trace.events["op"].isin(DEVICE_OPS).sum()) - len(own.requests)
    apart, whole, together = (len(placed(share).requests) for share in (1.0, 0.0, TOGETHER))
    if apart == whole or seen < (together + whole) / 2:
        return placed(TOGETHER if seen < (together + whole) / 2 else HALF)
    return placed(min(max((seen - whole) / (apart - whole), 0.0), 1.0))


def _with_own(frame: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """The requests with those of the file systems among them, by time, these first: a file is looked up
    before it is read."""
    if not len(own):
        return frame
    rows = own.assign(read=np.int64(-1), offset=own["device_offset"], folio=PAGE, own=True)
    every = pd.concat([rows[frame.columns], frame], ignore_index=True)
    return every.sort_values("time_ns", kind="stable", ignore_index=True).astype(frame.dtypes.to_dict())


def _leave(device: Device) -> tuple[Slices | None, Device]:
    """Who gives leave for a request, and the device then: a control group counts what is asked for (`bios`)
    before the device has it, so that a limit on that is not the device's own."""
    per_second = getattr(device.model, "iops", math.inf)
    if device.counts != "bios" or math.isinf(per_second):
        return None, device
    model: Any = device.model
    return Slices(per_second), dataclasses.replace(device, model=dataclasses.replace(model, iops=math.inf))


def _counted(frame: pd.DataFrame, counts: str) -> tuple[pd.DataFrame, Ints]:
    """The requests as a device counts them (`Device.counts`), and of which row of `frame` each is a part.

    Of ext4's own each block is a bio (linux: fs/buffer.c, submit_bh); what is read of a file in one go is
    one bio up to 256 folios, and mostly a request too.
    """
    origin = np.arange(len(frame), dtype=np.int64)
    if counts != "bios" or not frame["own"].any():
        return frame, origin
    pages = np.where(frame["own"], -(-frame["size"].to_numpy(np.int64) // PAGE), 1)
    origin = np.repeat(origin, pages)
    number = np.arange(len(origin)) - np.repeat(np.cumsum(pages) - pages, pages)
    parts: pd.DataFrame = frame.iloc[origin]
    own = parts["own"].to_numpy(bool)
    size = np.where(own, PAGE, parts["size"].to_numpy(np.int64))
    return parts.assign(
        size=size,
        offset=parts["offset"].to_numpy(np.int64) + number * PAGE,
        device_offset=parts["device_offset"].to_numpy(np.int64) + number * PAGE,
    ), origin


def _groups(frame: pd.DataFrame, group_of_read: Ints) -> Ints:
    """For each request the number of its group: of its read, or one of its own moment where it has none."""
    read = frame["read"].to_numpy(np.int64)
    moment = frame["time_ns"].to_numpy(np.int64)
    own = len(group_of_read) + np.cumsum(np.diff(moment, prepend=moment[:1]) != 0)
    caused = np.flatnonzero(read >= 0)
    own[caused] = group_of_read[read[caused]]
    return own


def _handed(frame: pd.DataFrame, reads: pd.DataFrame, group_of_read: Ints) -> npt.NDArray[np.bool_]:
    """The first request of each read that a thread made for another: no trace tells, so of each that another
    thread than the first of its process made while nothing else was being read."""
    by_other = reads["tid"].to_numpy() != reads["pid"].to_numpy()
    read = frame["read"].to_numpy(np.int64)
    first = np.unique(read, return_index=True)[1]
    first = first[read[first] >= 0]
    first = first[by_other[read[first]]]
    alone = np.bincount(group_of_read, minlength=1)[group_of_read[read[first]]] == 1
    found = np.zeros(len(frame), np.bool_)
    found[first[alone]] = True
    return found
