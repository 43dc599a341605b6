"""The kernel tracer: the hot path from the kernel's own trace buffer, paths and descriptors from ptrace.

A program stops only where descriptors change (open, close, dup, fork, mmap ...), in the loop of the ptrace
tracer. Its reads do not stop: the kernel writes their entries and exits into a buffer as it does for any
trace event, beside each page that the page cache missed and each request to a device. The buffers are
emptied while the program runs and decoded, window by window, when it has ended.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from profiler.capture.calls.event_log import EVENT_DTYPE, Recorder
from profiler.capture.calls.history import History, Journal
from profiler.capture.calls.positions import Positions
from profiler.capture.calls.spill import Spill, budget_bytes
from profiler.capture.kernel import numbers, pagecache, requests, syscalls
from profiler.capture.kernel.observer import (
    LEAST_KIB,
    Observer,
    opened_root,
)
from profiler.capture.kernel.schedule import blocking, settling
from profiler.capture.kernel.schedule.switches import Switches
from profiler.capture.kernel.windows import Tables, Window
from profiler.capture.ptrace.reads import Passing
from profiler.capture.ptrace.tracer import Ptrace
from profiler.capture.recording import Recording
from profiler.capture.watch.whom.sleeps import Sleep, Sleeps
from profiler.errors import ColdseekError
from profiler.machine.probe import Probe
from profiler.trace import Meta, Trace
from profiler.units import show_plural

if TYPE_CHECKING:
    from profiler.files.owner import Owner


def make(owner: Owner | None = None) -> Kernel:
    """A new tracer; it traces one run. owner: the user whom the program is to run as."""
    return Kernel(owner)


def probe() -> Probe:
    """Whether the tracer works here, by making a buffer and enabling all events in it."""
    try:
        with opened_root() as root, Observer(root, LEAST_KIB) as observer:
            observer.follow(os.getpid())
            if not observer.layers:
                return Probe(False, "this kernel has no events of the page cache or of block devices",
                             "use --tracer ptrace")  # fmt: skip
    except ColdseekError as error:
        return Probe(False, str(error), "or take --tracer ptrace" if os.geteuid() else "use --tracer ptrace")
    return Probe(True, "sees reads, page cache misses and device requests, and hardly slows down")


class Kernel:
    """Launches one program and records its reads in all layers. See `tracer.Tracer`."""

    name = "kernel"

    def __init__(self, owner: Owner | None = None) -> None:
        self._owner = owner

    def record(self, recording: Recording) -> Trace:
        """Run the program to its end and give what was seen. See `tracer.Tracer.record`."""
        with contextlib.ExitStack() as stack:
            root = stack.enter_context(opened_root())
            nested = numbers.nested()
            also = numbers.FIELDS if nested else blocking.EVENTS  # of switches numbers cannot be told
            observer = stack.enter_context(Observer(root, also=also, filters=blocking.FILTERS))
            marker = stack.enter_context(contextlib.closing(numbers.Marker(root))) if nested else None
            main = 0

            def follow(pid: int) -> None:
                nonlocal main
                main = pid if marker is None else marker.number()
                observer.follow(main)

            journal = Journal(wrote=observer.follow_writes)
            born = (lambda: None) if marker is None else marker.write
            tracer = Ptrace(owner=self._owner, reads=Passing(observer.calls, journal, follow, born))
            program = tracer.program
            sleeps = Sleeps(program.running)
            try:
                with sleeps:
                    meta = tracer.run(recording, observed=observer.stop)
            finally:
                observer.stop()
            births = None
            if nested:
                forked = observer.events(numbers.FIELDS).get(numbers.FORKED)
                births = numbers.matched(tracer.main, main, program.forks, forked)
            return assemble(
                observer, journal.history(), program.recorder, program.processes, program.start_ns, meta,
                main=tracer.main, births=births, sleeps=sleeps.found,
            )  # fmt: skip


def assemble(
    observer: Observer,
    history: History,
    recorder: Recorder,
    processes: Mapping[int, int],
    start_ns: int,
    meta: Meta,
    *,
    main: int = 0,
    births: numbers.Births | None = None,
    plane: Plane | None = None,
    sleeps: Sequence[Sleep] = (),
) -> Trace:
    """All layers on one time line. recorder: holds what was seen otherwise, and the files. processes: task
    -> process, of all observed tasks. start_ns: the zero of the trace's times. main: the program's process,
    of which there has to be something. births: where the kernel's numbers of tasks are not ours. plane: what
    the calls are placed by; None: by `history` alone. sleeps: what tasks were seen to sleep in."""
    plane = plane or Plane(history, processes, start_ns)
    control = recorder.take()
    ends = control["time_ns"] + np.maximum(control["duration_ns"], 0) + start_ns
    pairing, placing = syscalls.Pairing(), Positions(history, start_ns)
    devices = requests.DeviceLayer(recorder, start_ns)
    cache = pagecache.CacheLayer(recorder, start_ns, plane.named)
    pages = Spill(budget_bytes() // 4)
    known, heard, strangers = dict(processes), not main, Strangers()
    switches, over_ns = Switches(processes), start_ns + round((meta.wall_s or 0) * 1e9)
    for window in observer.windows():
        switches.feed(window.mine, over_ns if window.last else -1)
        if births is not None:
            window = numbers.renumbered(window, births)
            strangers.meet(window.mine)
        window = plane.watched(window)
        heard = heard or any((table["tid"] == main).any() for table in window.mine.values())
        calls = pairing.feed(window.mine, window.last)
        ended = control[(ends >= window.start_ns) & ((ends < window.end_ns) | window.last)]
        log = placing.place(np.concatenate([ended, plane.rows(window, calls, pairing.begun)]))
        recorder.append(log)
        if "device" in observer.layers:
            known |= requests.workers(window.all, known)
            recorder.append(devices.feed(window, known))
        pages.append(cache.feed(window, log, pairing.begun, known).tobytes())
    observer.forget()
    files, rows = cache.files(), pages.view(EVENT_DTYPE)
    for start in range(0, len(rows), _ROWS_A_TURN):
        some = rows[start : start + _ROWS_A_TURN].copy()
        some["file"] = files[some["file"]]
        recorder.append(some)
    del rows
    pages.close()
    seen = {"mmap", "exec", "readahead"} if len(observer.layers) == 2 else set()
    if not observer.faults:
        seen -= {"mmap"}
    recorder.unseen -= seen
    lost, failures = observer.lost(), observer.failures()
    waits = switches.rows()
    trace = recorder.trace(
        dataclasses.replace(
            meta,
            tracer="kernel",
            lost_events=meta.lost_events + sum(lost.values()) + strangers.events,
            partial=meta.partial or ("" if heard else _UNHEARD),
            unseen=tuple(set(meta.unseen) - seen),
            notes=(*meta.notes, *strangers.notes(), *failures, *_losses(lost), *switches.notes()),
        )
    )
    return dataclasses.replace(
        trace, waits=settling.settled(waits, trace, sleeps, processes, start_ns, over_ns)
    )


class Plane:
    """How calls become reads of files. processes: task -> process. start_ns: the zero of the rows' times."""

    def __init__(self, history: History, processes: Mapping[int, int], start_ns: int) -> None:
        self.history = history
        self.processes = processes
        self.start_ns = start_ns

    def watched(self, window: Window) -> Window:
        """The window without what others did than those who are watched."""
        return window

    def named(self, device: int, inode: int) -> int | None:
        """The recorder's file of an inode, where that is known otherwise than by its opens."""
        return None

    def rows(self, window: Window, calls: syscalls.Pairs, begun: Mapping[int, int]) -> npt.NDArray[np.void]:
        """The calls as rows of the log. begun: task -> since when it has been in a call at the window's
        end (ns)."""
        return syscalls.rows(calls, self.history, self.processes, self.start_ns)


_ROWS_A_TURN = 1 << 17
_UNHEARD = (
    "the kernel's trace buffer holds nothing of the program: its reads are missing; use --tracer ptrace"
)


class Strangers:
    """Followed tasks whose numbers are not ours: their events are lost, nobody knows whose they are."""

    def __init__(self) -> None:
        self.events = 0
        self._tasks: set[int] = set()

    def meet(self, tables: Tables) -> None:
        strangers = np.concatenate([table["tid"][table["tid"] < 0] for table in tables.values()])
        self.events += len(strangers)
        self._tasks.update(np.unique(strangers).tolist())

    def notes(self) -> list[str]:
        if not self._tasks:
            return []
        return [
            f"of {show_plural(len(self._tasks), 'task')} the number inside of this container is not known, "
            f"so what they read is missing; run coldseek outside of it, or use --tracer ptrace"
        ]


def _losses(lost: Mapping[int, int]) -> list[str]:
    if not lost:
        return []
    where = ", ".join(f"{count} on processor {number}" for number, count in sorted(lost.items()))
    return [f"{show_plural(sum(lost.values()), 'event')} found no room in the trace buffers: {where}"]
