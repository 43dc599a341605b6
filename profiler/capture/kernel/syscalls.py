"""The syscall layer: entries and exits of read calls found in the kernel's buffer, made rows of the log.

Pure: decoded events and the history of the descriptors in, rows out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.capture.journal import History
from profiler.capture.kernel.join import asof
from profiler.capture.recorder import EVENT_DTYPE, OP_CODES, UNKNOWN
from profiler.trace import READ_OPS, WRITE_OPS

Ints = npt.NDArray[np.int64]
Columns = Mapping[str, npt.NDArray[Any]]
"""A decoded event: its fields by name, and time_ns and tid."""


@dataclass(frozen=True)
class Shape:
    """Which fields of a call's entry event hold what is asked for and where; "": it has none such."""

    requested: str = ""
    offset: str = ""


READS: dict[str, Shape] = {
    "read": Shape("count"),
    "pread64": Shape("count", "pos"),
    "readv": Shape(),
    "preadv": Shape(offset="pos_l"),  # on 64-bit machines the lower half is all of it (linux: read_write.c)
    "preadv2": Shape(offset="pos_l"),
    "lseek": Shape(),
}
WRITES: dict[str, Shape] = {
    "write": Shape("count"),
    "pwrite64": Shape("count", "pos"),
    "writev": Shape(),
    "pwritev": Shape(offset="pos_l"),
    "pwritev2": Shape(offset="pos_l"),
}
"""The calls that are left to the kernel's buffer: they take a descriptor and, but for the vectors, nothing
from the program's memory."""
SHAPES = {**READS, **WRITES}

_WITHOUT_EFFECT = (-512, -513, -514, -516, -9)  # see capture/calls.py
_MOVES = np.array([OP_CODES[name] for name in (*READ_OPS, *WRITE_OPS)])
_WRITES = np.array([OP_CODES[name] for name in WRITE_OPS])
_SEEK = OP_CODES["lseek"]
_MOST = 2**62  # see capture/calls.py


def wanted(calls: Iterable[str]) -> dict[str, list[str]]:
    """Names of the events of these calls (without their system) and the fields that are needed."""
    found = {}
    for name in calls:
        shape = SHAPES[name]
        found[f"sys_enter_{name}"] = ["fd", *filter(None, (shape.requested, shape.offset))]
        found[f"sys_exit_{name}"] = ["ret"]
    return found


@dataclass(frozen=True)
class Pairs:
    """Calls as they were made, arrays of equal length, by thread and time. call: index into SHAPES.

    offset is UNKNOWN for calls at the descriptor's position, duration_ns and result are for calls whose end
    was not seen. orphans: exits without an entry, of calls that had begun before, or whose entry was lost.
    """

    time_ns: Ints
    duration_ns: Ints
    tid: Ints
    call: Ints
    descriptor: Ints
    requested: Ints
    offset: Ints
    result: Ints
    orphans: int


def pairs(tables: Mapping[str, Columns]) -> Pairs:
    """Put each exit to its entry: a thread makes one call at a time."""
    parts: list[list[npt.NDArray[Any]]] = []
    for number, (name, shape) in enumerate(SHAPES.items()):
        for at_end, event in enumerate((f"sys_enter_{name}", f"sys_exit_{name}")):
            table = tables.get(event)
            if table is not None and len(table["time_ns"]):
                count = len(table["time_ns"])
                none = np.full(count, UNKNOWN)
                asked = np.zeros(count, np.int64)
                parts.append([
                    table["time_ns"], table["tid"], np.full(count, number), np.full(count, at_end),
                    none if at_end else table["fd"],
                    asked if at_end or not shape.requested else table[shape.requested],
                    none if at_end or not shape.offset else table[shape.offset],
                    table["ret"] if at_end else none,
                ])  # fmt: skip
    columns = [np.concatenate(column).astype(np.int64) for column in zip(*parts, strict=True)]
    time, tid, call, ends, descriptor, requested, offset, result = columns or [np.zeros(0, np.int64)] * 8
    order = np.lexsort((time, tid))
    followed = np.zeros(len(order), bool)
    if len(order) > 1:
        one, two = order[:-1], order[1:]
        followed[:-1] = (
            (ends[one] == 0) & (ends[two] == 1) & (tid[one] == tid[two]) & (call[one] == call[two])
        )
    begins = np.flatnonzero(ends[order] == 0)
    ended, entry = followed[begins], order[begins]
    exit_ = order[np.minimum(begins + 1, max(0, len(order) - 1))]
    return Pairs(
        time[entry], np.where(ended, time[exit_] - time[entry], UNKNOWN), tid[entry], call[entry],
        descriptor[entry] & 0xFFFFFFFF, np.where(requested[entry] < 0, _MOST, requested[entry]),
        offset[entry], np.where(ended, result[exit_], UNKNOWN), int(ends.sum() - followed.sum()),
    )  # fmt: skip


