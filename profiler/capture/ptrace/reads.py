"""How the reads of a traced program are seen: each of them stops it, or somebody else sees them.

The loop of stops is one for both. What differs is which calls the filter lets pass, and what has to be found
out of a descriptor before it is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from profiler.capture.calls.descriptors import Descriptors, Open
from profiler.capture.calls.history import Journal
from profiler.capture.calls.meaning import Calls
from profiler.machine import procfs
from profiler.trace import DATA_KINDS

_LAST = 0xFFFFFFFF  # descriptor


class Reads(Protocol):
    """descriptors: of all tasks. leave: calls of the machine's own kind that do not stop the program."""

    @property
    def descriptors(self) -> Descriptors: ...

    @property
    def leave(self) -> Collection[str]: ...

    def born(self) -> None:
        """Called by the program's process, the first that it does."""

    def attached(self, pid: int) -> None:
        """Called with the process id before the program starts."""

    def closing(self, calls: Calls, tid: int, descriptor: int) -> None:
        """A stopped task is about to close a descriptor."""

    def closing_all(self, calls: Calls, tid: int, first: int = 0, last: int = _LAST) -> None:
        """A stopped task is about to close those of this range."""


class Stopping:
    """Each read stops the program: what its descriptor names is found out then."""

    def __init__(self) -> None:
        self.descriptors = Descriptors()
        self.leave: Collection[str] = ()

    def born(self) -> None:
        pass

    def attached(self, pid: int) -> None:
        pass

    def closing(self, calls: Calls, tid: int, descriptor: int) -> None:
        pass

    def closing_all(self, calls: Calls, tid: int, first: int = 0, last: int = _LAST) -> None:
        pass


@dataclass(frozen=True)
class Passing:
    """Reads do not stop the program: the kernel tracer sees them, and places them by the history that the
    `descriptors` keep."""

    leave: Collection[str]
    descriptors: Journal
    attached: Callable[[int], None]
    born: Callable[[], None]

    def closing(self, calls: Calls, tid: int, descriptor: int) -> None:
        """A file whose descriptor was passed by another process is found out now, or never."""
        if descriptor in self.descriptors.table(tid).opens:
            return
        key, facts = procfs.identify(tid, descriptor)
        if facts.kind in DATA_KINDS:
            file = calls.recorder.file(key, facts)
            shared = calls.shared(tid, descriptor, file)
            opened = Open(file, calls.recorder.handle(), None) if shared is None else shared
            self.descriptors.late(tid, descriptor, opened)

    def closing_all(self, calls: Calls, tid: int, first: int = 0, last: int = _LAST) -> None:
        for descriptor in procfs.descriptors(tid) or ():
            if first <= descriptor <= last:
                self.closing(calls, tid, descriptor)
