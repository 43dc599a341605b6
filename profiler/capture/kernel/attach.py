"""Observing a process that runs already: descriptors by looking at /proc, reads by the kernel's buffer.

Nothing stops, so that the process is slowed down by its trace events only. What its descriptors name is
looked at again and again; the events of opens and closes tell since when each look holds. A descriptor that
came and went between two looks keeps its name for itself, and its reads are counted as not known.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from profiler import __version__
from profiler.capture import procfs
from profiler.capture.journal import History
from profiler.capture.kernel import numbers, syscalls
from profiler.capture.kernel.join import asof
from profiler.capture.kernel.tracer import Observer, assemble, opened_root
from profiler.capture.kernel.windows import Tables
from profiler.capture.recorder import UNKNOWN, Recorder
from profiler.errors import ColdseekError
from profiler.trace import DATA_KINDS, Meta, Trace
from profiler.units import show_plural, show_seconds

_OPENS = ("open", "openat", "openat2", "creat")
_COPIES = ("dup", "dup2", "dup3")
EVENTS: dict[str, list[str]] = {
    **{f"sys_exit_{name}": ["ret"] for name in (*_OPENS, *_COPIES)},
    "sys_enter_close": ["fd"],
    "sched_process_fork": ["parent_pid", "child_pid"],
}
"""What moves descriptors and makes tasks. The rest (fcntl, close_range, passed descriptors) is noticed at
the next look."""

_LOOK_S = 0.02
_SHARE = 10  # of the time at most goes into looking

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Look:
    """A descriptor was seen to name a file. table: the process."""

    time_ns: int
    table: int
    descriptor: int
    file: int
    data: bool
    position: int | None
    append: bool
    direct: bool


@dataclass
class Looks:
    """What /proc shows of some processes over time.

    processes: task -> process, of all tasks ever seen. looks: where something had changed. until: of each
    look, when the same file was last found there. times: when everything was looked at.
    """

    recorder: Recorder
    processes: dict[int, int] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)
    until: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    unseen: set[str] = field(default_factory=set)
    _now: dict[tuple[int, int], tuple[object, int]] = field(default_factory=dict)

    def tasks(self, pid: int) -> list[int]:
        """The tasks of a process and of those it has made, as they are now; those never seen before."""
        new = []
        for process in [pid, *_descendants(pid)]:
            with contextlib.suppress(OSError, ValueError):
                for task in map(int, os.listdir(f"/proc/{process}/task")):
                    if task not in self.processes:
                        self.processes[task] = process
                        new.append(task)
        return new

    def take(self) -> None:
        """Look at every descriptor of every process, and write down what has changed."""
        began = time.monotonic_ns()
        self.times.append(began)
        for process in set(self.processes.values()):
            for descriptor in procfs.descriptors(process) or ():
                now = time.monotonic_ns()
                key, facts = procfs.identify(process, descriptor)
                former, look = self._now.get((process, descriptor), (None, -1))
                if former == key:
                    self.until[look] = began
                    continue
                self._now[process, descriptor] = key, len(self.looks)
                self.until.append(began)
                position, flags = procfs.position_and_flags(process, descriptor)
                if facts.path == b"anon_inode:[io_uring]":
                    self.unseen.add("io_uring")
                self.looks.append(Look(
                    now, process, descriptor, self.recorder.file(key, facts), facts.kind in DATA_KINDS,
                    position, bool(flags & os.O_APPEND), bool(flags & os.O_DIRECT),
                ))  # fmt: skip

    def name_mappings(self) -> None:
        """Learn the names of mapped files: programs, libraries, and whatever is read by page faults."""
        for process in set(self.processes.values()):
            for key, facts in procfs.mapped(process):
                self.recorder.file(key, facts)


def attach(
    pid: int,
    seconds: float | None = None,
    started: Callable[[Recorder], None] | None = None,
) -> Trace:
    """Observe a process, and those it makes, until it ends, `seconds` have gone by, or Ctrl-C.

    Raises ColdseekError if there is no such process or the kernel's trace cannot be had.
    """
    procfs.check()
    if numbers.nested():
        raise ColdseekError(
            "in a container the kernel does not tell whose events are whose: run attach outside of it"
        )
    try:
        end = os.pidfd_open(pid)
    except OSError as error:
        raise ColdseekError(
            f"no process {pid} to observe: {os.strerror(error.errno or 0)}; 'ps -ef' lists them"
        ) from error
    recorder = Recorder()
    found = Looks(recorder)
    command, cwd = _command(pid)
    with opened_root() as root, Observer(root, also=EVENTS) as observer, contextlib.closing(_Pid(end)):
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        observer.follow(*found.tasks(pid))
        observer.follow_writes()
        while overlooked := found.tasks(pid):
            observer.follow_more(*overlooked)
        found.take()
        found.name_mappings()
        start_ns = time.monotonic_ns()
        with _until_told() as told:  # first: a signal may come as soon as somebody hears that it has started
            if started is not None:
                started(recorder)
            try:
                ended = _watch(found, pid, end, told, seconds)
            finally:
                stop_ns = time.monotonic_ns()
                observer.stop()
        found.name_mappings()
        history, processes = history_of(found, observer.events(EVENTS), _early(observer, start_ns), start_ns)
        unknown = 0

        def count(calls: syscalls.Pairs) -> None:
            nonlocal unknown
            unknown += _unknown_reads(calls, history, processes, start_ns)

        took = (stop_ns - start_ns) / 1e9
        notes = [f"observed for {show_seconds(took)}, while it {'ran to its end' if ended else 'ran on'}: "
                 f"what it had read before is not in here"]  # fmt: skip
        meta = Meta(
            command=command,
            cwd=cwd,
            started_at=started_at,
            tracer="kernel",
            tracer_version=__version__,
            wall_s=took,
            unseen=("early", "exec", "mmap", "readahead", "transfers", *found.unseen, *_aio(pid)),
            notes=tuple(notes),
        )
        trace = assemble(observer, history, recorder, processes, start_ns, meta, made=count)
        if not unknown:
            return trace
        reads = show_plural(unknown, "read")
        note = f"{reads} of descriptors that came and went unseen are missing, if these were files"
        return dataclasses.replace(
            trace, meta=dataclasses.replace(trace.meta, notes=(*trace.meta.notes, note))
        )


class _Pid:
    """A pidfd, closed at last."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        os.close(self._descriptor)