def rows(made: Pairs, history: History, processes: Mapping[int, int], start_ns: int) -> npt.NDArray[np.void]:
    """Those of the calls that were made on files, as rows of the recorder's log.

    processes: task -> process. start_ns: of the program, the zero of the rows' times. Offsets of calls at
    the descriptor's position are UNKNOWN; `place` fills them in.
    """
    table = asof(made.tid, made.time_ns, history.task, history.task_time)
    of_table = np.where(table >= 0, _take(history.task_table, table), -1)
    slot = asof(
        _slot_key(of_table, made.descriptor), made.time_ns,
        _slot_key(history.slot_table, history.slot_descriptor), history.slot_time,
    )  # fmt: skip
    handle = np.where((slot >= 0) & (of_table >= 0), _take(history.slot_handle, slot), -1)
    name = np.array([OP_CODES[name] for name in SHAPES])[made.call]
    wanted = (
        (handle >= 0) & _take(history.data, handle).astype(bool) & (made.time_ns >= start_ns)
        & ~np.isin(made.result, _WITHOUT_EFFECT) & ~((name == _SEEK) & (made.result < 0))
    )  # fmt: skip
    at = np.flatnonzero(wanted)
    handle, name, result = handle[at], name[at], made.result[at]
    state = asof(handle, made.time_ns[at], history.state_handle, history.state_time)
    failed = (result < 0) & (result != UNKNOWN)
    found = np.zeros(len(at), EVENT_DTYPE)
    found["time_ns"] = made.time_ns[at] - start_ns
    found["duration_ns"] = made.duration_ns[at]
    found["tid"] = made.tid[at]
    found["pid"] = processes_of(made.tid[at], processes)
    found["file"] = _take(history.file, handle)
    found["handle"] = handle
    found["op"] = name
    found["size"] = np.where(failed | (name == _SEEK), UNKNOWN, result)
    found["errno"] = np.where(failed, -result, 0)
    found["requested"] = np.where(
        name == _SEEK, 0, np.maximum(made.requested[at], np.maximum(found["size"], 0))
    )
    found["offset"] = np.where(name == _SEEK, result, made.offset[at])
    found["offset"][(found["offset"] < 0) | (found["offset"] > _MOST)] = UNKNOWN
    found["direct"] = (state >= 0) & _take(history.state_direct, state).astype(bool)
    return found


def place(log: npt.NDArray[np.void], history: History, start_ns: int) -> npt.NDArray[np.void]:
    """The log with the offsets of all that was read or written at a descriptor's position.

    Every open of a file has one position, which such calls move on, in the order in which they end (the
    kernel lets one at a time do so), lseek sets, and a write in append mode takes nobody knows where.
    """
    moves = (log["offset"] == UNKNOWN) & np.isin(log["op"], _MOVES)
    at = np.flatnonzero((log["handle"] >= 0) & (moves | (log["op"] == _SEEK)))
    if not len(at):
        return log
    ends = log["time_ns"][at] + np.maximum(log["duration_ns"][at], 0)
    at = at[np.lexsort((ends, log["handle"][at]))]
    handle, op, moving = log["handle"][at].astype(np.int64), log["op"][at], moves[at]
    state = asof(handle, log["time_ns"][at] + start_ns, history.state_handle, history.state_time)
    appends = np.isin(op, _WRITES) & moving & (state >= 0) & _take(history.state_append, state).astype(bool)

    step = np.where(moving, np.maximum(log["size"][at], 0), 0)
    before = np.cumsum(step) - step
    first = np.append(True, handle[1:] != handle[:-1])
    sets = (op == _SEEK) | appends
    begins = first | np.append(False, sets[:-1])
    value = np.where(first, _take(history.position, handle), UNKNOWN)
    follows_seek = begins & ~first
    follows_seek[1:] &= op[:-1] == _SEEK
    value[1:] = np.where(follows_seek[1:], log["offset"][at][:-1], value[1:])
    segment = np.maximum.accumulate(np.where(begins, np.arange(len(at)), 0))
    known = (value[segment] != UNKNOWN) & ~appends & moving
    offset = value[segment] + before - before[segment]
    placed = log.copy()
    placed["offset"][at[known]] = offset[known]
    return placed


def _slot_key(table: Ints, descriptor: Ints) -> Ints:
    return (table << 32) | descriptor


def _take(values: npt.NDArray[Any], at: Ints) -> Ints:
    """values[at]; anything where `at` is -1."""
    taken: Ints = np.append(values, [0])[at].astype(np.int64)
    return taken


def processes_of(tids: npt.NDArray[Any], processes: Mapping[int, int]) -> Ints:
    """The process of each task, as far as known; else the task itself."""
    distinct, which = np.unique(tids, return_inverse=True)
    return np.array([processes.get(int(tid), int(tid)) for tid in distinct], np.int64)[which.reshape(-1)]
