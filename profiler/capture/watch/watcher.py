"""The engine that stops nothing: the kernel's events of those who are watched, and what their files are.

Reads, opens, tasks and descriptors come from the kernel's trace buffer, names from fanotify and from looks
at /proc. So any number of processes of any user can be watched at once, and go on when that ends.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from profiler.capture.calls.event_log import UNKNOWN, Recorder, TaskFacts
from profiler.capture.calls.history import History
from profiler.capture.kernel import numbers, syscalls, tracefs
from profiler.capture.kernel.observer import Observer, opened_root, path_of
from profiler.capture.kernel.probed import stand_ins
from profiler.capture.kernel.schedule import blocking
from profiler.capture.kernel.tracer import assemble
from profiler.capture.tasks import name_of, program_of
from profiler.capture.watch import control, evidence
from profiler.capture.watch.aligned import files_by_order
from profiler.capture.watch.evidence import Reads
from profiler.capture.watch.looks import Looks, Task
from profiler.capture.watch.names import fanotify
from profiler.capture.watch.names.openings import Openings
from profiler.capture.watch.naming import Inodes, Naming
from profiler.capture.watch.plane import WatchPlane, members
from profiler.capture.watch.replay import Replay
from profiler.capture.watch.transfers import Transfers
from profiler.capture.watch.whom.processes import children, tasks
from profiler.capture.watch.whom.sleeps import Sleeps
from profiler.errors import ColdseekError
from profiler.machine import procfs
from profiler.machine.cgroups import cgroup_of, container_of
from profiler.machine.probe import Probe
from profiler.trace import Meta, Trace
from profiler.units import show_plural

_EVENTS: dict[str, Sequence[str]] = {**control.EVENTS, **control.CARRIED, **evidence.EVENTS}
LOOK_S = 0.02
"""So often everything is looked at, or less often where that takes long."""
_SHARE = 10  # of the time at most goes into looking


class Whom(Protocol):
    """Who is watched beside a command and its descendants: see `targets.Watched`."""

    everything: bool

    def look(self) -> Mapping[int, int]: ...

    def anchors(self) -> Mapping[int, int]: ...

    def holds(self, cgroup: str) -> bool: ...


def missing() -> str:
    """What of all this the kernel has not got; "": nothing. Raises ColdseekError without its trace
    events."""
    if numbers.nested():
        return "in a container the kernel does not tell whose events are whose: run coldseek outside of it"
    with opened_root() as root:
        for name in (control.NEW, control.EXECUTED, "sys_exit_openat"):
            if not tracefs.has_event(root, path_of(name)):
                return f"this kernel has no event {name}; {_REMEDY}"
        try:
            tracefs.Probes(root, stand_ins.for_reads(root)).close()
        except ColdseekError as error:
            lacks = f"this kernel has no event {stand_ins.LOOKED_UP}, which Linux 6.10 has"
            return f"{lacks}, and {error}; {_REMEDY}"
    return ""


_REMEDY = "record the program itself, in place of who starts it"


def check() -> None:
    """Raises ColdseekError where nobody can be watched."""
    procfs.check()
    fault = missing()
    if fault:
        raise ColdseekError(f"what others do cannot be watched here: {fault}")


def probe() -> Probe:
    """Whether others than a command can be watched here."""
    try:
        procfs.check()
        fault = missing() or fanotify.fault()
    except ColdseekError as error:
        fault = str(error)
    if fault:
        return Probe(False, fault)
    return Probe(True, "what daemons start for a command is seen (--with, attach), and nothing is stopped")


@dataclass
class Session:
    """One observation: `begin`, `look` again and again, `stop`, `trace`.

    whom: beside a command and its descendants; None: nobody. own: coldseek's own processes, which are never
    watched. watched: all processes that were, or that were followed for what they start.
    """

    observer: Observer
    recorder: Recorder
    openings: Openings
    whom: Whom | None
    own: set[int]
    looks: Looks
    watched: set[int] = field(default_factory=set)
    _main: int = 0
    _known: dict[int, int] = field(default_factory=dict)
    _programs: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)  # and control groups
    _look_again_s: float = 0.0

    def __post_init__(self) -> None:
        self.sleeps = Sleeps(self._processes)

    @property
    def everything(self) -> bool:
        return self.whom is not None and self.whom.everything

    def begin(self, main: int = 0) -> None:
        """Record from now on. main: the process of a command that is about to start, and is watched; 0:
        there is none."""
        self._main = main
        if self.everything:
            self.observer.follow_all()
            self._meet()
        else:
            self.observer.follow(*self._meet())
        self.observer.follow_writes()
        while self._meet():
            pass
        self._look()
        self.looks.name_mappings(self._processes())

    def look(self) -> None:
        """Look again at who there is and what they have open, if it is time to."""
        began = time.monotonic()
        if began >= self._look_again_s:
            self._meet()
            self._look()
            took = time.monotonic() - began
            self._look_again_s = began + max(LOOK_S, took * _SHARE)

    def stop(self) -> None:
        """Record no more."""
        self.observer.stop()
        self.openings.stop()
        self.looks.name_mappings(self._processes())

    def _processes(self) -> set[int]:
        return set(self._known.copy().values()) - self.own

    def _look(self) -> None:
        processes = self._processes()
        self.openings.follow(processes)
        self.looks.take(processes)

    def _meet(self) -> list[int]:
        """The tasks that were not there when this was asked last; they are followed from now on."""
        belong = {} if self.whom is None else dict(self.whom.look())
        if self._main:
            # whoever loses its parent is given to this process (see leftovers.Leftovers)
            for process in [self._main, *_descendants(os.getpid())]:
                if process not in self.own:
                    belong.update(dict.fromkeys(tasks(process), process))
        now = {**({} if self.whom is None else self.whom.anchors()), **belong}
        new = [task for task, process in now.items() if self._known.get(task) != process]
        time_ns = time.monotonic_ns()
        for task in sorted(new, key=lambda task: task != now[task]):  # the first of each process first
            process = now[task]
            if process not in self._programs:
                self._programs[process] = program_of(process), cgroup_of(process)
            found = Task(
                time_ns, task, process, task in belong, name_of(process, task), *self._programs[process]
            )
            self.looks.tasks.append(found)
        known = bool(self._known)
        self._known = now
        self.watched.update(now.values())
        if known and new and not self.everything:
            self.observer.follow_more(*new)
        return new

    # -- what comes of it --------------------------------------------------------------------------------

    def trace(self, meta: Meta, start_ns: int) -> Trace:
        """All that was recorded from start_ns on, which becomes the zero of its times."""
        replay = Replay(
            everything=self.everything,
            own=set(self.own),
            holds=(lambda _: False) if self.whom is None else self.whom.holds,
            start_ns=start_ns,
        )
        for window in self.observer.windows(control.EVENTS):
            replay.feed(window.mine, self.looks, window.end_ns)
        _name_by_order(replay, self.openings)
        inodes = Inodes(self.recorder, self.openings.inodes())
        naming = Naming(replay.history(), replay.opened, inodes)
        early = _Early(start_ns)
        rows = replay.rows.take()
        transfers = Transfers(rows, start_ns)
        pairing, reads = syscalls.Pairing(), Reads()
        for window in self.observer.windows():
            calls = pairing.feed(window.mine, window.last)
            found = reads.feed(window, calls, pairing.begun)
            naming.feed(calls, found)
            transfers.feed(found.others)
            early.feed(calls, naming.history)
        for handle, device, inode, time_ns in transfers.seen():
            naming.saw(handle, device, inode, time_ns)
        history, paged = naming.named()
        position = history.position.copy()
        position[list(early.moved)] = UNKNOWN
        history = replace(history, position=position)
        unknown = np.array([
            handle in replay.opened and replay.opened[handle].task >= 0
            and history.file[handle] < 0 and replay.opened[handle].file is None
            for handle in range(len(history.file))
        ], bool)  # fmt: skip
        watched = {task.tid: task.process for task in replay.tasks if task.member}
        whose = members(replay.tasks, self.everything)
        plane = WatchPlane(history, watched, start_ns, inodes, whose, paged, unknown, naming.passed)
        _tell_tasks(replay, start_ns, self.recorder)
        self.recorder.append(_control_rows(replay, rows, history.file, transfers, inodes, self.recorder))
        self.recorder.unseen |= replay.unseen | ({"io_uring"} if self.looks.has_uring else set())
        trace = assemble(
            self.observer, history, self.recorder, watched, start_ns, meta, main=self._main, plane=plane,
            sleeps=self.sleeps.found,
        )  # fmt: skip
        notes = _notes(plane, self.openings)
        trace = _of_their_files(trace)
        return replace(trace, meta=replace(trace.meta, notes=(*trace.meta.notes, *notes)))


def _of_their_files(trace: Trace) -> Trace:
    """The trace without the files of which nothing happened: what others opened was named, too."""
    file = trace.events["file"].to_numpy()
    used = np.unique(file[file >= 0])
    number = np.full(len(trace.files) + 1, -1, np.int32)  # file -1 -> the last
    number[used] = np.arange(len(used))
    files = trace.files.iloc[used].reset_index(drop=True)
    files["file"] = np.arange(len(used), dtype=np.int32)
    waits = trace.waits.assign(file=number[trace.waits["file"].to_numpy()])
    return replace(trace, files=files, events=trace.events.assign(file=number[file]), waits=waits)


def _tell_tasks(replay: Replay, start_ns: int, recorder: Recorder) -> None:
    """Who is who, of those who are watched."""
    watched = {task.tid for task in replay.tasks if task.member}

    def since(time_ns: int | None) -> int | None:
        return None if time_ns is None or time_ns < start_ns else time_ns - start_ns

    for life in replay.lives:
        ended = life.end_ns is not None and life.end_ns < start_ns
        if life.tid in watched and not ended:
            recorder.task(TaskFacts(
                life.tid, life.process, replay.process_of(life.parent), life.name, life.program, life.cgroup,
                container_of(life.cgroup), since(life.start_ns), since(life.end_ns),
            ))  # fmt: skip


def _name_by_order(replay: Replay, openings: Openings) -> None:
    """Opens of which nothing else is known are named by the order of what was told."""
    rows = openings.rows()
    rows = rows[~rows["exec"]]
    told = zip(rows["time_ns"].tolist(), rows["tid"].tolist(), rows["file"].tolist(), strict=True)
    for handle, file in files_by_order(replay.opened, told).items():
        if replay.opened[handle].file is None:
            replay.opened[handle].file = file


@dataclass
class _Early:
    """Opens whose position had moved between the look at it and the start: where it stands is not known."""

    start_ns: int
    moved: set[int] = field(default_factory=set)

    def feed(self, calls: syscalls.Pairs, history: History) -> None:
        before = (calls.time_ns < self.start_ns) & (calls.offset == UNKNOWN)
        if before.any():
            handle = syscalls.handles(calls, history)[before]
            self.moved.update(handle[handle >= 0].tolist())


def _control_rows(
    replay: Replay,
    rows: np.ndarray,
    file: syscalls.Ints,
    transfers: Transfers,
    inodes: Inodes,
    recorder: Recorder,
) -> np.ndarray:
    """What the calls did that are followed one by one, with the recorder's files and the offsets of
    transfers."""
    handle = rows["handle"].astype(np.int64)
    rows["file"] = np.where(handle >= 0, np.append(file, -1)[np.minimum(handle, len(file))], -1)
    for row, device, inode in zip(transfers.rows, transfers.device, transfers.inode, strict=True):
        if device >= 0 and not inodes.is_of(int(rows["file"][row]), int(device), int(inode)):
            rows["file"][row] = inodes.file(int(device), int(inode))
    sizes = [recorder.files[number].size if number >= 0 else None for number in rows["file"].tolist()]
    known = np.array([-1 if size is None else size for size in sizes], np.int64)
    offset = np.full(len(rows), UNKNOWN)
    offset[transfers.rows] = transfers.offsets(known[transfers.rows])
    hidden = np.zeros(len(rows), bool)
    hidden[list(replay.hidden_rows)] = True
    rows["offset"][hidden] = offset[hidden]
    rows["handle"][hidden] = -1  # no descriptor's position has moved
    kept = (rows["file"] >= 0) | (rows["errno"] != 0)
    kept[list(replay.early_rows)] = False
    kept &= np.isin(rows["tid"], [task.tid for task in replay.tasks if task.member])
    found: np.ndarray = rows[kept]
    return found


def _notes(plane: WatchPlane, openings: Openings) -> Iterator[str]:
    if plane.unnamed:
        reads = show_plural(plane.unnamed, "read")
        yield (
            f"of {reads} it is not known what was read: missing, but for the pages that were brought in; "
            f"most files of the kernel's own (control groups and the like) are so"
        )
    if plane.doubtful:
        reads = show_plural(plane.doubtful, "read")
        yield f"INCOMPLETE: of {reads} it is not certain which file they were of: left out"
    if plane.rounded:
        requests = show_plural(plane.rounded, "request")
        yield f"{requests} to io_uring or libaio through the page cache: offset and size are whole pages"
    yield from openings.notes()


def _descendants(process: int) -> list[int]:
    """The processes that a process has made, and those that these have, as they are now."""
    found = [process]
    for one in found:
        found += children(one)
    return found[1:]


@contextlib.contextmanager
def session(whom: Whom | None) -> Iterator[Session]:
    """What an observation needs, made and given back. Raises ColdseekError where it cannot be had."""
    check()
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(opened_root())
        probes = stand_ins.for_reads(root)
        # of all the machine these are too many, and nobody's wall time
        also, filters = _EVENTS, control.FILTERS
        if whom is None or not whom.everything:
            also, filters = blocking.beside(also), blocking.filters_beside(filters)
        observer = stack.enter_context(
            Observer(root, also=also, filters=filters, by_workers=evidence.EVENTS, probes=probes)
        )
        recorder, own = Recorder(), own_processes()
        openings = stack.enter_context(Openings(recorder, own))
        watching = Session(observer, recorder, openings, whom, own, Looks(recorder))
        if watching.everything:
            yield watching
            return
        with watching.sleeps:
            yield watching


def own_processes() -> set[int]:
    """Those of coldseek: it works in several, forked one from the other, and so of one command line."""
    top, command = os.getpid(), _command_line(os.getpid())
    while (parent := procfs.maker(top)) and _command_line(parent) == command:
        top = parent
    return {top, *_descendants(top)}


def _command_line(process: int) -> bytes:
    with contextlib.suppress(OSError), open(f"/proc/{process}/cmdline", "rb") as source:
        return source.read()
    return b""
