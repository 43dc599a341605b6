"""What the descriptors of running processes name, as /proc shows it: looked at again and again, as what was
open before the events began, or was passed, no event tells."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from profiler.capture.calls.event_log import Recorder
from profiler.machine import procfs
from profiler.trace import DATA_KINDS


@dataclass(frozen=True, slots=True)
class Look:
    """A descriptor was seen to name a file. began_ns, ended_ns: when, on the monotonic clock. file: its
    number in the recorder, -1 for what is no file. position: bytes; None: not known. flags: of open(2).
    same: the earlier look at a descriptor that shares this very open; -1: none is known."""

    began_ns: int
    ended_ns: int
    process: int
    descriptor: int
    file: int
    position: int | None
    flags: int
    same: int


@dataclass(frozen=True, slots=True)
class Task:
    """From then on (ns, the monotonic clock) a task is one of this process. member: whether it belongs to
    what is watched."""

    time_ns: int
    tid: int
    process: int
    member: bool
    name: bytes = b""
    program: bytes = b""
    cgroup: bytes = b""


class Looks:
    """tasks: those that were found, by time. looks: what was new, by time. passes: when everything was
    looked at, (began, ended, looks so far) each. until: of each look, when the same was last found there:
    the beginning of a pass."""

    def __init__(self, recorder: Recorder) -> None:
        self.tasks: list[Task] = []
        self.looks: list[Look] = []
        self.until: list[int] = []
        self.passes: list[tuple[int, int, int]] = []
        self.has_uring: set[int] = set()  # processes
        self._recorder = recorder
        self._now: dict[tuple[int, int], tuple[object, int]] = {}  # process, descriptor -> what, which look
        self._by_file: dict[int, list[int]] = {}

    def take(self, processes: Iterable[int]) -> None:
        """Look at every descriptor of these processes."""
        began = time.monotonic_ns()
        for process in processes:
            for descriptor in procfs.descriptors(process) or ():
                self._look(process, descriptor, began)
        self.passes.append((began, time.monotonic_ns(), len(self.looks)))

    def name_mappings(self, processes: Iterable[int]) -> None:
        """Learn the names of mapped files: programs, libraries, and whatever is read by page faults."""
        for process in processes:
            for key, facts in procfs.mapped(process):
                self._recorder.file(key, facts)

    def _look(self, process: int, descriptor: int, pass_began: int) -> None:
        began = time.monotonic_ns()
        key, facts = procfs.identify(process, descriptor)
        if not isinstance(key, tuple):
            return  # gone, or hidden
        former, number = self._now.get((process, descriptor), (None, -1))
        if former == key:
            self.until[number] = pass_began
            return
        if facts.path == b"anon_inode:[io_uring]":
            self.has_uring.add(process)
        file = self._recorder.file(key, facts) if facts.kind in DATA_KINDS else -1
        position, flags = procfs.position_and_flags(process, descriptor)
        same = -1 if file < 0 else self._shared(process, descriptor, file)
        self._now[process, descriptor] = key, len(self.looks)
        self.until.append(pass_began)
        self._by_file.setdefault(file, []).append(len(self.looks))
        self.looks.append(Look(began, time.monotonic_ns(), process, descriptor, file, position, flags, same))

    def _shared(self, process: int, descriptor: int, file: int) -> int:
        for number in self._by_file.get(file, ())[-_MOST_ALIKE:]:
            other = self.looks[number]
            if procfs.same_open(process, descriptor, other.process, other.descriptor):
                return number
        return -1


_MOST_ALIKE = 64  # opens of one file that are compared: a library of locks may be open in every process
