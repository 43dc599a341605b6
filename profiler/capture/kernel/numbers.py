"""Numbers of tasks: the kernel's buffer has those of the first PID namespace, /proc and ptrace have ours.

In a container they differ (pid_namespaces(7)), and nothing inside tells the others. So the program itself,
before it becomes one, writes a line into the buffer, which the kernel marks with its number there. Whatever
it forks is matched by time: a task that forks is stopped, for ptrace to hear of it, before it can do so
again. Numbers are used again, so each means a task from its birth on. Pure, but for `Marker`.
"""

from __future__ import annotations

import dataclasses
import os
import re
import secrets
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from profiler.capture.kernel.join import Ints, asof
from profiler.capture.kernel.syscalls import Columns
from profiler.capture.kernel.tracefs import Instance
from profiler.capture.kernel.windows import Window
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


@dataclass(frozen=True)
class Births:
    """Tasks of which both numbers are known, a row each, by time: since when (ns), the kernel's, ours."""

    time_ns: Ints
    kernel: Ints
    ours: Ints

    def of(self, numbers: npt.NDArray[np.generic], times: Ints) -> Ints:
        """What we call the tasks that had these numbers of the kernel's at these times; those that are not
        ours have negative ones."""
        theirs = numbers.astype(np.int64)
        birth = asof(theirs, times, self.kernel, self.time_ns)
        return np.where(birth >= 0, np.append(self.ours, 0)[birth], -theirs)


def matched(
    main: int, kernel_main: int, forks: Iterable[tuple[int, int, int]], events: Columns | None
) -> Births:
    """Which task of the kernel's each of ours is, as far as that is known.

    main, kernel_main: the first task. forks: (time_ns, parent, child) in our numbers, by time, which is that
    of ptrace's stop. events: those of FORKED, by time.
    """
    told: dict[int, list[tuple[int, int]]] = defaultdict(list)
    if events is not None:
        columns = (events[name].tolist() for name in ("parent_pid", "time_ns", "child_pid"))
        for parent, time_ns, child in zip(*columns, strict=True):
            told[parent].append((time_ns, child))
    theirs, used = {main: kernel_main}, dict.fromkeys(told, 0)
    births = [(0, kernel_main, main)]
    for stop_ns, parent, child in forks:
        number = theirs.get(parent, 0)
        # the latest event is that of this fork; those before it that no stop was for are of children whose
        # maker was killed, or that were not traced
        latest = bisect_right(told.get(number, ()), stop_ns, key=lambda event: event[0])
        if latest > used.get(number, 0):
            used[number] = latest
            time_ns, theirs[child] = told[number][latest - 1]
            births.append((time_ns, theirs[child], child))
        else:
            theirs.pop(child, None)  # its event was lost, or its maker's; the number may have been another's
    return Births(*np.array(sorted(births), np.int64).T)


def renumbered(window: Window, births: Births) -> Window:
    """A window with our numbers of tasks."""
    return dataclasses.replace(
        window, mine=translated(window.mine, births), all=translated(window.all, births)
    )


def translated(
    tables: Mapping[str, Mapping[str, npt.NDArray[np.generic]]], births: Births
) -> dict[str, dict[str, npt.NDArray[np.generic]]]:
    """Decoded events with our numbers of tasks; those of tasks that are not ours are negative."""
    made = {}
    for event, table in tables.items():
        columns, times = dict(table), table["time_ns"].astype(np.int64)
        columns["tid"] = births.of(table["tid"], times).astype(table["tid"].dtype)
        if "comm" in table:
            columns["comm"] = _renamed(table["comm"], times, births)
        made[event] = columns
    return made


def _renamed(names: npt.NDArray[np.generic], times: Ints, births: Births) -> npt.NDArray[np.generic]:
    """io_uring's workers are named for their makers."""
    workers = {name: found for name in np.unique(names).tolist() if (found := _WORKER.match(name))}
    rows = np.flatnonzero(np.isin(names, list(workers))) if workers else np.empty(0, np.int64)
    makers = np.array([int(workers[name][2]) for name in names[rows].tolist()], np.int64)
    renamed = names.astype("S32")
    own = np.maximum(births.of(makers, times[rows]), 0)
    renamed[rows] = [
        workers[name][1] + b"%d" % number
        for name, number in zip(names[rows].tolist(), own.tolist(), strict=True)
    ]
    return renamed
