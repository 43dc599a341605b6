"""All processes of the machine, asked again and again: what is new is read, what is known is not.

The number of a process is used again once it has ended. Its directory in /proc is made anew then, so another
inode there means: read again, and another start time: another process.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

_FIRST_S, _LAST_S = 0.02, 1.0
"""What a process may change (its control group, its user, its program) is read again after so long, then
twice as long, up to a second: changes come right after the start, as a container's runtime makes them."""

_KERNEL_THREAD = 0x0020_0000  # PF_KTHREAD of linux/sched.h


@dataclass(slots=True)
class Process:
    """What is known of a process. start: in clock ticks since boot. groups: the paths of its control groups,
    each relative to its hierarchy. users: the real and the effective one."""

    pid: int
    parent: int
    start: int
    name: str
    kernel: bool = False
    groups: tuple[str, ...] = ()
    users: tuple[int, ...] = ()


@dataclass(slots=True)
class _Known:
    process: Process
    inode: int
    first: float
    read: float


class Processes:
    """groups, users: whether these are wanted; without any of them no process is read twice."""

    def __init__(
        self, *, groups: bool = False, users: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._groups, self._users, self._clock = groups, users, clock
        self._known: dict[int, _Known] = {}

    def look(self) -> tuple[dict[int, Process], list[Process]]:
        """All processes now, by number, and those that are new or were read again."""
        now, changed = self._clock(), []
        found: dict[int, _Known] = {}
        with os.scandir("/proc") as entries:
            numbers = [(int(entry.name), entry.inode()) for entry in entries if entry.name.isdigit()]
        for pid, inode in numbers:
            known = self._known.get(pid)
            if known is None or known.inode != inode or self._is_due(known, now):
                process = read(pid, groups=self._groups, users=self._users)
                if process is None:
                    continue
                again = known is not None and known.process.start == process.start
                known = _Known(process, inode, known.first if known is not None and again else now, now)
                changed.append(process)
            found[pid] = known
        self._known = found
        return {pid: one.process for pid, one in found.items()}, changed

    def _is_due(self, known: _Known, now: float) -> bool:
        if not (self._groups or self._users):
            return False
        return now - known.read >= min(_LAST_S, max(_FIRST_S, known.read - known.first))


def read(pid: int, *, groups: bool = False, users: bool = False) -> Process | None:
    """What /proc says of a process now; None: it has ended, or is hidden."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as source:
            found = parse_stat(source.read())
        if groups:
            with open(f"/proc/{pid}/cgroup", "rb") as source:
                found.groups = parse_groups(source.read())
        if users:
            with open(f"/proc/{pid}/status", "rb") as source:
                found.users = parse_users(source.read())
    except (OSError, ValueError, IndexError):
        return None
    return found


def parse_stat(line: bytes) -> Process:
    """A process from its /proc/PID/stat (proc_pid_stat(5)); its name may hold anything. Raises ValueError or
    IndexError where it is no such line."""
    head, _, tail = line.rpartition(b")")
    number, _, name = head.partition(b"(")
    fields = tail.split()
    return Process(
        pid=int(number), parent=int(fields[1]), start=int(fields[19]),
        name=name.decode("utf-8", "surrogateescape"), kernel=bool(int(fields[6]) & _KERNEL_THREAD),
    )  # fmt: skip


def parse_groups(text: bytes) -> tuple[str, ...]:
    """The paths of /proc/PID/cgroup (cgroups(7)), lines of "number:controllers:path", each once."""
    paths = []
    for line in text.decode("utf-8", "surrogateescape").split("\n"):
        parts = line.split(":", 2)
        if len(parts) == 3:
            paths.append(parts[2].removesuffix(" (deleted)"))
    return tuple(dict.fromkeys(paths))


def parse_users(text: bytes) -> tuple[int, ...]:
    """The real and the effective user of /proc/PID/status (proc_pid_status(5)); () if it does not say."""
    for line in text.split(b"\n"):
        if line.startswith(b"Uid:"):
            return tuple(dict.fromkeys(map(int, line.split()[1:3])))
    return ()


def tasks(pid: int) -> list[int]:
    """The threads of a process now, itself among them; [] when it has ended."""
    try:
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


def children(pid: int) -> list[int]:
    """The processes that the threads of a process have made and that are there now; [] when it has ended."""
    found = []
    for task in tasks(pid):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/children", "rb") as source:
            found += [int(word) for word in source.read().split()]
    return sorted(found)
