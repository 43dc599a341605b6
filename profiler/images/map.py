"""The result of reading a disk image: what lies where in the file, and which part of the guest's disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.facts.structures import roles_of
from profiler.images.source import Offsets

RANGE_COLUMNS = {"start": "int64", "end": "int64", "kind": "str"}
GUEST_COLUMNS = {"start": "int64", "length": "int64", "guest": "int64"}
PLACE_COLUMNS = {"start": "int64", "end": "int64", "kind": "str", "guest": "Int64", "role": "str"}

MAX_RANGES = 200_000
"""So many ranges a map has at most: 12 MB of JSON in a trace. Data is folded before that."""


def _none() -> Offsets:
    return np.empty(0, np.int64)


@dataclass(frozen=True)
class Layout:
    """Ranges of a file, bytes, half open: the kind of range n is names[codes[n]]."""

    starts: Offsets = field(default_factory=_none)
    ends: Offsets = field(default_factory=_none)
    codes: npt.NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Placed:
    """Runs of data: `lengths` bytes at `starts` of a file are those at `guest` of the guest's disk. whole:
    whether these are all that were asked for."""

    starts: Offsets = field(default_factory=_none)
    lengths: Offsets = field(default_factory=_none)
    guest: Offsets = field(default_factory=_none)
    whole: bool = True


@dataclass(frozen=True)
class Extent:
    """A file that holds a part of the disk that an image describes. kind: as the image calls it (FLAT,
    SPARSE ...). pieces: (place in the guest's disk, place in the file, length), bytes each; of a sparse
    file, which has tables of its own, the place in the file means nothing. behind: what has the data that
    this one does not, where the same image names it."""

    name: str
    kind: str
    pieces: tuple[tuple[int, int, int], ...]
    behind: Extent | None = None

    @property
    def files(self) -> int:
        """How many files that is."""
        return 1 + (self.behind.files if self.behind is not None else 0)


@dataclass(frozen=True)
class Map:
    """What lies where in one image file.

    format: the name that QEMU gives it ("qcow2", "raw", "vmdk" ...). facts: what the header says, JSON-able
    (cluster_size and virtual_size in bytes, version, refcount_bits, features ...). layout: every byte of the
    file, sorted, without overlaps, neighbours of different kinds; at most MAX_RANGES; as a table: `ranges`.
    placed: where the runs of data are in the disk that the guest sees (of a compressed cluster, its first
    byte), sorted by start, without overlaps; as a table: `guest`. notes: what is wrong or left out, a
    sentence each. backing, data_file: names of the files that it needs, as they stand in the image; "" if
    there is none. backing_format: the declared format of the backing file, "" if it is to be probed.
    outside: as `placed`, in the external data file. extents: the files that hold the disk which this one
    describes. Formats whose files know each other have the facts `id` and, of the file behind, `parent_id`.
    """

    format: str
    facts: dict[str, Any] = field(default_factory=dict)
    layout: Layout = field(default_factory=Layout)
    placed: Placed = field(default_factory=Placed)
    notes: tuple[str, ...] = ()
    backing: str = ""
    backing_format: str = ""
    data_file: str = ""
    outside: Placed = field(default_factory=Placed)
    extents: tuple[Extent, ...] = ()

    @cached_property
    def ranges(self) -> pd.DataFrame:
        """The layout as a table of RANGE_COLUMNS."""
        kinds = np.array(self.layout.names, object)[self.layout.codes]
        made = pd.DataFrame({"start": self.layout.starts, "end": self.layout.ends, "kind": kinds})
        return made.astype(RANGE_COLUMNS)

    @cached_property
    def guest(self) -> pd.DataFrame:
        """The runs of the guest's data as a table of GUEST_COLUMNS."""
        placed = self.placed
        made = pd.DataFrame({"start": placed.starts, "length": placed.lengths, "guest": placed.guest})
        return made.astype(GUEST_COLUMNS)

    def places(self, limit: int = MAX_RANGES) -> tuple[pd.DataFrame, bool]:
        """The ranges, cut where the guest's offset jumps: PLACE_COLUMNS, `guest` being that of the first
        byte (null: none, or not known). Where that makes more than `limit` rows the ranges stay whole and
        `guest` is null throughout; the second value says whether they were cut.
        """
        starts, ends = self.layout.starts, self.layout.ends
        run_starts, run_guest = self.placed.starts, self.placed.guest
        run_ends = run_starts + self.placed.lengths
        edges = np.unique(np.concatenate([starts, ends, run_starts, run_ends]))
        cut = len(edges) <= limit
        if not cut:
            edges = np.unique(np.concatenate([starts, ends]))
            run_starts = run_ends = run_guest = _none()
        lefts, rights = edges[:-1], edges[1:]
        within = owners(lefts, starts, ends)
        lefts, rights, within = lefts[within >= 0], rights[within >= 0], within[within >= 0]
        runs = owners(lefts, run_starts, run_ends)
        found = runs >= 0
        guest = pd.array(np.zeros(len(lefts), np.int64), dtype="Int64")
        guest[found] = (run_guest[runs[found]] + lefts[found] - run_starts[runs[found]]).astype(np.int64)
        guest[~found] = pd.NA
        codes = self.layout.codes[within]
        kinds, roles = (
            np.array(of, object)[codes] for of in (self.layout.names, roles_of(self.layout.names))
        )
        made = pd.DataFrame({"start": lefts, "end": rights, "kind": kinds, "guest": guest, "role": roles})
        return made.astype(PLACE_COLUMNS), cut


def owners(points: Offsets, starts: Offsets, ends: Offsets) -> Offsets:
    """For each point, which of the sorted ranges [start, end) holds it; -1 where none does."""
    found = np.searchsorted(starts, points, "right") - 1
    inside = found >= 0
    inside[inside] = points[inside] < ends[found[inside]]
    return np.where(inside, found, -1).astype(np.int64)
