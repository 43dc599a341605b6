"""Descriptor tables that remember when what changed, for reads that are known only after the run.

The kernel tracer stops a program where descriptors change and leaves its reads to the kernel's own buffer.
A read found there names a thread, a time and a descriptor; which open of which file that was, this tells.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profiler.capture.calls.descriptors import Descriptors, Open, Table
from profiler.capture.calls.event_log import UNKNOWN

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class History:
    """What a Journal wrote, as columns; times on the monotonic clock in ns, each table sorted by time.

    task_*: from then on the task uses that table. slot_*: from then on the descriptor of that table means
    that open, -1 for none. state_*: from then on the open has O_APPEND, O_DIRECT. By handle: file, position
    (bytes when it was first seen, UNKNOWN if not known), data (0 for pipes and the like).
    """

    task_time: Ints
    task: Ints
    task_table: Ints
    slot_time: Ints
    slot_table: Ints
    slot_descriptor: Ints
    slot_handle: Ints
    state_time: Ints
    state_handle: Ints
    state_append: Ints
    state_direct: Ints
    file: Ints
    position: Ints
    data: Ints


class Journal(Descriptors):
    """Descriptors, with every change written down.

    Positions are not followed here, as the reads that move them are not seen: every Open's is None. A change
    is dated when the tracer hears of it, with the thread that made it still stopped: whatever it does with
    the descriptor comes later. wrote: called once, when the first open of a file for writing appears.
    """

    def __init__(
        self, clock: Callable[[], int] = time.monotonic_ns, wrote: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__()
        self._clock = clock
        self._wrote: Callable[[], None] | None = wrote
        self._numbers: dict[Table, int] = {}
        self._tasks: list[tuple[int, int, int]] = []
        self._slots: list[tuple[int, int, int, int]] = []
        self._states: list[tuple[int, int, int, int]] = []
        self._handles: dict[int, tuple[int, int, bool]] = {}
        self._changed: dict[tuple[int, int], int] = {}  # table, descriptor -> when it last changed
        self._sought: tuple[int, int] | None = None  # task, descriptor: in use, and not known until now

    def history(self) -> History:
        """Everything written so far."""
        tasks, slots, states = _columns(self._tasks, 3), _columns(self._slots, 4), _columns(self._states, 4)
        count = max(self._handles, default=-1) + 1
        file, position = np.full(count, -1, np.int64), np.full(count, UNKNOWN, np.int64)
        data = np.zeros(count, np.int64)
        for handle, known in self._handles.items():
            file[handle], position[handle], data[handle] = known
        columns = [*tasks, *slots, *states, file, position, data]
        return History(*columns)

    def late(self, task: int, descriptor: int, opened: Open) -> None:
        """`descriptor` means `opened`, and has done so since it last changed, unseen: by another process
        that passed it, for example."""
        number = self._numbers[self.table(task)]
        since = self._changed.get((number, descriptor), 0)
        self._know(opened, since)
        self._slots.append((since, number, descriptor, opened.handle))

    # -- the changes -------------------------------------------------------------------------------------

    def table(self, task: int) -> Table:
        known = task in self.tables
        found = super().table(task)
        if not known:
            self._uses(task)
        return found

    def get(self, task: int, descriptor: int) -> Open | None:
        found = super().get(task, descriptor)
        self._sought = (task, descriptor) if found is None else None
        return found

    def open(self, task: int, descriptor: int, opened: Open, close_on_exec: bool = False) -> None:
        if self._sought == (task, descriptor):  # it was open before this call
            opened.position = None  # where it stands now, not where it stood
            self.late(task, descriptor, opened)
        self._sought = None
        super().open(task, descriptor, opened, close_on_exec)
        self._know(opened, self._clock())
        self._slot(self.tables[task], descriptor, opened.handle)

    def know(self, opened: Open) -> None:
        self._know(opened, self._clock())

    def close(self, task: int, descriptor: int) -> None:
        self._sought = None  # whoever opened what was sought in vain, it is another open that comes next
        table = self.table(task)
        super().close(task, descriptor)
        self._slot(table, descriptor, -1)

    def close_range(self, task: int, first: int, last: int) -> None:
        for descriptor in self.table(task).opens:
            if first <= descriptor <= last:
                self.close(task, descriptor)

    def set_flags(self, opened: Open, append: bool, direct: bool) -> None:
        super().set_flags(opened, append, direct)
        self._states.append((self._clock(), opened.handle, append, direct))

    def fork(self, parent: int, child: int) -> None:
        super().fork(parent, child)
        self._copied(child)

    def share(self, parent: int, child: int) -> None:
        super().share(parent, child)
        self._uses(child)

    def unshare(self, task: int) -> None:
        super().unshare(task)
        self._copied(task)

    def exec(self, task: int) -> None:
        super().exec(task)
        self._copied(task)

    def rename(self, old: int, new: int) -> None:
        super().rename(old, new)
        if new in self.tables:
            self._uses(new)

    # -- writing down ------------------------------------------------------------------------------------

    def _uses(self, task: int) -> None:
        number = self._numbers.setdefault(self.tables[task], len(self._numbers))
        self._tasks.append((self._clock(), task, number))

    def _copied(self, task: int) -> None:
        self._uses(task)
        for descriptor, opened in self.tables[task].opens.items():
            self._slot(self.tables[task], descriptor, opened.handle)

    def _slot(self, table: Table, descriptor: int, handle: int) -> None:
        number, now = self._numbers[table], self._clock()
        self._changed[number, descriptor] = now
        self._slots.append((now, number, descriptor, handle))

    def _know(self, opened: Open, now: int) -> None:
        if opened.handle in self._handles:
            return
        position = UNKNOWN if opened.position is None else opened.position
        self._handles[opened.handle] = (opened.file, position, opened.data)
        self._states.append((now, opened.handle, opened.append, opened.direct))
        opened.position = None
        if opened.writable and opened.data and self._wrote is not None:
            wrote, self._wrote = self._wrote, None
            wrote()


def _columns(rows: Sequence[tuple[int, ...]], width: int) -> list[Ints]:
    """Rows as columns, sorted by time, those of one time in the order they were written."""
    made = np.array(rows, np.int64).reshape(-1, width)
    return list(made[np.argsort(made[:, 0], kind="stable")].T)
