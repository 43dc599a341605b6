"""Reads, writes and seeks of a strace log whose descriptors are known already: many events at a time."""

from __future__ import annotations

import numpy as np

from profiler.capture.descriptors import Open
from profiler.capture.recorder import OP_CODES, UNKNOWN, Recorder
from profiler.capture.strace_columns import FULL, Columns

AT_OFFSET, POSITIONAL, LSEEK, NO_DATA = range(4)
HOT = {"read": POSITIONAL, "write": POSITIONAL, "pread64": AT_OFFSET, "pwrite64": AT_OFFSET, "lseek": LSEEK}
"""The calls of which there are many -> how they find their offset."""
_FEW = 16  # so many events are cheaper to add one by one


UNRESOLVED, SKIP = -1, -2
"""In place of what `Batch.use` gives: not known yet; no file, nothing to record."""


class Batch:
    """Events that wait to be recorded, each a line of `Columns` and a call on an open.

    Lines that name their offset themselves leave everything as it is. These are the easy ones: they are
    not even looked at one by one, except the first of each group, which says in `easy_uses` what the
    others mean.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._uses: list[tuple[int, int, int, int, bool, int, int]] = []
        self._easy = np.zeros(0, np.int64)
        self._easy_done = 0
        self.easy_uses = np.zeros(0, np.int64)  # of each group of lines
        self.lines: list[int] = []  # the other lines, by their index among the chosen, in order
        self.uses: list[int] = []  # what `use` gave
        self.offsets: list[int] = []  # where it is not in the line
        self.begun: dict[int, int] = {}  # line -> ns: calls that began in a line before

    def use(self, name: str, opened: Open, pid: int, task: int) -> int:
        """A number for the calls `name` of a task on an open, good until `forget`."""
        kind = HOT[name]
        self._uses.append((kind, OP_CODES[name], opened.file, opened.handle, opened.direct, pid, task))
        return len(self._uses) - 1

    def forget(self) -> None:
        """The numbers of `use` are void."""
        self._uses.clear()

    def plan(self, columns: Columns, start: int, stop: int, easy: bool) -> np.ndarray:
        """Which of the chosen lines from `start` to `stop` have to be looked at one by one."""
        self._easy_done = 0
        self.easy_uses = np.full(len(columns.keys), UNRESOLVED)
        if not easy:
            self._easy = np.zeros(0, np.int64)
            return np.arange(start, stop)
        own_offset = np.array([key.startswith((b"pread64(", b"pwrite64(")) for _, key in columns.keys], bool)
        is_easy = columns.shape[start:stop] == FULL
        is_easy[is_easy] = own_offset[columns.group[start:stop][is_easy]]
        candidates = np.flatnonzero(is_easy)
        is_easy[candidates[np.unique(columns.group[start:stop][candidates], return_index=True)[1]]] = False
        self._easy = np.flatnonzero(is_easy) + start
        return np.flatnonzero(~is_easy) + start

    def flush(self, columns: Columns, times: np.ndarray, timed: bool, end: int) -> None:
        """Record what waits before the chosen line `end`. times: of those lines, ns; timed: if they are
        times.
        """
        done = self._easy_done
        self._easy_done = int(np.searchsorted(self._easy, end)) if len(self._easy) else 0
        easy = self._easy[done : self._easy_done]
        easy_uses = self.easy_uses[columns.group[easy]]
        if len(easy) and (easy_uses < 0).any():
            easy, easy_uses = easy[easy_uses >= 0], easy_uses[easy_uses >= 0]
        if not self.lines and not len(easy):
            return
        lines, uses = np.array(self.lines, np.int64), np.array(self.uses, np.int64)
        offsets = np.array(self.offsets, np.int64)
        split = np.array([self.begun.get(line, -1) for line in self.lines], np.int64)
        if len(easy):
            lines, uses = np.concatenate((lines, easy)), np.concatenate((uses, easy_uses))
            order = np.argsort(lines, kind="stable")
            none = np.zeros(len(easy), np.int64)
            offsets, split = np.concatenate((offsets, none))[order], np.concatenate((split, none - 1))[order]
            lines, uses = lines[order], uses[order]
        self._record(columns, times, timed, lines, uses, offsets, split)
        for waiting in (self.lines, self.uses, self.offsets, self.begun):
            waiting.clear()

    def _record(
        self, columns: Columns, times: np.ndarray, timed: bool,
        lines: np.ndarray, uses: np.ndarray, offsets: np.ndarray, begun: np.ndarray,
    ) -> None:  # fmt: skip
        kind, op, file, handle, direct, pid, task = np.array(self._uses, np.int64)[uses].T
        time_ns, duration_ns = times[lines], columns.duration_ns[lines]
        if self.begun:
            split = begun >= 0
            if timed:
                took = np.maximum(time_ns - begun, 0)
                duration_ns = np.where(split & (duration_ns < 0), took, duration_ns)
            time_ns = np.where(split, begun, time_ns)
        last, result = columns.last[lines], columns.result[lines]
        seeks = kind == LSEEK
        made = {
            "time_ns": time_ns,
            "duration_ns": np.where(duration_ns < 0, UNKNOWN, duration_ns),
            "offset": np.where(kind == AT_OFFSET, last, np.where(seeks, result, offsets)),
            "requested": np.where(kind == AT_OFFSET, columns.before[lines], np.where(seeks, 0, last)),
            "size": np.where(seeks, UNKNOWN, result),
            "pid": pid, "tid": task, "file": file, "handle": handle, "op": op, "direct": direct,
        }  # fmt: skip
        if len(lines) > _FEW:
            self._recorder.extend(made)
        else:
            for line in range(len(lines)):
                values = {name: int(column[line]) for name, column in made.items()}
                self._recorder.add(**values)  # type: ignore[arg-type]