def _watch(found: Looks, pid: int, end: int, told: int, seconds: float | None) -> bool:
    """Look again and again; True if the process has ended. end, told: descriptors that can be read when it
    has, and when we are to stop."""
    poll = select.poll()
    poll.register(end, select.POLLIN)
    poll.register(told, select.POLLIN)
    deadline = None if seconds is None else time.monotonic() + seconds
    pause = _LOOK_S
    while True:
        left = pause if deadline is None else min(pause, deadline - time.monotonic())
        if left <= 0:
            return False
        ready = [descriptor for descriptor, _ in poll.poll(left * 1000)]
        if ready:
            return end in ready
        began = time.monotonic()
        found.tasks(pid)
        found.take()
        pause = max(_LOOK_S, (time.monotonic() - began) * _SHARE)


@contextlib.contextmanager
def _until_told() -> Iterator[int]:
    """A descriptor that can be read once Ctrl-C or SIGTERM has come: they end the observation, no more."""
    reads, writes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    former_wakeup = signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    former = {
        number: signal.signal(number, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield reads
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(former_wakeup)
        os.close(reads)
        os.close(writes)


# ---- from looks and events to a history -------------------------------------------------------------------


def _early(observer: Observer, start_ns: int) -> syscalls.Pairs:
    """The calls up to start_ns, and some later ones."""
    parts: list[Tables] = []
    for window in observer.windows():
        parts.append(window.mine)
        if window.end_ns >= start_ns:
            break
    return syscalls.pairs({
        event: {name: np.concatenate([part[event][name] for part in parts]) for name in table}
        for event, table in parts[0].items()
    })  # fmt: skip


def history_of(
    found: Looks, tables: Tables, calls: syscalls.Pairs, start_ns: int
) -> tuple[History, dict[int, int]]:
    """What each descriptor meant when, and each task's process. tables: the events of EVENTS. calls: those
    up to start_ns at least.

    A look holds from the last open or close of its descriptor on, and until the next. The position found at
    the first looks counts, unless it moved before start_ns, from when on reads are counted.
    """
    processes = _with_children(found.processes, tables)
    early = (calls.time_ns < start_ns) & (calls.offset == UNKNOWN)
    moved = set(
        (syscalls.processes_of(calls.tid[early], processes) << 32 | calls.descriptor[early]).tolist()
    )
    time_, table, descriptor, opened = _changes(tables, processes)
    changed = table << 32 | descriptor
    looks = _with_repeated(found, changed, time_)

    def columns(*names: str) -> list[Ints]:
        return [np.array([getattr(look, name) for look in looks], np.int64) for name in names]

    look_time, look_table, look_descriptor = columns("time_ns", "table", "descriptor")
    before = asof(look_table << 32 | look_descriptor, look_time, changed, time_)
    since = np.where(before >= 0, np.append(time_, 0)[before], 0)
    is_new = np.append(opened, False)[before]
    known = [
        0 if new else UNKNOWN if late >= 0 or slot in moved or look.position is None else look.position
        for look, late, new, slot in zip(
            looks,
            before.tolist(),
            is_new.tolist(),
            (look_table << 32 | look_descriptor).tolist(),
            strict=True,
        )
    ]
    handles = np.arange(len(looks))
    slot_time = np.concatenate([time_, since])
    order = np.argsort(slot_time, kind="stable")  # at one time a look comes after the change it is about
    tasks = np.array(list(processes.items()), np.int64).reshape(-1, 2)
    return History(
        *(np.zeros(len(tasks), np.int64), tasks[:, 0], tasks[:, 1]),
        slot_time[order],
        *(
            np.concatenate(parts)[order]
            for parts in (
                (table, look_table),
                (descriptor, look_descriptor),
                (np.full(len(time_), -1), handles),
            )
        ),
        *(np.zeros(len(looks), np.int64), handles, *columns("append", "direct", "file")),
        *(np.array(known, np.int64), *columns("data")),
    ), processes


def _with_repeated(found: Looks, changed: Ints, time_: Ints) -> list[Look]:
    """The looks, and again those that found the same file after a change: it was opened anew."""
    slots = np.array([look.table << 32 | look.descriptor for look in found.looks], np.int64)
    of_look = asof(changed, time_, slots, np.array([look.time_ns for look in found.looks], np.int64))
    next_ = np.append(found.times, 2**62)[np.searchsorted(found.times, time_)]
    same = (of_look >= 0) & (next_ <= np.append(found.until, 0)[of_look])
    again = dict.fromkeys(zip(of_look[same].tolist(), next_[same].tolist(), strict=True))
    more = [dataclasses.replace(found.looks[look], time_ns=at, position=None) for look, at in again]
    return found.looks + more


def _with_children(known: Mapping[int, int], tables: Tables) -> dict[int, int]:
    """Tasks that came and went between two looks too: taken for threads, of which most are made."""
    processes = dict(known)
    forks = tables.get("sched_process_fork")
    if forks is not None:
        for parent, child in zip(forks["parent_pid"].tolist(), forks["child_pid"].tolist(), strict=True):
            processes.setdefault(child, processes.get(parent, parent))
    return processes


def _changes(tables: Tables, processes: Mapping[int, int]) -> tuple[Ints, Ints, Ints, npt.NDArray[np.bool_]]:
    """When which descriptor of which process was opened (True) or closed or made a copy (False)."""
    parts = []
    for event in EVENTS:
        column = "fd" if event == "sys_enter_close" else "ret"
        if event in tables and column in EVENTS[event]:
            one = tables[event]
            valid = one[column] >= 0
            is_open = event.removeprefix("sys_exit_") in _OPENS
            parts.append((
                one["time_ns"][valid], syscalls.processes_of(one["tid"][valid], processes),
                one[column][valid] & 0xFFFFFFFF, np.full(int(valid.sum()), is_open),
            ))  # fmt: skip
    time_, table, descriptor, opened = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(time_, kind="stable")
    return time_[order], table[order], descriptor[order], opened[order]


def _unknown_reads(
    made: syscalls.Pairs, history: History, processes: Mapping[int, int], start_ns: int
) -> int:
    """How many calls got data from descriptors that an open or a close has made unknown."""
    gone = history.slot_handle == -1
    key = history.slot_table << 32 | history.slot_descriptor
    slot = asof(
        syscalls.processes_of(made.tid, processes) << 32 | made.descriptor, made.time_ns,
        key, history.slot_time,
    )  # fmt: skip
    names = syscalls.NAMES
    reads = np.isin(made.call, [names.index(name) for name in syscalls.READS if name != "lseek"])
    return int((np.append(gone, False)[slot] & reads & (made.result > 0) & (made.time_ns >= start_ns)).sum())


# ---- /proc ------------------------------------------------------------------------------------------------


def _command(pid: int) -> tuple[tuple[str, ...], str]:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as source:
            words = source.read().rstrip(b"\0").split(b"\0")
        cwd = os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return (), ""
    return tuple(os.fsdecode(word) for word in words), cwd


def _descendants(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError, ValueError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", "rb") as source:
                for child in map(int, source.read().split()):
                    found += [child, *_descendants(child)]
    return found


def _aio(pid: int) -> tuple[str, ...]:
    """Whether it reads by libaio: then it has a ring for completions, mapped under this name."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", "rb") as source:
        if b"/[aio]" in source.read():
            return ("aio",)
    return ()
