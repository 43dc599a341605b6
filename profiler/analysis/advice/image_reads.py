"""What a start reads of a disk image: for what, and where that is in the guest's disk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.advice.traced_image import MAX_DISK, TracedImage
from profiler.analysis.intervals import Ints, holding
from profiler.analysis.simulation.placement import SPACE, UNWRITTEN
from profiler.calls import READ_OPS
from profiler.facts.structures import COMPRESSED, DATA, FREE
from profiler.trace import DATA_KINDS, Trace

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ImageReads:
    """The image's reads, one entry a read: row of the events, kind, offset and size (bytes), place in the
    guest's disk (-1: none). written: whether any of it is more than a hole. first, last: where a read of a
    table lies among the tables of its kind, as shares of 1. unplaced: data reads without a guest's offset.
    unlabelled: reads of which it is not known what they are of - a format that is not read, a place that no
    structure names, no offset. data_bytes: of all data of the image that is no hole, read or not.
    """

    row: Ints
    kind: npt.NDArray[np.object_]
    offset: Ints
    size: Ints
    guest: Ints
    written: Bools
    first: npt.NDArray[np.float64]
    last: npt.NDArray[np.float64]
    unplaced: int
    unlabelled: int
    data_bytes: int

    @property
    def is_data(self) -> Bools:
        return self.guest >= 0


def reads_of(trace: Trace, image: TracedImage) -> ImageReads:
    events = trace.events
    size = events["size"].to_numpy(np.int64, na_value=0)
    reads = (
        (events["layer"] == "syscall").to_numpy(bool) & events["op"].isin(READ_OPS).to_numpy(bool)
        & events["file"].isin(image.files).to_numpy(bool) & (size > 0)
    )  # fmt: skip
    known = events["offset"].notna().to_numpy(bool)
    row = np.flatnonzero(reads & known)
    kinds = trace.files["kind"].isin(DATA_KINDS).to_numpy(bool)
    file = events["file"].to_numpy(np.int64)[row]
    row, file = row[kinds[file]], file[kinds[file]]
    size = np.minimum(size[row], MAX_DISK)
    offset = np.minimum(events["offset"].to_numpy(np.int64, na_value=0)[row], SPACE)
    kind = np.full(len(row), "", object)
    guest = np.full(len(row), -1, np.int64)
    written = np.ones(len(row), bool)
    first, last = np.zeros(len(row)), np.ones(len(row))
    unplaced = data_bytes = 0
    unlabelled = int((reads & ~known).sum())
    for number in image.files:
        here = np.flatnonzero(file == number)
        rows = trace.structures[(trace.structures["file"] == number).to_numpy(bool)]
        start, end = (rows[name].to_numpy(np.int64) for name in ("start", "end"))
        names, roles = rows["kind"].to_numpy(object), rows["role"].to_numpy(object)
        places = rows["guest"].to_numpy(np.int64, na_value=-1)
        holds = written_parts(trace, number)
        is_data = (places >= 0) | (roles == DATA)
        data_bytes += int((holds(end[is_data]) - holds(start[is_data])).sum())
        written[here] = holds(offset[here] + size[here]) > holds(offset[here])
        at = np.searchsorted(start, offset[here], side="right") - 1
        inside = at >= 0
        inside[inside] = offset[here][inside] < end[at[inside]]
        named = inside.copy()
        named[inside] = roles[at[inside]] != FREE
        unlabelled += int((~named & written[here]).sum())
        here, at = here[inside], at[inside]
        kind[here] = names[at]
        placed = places[at] >= 0
        guest[here[placed]] = places[at[placed]] + offset[here[placed]] - start[at[placed]]
        unplaced += int(((roles[at] == DATA) & ~placed & written[here]).sum())
        packed = here[kind[here] == "compressed cluster"]
        size[packed] = np.maximum(size[packed], image.cluster)  # it holds a whole one
        for one in ("L2 table", "refcount block"):
            _shares(one, kind, here, at, offset, size, start, end, names, first, last)
    return ImageReads(row, kind, offset, size, guest, written, first, last, unplaced, unlabelled, data_bytes)


def _shares(
    one: str, kind: npt.NDArray[np.object_], here: Ints, at: Ints, offset: Ints, size: Ints, start: Ints,
    end: Ints, names: npt.NDArray[np.object_], first: npt.NDArray[np.float64],
    last: npt.NDArray[np.float64],
) -> None:  # fmt: skip
    """Where each read of this kind lies among all bytes of the kind, in the order of the file."""
    length = np.where(names == one, end - start, 0)
    total = int(length.sum())
    of_it = kind[here] == one
    if not total or not of_it.any():
        return
    before = np.cumsum(length) - length
    chosen, rows = here[of_it], at[of_it]
    begin = before[rows] + offset[chosen] - start[rows]
    first[chosen] = begin / total
    last[chosen] = np.minimum((begin + size[chosen]) / total, 1.0)


def written_parts(trace: Trace, number: int) -> Written:
    rows = trace.extents[(trace.extents["file"] == number).to_numpy(bool)]
    rows = rows[(rows["flags"] & UNWRITTEN).eq(0).to_numpy(bool)].sort_values("logical", kind="stable")
    start = np.minimum(rows["logical"].to_numpy(np.int64), SPACE)
    end = start + np.minimum(rows["length"].to_numpy(np.int64), SPACE)
    end[:-1] = np.minimum(end[:-1], start[1:])  # they do not overlap, unless the trace lies
    return Written(start, end, bool(len(rows)))


@dataclass(frozen=True)
class Written:
    """How many bytes of a file before an offset are no hole. Without known extents: all."""

    start: Ints
    end: Ints
    known: bool

    def __call__(self, offsets: Ints) -> Ints:
        if not self.known:
            return offsets
        before = np.concatenate([[0], np.cumsum(self.end - self.start)])
        at = np.searchsorted(self.start, offsets, side="right") - 1
        inside = np.minimum(np.maximum(offsets - self.start[at], 0), (self.end - self.start)[at])
        found: Ints = np.where(at >= 0, before[at] + inside, 0)
        return found


def guest_reads(reads: pd.DataFrame, structures: pd.DataFrame) -> tuple[Ints, Ints]:
    """Where in the guest's disk these reads of data are, and their sizes, bytes; left out are compressed
    ones, which are read whole, and those of which the place is not known. reads: columns file, offset, size.
    """
    rows = structures[structures["guest"].notna().to_numpy(bool)]
    rows = rows[~rows["kind"].isin(COMPRESSED).to_numpy(bool)]
    known = reads[reads["offset"].notna().to_numpy(bool)]
    file, offset, size = (known[name].to_numpy(np.int64) for name in ("file", "offset", "size"))
    owner, start, end, guest = (rows[name].to_numpy(np.int64) for name in ("file", "start", "end", "guest"))
    holder = holding(owner, start, end, file, offset)
    inside = holder >= 0
    holder = holder[inside]
    return guest[holder] + offset[inside] - start[holder], size[inside]
