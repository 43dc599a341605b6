"""The same start on another layout: a trace changed to what it would read elsewhere, to be projected as any
other.

What a copy by `qemu-img convert` looks like is modelled, not looked up: header, refcount table, first
refcount block and L1 table at the front, then the guest's data in the guest's order, an L2 table before the
data that it maps; clusters of zeros are left out, and so are snapshots and bitmaps; a chain of backing files
becomes one file. Its parts on the device keep the distances that they have in the file, free of other files
between them. What was not read and of which nobody knows where the guest has it is taken to be spread evenly
over the rest of the guest's disk. The program is taken to do the same, with as much time of its own; but
what reads whatever is allocated (`qemu-img convert`) reads whole clusters of the copy.

Sizes of reads after QEMU's docs/qcow2-cache.txt and block/qcow2*.c: an L2 table is read in slices of a
cluster, 64 KiB at most (by `qemu-img check` whole), a refcount block and the refcount table whole, the L1
table as long as its entries.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.intervals import PAGE, Ints
from profiler.analysis.pagecache import facts_of_devices
from profiler.analysis.placement import LAST, SPACE, UNWRITTEN, place
from profiler.analysis.prefetch import plan
from profiler.analysis.projection import Cold, Projection, project, requests
from profiler.calls import READ_OPS
from profiler.devices.model import Device
from profiler.errors import ColdseekError
from profiler.trace import DATA_KINDS, EXTENT_COLUMNS, FILE_COLUMNS, Trace, table

KIB, MIB = 2**10, 2**20

MAX_SLICE = 64 * KIB
"""QEMU reads an L2 table in pieces of this size at most (l2-cache-entry-size in docs/qcow2-cache.txt)."""

MAX_MADE = 5_000_000
"""More reads of tables than this are not made up: a hostile trace may claim any size."""

MAX_DISK = 2**56
"""Bytes of a guest's disk; a qcow2 image cannot map more, whatever a trace claims."""

DATA = (
    "data cluster", "compressed cluster", "data", "data block", "payload block", "grain", "compressed grain",
)  # fmt: skip
"""Kinds of structures that hold what the guest wrote, apart from any other kind of known place in its
disk."""

_HEAD = 512  # bytes that QEMU reads of any file to tell its format (BLOCK_PROBE_BUF_SIZE)
_PREFETCHED = 2 * MIB  # the pieces of capture/prefetch.py
_KEPT_EVENTS = ("open", "close", "lseek")
_SCANS = (("convert",), ("compare",), ("dd",))
"""Commands of qemu-img that read whatever is allocated: whole clusters, but for subclusters and raw."""
_GONE = b"(reads that the copy does not need)"
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Layout:
    """How a copy is laid out: qcow2 with clusters of `cluster` bytes, or raw (0). name: short, for people.
    convert: options of `qemu-img convert` that make it."""

    key: str
    name: str
    cluster: int = 0
    extended: bool = False
    refcount_bits: int = 16

    @property
    def convert(self) -> tuple[str, ...]:
        if not self.cluster:
            return ("-O", "raw")
        size = f"{self.cluster // MIB}M" if self.cluster >= MIB else f"{self.cluster // KIB}k"
        return ("-O", "qcow2", "-o", f"cluster_size={size}" + (",extended_l2=on" if self.extended else ""))

    @property
    def entry(self) -> int:
        """Bytes of an entry of an L2 table."""
        return 16 if self.extended else 8

    @property
    def table_covers(self) -> int:
        """Bytes of the guest's disk that one L2 table maps: cluster**2 / 8, / 16 with extended entries."""
        return self.cluster // self.entry * self.cluster

    @property
    def slice_bytes(self) -> int:
        return min(self.cluster, MAX_SLICE)

    @property
    def block_covers(self) -> int:
        """Bytes of the file that one refcount block counts: cluster**2 * 8 / refcount_bits."""
        return self.cluster * 8 // self.refcount_bits * self.cluster


LAYOUTS = (
    Layout("raw", "raw"),
    Layout("cluster-64k", "64 KiB clusters", 64 * KIB),
    Layout("cluster-256k", "256 KiB clusters", 256 * KIB),
    Layout("cluster-2m", "2 MiB clusters", 2 * MIB),
    Layout("extended-l2", "extended L2", 64 * KIB, extended=True),
)


