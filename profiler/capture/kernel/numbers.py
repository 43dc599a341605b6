"""Numbers of tasks: the kernel's buffer has those of the first PID namespace, /proc and ptrace have ours.

In a container they differ (pid_namespaces(7)), and nothing inside tells the others. So the program itself,
before it becomes one, writes a line into the buffer, which the kernel marks with its number there. Whatever
it forks is matched by order: the kernel's events and ptrace's tell of each fork of a task, one after
another. Pure, but for `Marker`.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from profiler.capture.kernel.syscalls import Columns
from profiler.capture.kernel.tracefs import Instance
from profiler.errors import ColdseekError

FORKED = "sched_process_fork"
FIELDS = {FORKED: ["parent_pid", "child_pid"]}
_FIRST = 0xEFFFFFFC  # of the first PID namespace (linux/proc_ns.h: PROC_PID_INIT_INO)
_PATIENCE_S = 10.0
_WORKER = re.compile(rb"(iou-(?:wrk|sqp)-)(\d+)")


def nested() -> bool:
    """Whether our numbers are others than the kernel's."""
    return os.stat("/proc/self/ns/pid").st_ino != _FIRST


class Marker:
    """A line in a trace buffer of its own, by which a task tells its number. root: of tracefs."""

    def __init__(self, root: int) -> None:
        self._instance = Instance(root, "numbers")
        self._text = f"coldseek {secrets.token_hex(8)}"

    def write(self) -> None:
        """To be called by the task whose number is asked for; a fork may do so."""
        self._instance.set("trace_marker", self._text)

    def number(self) -> int:
        """The number of the task that has written, or is about to. Raises ColdseekError if it never does."""
        deadline = time.monotonic() + _PATIENCE_S
        wanted = re.compile(rf"-(\d+)\s+.*: {self._text}\s*$", re.MULTILINE)
        while (found := wanted.search(self._instance.read("trace"))) is None:
            if time.monotonic() > deadline:
                raise ColdseekError(
                    "the kernel does not tell which number the program has outside of this container; run "
                    "coldseek outside of it, or use --tracer ptrace"
                )
            time.sleep(0.001)
        return int(found[1])

    def close(self) -> None:
        self._instance.close()


def matched(
    main: int, kernel_main: int, forks: Iterable[tuple[int, int]], events: Columns | None
) -> tuple[dict[int, int], int]:
    """The kernel's number of each task -> ours, and how many tasks there are whose number is not known.

    main, kernel_main: the first task. forks: (parent, child) in our numbers, in the order in which each
    parent made them. events: those of FORKED, by time.
    """
    told: dict[int, list[int]] = defaultdict(list)
    if events is not None:
        for parent, child in zip(events["parent_pid"].tolist(), events["child_pid"].tolist(), strict=True):
            told[parent].append(child)
    ours: dict[int, list[int]] = defaultdict(list)
    for parent, child in forks:
        ours[parent].append(child)
    found, unknown = {kernel_main: main}, 0
    waiting = [(kernel_main, main)]
    while waiting:
        theirs, own = waiting.pop()
        if len(told[theirs]) != len(ours[own]):  # some were lost: which is which nobody knows
            unknown += len(ours[own])
            continue
        pairs = list(zip(told[theirs], ours[own], strict=True))
        found.update(pairs)
        waiting += pairs
    return found, unknown


def translated(
    tables: Mapping[str, Mapping[str, npt.NDArray[np.generic]]], ours: Mapping[int, int]
) -> dict[str, dict[str, npt.NDArray[np.generic]]]:
    """Decoded events with our numbers of tasks; those of tasks that are not ours are negative."""
    made = {}
    for event, table in tables.items():
        columns = dict(table)
        columns["tid"] = _translate(table["tid"], ours)
        if "comm" in table:  # io_uring's workers are named for their makers
            columns["comm"] = _renamed(table["comm"], ours)
        made[event] = columns
    return made


def _translate(tids: npt.NDArray[np.generic], ours: Mapping[int, int]) -> npt.NDArray[np.generic]:
    distinct, which = np.unique(tids, return_inverse=True)
    numbers = [ours.get(int(tid), -int(tid)) for tid in distinct]
    return np.array(numbers, tids.dtype)[which.reshape(-1)] if len(numbers) else tids


def _renamed(names: npt.NDArray[np.generic], ours: Mapping[int, int]) -> npt.NDArray[np.generic]:
    distinct, which = np.unique(names, return_inverse=True)
    renamed = []
    for name in distinct.tolist():
        worker = _WORKER.match(name)
        own = ours.get(int(worker[2]), 0) if worker is not None else 0
        renamed.append(b"%s%d" % (worker[1], own) if worker is not None else name)
    return np.array(renamed, "S32")[which.reshape(-1)] if renamed else names
