"""The syscall layer: entries and exits of read calls found in the kernel's buffer, made rows of the log.

Pure: decoded events and the history of the descriptors in, rows out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.calls import BY_NAME, CALLS, LARGEST, WITHOUT_EFFECT, Row
from profiler.capture.calls.event_log import EVENT_DTYPE, OP_CODES, UNKNOWN
from profiler.capture.calls.history import History
from profiler.capture.calls.positions import SEEK, effect, take
from profiler.capture.kernel.join import asof

Ints = npt.NDArray[np.int64]
Columns = Mapping[str, npt.NDArray[Any]]
"""A decoded event: its fields by name, and time_ns and tid."""


NAMES = tuple(row.name for row in CALLS if row.on_one_file)
"""The calls that are left to the kernel's buffer: they take a descriptor and, but for the vectors, nothing
from the program's memory."""
WRITES = tuple(name for name in NAMES if any(move.writes for move in BY_NAME[name].moves))
READS = tuple(name for name in NAMES if name not in WRITES)

_OPS = np.array([OP_CODES[BY_NAME[name].moves[0].op if BY_NAME[name].moves else name] for name in NAMES])


def _fields(row: Row) -> tuple[str, str]:
    """Which fields of a call's entry event hold what is asked for and where; "": it has none such."""
    move = row.moves[0] if row.moves else None
    if move is None or not move.offset:
        return row.count, ""
    # on 64-bit machines the lower half is all of an offset in two registers (linux: read_write.c)
    half = "_l" if row.arguments[row.at(move.offset)].kind == "split" else ""
    return row.count, move.offset + half


def wanted(calls: Iterable[str]) -> dict[str, list[str]]:
    """Names of the events of these calls (without their system) and the fields that are needed."""
    found = {}
    for name in calls:
        found[f"sys_enter_{name}"] = ["fd", *filter(None, _fields(BY_NAME[name]))]
        found[f"sys_exit_{name}"] = ["ret"]
    return found