@dataclass(frozen=True)
class Image:
    """The disk image that a trace is about, as far as the trace tells.

    file: its number. files: of all files of its chain, itself first. format: QEMU's name. facts: as in
    `Meta.images`. virtual: bytes of the guest's disk. cluster: bytes, 0 where the format has none.
    """

    file: int
    files: tuple[int, ...]
    format: str
    facts: dict[str, Any]
    virtual: int
    cluster: int


def image_of(trace: Trace) -> Image | None:
    """The image that the trace is about: of those with known facts that nothing lies in front of, the one
    with the most reads. None: there is none."""
    known = {int(number): facts for number, facts in trace.meta.images.items()}
    behind = {number: facts.get("in_front") for number, facts in known.items()}
    reads = trace.reads()["file"].value_counts()
    fronts = [number for number, front in behind.items() if front not in known]
    if not fronts:
        return None
    top = max(fronts, key=lambda number: int(reads.get(number, 0)))
    files = [top]
    for number in files:
        files += [one for one, front in behind.items() if front == number and one not in files]
    facts = known[top]
    size = trace.files["size"].iloc[top]
    virtual = facts.get("virtual_size") or (0 if size is pd.NA else int(size))
    return Image(
        top, tuple(files), str(facts.get("format", "")), facts, min(max(virtual, 0), MAX_DISK),
        facts.get("cluster_size") or 0,
    )  # fmt: skip


# ---- another layout ---------------------------------------------------------------------------------------


def on_layout(trace: Trace, image: Image, layout: Layout) -> Trace:
    """The same start on a copy of the image with this layout.

    The image's events are the reads that it would make of the copy; a read that the copy does not need moves
    to a file that costs nothing, so that the program's own time stays what it was. Data that lies in holes
    of the file is zeros, which a copy does not hold.

    Raises ColdseekError where the guest's offset of a data read is not known, or for more than MAX_MADE
    reads.
    """
    found = _reads_of(trace, image)
    if found.unplaced:
        raise ColdseekError(
            f"where the guest has them is not known of {found.unplaced:,} reads of data, so another layout "
            f"cannot be projected"
        )
    if layout.cluster:
        made, size = _as_qcow2(trace, image, layout, found)
    else:
        made, size = _as_raw(image, found)
    return _with(trace, image, found, made, size)


@dataclass(frozen=True)
class _Reads:
    """The image's reads, one entry a read: row of the events, kind, offset and size (bytes), place in the
    guest's disk (-1: none). written: whether any of it is more than a hole. first, last: where a read of a
    table lies among the tables of its kind, as shares of 1. unplaced: data reads without a guest's offset.
    data_bytes: of all data of the image that is no hole, read or not.
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
    data_bytes: int

    @property
    def is_data(self) -> Bools:
        return self.guest >= 0


def _reads_of(trace: Trace, image: Image) -> _Reads:
    events = trace.events
    size = events["size"].to_numpy(np.int64, na_value=0)
    row = np.flatnonzero(
        (events["layer"] == "syscall").to_numpy(bool) & events["op"].isin(READ_OPS).to_numpy(bool)
        & events["file"].isin(image.files).to_numpy(bool) & (size > 0)
        & events["offset"].notna().to_numpy(bool)
    )  # fmt: skip
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
    for number in image.files:
        here = np.flatnonzero(file == number)
        rows = trace.structures[(trace.structures["file"] == number).to_numpy(bool)]
        start, end = (rows[name].to_numpy(np.int64) for name in ("start", "end"))
        names = rows["kind"].to_numpy(object)
        places = rows["guest"].to_numpy(np.int64, na_value=-1)
        holds = _written(trace, number)
        is_data = (places >= 0) | np.isin(names, DATA)
        data_bytes += int((holds(end[is_data]) - holds(start[is_data])).sum())
        written[here] = holds(offset[here] + size[here]) > holds(offset[here])
        at = np.searchsorted(start, offset[here], side="right") - 1
        inside = at >= 0
        inside[inside] = offset[here][inside] < end[at[inside]]
        here, at = here[inside], at[inside]
        kind[here] = names[at]
        placed = places[at] >= 0
        guest[here[placed]] = places[at[placed]] + offset[here[placed]] - start[at[placed]]
        unplaced += int((np.isin(names[at], DATA) & ~placed & written[here]).sum())
        packed = here[kind[here] == "compressed cluster"]
        size[packed] = np.maximum(size[packed], image.cluster)  # it holds a whole one
        for one in ("L2 table", "refcount block"):
            _shares(one, kind, here, at, offset, size, start, end, names, first, last)
    return _Reads(row, kind, offset, size, guest, written, first, last, unplaced, data_bytes)


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


def _written(trace: Trace, number: int) -> _Written:
    rows = trace.extents[(trace.extents["file"] == number).to_numpy(bool)]
    rows = rows[(rows["flags"] & UNWRITTEN).eq(0).to_numpy(bool)].sort_values("logical", kind="stable")
    start = np.minimum(rows["logical"].to_numpy(np.int64), SPACE)
    end = start + np.minimum(rows["length"].to_numpy(np.int64), SPACE)
    end[:-1] = np.minimum(end[:-1], start[1:])  # they do not overlap, unless the trace lies
    return _Written(start, end, bool(len(rows)))


@dataclass(frozen=True)
class _Written:
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


@dataclass(frozen=True)
class _Made:
    """Reads of a copy: the index of the read (of `_Reads`) that each comes from, offset and size."""

    source: Ints
    offset: Ints
    size: Ints


def _as_raw(image: Image, found: _Reads) -> tuple[_Made, int]:
    """Data at the guest's offsets; of the rest the head of the file, by which its format is told."""
    data = np.flatnonzero(found.is_data & found.written)
    offset = np.minimum(found.guest[data], max(image.virtual - 1, 0))
    source = [data]
    offsets, sizes = [offset], [np.minimum(found.size[data], max(image.virtual, 1))]
    head = np.flatnonzero(~found.is_data & (found.offset == 0))[:1]
    source.append(head)
    offsets.append(np.zeros(len(head), np.int64))
    sizes.append(np.full(len(head), _HEAD))
    return _Made(*(np.concatenate(part) for part in (source, offsets, sizes))), image.virtual


