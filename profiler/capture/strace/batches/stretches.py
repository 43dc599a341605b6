"""The chosen lines of a block in their order, many at a time as long as no descriptor changes."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from profiler.capture.calls.descriptors import Open, Table
from profiler.capture.calls.event_log import UNKNOWN, Recorder
from profiler.capture.calls.slots import Slots
from profiler.capture.strace.batches.batch import HOT, LSEEK, NO_DATA, POSITIONAL, SKIP, Batch
from profiler.capture.strace.batches.columns import FULL, GENERAL, RESUMED, STARTED, Columns
from profiler.capture.strace.lineage import Started
from profiler.capture.strace.lines import Lines
from profiler.capture.strace.logs.packing import BLOCK
from profiler.capture.strace.tasks import Tasks

_SHORT = 256  # chosen lines: below that, arrays are not worth their while
_MANY = 1000  # calls under way, or meanings, above which they are not gone through again and again
_KEY = re.compile(rb"(\w+)\((0|[1-9]\d{0,8})(?:<[^<>]*>)?(?:, )?(.*)", re.DOTALL)

Key = tuple[int, bytes]
"""A task, and the text of a call of its up to the first comma."""


@dataclass(slots=True)
class Block:
    """Whole lines of a log. text: with the names of tasks taken out. times: of the chosen lines, ns. before:
    how many lines the log has before it. timed: whether it tells times at all."""

    text: bytes
    columns: Columns
    times: np.ndarray
    before: int
    timed: bool

    def read(self, lines: Lines, row: int, task: int, time_ns: int) -> None:
        """Have one line read on its own."""
        columns = self.columns
        text_at, end = int(columns.text_at[row]), int(columns.ends[row]) - 1
        text = None if text_at < 0 else self.text[text_at:end]
        lines.read(self.before + row + 1, self.text[int(columns.starts[row]) : end], text, task, time_ns)


@dataclass(slots=True)
class Known:
    """What a hot line means as long as `table` has `opened` at `descriptor`. use: what `Batch.use` gave.
    opens: of the table, when that was last so."""

    kind: int
    opened: Open
    use: int
    table: Table
    descriptor: int
    opens: Slots

    def is_stale(self) -> bool:
        """Whether it has another meaning now."""
        opens = self.table.opens
        if opens is not self.opens:
            if opens.get(self.descriptor) is not self.opened:
                return True
            self.opens = opens
        return False


class Meanings:
    """What lines mean that are like one that was read before. One per log."""

    def __init__(self, tasks: Tasks, batch: Batch) -> None:
        self.known: dict[Key, Known] = {}
        self._tasks = tasks
        self._batch = batch

    def idle(self, key: Key) -> Known | None:
        """What is known of calls with this key if they are of no interest: they move no data of files."""
        known = self.known.get(key)
        return None if known is None or known.kind != NO_DATA or known.is_stale() else known

    def remember(self, key: Key) -> Known | None:
        """The general path has just read a line with this key: the next like it need not go there."""
        task, text = key
        call = _KEY.match(text)
        if call is None:
            return None
        name, descriptor, more = call[1].decode(), int(call[2]), call[3]
        table = self._tasks.descriptors.table(task)
        opened = table.opens.get(descriptor)
        if opened is None or name not in HOT or self._tasks.is_doubtful(opened):
            return None
        if not opened.data:
            known = Known(NO_DATA, opened, SKIP, table, descriptor, table.opens)
        elif not more and not (name == "write" and opened.append):
            use = self._batch.use(name, opened, self._tasks.lineage.pid_of(task), task)
            known = Known(HOT[name], opened, use, table, descriptor, table.opens)
        else:
            return None
        self.known[key] = known
        return known


class Stretches:
    """Takes in blocks, stretch by stretch: one ends where descriptors may have changed, and as long as they
    do not, they grow. One per log."""

    def __init__(self, recorder: Recorder, tasks: Tasks, lines: Lines) -> None:
        self.tasks = tasks
        self.lines = lines
        self.batch = Batch(recorder)
        self.meanings = Meanings(tasks, self.batch)
        self._changes = 0
        self._length = _SHORT

    def run(self, block: Block) -> None:
        """Take in the chosen lines of a block in their order."""
        start, count = 0, len(block.times)
        while start < count:
            stop = min(count, start + self._length)
            reached = _Stretch(self, block, start, stop).run()
            self._length = min(4 * self._length, BLOCK) if reached == stop else _SHORT
            start = reached

    def have_changed(self) -> bool:
        """Whether all that is known of lines has to be forgotten."""
        changes = self.tasks.lineage.changes
        return changes != self._changes or self.batch.is_full

    def forget(self) -> None:
        """Nothing is known of what lines mean."""
        self._changes = self.tasks.lineage.changes
        self.meanings.known.clear()
        self.batch.forget()


class _Stretch:
    """The chosen lines of a block from `start` to `stop`, or to the first that changes what lines mean."""

    def __init__(self, stretches: Stretches, block: Block, start: int, stop: int) -> None:
        self._all = stretches
        self._block = block
        self._start = start
        self._stop = stop
        self._may_tie = self._ties(block.times[start:stop])
        # what the lines that are not looked at one by one mean
        self._relied_on: list[Known] = []

    def run(self) -> int:
        """Take the lines in; gives the line to go on with."""
        block, batch, columns = self._block, self._all.batch, self._block.columns
        keys, known, pending = columns.keys, self._all.meanings.known, self._all.tasks.lineage.pending
        doubts = not self._all.tasks.closes
        relied_on = self._relied_on
        hard = self._plan()
        easy_uses, is_easy, wait = batch.easy_uses, batch.is_easy, batch.waiting.append
        each = (
            part[hard].tolist()
            for part in (columns.chosen, columns.shape, columns.group, block.times, columns.result)
        )
        for index, row, shape, group, time_ns, result in zip(hard.tolist(), *each, strict=True):
            task = max(0, int(columns.task[row])) if shape == GENERAL else keys[group][0]
            if shape == STARTED:
                pending[task] = Started(time_ns, keys[group][1])
                continue
            key = meaning = None
            if shape == FULL:
                key = keys[group]
                meaning = known.get(key)
            elif shape == RESUMED and task in pending:
                key = (task, pending[task].text)
                meaning = known.get(key)
            at_end = doubts and result == 0 and meaning is not None and meaning.kind == POSITIONAL
            if (
                meaning is None
                or at_end
                or (meaning.table.opens is not meaning.opens and meaning.is_stale())
            ):
                easy_group = group if shape == FULL and is_easy[group] else -1
                if self._changes_by(index, row, task, time_ns, key, easy_group):
                    return int(index) + 1
                continue
            if shape == RESUMED:
                batch.begun[index] = pending.pop(task).time_ns
            kind, opened = meaning.kind, meaning.opened
            if kind == POSITIONAL:
                offset = opened.position
                if offset is None:
                    wait((index, meaning.use, UNKNOWN))
                else:
                    wait((index, meaning.use, offset))
                    opened.advance(result)
            elif kind == NO_DATA:
                batch.begun.pop(index, None)
            else:
                if kind == LSEEK:
                    opened.seek(result)
                wait((index, meaning.use, 0))
            if shape == FULL and is_easy[group]:
                easy_uses[group] = meaning.use
                relied_on.append(meaning)
        self._flush(self._stop)
        return self._stop

    def _plan(self) -> np.ndarray:
        """Which lines have to be looked at one by one."""
        batch, columns, start, stop = self._all.batch, self._block.columns, self._start, self._stop
        if stop - start <= _SHORT:
            return batch.plan_none(columns, start, stop)
        groups = np.unique(columns.group[start:stop][columns.shape[start:stop] == FULL]).tolist()
        idle = {group: known for group in groups if (known := self._all.meanings.idle(columns.keys[group]))}
        self._relied_on += idle.values()
        return batch.plan(columns, start, stop, list(idle))

    def _changes_by(
        self, index: int, row: int, task: int, time_ns: int, key: Key | None, easy_group: int
    ) -> bool:
        """Read a line on its own; whether the stretch ends with it. key: what lines like it are known by.
        easy_group: of such lines that need not be looked at; -1: none."""
        batch, descriptors = self._all.batch, self._all.tasks.descriptors
        if self._may_tie:
            self._flush(index)
        before = descriptors.changes
        self._block.read(self._all.lines, row, task, time_ns)
        meaning = None if key is None else self._all.meanings.remember(key)
        if easy_group >= 0 and meaning is not None:
            batch.easy_uses[easy_group] = meaning.use
            self._relied_on.append(meaning)
        changed = self._all.have_changed()
        ends = (
            changed
            or (easy_group >= 0 and meaning is None)
            or (descriptors.changes != before and self._are_stale())
        )
        if ends:
            self._flush(index)
            if changed:
                self._all.forget()
        return ends

    def _flush(self, until: int) -> None:
        self._all.batch.flush(self._block.columns, self._block.times, self._block.timed, until)

    def _are_stale(self) -> bool:
        """Whether what was relied on has another meaning now; of many it is not worth finding out."""
        return len(self._relied_on) > _MANY or any(known.is_stale() for known in self._relied_on)

    def _ties(self, times: np.ndarray) -> bool:
        """Whether events of these lines may have one time. They have to be recorded in the order of their
        lines then, so that what waits is not to be overtaken by what need not.
        """
        pending = self._all.tasks.lineage.pending
        if len(pending) > _MANY:  # not worth finding out: it is safe to say yes
            return True
        begun = [call.time_ns for call in pending.values()]
        if begun and (max(begun) >= times[0] or len(set(begun)) < len(begun)):
            return True
        return bool((times[1:] <= times[:-1]).any())
