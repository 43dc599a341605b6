"""Which open file each descriptor of each task means, and where in it the next read starts.

A pure state machine of what the kernel keeps per task: a table of descriptors, each slot naming an open file
description (open(2)) that dup and fork share, position included. Nothing here asks the running system.
"""

from __future__ import annotations

from dataclasses import dataclass

from profiler.calls import LARGEST
from profiler.capture.calls.slots import Slots


@dataclass(slots=True, eq=False)
class Open:
    """One open of a file: what open(2) makes, and what dup(2) and fork(2) share.

    position: bytes; None where it is not known. data: False for pipes, sockets and the like, whose reads are
    no file reads.
    """

    file: int
    handle: int
    position: int | None = 0
    append: bool = False
    direct: bool = False
    data: bool = True
    writable: bool = False

    def advance(self, size: int) -> int | None:
        """Move on by the `size` bytes just read or written; gives the offset they were at."""
        offset = self.position
        if offset is not None:
            self.position = offset + size if offset <= LARGEST - size else None
        return offset

    def seek(self, position: int | None) -> None:
        """lseek: the next read starts at `position`."""
        self.position = position


_EMPTY = Slots()


@dataclass(slots=True, eq=False)
class Table:
    """The descriptors of one process: those of its threads too, and of any task made with CLONE_FILES."""

    opens: Slots = _EMPTY

    def copy(self) -> Table:
        return Table(self.opens)


class Descriptors:
    """The tables of all tasks of one run, by thread id; `tables` is to be read only.

    changes: how often a descriptor was opened or closed; as long as it stays what was looked up holds.
    """

    def __init__(self) -> None:
        self.tables: dict[int, Table] = {}
        self.changes = 0

    def __contains__(self, task: int) -> bool:
        return task in self.tables

    def table(self, task: int) -> Table:
        """The table of a task; an unknown task starts with an empty one."""
        found = self.tables.get(task)
        if found is None:
            found = self.tables[task] = Table()
        return found

    def get(self, task: int, descriptor: int) -> Open | None:
        found = self.tables.get(task)
        return None if found is None else found.opens.get(descriptor)

    def know(self, opened: Open) -> None:
        """There is this open, which a descriptor may name later."""

    def open(self, task: int, descriptor: int, opened: Open, close_on_exec: bool = False) -> None:
        """`descriptor` now means `opened`, whatever it meant before."""
        table = self.table(task)
        table.opens = table.opens.having(descriptor, opened, close_on_exec)
        self.changes += 1

    def close(self, task: int, descriptor: int) -> None:
        table = self.table(task)
        table.opens = table.opens.without(descriptor)
        self.changes += 1

    def close_range(self, task: int, first: int, last: int) -> None:
        """Close `first` to `last`, both included; `last` may be as large as 2**32 - 1."""
        table = self.table(task)
        table.opens = table.opens.without_range(first, last)
        self.changes += 1

    def set_close_on_exec(self, task: int, descriptor: int, on: bool = True) -> None:
        table = self.table(task)
        table.opens = table.opens.marked(descriptor, on)

    def set_close_on_exec_range(self, task: int, first: int, last: int) -> None:
        table = self.table(task)
        table.opens = table.opens.marked_range(first, last)

    def dup(self, task: int, old: int, new: int, close_on_exec: bool = False) -> None:
        """`new` shares the open of `old`; where `old` is not known, neither is `new` from now on."""
        opened = self.get(task, old)
        if opened is None:
            self.close(task, new)
        elif old != new:
            self.open(task, new, opened, close_on_exec)

    def set_flags(self, opened: Open, append: bool, direct: bool) -> None:
        """fcntl(F_SETFL)."""
        opened.append, opened.direct = append, direct

    def fork(self, parent: int, child: int) -> None:
        """The child gets a table of its own with the same opens."""
        self.tables[child] = self.table(parent).copy()

    def share(self, parent: int, child: int) -> None:
        """A thread, or clone with CLONE_FILES: both use one table."""
        self.tables[child] = self.table(parent)

    def unshare(self, task: int) -> None:
        """unshare(CLONE_FILES): from now on the task has a copy to itself."""
        self.tables[task] = self.table(task).copy()

    def exec(self, task: int) -> None:
        """A new program: the table is no longer shared, and what is marked close-on-exec closes."""
        self.tables[task] = Table(self.table(task).opens.kept())

    def exit(self, task: int) -> None:
        """The task is gone; tables that others share live on."""
        self.tables.pop(task, None)

    def rename(self, old: int, new: int) -> None:
        """exec in a thread other than the first: it takes over the id of the process."""
        if old in self.tables and old != new:
            self.tables[new] = self.tables.pop(old)