class _Spread:
    """How many of `total` things in a row are there before a place: all of the known ones, and `others` more
    that are spread evenly over the rest."""

    def __init__(self, first: Ints, last: Ints, others: int, total: int) -> None:
        order = np.argsort(first, kind="stable")
        first, last = first[order], np.maximum.accumulate(last[order]) if len(last) else last
        fresh = np.flatnonzero(np.append(True, first[1:] > last[:-1])[: len(first)])
        self._first = first[fresh]
        self._last = last[np.append(fresh[1:], len(last)) - 1] if len(fresh) else last
        lengths = self._last - self._first + 1
        self._sums = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.known = int(lengths.sum())
        self._rest = max(total - self.known, 0)
        self._others = min(max(others, 0), self._rest)
        self.all = self.known + self._others

    def before(self, places: Ints) -> Ints:
        at = np.searchsorted(self._first, places, side="right") - 1
        known = np.zeros(len(places), np.int64)
        inside = at >= 0
        span = (self._last - self._first + 1)[at[inside]]
        known[inside] = self._sums[at[inside]] + np.minimum(places[inside] - self._first[at[inside]], span)
        if not self._rest:
            return known
        more = ((places - known).astype(np.float64) * (self._others / self._rest)).astype(np.int64)
        return known + more


def _as_qcow2(trace: Trace, image: Image, layout: Layout, found: _Reads) -> tuple[_Made, int]:
    cluster, covers, virtual = layout.cluster, layout.table_covers, max(image.virtual, 1)
    data = np.flatnonzero(found.is_data & found.written)
    guest = np.minimum(found.guest[data], virtual - 1)
    size = np.minimum(found.size[data], virtual)
    end = np.minimum(guest + size, virtual)
    clusters, tables = -(-virtual // cluster), -(-virtual // covers)
    read = _Spread(guest // PAGE, (end - 1) // PAGE, 0, virtual)
    unknown = -(-max(found.data_bytes - read.known * PAGE, 0) // cluster)
    held = _Spread(guest // cluster, (end - 1) // cluster, unknown, clusters)
    of_tables = _Spread(guest // covers, (end - 1) // covers, min(unknown, tables), tables)
    l1_bytes = tables * 8
    front = (3 + -(-l1_bytes // cluster)) * cluster
    total = front + (held.all + of_tables.all) * cluster
    blocks = -(-total // layout.block_covers)

    def table_at(number: Ints) -> Ints:
        first: Ints = number * (covers // cluster)
        return front + (held.before(first) + of_tables.before(number)) * cluster

    # each slice is read when it is first needed: by data, or where no data is read, by what looked it up
    parts: list[tuple[Ints, Ints, Ints, Ints]] = []  # source, order within it, offset, size
    maps = layout.slice_bytes // layout.entry * cluster  # bytes of the guest's disk by one slice
    if len(data):
        source, slices = _expand(data, guest // maps, (end - 1) // maps)
        piece = layout.slice_bytes
    else:
        whole = trace.meta.command[1:2] == ("check",)
        piece = cluster if whole else layout.slice_bytes
        maps = piece // layout.entry * cluster
        looked = np.flatnonzero((found.kind == "L2 table") & (of_tables.all > 0))
        low = (found.first[looked] * virtual).astype(np.int64)
        high = np.maximum((found.last[looked] * virtual).astype(np.int64) - 1, low)
        source, slices = _expand(looked, low // maps, high // maps)
    slices, once = np.unique(slices, return_index=True)
    each = max(cluster // piece, 1)
    offsets = table_at(slices // each) + slices % each * piece
    parts.append((source[once], np.zeros(len(slices), np.int64), offsets, np.full(len(slices), piece)))
    inside = guest % cluster
    rows = data
    if trace.meta.command[1:2] in _SCANS and not layout.extended:
        rows, found_clusters = _expand(data, guest // cluster, (end - 1) // cluster)
        found_clusters, once_each = np.unique(found_clusters, return_index=True)
        rows, guest = rows[once_each], found_clusters * cluster
        inside, size = np.zeros(len(rows), np.int64), np.full(len(rows), cluster)
    host = front + (held.before(guest // cluster) + of_tables.before(guest // covers + 1)) * cluster
    parts.append((rows, np.ones(len(rows), np.int64), host + inside, size))

    counted = np.flatnonzero(found.kind == "refcount block")
    number = np.minimum((found.first[counted] * blocks).astype(np.int64), blocks - 1)
    number, once = np.unique(number, return_index=True)
    places = np.where(number == 0, 2 * cluster, number * layout.block_covers)
    parts.append((counted[once], np.zeros(len(number), np.int64), places, np.full(len(number), cluster)))
    for kind, where, long in (
        ("refcount table", cluster, -(-blocks * 8 // cluster) * cluster),
        ("L1 table", 3 * cluster, l1_bytes),
    ):
        rows = np.flatnonzero(found.kind == kind)[:1]
        parts.append(
            (rows, np.zeros(len(rows), np.int64), np.full(len(rows), where), np.full(len(rows), long))
        )
    head = np.flatnonzero(found.kind == "header")
    at = np.minimum(found.offset[head], 4 * KIB - _HEAD)
    if image.format != "qcow2":
        head = np.flatnonzero(~found.is_data)[:1]
        at = np.zeros(len(head), np.int64)
    parts.append((head, np.zeros(len(head), np.int64), at, np.minimum(found.size[head], _HEAD)))
    source, within, offset, length = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = np.lexsort((within, source))
    return _Made(source[order], offset[order], length[order]), total


def _expand(source: Ints, low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """The numbers from `low` to `high` of each row, with its source."""
    counts = high - low + 1
    if float(counts.sum(dtype=np.float64)) > MAX_MADE:
        raise ColdseekError(f"the copy's tables would be read more than {MAX_MADE:,} times")
    which = np.repeat(np.arange(len(source)), counts)
    within = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    return source[which], low[which] + within


def _with(trace: Trace, image: Image, found: _Reads, made: _Made, size: int) -> Trace:
    """The trace with `made` in place of the image's reads."""
    events, gone = trace.events, len(trace.files)
    of_image = events["file"].isin(image.files).to_numpy(bool)
    kept = np.flatnonzero(~of_image | events["op"].isin(_KEPT_EVENTS).to_numpy(bool))
    unneeded = np.setdiff1d(np.arange(len(found.row)), made.source)
    row = np.concatenate([kept, found.row[made.source], found.row[unneeded]])
    order = np.argsort(row, kind="stable")
    frame = events.iloc[row].reset_index(drop=True)
    new = slice(len(kept), len(kept) + len(made.source))
    rest = slice(new.stop, len(row))
    file = frame["file"].to_numpy(np.int32).copy()
    file[: len(kept)][of_image[kept]] = image.file
    file[new], file[rest] = image.file, gone
    columns: dict[str, Any] = {"file": file}
    for name, values, dtype in (
        ("offset", made.offset, "Int64"), ("size", made.size, "Int64"), ("requested", made.size, "int64"),
    ):  # fmt: skip
        column = frame[name].array.copy()
        column[new] = values.astype(np.int64)
        columns[name] = pd.Series(column, dtype=dtype)
    frame = frame.assign(**columns).iloc[order].reset_index(drop=True)
    files = trace.files.copy()
    files.loc[image.file, "size"] = min(size, SPACE)
    extra = {
        **dict.fromkeys(FILE_COLUMNS, pd.NA),
        "file": gone,
        "path": _GONE,
        "device": "",
        "kind": "regular",
    }
    files = pd.concat([files, table(FILE_COLUMNS, [extra | {"filesystem": "tmpfs"}])], ignore_index=True)
    others = ~trace.structures["file"].isin(image.files).to_numpy(bool)
    return dataclasses.replace(
        trace,
        events=frame,
        files=files.astype(FILE_COLUMNS),
        extents=_one_run(trace, image, size),
        structures=trace.structures[others].reset_index(drop=True),
    )


def _one_run(trace: Trace, image: Image, size: int) -> pd.DataFrame:
    """The extents with the copy in one, from where the image begins on the device."""
    extents = trace.extents
    others = extents[~extents["file"].isin(image.files).to_numpy(bool)]
    own = extents[(extents["file"] == image.file).to_numpy(bool)]
    if not len(own):
        return others.reset_index(drop=True)
    row = {
        "file": image.file, "logical": 0, "physical": int(own["physical"].min()),
        "length": max(min(size, SPACE), 1), "flags": LAST,
    }  # fmt: skip
    more = table(EXTENT_COLUMNS, [row])
    return pd.concat([others, more], ignore_index=True) if len(others) else more


def defragmented(trace: Trace, image: Image) -> Trace:
    """The same start with each file of the image in one run on its device, behind where it begins now; holes
    stay holes."""
    extents = trace.extents.copy()
    for number in image.files:
        rows = (extents["file"] == number).to_numpy(bool)
        if rows.any():
            base = min(int(extents["physical"][rows].min()), SPACE)
            extents.loc[rows, "physical"] = base + np.minimum(extents["logical"][rows], SPACE)
    return dataclasses.replace(trace, extents=extents)


# ---- costs ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """What a start waits for a device, projected; seconds, with the band as of `Projection`. start_s: the
    whole start, None where no warm run was timed."""

    device: str
    requests: int
    bytes: int
    seconds: float
    low_s: float
    high_s: float
    start_s: float | None


@dataclass(frozen=True)
class Option:
    """Something that might be done. key: as in JSON. convert: of `Layout`, empty for what is no copy by it.
    costs: one a device. saves: share of the time on the first device that is saved."""

    key: str
    name: str
    convert: tuple[str, ...]
    costs: tuple[Cost, ...]
    saves: float


@dataclass(frozen=True)
class Advice:
    """now: the start as it is. options: those that gain, most first. without: names of those that would gain
    nothing. notes: what could not be projected and why."""

    image: Image
    now: tuple[Cost, ...]
    options: tuple[Option, ...]
    without: tuple[str, ...]
    notes: tuple[str, ...]


LEAST_SAVED = 0.05
"""What saves less than this share of the time on every device is not worth a copy; the bands of the models
are wider."""

_FASTER = 0.5
"""A device counts as faster if the start waits for it at most this share of the time."""


def advise(
    trace: Trace, image: Image, devices: list[Device], presets: list[Device], all_of_them: bool = False
) -> Advice:
    """What would help, on each of `devices`. presets: among which a faster device is looked for.
    all_of_them: those that gain nothing are among the options too.
    """
    now_cold = requests(trace)
    now = tuple(cost(project(now_cold, device)) for device in devices)
    notes: list[str] = []
    options: list[Option] = []
    for layout in LAYOUTS:
        if _is_already(image, layout):
            continue
        why = _left_out(trace, image, layout)
        if why:
            notes.append(why)
            continue
        try:
            changed = requests(on_layout(trace, image, layout))
        except ColdseekError as error:
            notes.append(str(error))
            break
        costs = tuple(cost(project(changed, device)) for device in devices)
        options.append(_option(layout.key, layout.name, layout.convert, now, costs))
    if len(trace.extents[trace.extents["file"].isin(image.files).to_numpy(bool)]):
        changed = requests(defragmented(trace, image))
        costs = tuple(cost(project(changed, device)) for device in devices)
        options.append(_option("defragmented", "a copy in one run", (), now, costs))
    first, rest = prefetched(trace)
    costs = tuple(both(project(first, device), project(rest, device)) for device in devices)
    options.append(_option("prefetch", "prefetch", (), now, costs))
    faster = _faster(now_cold, now, presets)
    if faster is not None:
        options.append(_option("device", "a faster device", (), now, faster))
    gains = [option for option in options if all_of_them or _gains(option, now)]
    gains.sort(key=lambda option: -option.saves)
    return Advice(
        image, now, tuple(gains), tuple(one.name for one in options if one not in gains), tuple(notes)
    )


def cost(one: Projection) -> Cost:
    """Of a projection, what is shown."""
    return Cost(one.device, one.requests, one.bytes, one.seconds, one.low_s, one.high_s, one.start_s)


def both(first: Projection, second: Projection) -> Cost:
    """One after the other: a prefetch and the start behind it."""
    return Cost(
        first.device, first.requests + second.requests, first.bytes + second.bytes,
        first.seconds + second.seconds, first.low_s + second.low_s, first.high_s + second.high_s,
        None if second.start_s is None else first.seconds + second.start_s,
    )  # fmt: skip


def prefetched(trace: Trace) -> tuple[Cold, Cold]:
    """What `coldseek prefetch` asks for before the start, all of it queued in the order of the device, and
    what the start then still asks for."""
    stretches = plan(trace, metadata=False)  # as what is projected of the start is without it
    size = stretches["size"].to_numpy(np.int64)
    counts = np.maximum(-(-size // _PREFETCHED), 1)
    if float(counts.sum(dtype=np.float64)) > MAX_MADE:
        raise ColdseekError(f"to prefetch this start would take more than {MAX_MADE:,} reads")
    row = np.repeat(np.arange(len(size)), counts)
    start = (np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)) * _PREFETCHED
    pieces = pd.DataFrame(
        {
            "read": np.full(len(row), -1),
            "file": stretches["file"].to_numpy(np.int32)[row],
            "offset": stretches["offset"].to_numpy(np.int64)[row] + start,
            "size": np.minimum(size[row] - start, _PREFETCHED),
            "time_ns": np.zeros(len(row), np.int64),
            "needed_ns": np.zeros(len(row), np.int64),
        }
    )
    placed = place(pieces, trace.files, trace.extents, facts_of_devices(trace))
    queued = placed.requests.assign(issued_s=0.0, needed_s=0.0, group=0)
    return Cold(queued, placed.known, None), requests(trace, resident=stretches)


def _left_out(trace: Trace, image: Image, layout: Layout) -> str:
    """Why a copy of this layout is not projected; "": it is."""
    if image.facts.get("encryption"):
        return f"{layout.name}: the image is encrypted, and a copy would need its key"
    if not layout.cluster and trace.meta.command[1:2] == ("check",):
        return "raw: qemu-img check finds nothing to check in it"
    return ""


def _is_already(image: Image, layout: Layout) -> bool:
    if not layout.cluster:
        return image.format == "raw"
    alike = image.format == "qcow2" and image.cluster == layout.cluster
    return alike and bool(image.facts.get("extended_l2")) == layout.extended and len(image.files) == 1


def _option(
    key: str, name: str, convert: tuple[str, ...], now: tuple[Cost, ...], costs: tuple[Cost, ...]
) -> Option:
    saves = 1 - costs[0].seconds / now[0].seconds if costs and now[0].seconds else 0.0
    return Option(key, name, convert, costs, saves)


def _gains(option: Option, now: tuple[Cost, ...]) -> bool:
    return any(
        then.seconds <= (1 - LEAST_SAVED) * before.seconds and before.seconds > 0
        for then, before in zip(option.costs, now, strict=True)
    )


def _faster(cold: Cold, now: tuple[Cost, ...], presets: list[Device]) -> tuple[Cost, ...] | None:
    """For each device the slowest of the presets that is faster by far; itself where there is none."""
    known = sorted((cost(project(cold, device)) for device in presets), key=lambda one: -one.seconds)
    found = [
        next((one for one in known if one.seconds <= _FASTER * before.seconds), before) for before in now
    ]
    same = all(one is before for one, before in zip(found, now, strict=True))
    return None if same else tuple(found)


def extents_of(trace: Trace, image: Image) -> int:
    """In how many runs the image lies on its device: extents that do not go on where the one before ends,
    distances in the file taken into account."""
    runs = 0
    for number in image.files:
        rows = trace.extents[(trace.extents["file"] == number).to_numpy(bool)].sort_values("logical")
        shift = rows["physical"].to_numpy(np.int64) - rows["logical"].to_numpy(np.int64)
        runs += int((np.diff(shift) != 0).sum()) + (len(rows) > 0)
    return runs
