"""Who read: which task each event is of, and what each process read. Names and programs are bytes, as
recorded, b"" where they are not known; a process without a row in the table of tasks is known by its number
alone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.intervals import Ints, group_sums, new_bytes, spans
from profiler.trace import DEVICE_OPS, Trace


@dataclass(frozen=True)
class Reader:
    """What the processes of one name and one program read. threads: names of their threads that read, other
    than that name, the one with the most reads first. processes: how many they are. unique_bytes: every
    byte of every file once, counted with whoever read it first; reads of unknown offset are left out."""

    name: bytes
    program: bytes
    container: str
    processes: int
    threads: tuple[bytes, ...]
    reads: int
    bytes: int
    unique_bytes: int


@dataclass(frozen=True)
class FileReader:
    """What one process read of one file."""

    program: bytes
    name: bytes
    pid: int
    reads: int
    bytes: int


def rows_of(tasks: pd.DataFrame, tid: Ints, time_ns: Ints) -> Ints:
    """The row of `tasks` (trace.TASK_COLUMNS) that each event is of: the last of its tid that began by then,
    else the first there is; -1: there is none. Rows without a start began before all."""
    if not len(tasks):
        return np.full(len(tid), -1, np.int64)
    known = tasks["tid"].to_numpy(np.int64)
    start = tasks["start_ns"].to_numpy(np.int64, na_value=-1)
    order = np.lexsort((start, known))
    known, start = known[order], start[order]
    first = np.searchsorted(known, tid)
    there = known[np.minimum(first, len(known) - 1)] == tid
    last = np.searchsorted(known, tid, side="right") - 1
    found = np.where(there, first, -1)
    again = np.flatnonzero(there & (last > first))  # the number came again: which of them by the time
    if len(again):
        both = np.concatenate([known, tid[again]])
        times = np.concatenate([start, time_ns[again]])
        is_event = np.repeat([False, True], [len(known), len(again)])
        merged = np.lexsort((is_event, times, both))
        place = np.where(is_event[merged], -1, merged)
        begun = np.maximum.accumulate(place)  # rows are in this order already: the last one is the largest
        at = np.empty(len(both), np.int64)
        at[merged] = begun
        found[again] = np.maximum(at[len(known) :], first[again])
    return np.where(found >= 0, order[found], -1)


def label(name: bytes, program: bytes, thread: bytes = b"") -> bytes:
    """What to call whoever read, "qemu-system-x86: CPU 0/KVM"; b"": nothing is known."""
    process = name or os.path.basename(program)
    return process + b": " + thread if thread and thread != process else process


def processes(tasks: pd.DataFrame, reads: pd.DataFrame) -> pd.DataFrame:
    """Of each read (a frame with pid, tid, time_ns) who made it: columns name (of the process), program,
    container, thread (name of the thread)."""
    own, main = _rows(tasks, reads)

    def column(name: str, rows: Ints, unknown: object) -> npt.NDArray[np.object_]:
        values = np.empty(len(tasks) + 1, object)  # row -1 -> the last
        values[:-1], values[-1] = tasks[name].to_numpy(object), unknown
        found: npt.NDArray[np.object_] = values[rows]
        return found

    return pd.DataFrame(
        {
            "name": column("name", main, b""),
            "program": column("program", main, b""),
            "container": column("container", main, ""),
            "thread": column("name", own, b""),
        }
    )


def names(tasks: pd.DataFrame, reads: pd.DataFrame) -> npt.NDArray[np.object_]:
    """What to call the process that made each read (a frame as in `processes`): its `label`, and behind it
    the container if these reads are of several; b"": not known."""
    if not len(tasks) or not len(reads):
        return np.full(len(reads), b"", object)
    rows, which = np.unique(_rows(tasks, reads)[1], return_inverse=True)
    kinds = [
        (tasks["name"].iloc[row], tasks["program"].iloc[row], tasks["container"].iloc[row])
        if row >= 0 else (b"", b"", "")
        for row in rows.tolist()
    ]  # fmt: skip
    several = len({container for *_, container in kinds}) > 1
    found = np.empty(len(kinds), object)
    for code, (name, program, container) in enumerate(kinds):
        inside = b" in " + os.fsencode(container) if several and container else b""
        shown = label(name, program)
        found[code] = shown + inside if shown else b""
    made: npt.NDArray[np.object_] = found[which]
    return made


def _rows(tasks: pd.DataFrame, reads: pd.DataFrame) -> tuple[Ints, Ints]:
    """Of each read the rows of `tasks` of its thread and of its process; -1: not known."""
    times = reads["time_ns"].to_numpy(np.int64)
    own = rows_of(tasks, reads["tid"].to_numpy(np.int64), times)
    main = rows_of(tasks, reads["pid"].to_numpy(np.int64), times)
    return own, np.where(main >= 0, main, own)


def readers(tasks: pd.DataFrame, classified: pd.DataFrame) -> tuple[Reader, ...]:
    """Who read what of all files, the most reads first. classified: as of `access.classify`."""
    if not len(classified):
        return ()
    who = processes(tasks, classified)
    codes, kinds = _codes([who["name"], who["program"], who["container"]])
    count = len(kinds)
    counts = np.bincount(codes, minlength=count)
    size = group_sums(classified["size"].to_numpy(np.int64), codes, count)
    unique = group_sums(classified["new_bytes"].to_numpy(np.int64), codes, count)
    pids = pd.DataFrame({"code": codes, "pid": classified["pid"].to_numpy()}).drop_duplicates()
    processes_ = np.bincount(pids["code"].to_numpy(), minlength=count)
    threads: dict[int, list[bytes]] = {}
    by_thread = pd.DataFrame({"code": codes, "thread": who["thread"]}).value_counts(sort=True)
    for code, thread in by_thread.index:
        if thread and thread != kinds[code][0]:
            threads.setdefault(code, []).append(thread)
    return tuple(
        Reader(
            kinds[code][0], kinds[code][1], kinds[code][2], int(processes_[code]),
            tuple(threads.get(code, ())), int(counts[code]), int(size[code]), int(unique[code]),
        )
        for code in np.argsort(-counts, kind="stable").tolist()
    )  # fmt: skip


def asked(trace: Trace) -> pd.DataFrame:
    """What was asked for: the reads. Of a log of the block layer, which has none, the requests of disks with
    the same columns, by whom they were asked for, whoever issued them."""
    if not trace.meta.device_only:
        return trace.reads()
    rows = trace.layer("device")
    rows = rows[rows["op"].isin(DEVICE_OPS).to_numpy(bool)].reset_index(drop=True)
    return rows.assign(tid=rows["pid"])


def requesters(trace: Trace) -> tuple[Reader, ...]:
    """Who asked for what of all disks; see `asked`."""
    rows = asked(trace)
    size = rows["size"].to_numpy(np.int64, na_value=0)
    start, end = spans(rows["offset"].to_numpy(np.int64, na_value=0), size)
    new = new_bytes(rows["file"].to_numpy(np.int64), start, end)
    return readers(trace.tasks, rows.assign(size=size, new_bytes=new))


def by_file(tasks: pd.DataFrame, reads: pd.DataFrame) -> dict[int, tuple[FileReader, ...]]:
    """File -> the processes that read it, the most reads first."""
    if not len(reads):
        return {}
    who = processes(tasks, reads)
    columns = [reads["file"].reset_index(drop=True), who["program"], who["name"],
               reads["pid"].reset_index(drop=True)]  # fmt: skip
    codes, kinds = _codes(columns)
    counts = np.bincount(codes, minlength=len(kinds))
    sizes = group_sums(reads["size"].to_numpy(np.int64), codes, len(kinds))
    found: dict[int, list[FileReader]] = {}
    for code in np.argsort(-counts, kind="stable").tolist():
        file, program, name, pid = kinds[code]
        one = FileReader(program, name, int(pid), int(counts[code]), int(sizes[code]))
        found.setdefault(int(file), []).append(one)
    return {file: tuple(rows) for file, rows in found.items()}


def _codes(columns: Iterable[pd.Series]) -> tuple[Ints, list[tuple[Any, ...]]]:
    """Rows of equal values get equal numbers from 0 on, in the order in which they come; and the values of
    each number."""
    frame = pd.concat([column.rename(str(at)) for at, column in enumerate(columns)], axis=1)
    groups = frame.groupby(list(frame.columns), sort=False)
    codes: Ints = np.asarray(groups.ngroup(), np.int64)
    first = np.unique(codes, return_index=True)[1]
    return codes, list(frame.iloc[first].itertuples(index=False, name=None))
