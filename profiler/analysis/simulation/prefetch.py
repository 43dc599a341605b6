"""What a recorded start reads, as a plan to bring it in before the start: stretches of files in a good
order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.host import MEMORY_FILESYSTEMS
from profiler.analysis.intervals import PAGE, fresh, spans, to_pages
from profiler.analysis.simulation.placement import place
from profiler.errors import ColdseekError, UsageError
from profiler.trace import DATA_KINDS, Trace

ORDERS = ("device", "time")

GAP = 512 * 1024
"""Stretches no further apart than this on the device are read in one piece, gap and all. On a disk that
takes about 4 ms, where a request of its own costs a turn and more (8 ms); where every request counts alike
it saves one of two. A fast device pays for it with a few percent more bytes."""

MAX_PAGES = 2**26
"""256 GiB; single pages of more would take gigabytes of memory."""

COLUMNS = ("file", "offset", "size", "device", "device_offset", "time_ns")


def plan(
    trace: Trace,
    order: str = "device",
    gap: int = GAP,
    metadata: bool = True,
    wanted: Callable[[pd.DataFrame], npt.NDArray[np.bool_]] | None = None,
) -> pd.DataFrame:
    """Stretches to read, one row each: COLUMNS, in bytes; device_offset where they lie, as far as is known;
    time_ns: when the start first read of it.

    It holds every page that a read got, at which a mapping was looked up, and that was observed to be
    brought in; whole pages, none twice, up to the end of each file. Left out are reads past the page cache
    (O_DIRECT), of unknown offset and of memory file systems, and what has no place on the device (holes,
    unwritten extents). Stretches of a file at most `gap` bytes apart, in the file and on the device alike,
    are one.

    metadata: with what the file systems read of their own - inodes, directories - where they keep that in
    the page cache of their device, as ext4 does and the trace says. It comes first, by place on the device:
    without it no file can be opened.

    order: "device", by place on the device; "time", as the start read them. Raises UsageError for any other.

    wanted: which of these single pages (columns file, offset) are to be in it; None: all.
    """
    if order not in ORDERS:
        raise UsageError(f"no order named {order!r}; there are {', '.join(ORDERS)}")
    pages = _pages(trace, DATA_KINDS) if wanted is None else single_pages(trace)
    pages = pages if wanted is None else pages[wanted(pages)].reset_index(drop=True)
    placed = place(pages, trace.files, trace.extents).requests
    placed = placed.sort_values(["device", "device_offset"], kind="stable", ignore_index=True)
    merged = _merged(placed, gap)
    if order == "time":
        merged = merged.sort_values("time_ns", kind="stable", ignore_index=True)
    if metadata:
        own = _pages(trace, ("metadata",))
        device = trace.files["device"].to_numpy(object)[own["file"].to_numpy()]
        own = own.assign(device=device, device_offset=own["offset"])
        own = own.sort_values(["device", "device_offset"], kind="stable", ignore_index=True)
        merged = pd.concat([_merged(own, gap), merged], ignore_index=True)
    return merged[list(COLUMNS)]


def single_pages(trace: Trace) -> pd.DataFrame:
    """Each page of data that a plan of this trace holds, once, as rows of requests. Raises ColdseekError for
    more than MAX_PAGES."""
    pages = _pages(trace, DATA_KINDS)
    count = pages["size"].to_numpy(np.int64) // PAGE
    if float(count.sum(dtype=np.float64)) > MAX_PAGES:
        raise ColdseekError(f"this start reads more than {MAX_PAGES:,} pages, too many to be told apart")
    row = np.repeat(np.arange(len(pages)), count)
    number = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    return pages.iloc[row].assign(
        offset=pages["offset"].to_numpy(np.int64)[row] + number * PAGE, size=PAGE
    ).reset_index(drop=True)  # fmt: skip


def written(trace: Trace) -> list[int]:
    """Numbers of the regular files that the start itself wrote, in order: they are not what they were when
    it began. A block device is the same device all the time."""
    regular = (trace.files["kind"] == "regular").to_numpy(bool)
    wrote = trace.writes()["file"].unique()
    return sorted(int(number) for number in wrote if regular[number])


def _pages(trace: Trace, kinds: tuple[str, ...]) -> pd.DataFrame:
    """What was touched of files of these kinds, or brought in for that, each page once, as rows of
    requests."""
    mapped = trace.events[(trace.events["op"] == "present").to_numpy(bool)]
    return _once(_touched(trace, kinds, [trace.layer("cache"), mapped]))


def _once(touched: pd.DataFrame) -> pd.DataFrame:
    """Each page at its first touch, as rows of requests."""
    pieces = fresh(*(touched[name].to_numpy(np.int64) for name in ("file", "start", "end")))
    rows = touched.iloc[pieces.row]
    return pd.DataFrame(
        {
            "read": np.int64(-1),
            "file": rows["file"].to_numpy(np.int32),
            "offset": pieces.start,
            "size": pieces.end - pieces.start,
            "time_ns": rows["time_ns"].to_numpy(np.int64),
        }
    )


def ranges(trace: Trace) -> tuple[pd.DataFrame, str]:
    """What the program itself touched of its files - not what was read ahead for it - in the order of the
    first touch: columns file, offset, size (bytes), time_ns; neighbours that were touched one after another
    are one. And what tells of mapped pages: "faults", which tell of each page that was not mapped yet, or
    "page tables"."""
    cache = trace.layer("cache")
    faults = cache[(cache["op"] == "fault").to_numpy(bool)]
    present = trace.events[(trace.events["op"] == "present").to_numpy(bool)]
    mapped, source = (faults, "faults") if len(faults) else (present, "page tables")
    rows = _once(_touched(trace, DATA_KINDS, [mapped]))
    file, offset, size = (rows[name].to_numpy(np.int64) for name in ("file", "offset", "size"))
    goes_on = (file[1:] == file[:-1]) & (offset[1:] == offset[:-1] + size[:-1])
    group = np.cumsum(np.append(True, ~goes_on)[: len(rows)])
    joined = rows.groupby(group, sort=True).agg(
        file=("file", "first"), offset=("offset", "first"), size=("size", "sum"), time_ns=("time_ns", "min")
    )
    return joined.reset_index(drop=True), source


def _touched(trace: Trace, kinds: tuple[str, ...], more: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Whole pages of files of these kinds, of reads and of `more` events, in the order of time: file, start,
    end (bytes), time_ns."""
    reads = trace.reads()
    rows = pd.concat([reads[~reads["direct"].to_numpy(bool)], *more], ignore_index=True)
    files = trace.files
    in_memory = files["filesystem"].isin(MEMORY_FILESYSTEMS).to_numpy(bool)
    wanted = files["kind"].isin(kinds).to_numpy(bool) & ~in_memory
    size = rows["size"].to_numpy(np.int64, na_value=0)
    size = np.where((rows["op"] == "fault").to_numpy(bool), PAGE, size)  # of a fault only its page is known
    kept = np.append(wanted, False)[rows["file"].to_numpy()] & rows["offset"].notna().to_numpy(bool)
    kept &= size > 0
    rows, size = rows[kept], size[kept]
    start, end = to_pages(*spans(rows["offset"].to_numpy(np.int64), size))
    ends = np.append(files["size"].to_numpy(np.int64, na_value=2**62), 0)[rows["file"].to_numpy()]
    end = np.minimum(end, -(-np.minimum(ends, 2**62) // PAGE) * PAGE)
    made = pd.DataFrame(
        {"file": rows["file"].to_numpy(np.int64), "start": start, "end": end, "time_ns": rows["time_ns"]}
    )
    kept_rows: pd.DataFrame = made[end > start]
    return kept_rows.sort_values("time_ns", kind="stable", ignore_index=True)


def _merged(placed: pd.DataFrame, gap: int) -> pd.DataFrame:
    """Neighbours on the device joined where they are neighbours in their file too."""
    file, offset, size, device_offset = (
        placed[name].to_numpy(np.int64) for name in ("file", "offset", "size", "device_offset")
    )
    apart = offset[1:] - (offset[:-1] + size[:-1])
    apart_on_device = device_offset[1:] - (device_offset[:-1] + size[:-1])
    goes_on = (file[1:] == file[:-1]) & (apart == apart_on_device) & (apart >= 0) & (apart <= gap)
    group = np.cumsum(np.append(True, ~goes_on)[: len(placed)])
    made = placed.assign(end=offset + size).groupby(group, sort=True)
    found: pd.DataFrame = made.agg(
        file=("file", "first"), offset=("offset", "first"), end=("end", "max"),
        device=("device", "first"), device_offset=("device_offset", "first"), time_ns=("time_ns", "min"),
    )  # fmt: skip
    return found.assign(size=found["end"] - found["offset"]).reset_index(drop=True)
