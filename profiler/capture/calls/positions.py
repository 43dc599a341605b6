"""What many calls on one descriptor each did, at once: the same meaning as in `meaning`, in numpy.

A call at a descriptor's position says only how far it moved that; `place` follows each open through all
its calls. Pure: columns of the event log in, columns out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.calls import READ_OPS, WRITE_OPS
from profiler.capture.calls.event_log import OP_CODES, UNKNOWN
from profiler.capture.calls.history import History
from profiler.capture.kernel.join import asof

Ints = npt.NDArray[np.int64]

SEEK = OP_CODES["lseek"]
_MOVES = np.array([OP_CODES[name] for name in (*READ_OPS, *WRITE_OPS)])
_WRITES = np.array([OP_CODES[name] for name in WRITE_OPS])


def effect(op: Ints, offset: Ints, requested: Ints, result: Ints) -> dict[str, Ints]:
    """The columns offset, requested, size and errno of calls that have ended, an element a call.

    op: codes of OP_CODES. offset: bytes, UNKNOWN for calls at the position, which stays so. requested:
    bytes. result: what the kernel returned, -errno on failure, UNKNOWN where no end was seen.
    """
    seeks = op == SEEK
    failed = (result < 0) & (result != UNKNOWN)
    size = np.where(failed | seeks, UNKNOWN, result)
    start = np.where(seeks, result, offset)
    return {
        "offset": np.where(start < 0, UNKNOWN, start),
        "requested": np.where(seeks, 0, np.maximum(requested, np.maximum(size, 0))),
        "size": size,
        "errno": np.where(failed, -result, 0),
    }


class Positions:
    """The positions of all opens of files, followed through a trace piece by piece. start_ns: its zero."""

    def __init__(self, history: History, start_ns: int) -> None:
        self._history = history
        self._start_ns = start_ns
        self._now = history.position.copy()  # by handle, bytes; UNKNOWN where it is not known

    def place(self, log: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
        """The log with the offsets of all that was read or written at a descriptor's position. Calls are
        given in the piece in which they end.

        Every open of a file has one position, which such calls move on, in the order in which they end (the
        kernel lets one at a time do so), lseek sets, and a write in append mode takes nobody knows where.
        """
        history = self._history
        moves = (log["offset"] == UNKNOWN) & np.isin(log["op"], _MOVES)
        at = np.flatnonzero((log["handle"] >= 0) & (moves | (log["op"] == SEEK)))
        if not len(at):
            return log
        ends = log["time_ns"][at] + np.maximum(log["duration_ns"][at], 0)
        at = at[np.lexsort((ends, log["handle"][at]))]
        handle, op, moving = log["handle"][at].astype(np.int64), log["op"][at], moves[at]
        state = asof(handle, log["time_ns"][at] + self._start_ns, history.state_handle, history.state_time)
        can_append = (state >= 0) & take(history.state_append, state).astype(bool)
        appends = np.isin(op, _WRITES) & moving & can_append

        step = np.where(moving, np.maximum(log["size"][at], 0), 0)
        before = np.cumsum(step) - step
        first = np.append(True, handle[1:] != handle[:-1])
        sets = (op == SEEK) | appends
        begins = first | np.append(False, sets[:-1])
        value = np.where(first, take(self._now, handle), UNKNOWN)
        follows_seek = begins & ~first
        follows_seek[1:] &= op[:-1] == SEEK
        value[1:] = np.where(follows_seek[1:], log["offset"][at][:-1], value[1:])
        segment = np.maximum.accumulate(np.where(begins, np.arange(len(at)), 0))
        offset = value[segment] + before - before[segment]
        known = (value[segment] != UNKNOWN) & (offset >= 0)

        final = np.append(first[1:], True)
        after = np.where(known & ~appends, offset + step, UNKNOWN)
        self._now[handle[final]] = np.where(op == SEEK, log["offset"][at], after)[final]
        known &= ~appends & moving
        placed = log.copy()
        placed["offset"][at[known]] = offset[known]
        return placed


def place(log: npt.NDArray[np.void], history: History, start_ns: int) -> npt.NDArray[np.void]:
    """A whole log with the offsets of all that was read or written at a descriptor's position."""
    return Positions(history, start_ns).place(log)


def take(values: npt.NDArray[Any], at: Ints) -> Ints:
    """values[at]; anything where `at` is -1."""
    taken: Ints = np.append(values, [0])[at].astype(np.int64)
    return taken
