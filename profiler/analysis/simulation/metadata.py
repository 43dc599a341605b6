"""What file systems read of their own in a cold start - inodes, directories, maps of extents - as requests.

A cold run under the kernel tracer shows them. For others they are worked out from where the files lie.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from profiler.analysis.host import MEMORY_FILESYSTEMS
from profiler.analysis.intervals import PAGE
from profiler.analysis.simulation.lookups import by_rule, lookups
from profiler.analysis.simulation.page_cache import NEVER
from profiler.facts.unseen import UNSEEN
from profiler.trace import DEVICE_OPS, Trace
from profiler.units import show_path

SOURCES = ("observed", "modelled", "none", "among")
"""Where they come from. none: they are left out. among: they are among the requests, unmarked."""

COLUMNS = ("file", "device", "device_offset", "size", "time_ns", "needed_ns")
"""Of `Metadata.requests`: file, int32, row of the trace's files (-1: not known); device, "major:minor", and
device_offset, bytes from its start; size, bytes; time_ns and needed_ns as of `pagecache.simulate`."""

WORKED_OUT, GUESSED = 0.2, 0.6
"""`Metadata.spread` of what was modelled; the first by what `scripts/validate-starts` finds, the second our
own margin: of a rule that knows neither places nor trees."""

_IN_DEVICES = frozenset({"ext2", "ext3", "ext4"})
"""File systems that keep their own in the pages of the device's inode."""

_WITHOUT = MEMORY_FILESYSTEMS | {"overlay"}
"""File systems that have no device, so that nothing of theirs is missing there."""

_REACH = 64  # pages that the read-ahead of an inode table reaches from the one that is wanted; mostly 32


@dataclass(frozen=True)
class Metadata:
    """requests: COLUMNS, in the order of time. source: one of SOURCES, with "none" there are no rows.
    cached: they were in memory, as only the files were dropped from it: a start on a machine that has just
    booted reads more. spread: by this share of their time the truth may differ to either side."""

    requests: pd.DataFrame
    source: str
    cached: bool = False
    spread: float = 0.0


def metadata(trace: Trace, known: Collection[int] = (), look: bool = True) -> Metadata:
    """What a cold start of the traced program reads besides its files. known: see `lookups`. look: take what
    was observed, where it was; False: work it out, so that it is alike in all runs of a start."""
    if look and trace.meta.cache == "cold" and trace.saw("cache"):
        found = observed(trace)
        if found is not None:
            return Metadata(found, "observed", cached=trace.meta.evicted == "files")
    worked_out = lookups(trace, known)
    if worked_out is None:
        return Metadata(_table({}), "none")
    return Metadata(_table(worked_out), "modelled", spread=GUESSED if by_rule(trace) else WORKED_OUT)


def unseen(trace: Trace) -> list[str]:
    """What of the program's own reads a projection cannot hold, in words."""
    meta = trace.meta
    keys = [key for key in meta.unseen if key != "readahead"]  # which is simulated
    words = [UNSEEN.get(key, show_path(key)) for key in keys]
    if meta.device_only:
        words = ["what was in memory before the log begins"]
    elif meta.cache != "cold" and "mmap" not in keys and not _all_looked_at(trace):
        words.append("what was in memory and mapped without a page fault")
    return [*words, *(["events that were lost"] if meta.lost_events else [])]


def _all_looked_at(trace: Trace) -> bool:
    """Whether of each process that mapped a file it is known which of its pages it had in the end: a page
    that is cached is mapped beside another one, which no event tells."""
    pid, op = trace.events["pid"], trace.events["op"]
    mapped, seen = (pid[op.isin(names)] for names in (("mmap", "mmap_exec"), ("present",)))
    return bool(mapped.isin(seen).all())


def observed(trace: Trace) -> pd.DataFrame | None:
    """The requests of a run for pages of block devices' own inodes, where ext4 keeps all of this: COLUMNS.
    None where file systems of the run keep it elsewhere.

    A page is wanted, and what lies around it comes along: of the pages that a task adds in one go, which is
    until its next request reaches the device, the first is waited for, and is a request of its own
    (fs/ext4/inode.c: __ext4_get_inode_loc); the others are read ahead, in a request for each stretch.
    """
    files, events = trace.files, trace.events
    is_own = np.append((files["kind"] == "metadata").to_numpy(bool), False)
    used = files[(files["kind"].isin(("regular", "directory")) & (files["filesystem"] != "")).to_numpy(bool)]
    if not used["filesystem"].isin(_IN_DEVICES | _WITHOUT).all():
        return None
    file = events["file"].to_numpy()
    issued = events["op"].isin(DEVICE_OPS).to_numpy(bool)
    rows = np.flatnonzero((events["op"] == "miss").to_numpy(bool) & is_own[file])
    page = events["offset"].to_numpy(np.int64, na_value=0)[rows] // PAGE
    time, tid = (events[name].to_numpy(np.int64)[rows] for name in ("time_ns", "tid"))
    turn = np.cumsum(issued, dtype=np.int32)[rows]  # rises with each request that reaches a device
    order = np.lexsort((np.arange(len(rows)), tid))
    page, time, tid, turn, owner = (column[order] for column in (page, time, tid, turn, file[rows]))
    if not len(rows):
        return _table({})
    first = np.append(True, (tid[1:] != tid[:-1]) | (turn[1:] != turn[:-1]) | (owner[1:] != owner[:-1]))
    group = np.cumsum(first) - 1
    wanted = page[first][group]
    first |= np.abs(page - wanted) > _REACH  # somewhere else: wanted for itself
    group = np.cumsum(first) - 1
    # what is wanted apart, then each stretch of the rest
    rest = np.lexsort((page, ~first, group))
    page, first, group, owner = page[rest], first[rest], group[rest], owner[rest]
    begins = np.append(True, (page[1:] != page[:-1] + 1) | (group[1:] != group[:-1]) | first[:-1])
    begins |= first
    start = np.flatnonzero(begins)
    count = np.diff(np.append(start, len(page)))
    when = time[np.flatnonzero(np.append(True, group[1:] != group[:-1]))][group[start]]
    found = {
        "file": owner[start],
        "device": files["device"].to_numpy(object)[owner[start]],
        "device_offset": page[start] * PAGE,
        "size": count * PAGE,
        "time_ns": when,
        "needed_ns": np.where(first[start], when, NEVER),
    }
    return _table(found).sort_values("time_ns", kind="stable", ignore_index=True)


def _table(columns: Mapping[str, Any] | pd.DataFrame) -> pd.DataFrame:
    types = {"file": "int32", "device": "object", **dict.fromkeys(COLUMNS[2:], "int64")}
    return pd.DataFrame({name: columns[name] if len(columns) else [] for name in COLUMNS}).astype(types)
