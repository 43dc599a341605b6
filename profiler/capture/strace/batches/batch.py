"""Reads, writes and seeks of a strace log whose descriptors are known already: many events at a time."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from profiler.calls import CALLS
from profiler.capture.calls.descriptors import Open
from profiler.capture.calls.event_log import OP_CODES, UNKNOWN, Recorder
from profiler.capture.calls.positions import effect
from profiler.capture.strace.batches.columns import FULL, Columns

AT_OFFSET, POSITIONAL, LSEEK, NO_DATA = range(4)
HOT = {
    row.name: LSEEK if not row.moves else AT_OFFSET if row.moves[0].offset else POSITIONAL
    for row in CALLS
    if row.self_contained
}
"""The calls of which there are many -> how they find their offset."""
_FEW = 24  # so many events are cheaper to add one by one
_MOST_USES = 2000


UNRESOLVED, SKIP = -1, -2
"""In place of what `Batch.use` gives: not known yet; no file, nothing to record."""


class Batch:
    """Events that wait to be recorded, each a line of `Columns` and a call on an open.

    Lines that name their offset themselves leave everything as it is. These are the easy ones: they are
    not even looked at one by one, except the first of each group, which says in `easy_uses` what the
    others mean. `is_easy`: the groups of such lines.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._uses: list[tuple[int, int, int, int, bool, int, int]] = []
        self._easy = np.zeros(0, np.int64)
        self._easy_done = 0
        self.easy_uses = np.zeros(0, np.int64)  # of each group of lines
        self.is_easy: list[bool] = []
        self._none_easy: list[bool] = []
        self._planned: Columns | None = None
        self._own_offset = np.zeros(
            0, bool
        )  # of each group of `_planned`: whether its lines name their offset
        # the other lines in order: index among the chosen, what `use` gave, offset if the line has none
        self.waiting: list[tuple[int, int, int]] = []
        self.begun: dict[int, int] = {}  # line -> ns: calls that began in a line before

    def use(self, name: str, opened: Open, pid: int, task: int) -> int:
        """A number for the calls `name` of a task on an open, good until `forget`."""
        kind = HOT[name]
        self._uses.append((kind, OP_CODES[name], opened.file, opened.handle, opened.direct, pid, task))
        return len(self._uses) - 1

    def forget(self) -> None:
        """The numbers of `use` are void."""
        self._uses.clear()

    @property
    def is_full(self) -> bool:
        """Time to `forget`: nothing should grow with the log."""
        return len(self._uses) > _MOST_USES

    def plan(self, columns: Columns, start: int, stop: int, idle: list[int]) -> np.ndarray:
        """Which of the chosen lines from `start` to `stop` have to be looked at one by one.

        idle: groups whose whole calls are of no interest.
        """
        hard = self.plan_none(columns, start, stop)
        if columns is not self._planned:
            self._planned = columns
            self._own_offset = np.array(
                [key.startswith((b"pread64(", b"pwrite64(")) for _, key in columns.keys]
            )
        is_easy = self._own_offset.astype(bool)
        is_easy[idle] = False
        self.is_easy = is_easy.tolist()
        self.easy_uses = np.full(len(is_easy), UNRESOLVED)
        is_idle = np.zeros(len(columns.keys), bool)
        is_idle[idle] = True
        whole = np.flatnonzero(columns.shape[start:stop] == FULL)
        group = columns.group[start:stop][whole]
        easy = whole[is_easy[group]]
        first = np.unique(columns.group[start:stop][easy], return_index=True)[1]
        easy = np.delete(easy, first)
        self._easy = easy + start
        return np.delete(hard, np.concatenate((easy, whole[is_idle[group]])))

    def plan_none(self, columns: Columns, start: int, stop: int) -> np.ndarray:
        """`plan` where there are so few lines that each may as well be looked at."""
        self._easy_done = 0
        self._easy = np.zeros(0, np.int64)
        self.easy_uses = np.zeros(0, np.int64)
        if len(self._none_easy) < len(columns.keys):  # stretches may be short, and the keys of a block many
            self._none_easy = [False] * len(columns.keys)
        self.is_easy = self._none_easy
        return np.arange(start, stop)

    def flush(self, columns: Columns, times: np.ndarray, timed: bool, end: int) -> None:
        """Record what waits before the chosen line `end`. times: of those lines, ns; timed: if they are
        times.
        """
        done = self._easy_done
        self._easy_done = bisect_left(self._easy, end, done)  # numpy's would hand the interpreter over
        easy = self._easy[done : self._easy_done]
        easy_uses = self.easy_uses[columns.group[easy]]
        if len(easy) and (easy_uses < 0).any():
            easy, easy_uses = easy[easy_uses >= 0], easy_uses[easy_uses >= 0]
        if not self.waiting and not len(easy):
            return
        if len(self.waiting) + len(easy) <= _FEW:
            few = [*self.waiting, *zip(easy.tolist(), easy_uses.tolist(), [0] * len(easy), strict=True)]
            self._record_few(columns, times, timed, sorted(few))
        else:
            many = np.array(self.waiting, np.int64).reshape(-1, 3)
            if len(easy):
                many = np.concatenate((many, np.column_stack((easy, easy_uses, np.zeros_like(easy)))))
                many = many[np.argsort(many[:, 0], kind="stable")]
            self._record(columns, times, timed, *many.T)
        self.waiting.clear()
        self.begun.clear()

    def _record_few(
        self, columns: Columns, times: np.ndarray, timed: bool, waiting: list[tuple[int, int, int]]
    ) -> None:
        for line, use, offset in waiting:
            kind, op, file, handle, direct, pid, task = self._uses[use]
            time_ns, duration_ns = int(times[line]), int(columns.duration_ns[line])
            requested, result = int(columns.last[line]), int(columns.result[line])
            began = self.begun.get(line)
            if began is not None:
                if timed and duration_ns < 0:
                    duration_ns = max(0, time_ns - began)
                time_ns = began
            if kind == AT_OFFSET:
                offset, requested = requested, int(columns.before[line])
            elif kind == LSEEK:
                offset, requested, result = result, 0, UNKNOWN
            requested = max(requested, result)
            self._recorder.add(
                time_ns, duration_ns if duration_ns >= 0 else UNKNOWN, pid, task, op, file, handle,
                offset, requested, result, 0, direct,
            )  # fmt: skip

    def _record(
        self, columns: Columns, times: np.ndarray, timed: bool,
        lines: np.ndarray, uses: np.ndarray, offsets: np.ndarray,
    ) -> None:  # fmt: skip
        used, which = np.unique(uses, return_inverse=True)
        facts = np.array([self._uses[use] for use in used.tolist()], np.int64)
        kind, op, file, handle, direct, pid, task = facts[which].T
        time_ns, duration_ns = times[lines], columns.duration_ns[lines]
        if self.begun:
            began = np.full(len(lines), -1)
            began[np.searchsorted(lines, list(self.begun))] = list(self.begun.values())
            split = began >= 0
            if timed:
                took = np.maximum(time_ns - began, 0)
                duration_ns = np.where(split & (duration_ns < 0), took, duration_ns)
            time_ns = np.where(split, began, time_ns)
        last, at_offset = columns.last[lines], kind == AT_OFFSET
        requested = np.where(at_offset, columns.before[lines], last)
        offset = np.where(at_offset, last, offsets)
        self._recorder.extend(
            {
                "time_ns": time_ns,
                "duration_ns": np.where(duration_ns < 0, UNKNOWN, duration_ns),
                **effect(op, offset, requested, columns.result[lines]),
                "pid": pid, "tid": task, "file": file, "handle": handle, "op": op, "direct": direct,
            }
        )  # fmt: skip