@dataclass(frozen=True)
class Pairs:
    """Calls as they were made, arrays of equal length, by thread and time. call: index into NAMES.

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


class Pairing:
    """Puts each exit to its entry, window after window of a trace: a thread makes one call at a time.

    begun: task -> when the call began that it was in at the end of the last window (ns).
    """

    def __init__(self) -> None:
        self._open = [np.zeros(0, np.int64)] * _COLUMNS
        self.begun: dict[int, int] = {}

    def feed(self, tables: Mapping[str, Columns], last: bool) -> Pairs:
        """The calls that have ended, and those whose end was lost; at last those too that never did."""
        time, tid, call, ends, descriptor, requested, offset, result = columns = [
            np.concatenate(parts) for parts in zip(self._open, _columns(tables), strict=True)
        ]
        order = np.lexsort((time, tid))
        followed = np.zeros(len(order), bool)
        final = np.ones(len(order), bool)  # what its task did last
        if len(order) > 1:
            one, two = order[:-1], order[1:]
            followed[:-1] = (
                (ends[one] == 0) & (ends[two] == 1) & (tid[one] == tid[two]) & (call[one] == call[two])
            )
            final[:-1] = tid[one] != tid[two]
        begins = ends[order] == 0
        left = order[begins & final] if not last else np.zeros(0, np.int64)
        self._open = [column[left] for column in columns]
        self.begun = dict(zip(tid[left].tolist(), time[left].tolist(), strict=True))
        at = np.flatnonzero(begins & (~final | last))
        ended, entry = followed[at], order[at]
        exit_ = order[np.minimum(at + 1, max(0, len(order) - 1))]
        return Pairs(
            time[entry], np.where(ended, time[exit_] - time[entry], UNKNOWN), tid[entry], call[entry],
            descriptor[entry] & 0xFFFFFFFF, np.where(requested[entry] < 0, LARGEST, requested[entry]),
            offset[entry], np.where(ended, result[exit_], UNKNOWN), int(ends.sum() - followed.sum()),
        )  # fmt: skip


_COLUMNS = 8  # of `_columns`


def _columns(tables: Mapping[str, Columns]) -> list[Ints]:
    """Entries and exits of all calls as columns: time, task, call, whether it is an exit, descriptor, bytes
    requested, offset, result."""
    parts: list[list[npt.NDArray[Any]]] = []
    for number, name in enumerate(NAMES):
        requested_in, offset_in = _fields(BY_NAME[name])
        for at_end, event in enumerate((f"sys_enter_{name}", f"sys_exit_{name}")):
            table = tables.get(event)
            if table is not None and len(table["time_ns"]):
                count = len(table["time_ns"])
                none = np.full(count, UNKNOWN)
                asked = np.zeros(count, np.int64)
                parts.append([
                    table["time_ns"], table["tid"], np.full(count, number), np.full(count, at_end),
                    none if at_end else table["fd"],
                    asked if at_end or not requested_in else table[requested_in],
                    none if at_end or not offset_in else table[offset_in],
                    table["ret"] if at_end else none,
                ])  # fmt: skip
    columns = [np.concatenate(column).astype(np.int64) for column in zip(*parts, strict=True)]
    return columns or [np.zeros(0, np.int64)] * _COLUMNS


def pairs(tables: Mapping[str, Columns]) -> Pairs:
    """The calls of a whole trace."""
    return Pairing().feed(tables, last=True)


def slots(made: Pairs, history: History) -> tuple[Ints, Ints]:
    """Of each call the descriptor table of its task, and the row of `history.slot_*` that says what its
    descriptor meant then; -1: not known."""
    task = asof(made.tid, made.time_ns, history.task, history.task_time)
    table = np.where(task >= 0, take(history.task_table, task), -1)
    slot = asof(
        _slot_key(table, made.descriptor), made.time_ns,
        _slot_key(history.slot_table, history.slot_descriptor), history.slot_time,
    )  # fmt: skip
    return table, np.where(table >= 0, slot, -1)


def handles(made: Pairs, history: History) -> Ints:
    """Which open each of the calls was made on; -1: it is not known."""
    _, slot = slots(made, history)
    return np.where(slot >= 0, take(history.slot_handle, slot), -1)


def rows(
    made: Pairs, history: History, processes: Mapping[int, int], start_ns: int, handle: Ints | None = None
) -> npt.NDArray[np.void]:
    """Those of the calls that were made on files, as rows of the recorder's log.

    processes: task -> process. start_ns: of the program, the zero of the rows' times. handle: of each call,
    as `handles` gives it, -1 for calls that are to be left out. Offsets of calls at the descriptor's
    position are UNKNOWN; `place` fills them in.
    """
    handle = handles(made, history) if handle is None else handle
    at = on_files(made, history, start_ns, handle)
    handle, op = handle[at], _OPS[made.call[at]]
    state = asof(handle, made.time_ns[at], history.state_handle, history.state_time)
    found = np.zeros(len(at), EVENT_DTYPE)
    found["time_ns"] = made.time_ns[at] - start_ns
    found["duration_ns"] = made.duration_ns[at]
    found["tid"] = made.tid[at]
    found["pid"] = processes_of(made.tid[at], processes)
    found["file"] = take(history.file, handle)
    found["handle"] = handle
    found["op"] = op
    for name, column in effect(op, made.offset[at], made.requested[at], made.result[at]).items():
        found[name] = column
    found["direct"] = (state >= 0) & take(history.state_direct, state).astype(bool)
    return found


def on_files(made: Pairs, history: History, start_ns: int, handle: Ints) -> Ints:
    """Which of the calls were made on files since the program's start, and did something."""
    wanted = (
        (handle >= 0) & take(history.data, handle).astype(bool) & (made.time_ns >= start_ns)
        & ~np.isin(made.result, tuple(WITHOUT_EFFECT)) & ~((_OPS[made.call] == SEEK) & (made.result < 0))
    )  # fmt: skip
    return np.flatnonzero(wanted)


def _slot_key(table: Ints, descriptor: Ints) -> Ints:
    return (table << 32) | descriptor


def processes_of(tids: npt.NDArray[Any], processes: Mapping[int, int]) -> Ints:
    """The process of each task, as far as known; else the task itself."""
    distinct, which = np.unique(tids, return_inverse=True)
    return np.array([processes.get(int(tid), int(tid)) for tid in distinct], np.int64)[which.reshape(-1)]
