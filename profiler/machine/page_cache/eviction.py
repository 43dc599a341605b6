"""What is dropped from the page cache before a cold start: everything, or the command's own files alone.

To drop everything is the colder start, as names and inodes go too; but other programs then wait for their
files as well. So where any of them reads at the moment, only the command's files are dropped, unless asked
otherwise.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from profiler.errors import ColdseekError, UsageError
from profiler.machine.page_cache import cache
from profiler.machine.processes import leftovers

WAYS = ("auto", "files", "all")

LOOK_S = 0.1
DEVICE_BYTES, CALL_BYTES = 64 * 2**10, 2**20
"""Another program is busy if within LOOK_S it had devices read so much, asked for so much by calls (a server
whose files are all cached has most to lose), or waited for a device both times. Our own margins. Mere
computing does not count: it loses nothing."""

_KERNEL_THREAD = 0x0020_0000  # PF_KTHREAD of linux/sched.h


@dataclass(frozen=True)
class Eviction:
    """whole: the page cache of all the machine is dropped, else file by file. told: one line that says what
    is dropped, and why."""

    whole: bool
    told: str


def choose(asked: str = "auto") -> Eviction:
    """How to make starts cold. Raises UsageError for a way that there is not, ColdseekError where all is
    to be dropped and cannot be."""
    able = check(asked)
    others = busy() if asked == "auto" and able else []
    if able and asked != "files" and not others:
        return Eviction(True, "dropped before a cold start: the page cache of the whole machine")
    if others:
        why = f", as others read: {leftovers.show(others)}; --evict all drops everything"
    else:
        why = ", as asked" if asked == "files" else "; only root can drop everything"
    return Eviction(False, f"dropped before a cold start: the files that the command reads, no others{why}")


def check(asked: str) -> bool:
    """Raise as `choose` does; whether everything can be dropped here."""
    if asked not in WAYS:
        raise UsageError(f"cannot evict {asked!r}; there are {', '.join(WAYS)}")
    able = cache.can_drop_all()
    if asked == "all" and not able:
        raise ColdseekError("only root can drop the whole page cache; use sudo, or --evict files")
    return able


def busy() -> list[int]:
    """The processes of others that read now; those that may not be looked at are not among them. Takes
    LOOK_S."""
    before = _numbers()
    time.sleep(LOOK_S)
    return readers(before, _numbers())


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a process has done so far. start: in clock ticks; waits: for a device, at this moment."""

    start: int
    called: int
    device: int
    waits: bool


def readers(before: Mapping[int, Numbers], after: Mapping[int, Numbers]) -> list[int]:
    """The processes that read between two looks; one that has begun since counts from its start."""
    found = []
    for pid, now in after.items():
        was = before.get(pid)
        if was is None or was.start != now.start:
            was = Numbers(now.start, 0, 0, False)
        read = now.device - was.device >= DEVICE_BYTES or now.called - was.called >= CALL_BYTES
        if read or (now.waits and was.waits):
            found.append(pid)
    return sorted(found)


def _numbers() -> dict[int, Numbers]:
    """Of each process that is neither the kernel's nor one of ours: our descendants, and those above us."""
    found: dict[int, Numbers] = {}
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{name}/stat", "rb") as source:
                fields = source.read().rpartition(b")")[2].split()
            parents[int(name)] = int(fields[1])
            if int(fields[6]) & _KERNEL_THREAD:
                continue
            with open(f"/proc/{name}/io", "rb") as source:
                counts = dict(line.split(b":") for line in source)
            found[int(name)] = Numbers(
                int(fields[19]), int(counts[b"rchar"]), int(counts[b"read_bytes"]), fields[0] == b"D"
            )
    above = set(_line(os.getpid(), parents))
    return {
        pid: one for pid, one in found.items() if pid not in above and os.getpid() not in _line(pid, parents)
    }


def _line(pid: int, parents: Mapping[int, int]) -> list[int]:
    """A process and those above it."""
    found = [pid]
    while (above := parents.get(found[-1], 0)) and above not in found:
        found.append(above)
    return found
