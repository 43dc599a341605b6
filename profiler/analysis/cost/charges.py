"""Each request of a cold start, and what it was for: a file, a structure of an image, a file system's own.

Where a tracer saw the page cache and the devices in a cold run, the requests are those that it saw. A
request belongs to the page that was brought in at its place on the disk. For any other trace they are
simulated, and their time is that on one usual disk. Times are in nanoseconds where a name ends in _ns, in
seconds where it ends in _s; offsets and sizes in bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler import devices as device_models
from profiler.analysis.cost.below_the_program import METADATA_KINDS, brought_in
from profiler.analysis.cost.names import Words, name_of, names_of_disks, names_of_file_systems
from profiler.analysis.host import MEMORY_FILESYSTEMS
from profiler.analysis.intervals import Ints, fresh, joined, spans
from profiler.analysis.reads.attribution import structures_of
from profiler.analysis.simulation.inverse import partitions
from profiler.analysis.simulation.placement import place
from profiler.analysis.simulation.projection import Cold, Projection, project, requests
from profiler.devices.model import Device
from profiler.trace import DEVICE_OPS, Trace

USUAL_DEVICE = "hdd-7200"
"""The disk on which simulated requests take their time: the one of the presets on which places matter most,
and on which the structures of an image are weighed too."""

HOWS = ("read", "mapped", "metadata", "device")
"""How it came in: by a call that reads or advises; by a page fault on a mapped file, or the start of a
program; what the file system reads of its own; it is a request of a disk, and no more is known."""

COLUMNS = {
    "time_ns": "int64", "file": "int32", "of": "category", "offset": "int64", "size": "int64",
    "how": "category", "structure": "category", "waited_s": "float64",
}  # fmt: skip
"""Of `Charges.requests`: time_ns, when it was issued; file, row of the trace's files, -1: a file system's
own; of, "" but for those, then what to call the file system; offset in the file, of a file system's own on
its device; how, one of HOWS; structure, of the image ("": it is none); waited_s, NaN: not known."""

_ADVICE = ("readahead", "fadvise_willneed")

_READ, _MAPPED, _METADATA, _DEVICE = range(len(HOWS))

_NOWHERE = -1


@dataclass(frozen=True)
class Charges:
    """requests: COLUMNS, one row a request, by time. observed: a tracer saw them in a cold run; else they
    are simulated."""

    requests: pd.DataFrame
    observed: bool


def usual_device() -> Device:
    """The disk of USUAL_DEVICE; the same object each time."""
    return device_models.find(USUAL_DEVICE)


def charges(
    trace: Trace,
    reads: pd.DataFrame | None = None,
    cold_start: Cold | None = None,
    on_usual: Projection | None = None,
) -> Charges:
    """The requests of a cold start of the traced program. reads, cold_start, on_usual: `trace.reads()`,
    `projection.requests(trace)` and its projection on `usual_device` if at hand."""
    is_seen = trace.meta.cache == "cold" and trace.saw("cache") and trace.saw("device")
    if is_seen:
        table, systems = _observed(trace, reads)
    else:
        cold_start = requests(trace, reads) if cold_start is None else cold_start
        on_usual = project(cold_start, usual_device()) if on_usual is None else on_usual
        table, systems = _simulated(trace, cold_start)
        table["waited_s"] = on_usual.times
    structures = structures_of(table, trace.structures)
    for name, codes, words in (
        ("of", table["of"].to_numpy(), systems),
        ("how", table["how"].to_numpy(), HOWS),
        ("structure", np.where(table["file"] >= 0, structures.codes, 0), structures.categories),
    ):
        table[name] = pd.Categorical.from_codes(codes, categories=pd.Index(list(words)))
    return Charges(table.astype(COLUMNS)[list(COLUMNS)], is_seen)


# ---- simulated --------------------------------------------------------------------------------------------


def _simulated(trace: Trace, cold_start: Cold) -> tuple[pd.DataFrame, list[str]]:
    """COLUMNS but the last two, `of` and `how` as numbers; and the words of `of`."""
    frame = cold_start.requests
    own = frame["own"].to_numpy(bool)
    events = trace.events
    advised = events[events["op"].isin(_ADVICE).to_numpy(bool)]
    # of what no read caused, that is advice which was asked for at the moment of a call that advises
    moments = pd.MultiIndex.from_frame(advised[["file", "time_ns"]].astype("int64"))
    by_call = frame["read"].to_numpy(np.int64) >= 0
    rest = np.flatnonzero(~by_call)
    callless = frame[["file", "time_ns"]].iloc[rest].astype("int64")
    by_call[rest] = pd.MultiIndex.from_frame(callless).isin(moments)
    names = names_of_file_systems(trace)
    of, systems = np.zeros(len(frame), np.int32), Words()
    of[own] = systems.codes(
        frame["device"].to_numpy(object)[own], lambda one: names.get(one, name_of("", one))
    )
    otherwise = _DEVICE if trace.meta.device_only else _MAPPED
    return pd.DataFrame(
        {
            "time_ns": frame["time_ns"].to_numpy(np.int64),
            "file": np.where(own, np.int32(-1), frame["file"].to_numpy()),
            "of": of,
            "offset": np.where(own, frame["device_offset"], frame["offset"]),
            "size": frame["size"].to_numpy(np.int64),
            "how": np.where(own, _METADATA, np.where(by_call, _READ, otherwise)).astype(np.int8),
        },
        copy=False,
    ), systems.words


# ---- observed ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Linked:
    """What the requests that reached disks were for.

    requests: of the layer `device`, in their order. stretches: what was brought in, pages that follow each
    other as one: time_ns, tid, file, offset, size, how (place in HOWS). stretch: of each request the row of
    `stretches`, -1: not known. offset: where in its file the request begins, -1: not known.
    """

    requests: pd.DataFrame
    stretches: pd.DataFrame
    stretch: Ints
    offset: Ints


def linked(trace: Trace, reads: pd.DataFrame | None) -> Linked:
    """Requests and what they were for: by the place on the disk, else by task and time. For a trace with the
    layers `cache` and `device`."""
    stretches = _stretches(trace, reads)
    disk_requests = trace.layer(
        "device", DEVICE_OPS, ("time_ns", "duration_ns", "tid", "file", "offset", "size")
    )
    stretch, offset = _by_place(trace, disk_requests, stretches)
    placed = np.unique(stretch[stretch >= 0])
    nowhere = stretches["place"].to_numpy(np.int64) == _NOWHERE
    nowhere[placed] = False
    rest = np.flatnonzero(stretch < 0)
    stretch[rest] = _by_time(disk_requests.iloc[rest], stretches, np.flatnonzero(nowhere))
    return Linked(disk_requests, stretches, stretch, offset)


def _observed(trace: Trace, reads: pd.DataFrame | None) -> tuple[pd.DataFrame, list[str]]:
    """COLUMNS without structures, `of` and `how` as numbers; and the words of `of`."""
    found = linked(trace, reads)
    disk_requests, stretches, stretch = found.requests, found.stretches, found.stretch
    of_stretch, offset = stretch >= 0, found.offset
    offset = np.where(of_stretch & (offset < 0), _taken(stretches["offset"], stretch, 0), offset)
    how = _taken(stretches["how"], stretch, _METADATA)
    file = _taken(stretches["file"], stretch, -1)
    systems = Words()
    by_file, by_disk = names_of_file_systems(trace), names_of_disks(trace)
    devices = np.append(trace.files["device"].to_numpy(object), "")
    of_file, of_disk = (
        systems.codes(devices, lambda one, names=names: names.get(one, name_of("", one)))  # type: ignore[misc]
        for names in (by_file, by_disk)
    )
    own = np.where(of_stretch, of_file[file], of_disk[disk_requests["file"].to_numpy()])
    table = pd.DataFrame(
        {
            "time_ns": disk_requests["time_ns"].to_numpy(np.int64),
            "file": np.where(how == _METADATA, np.int32(-1), file),
            "of": np.where(how == _METADATA, own, 0).astype(np.int32),
            "offset": np.where(offset < 0, disk_requests["offset"].to_numpy(np.int64, na_value=0), offset),
            "size": disk_requests["size"].to_numpy(np.int64, na_value=0),
            "how": how,
            "waited_s": _waited_s(trace, disk_requests),
        },
        copy=False,
    )
    unseen = _without_a_disk(trace, stretches, np.unique(stretch[of_stretch]))
    if len(unseen):
        table = pd.concat([table, unseen], ignore_index=True)
        table = table.sort_values("time_ns", kind="stable", ignore_index=True)
    return table, systems.words


def _stretches(trace: Trace, reads: pd.DataFrame | None) -> pd.DataFrame:
    """What the program brought in, pages that follow each other as one, until the next request reaches a
    device: time_ns, tid, file, offset, size, how (place in HOWS), and place: `_NOWHERE` where no place on a
    disk is known. What a write made is left out; reads past the page cache are in it.
    """
    events = trace.events
    part = brought_in(trace, reads)["part"].cat.codes.to_numpy()  # PARTS begin as HOWS do
    turn = np.cumsum(events["op"].isin(DEVICE_OPS).to_numpy(bool), dtype=np.int32)
    missed = ((events["layer"] == "cache") & (events["op"] == "miss")).to_numpy(bool)
    columns = ["time_ns", "tid", "file", "offset", "size"]
    pages = events[columns][missed]
    # the kernel adds pages of tmpfs to the cache as it does any others
    in_memory = np.append(trace.files["filesystem"].isin(MEMORY_FILESYSTEMS).to_numpy(bool), False)
    kept = (part <= _METADATA) & ~in_memory[pages["file"].to_numpy()]
    kept &= pages["offset"].notna().to_numpy(bool) & pages["size"].gt(0).to_numpy(bool)
    pages = pages[kept]
    direct = _past_the_cache(trace, columns)
    none = len(direct)
    time, tid, file, offset, size = (
        np.append(pages[name].to_numpy(dtype), direct[name].to_numpy(dtype))
        for name, dtype in zip(columns, ("int64", "int32", "int32", "int64", "int64"), strict=True)
    )
    how = np.append(part[kept], np.full(none, _READ, part.dtype)).astype(np.int8)
    turn = np.append(turn[missed][kept], np.full(none, -1, turn.dtype))
    del pages, direct, missed
    is_own = np.append(trace.files["kind"].isin(METADATA_KINDS).to_numpy(bool), True)
    how[is_own[file]] = _METADATA
    start, end = spans(offset, size)
    follows = np.zeros(len(time), bool)
    follows[1:] = (start[1:] == end[:-1]) & (turn[1:] >= 0)
    for values in (file, tid, how, turn):
        follows[1:] &= values[1:] == values[:-1]
    first = np.flatnonzero(~follows)
    last = np.append(first[1:], len(time))[: len(first)] - 1
    order = np.argsort(time[first], kind="stable")
    first, last = first[order], last[order]
    return pd.DataFrame(
        {
            "time_ns": time[first], "tid": tid[first], "file": file[first], "offset": offset[first],
            "size": end[last] - start[first], "how": how[first],
            "place": np.full(len(first), _NOWHERE, np.int64),
        },
        copy=False,
    )  # fmt: skip


def _past_the_cache(trace: Trace, columns: list[str]) -> pd.DataFrame:
    """The reads with O_DIRECT of known offset."""
    rows = trace.read_rows()
    events = trace.events
    rows = rows[events["direct"].to_numpy(bool)[rows]]
    found: pd.DataFrame = events[columns].iloc[rows]
    return found[found["offset"].notna().to_numpy(bool)]


def _by_place(trace: Trace, disk_requests: pd.DataFrame, stretches: pd.DataFrame) -> tuple[Ints, Ints]:
    """For each request the row of the stretch that lies first in it on the disk, and where in its file that
    is; -1, -1: none does. Sets `place` of the stretches to where on the disk they begin.
    """
    none = np.full(len(disk_requests), -1, np.int64)
    disks = partitions(trace)
    device = np.append(trace.files["device"].to_numpy(object), "")
    by_extents = np.isin(stretches["file"].to_numpy(), trace.extents["file"].to_numpy(np.int64))
    is_device = np.append(trace.files["kind"].isin(("metadata", "block")).to_numpy(bool), False)
    on_disk = np.array([name in disks for name in device], bool)[stretches["file"].to_numpy()]
    rows = stretches.assign(row=np.arange(len(stretches)))
    placed = place(rows[by_extents & on_disk], trace.files, trace.extents).requests
    itself = rows[~by_extents & on_disk & is_device[rows["file"].to_numpy()]]
    placed = pd.concat([placed, itself.assign(device_offset=itself["offset"])], ignore_index=True)
    if not len(placed) or not len(disk_requests):
        return none, none.copy()
    where = [disks[name] for name in device[placed["file"].to_numpy(np.int64)]]
    begin = placed["device_offset"].to_numpy(np.int64) + np.array([one.start for one in where], np.int64)
    start, end = spans(begin, placed["size"].to_numpy(np.int64))
    row = placed["row"].to_numpy(np.int64)
    stretches.loc[row, "place"] = start

    known = (disk_requests["file"] >= 0) & disk_requests["offset"].notna()
    wanted = np.flatnonzero(known.to_numpy(bool))
    asked = disk_requests.iloc[wanted]
    low, high = spans(asked["offset"].to_numpy(np.int64), asked["size"].to_numpy(np.int64, na_value=1))
    names = np.append([one.disk for one in where], device[asked["file"].to_numpy(np.int64)])
    group, groups = np.split(pd.factorize(names)[0].astype(np.int64), [len(placed)])
    pieces = fresh(group, start, end)
    keys, _, _ = joined(
        np.concatenate([group[pieces.row], group[pieces.row], groups, groups]),
        np.concatenate([pieces.start, pieces.end, low, high]),
    )
    begins, ends, low, high = np.split(keys, np.cumsum([len(pieces.row), len(pieces.row), len(wanted)]))
    order = np.argsort(begins, kind="stable")
    first = np.searchsorted(ends[order], low, side="right")  # pieces are disjoint: in the order of ends too
    piece = order[np.minimum(first, len(order) - 1)]
    met = (first < len(order)) & (begins[piece] < high)
    piece, wanted, low = piece[met], wanted[met], asked["offset"].to_numpy(np.int64)[met]
    part = pieces.row[piece]
    stretch, offset = none, none.copy()
    stretch[wanted] = row[part]
    offset[wanted] = placed["offset"].to_numpy(np.int64)[part] + np.maximum(low - start[part], 0)
    return stretch, offset


def _by_time(disk_requests: pd.DataFrame, stretches: pd.DataFrame, candidates: Ints) -> Ints:
    """For each request the last of the candidates that its task brought in before it, or that anybody did;
    -1: none. A task adds pages to the cache and then asks for them."""
    found = np.full(len(disk_requests), -1, np.int64)
    if not len(candidates) or not len(disk_requests):
        return found
    time, tid = (stretches[name].to_numpy(np.int64)[candidates] for name in ("time_ns", "tid"))
    when, task = (disk_requests[name].to_numpy(np.int64) for name in ("time_ns", "tid"))
    last = np.searchsorted(time, when, side="right") - 1
    found[last >= 0] = candidates[last[last >= 0]]
    keys, _, _ = joined(np.concatenate([tid, task]), np.concatenate([time, when]))
    mine, asked = keys[: len(time)], keys[len(time) :]
    order = np.argsort(mine, kind="stable")
    last = np.searchsorted(mine[order], asked, side="right") - 1
    by_task = (last >= 0) & (tid[order][np.maximum(last, 0)] == task)
    found[by_task] = candidates[order[last[by_task]]]
    return found


def _without_a_disk(trace: Trace, stretches: pd.DataFrame, asked: Ints) -> pd.DataFrame:
    """What came in without any request of a disk, a stretch a request: of files that lie on none, as those
    of network file systems (their devices have the major number 0) do."""
    files = stretches["file"].to_numpy(np.int64)
    device = np.append(trace.files["device"].to_numpy(object), "")
    no_disk = np.array([name.startswith("0:") for name in device], bool)
    placed = np.isin(files, trace.extents["file"].to_numpy(np.int64)) | np.isin(files, files[asked])
    rows: pd.DataFrame = stretches[no_disk[files] & ~placed & (stretches["how"] != _METADATA).to_numpy(bool)]
    return rows[["time_ns", "file", "offset", "size", "how"]].assign(of=np.int32(0), waited_s=np.nan)


def _waited_s(trace: Trace, disk_requests: pd.DataFrame) -> npt.NDArray[np.float64]:
    """For each request the seconds in which a task waited for a device, from the end of all earlier ones to
    its own: where none is under way, it is the next one that is waited for, as a disk that is held to so
    many requests a second is given it late. They add up to all waits before the last request ended. In a
    trace without waits all of the time that any was under way counts."""
    begin = disk_requests["time_ns"].to_numpy(np.int64)
    known = disk_requests["duration_ns"].notna().to_numpy(bool)
    start, end = spans(begin, disk_requests["duration_ns"].to_numpy(np.int64, na_value=0))
    end = np.where(known, end, 0)
    reached = np.append(np.zeros(min(len(end), 1), np.int64), np.maximum.accumulate(end)[:-1])
    begin = reached if len(trace.waits) else np.maximum(start, reached)
    clock = _clock_of_waits(trace)
    seconds: npt.NDArray[np.float64] = clock(end) - clock(np.minimum(begin, end))
    return np.where(known, seconds / 1e9, np.nan)


def _clock_of_waits(trace: Trace) -> Callable[[Ints], npt.NDArray[np.float64]]:
    """A clock that goes on only while a task waits for a device; ns -> ns."""
    waits = trace.waits
    if not len(waits):
        return lambda moment: moment.astype(np.float64)
    waits = waits[((waits["reason"] == "device") & waits["duration_ns"].notna()).to_numpy(bool)]
    waits = waits.sort_values("start_ns", kind="stable")
    start, end = spans(*(waits[name].to_numpy(np.int64) for name in ("start_ns", "duration_ns")))
    reached = np.append(np.zeros(min(len(end), 1), np.int64), np.maximum.accumulate(end)[:-1])
    start, end = np.maximum(start, reached), np.maximum(end, reached)
    points = np.column_stack([start, end]).reshape(-1)  # in order: each begins where the last has ended
    gone = np.repeat(np.cumsum(end - start), 2)
    gone[::2] -= end - start
    return lambda moment: np.interp(moment, points, gone, 0.0) if len(points) else np.zeros(len(moment))


def _taken(column: pd.Series, rows: Ints, otherwise: int) -> npt.NDArray[Any]:
    """Its values at these rows; `otherwise` where a row is -1."""
    values = column.to_numpy()
    found: npt.NDArray[Any] = np.append(values, np.array([otherwise], values.dtype))[rows]
    return found
