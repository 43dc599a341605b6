"""Who read: which task each event is of, and what each process read. Names and programs are bytes, as
recorded, b"" where they are not known; a process without a row in the table of tasks is known by its number
alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
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
    which, distinct = pd.factorize(tid)  # few tasks, many events
    first_of = np.searchsorted(known, distinct)
    there = known[np.minimum(first_of, len(known) - 1)] == distinct
    several = there & (np.searchsorted(known, distinct, side="right") - 1 > first_of)
    found = np.where(there, first_of, -1)[which]
    again = np.flatnonzero(several[which])  # the number came again: which of them by the time
    if len(again):
        both = np.concatenate([known, tid[again]])
        times = np.concatenate([start, time_ns[again]])
        is_event = np.repeat([False, True], [len(known), len(again)])
        merged = np.lexsort((is_event, times, both))
        place = np.where(is_event[merged], -1, merged)
        begun = np.maximum.accumulate(place)  # rows are in this order already: the last one is the largest
        at = np.empty(len(both), np.int64)
        at[merged] = begun
        found[again] = np.maximum(at[len(known) :], found[again])
    return np.where(found >= 0, order[found], -1)


def label(name: bytes, program: bytes, thread: bytes = b"") -> bytes:
    """What to call whoever read, "qemu-system-x86: CPU 0/KVM"; b"": nothing is known."""
    process = name or os.path.basename(program)
    return process + b": " + thread if thread and thread != process else process


def names(tasks: pd.DataFrame, reads: pd.DataFrame) -> npt.NDArray[np.object_]:
    """What to call the process that made each read (a frame with pid, tid, time_ns): its `label`,
    and behind it the container if these reads are of several; b"": not known."""
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
    np.copyto(main, own, where=main < 0)
    return own, main


_LOW = 2**32 - 1
"""The bits of a number of 32 bits, whatever its sign, beside which another one has room."""


def readers(tasks: pd.DataFrame, classified: pd.DataFrame) -> tuple[Reader, ...]:
    """Who read what of all files, the most reads first. classified: as of `access.classify`; of its columns
    time_ns, pid, tid, size, new_bytes."""
    if not len(classified):
        return ()
    own, main = _rows(tasks, classified)
    codes, kinds = _kinds(tasks, main, ("name", "program", "container"))
    count = len(kinds)
    counts = np.bincount(codes, minlength=count)
    size = group_sums(classified["size"].to_numpy(np.int64), codes, count)
    unique = group_sums(classified["new_bytes"].to_numpy(np.int64), codes, count)
    pids = pd.unique(codes << 32 | classified["pid"].to_numpy(np.int64) & _LOW)
    processes = np.bincount(pids >> 32, minlength=count)
    names, which = np.unique(np.append(tasks["name"].to_numpy(object), b""), return_inverse=True)
    by_thread = np.bincount(codes * len(names) + which.reshape(-1)[own], minlength=count * len(names))
    threads: dict[int, list[bytes]] = {}
    for pair in np.argsort(-by_thread, kind="stable")[: np.count_nonzero(by_thread)].tolist():
        code, thread = pair // len(names), names[pair % len(names)]
        if thread and thread != kinds[code][0]:
            threads.setdefault(code, []).append(thread)
    return tuple(
        Reader(
            kinds[code][0], kinds[code][1], kinds[code][2], int(processes[code]),
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
    """File -> the processes that read it, the most reads first. reads: time_ns, pid, tid, file, size."""
    if not len(reads):
        return {}
    which, kinds = _kinds(tasks, _rows(tasks, reads)[1], ("program", "name"))
    pairs, of_pair = pd.factorize(which << 32 | reads["file"].to_numpy(np.int64))
    codes, of_code = pd.factorize(pairs << 32 | reads["pid"].to_numpy(np.int64) & _LOW)
    pids = of_code.astype(np.int32).tolist()
    counts = np.bincount(codes, minlength=len(of_code))
    sizes = group_sums(reads["size"].to_numpy(np.int64), codes, len(of_code))
    found: dict[int, list[FileReader]] = {}
    for code in np.argsort(-counts, kind="stable").tolist():
        kind, file = divmod(int(of_pair[of_code[code] >> 32]), 1 << 32)
        program, name = kinds[kind]
        reader = FileReader(program, name, pids[code], int(counts[code]), int(sizes[code]))
        found.setdefault(file, []).append(reader)
    return {file: tuple(rows) for file, rows in found.items()}


def _kinds(
    tasks: pd.DataFrame, rows: Ints, columns: Sequence[str]
) -> tuple[npt.NDArray[np.int64], list[tuple[Any, ...]]]:
    """Rows of tasks (-1: not known) of equal values get equal numbers from 0 on, in the order in which they
    come; and the values of each number."""
    nobody = tuple("" if name == "container" else b"" for name in columns)
    of_task = [*zip(*(tasks[name].tolist() for name in columns), strict=True), nobody]
    numbers = {kind: number for number, kind in enumerate(dict.fromkeys(of_task))}
    number_of = np.array([numbers[kind] for kind in of_task], np.int64)
    codes, found = pd.factorize(number_of[rows])
    kinds = list(numbers)
    return codes.astype(np.int64, copy=False), [kinds[number] for number in found.tolist()]
