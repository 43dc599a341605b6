"""The kernel tracer: the hot path from the kernel's own trace buffer, paths and descriptors from ptrace.

A program stops only where descriptors change (open, close, dup, fork, mmap ...), in the loop of the ptrace
tracer. Its reads do not stop: the kernel writes their entries and exits into a buffer as it does for any
trace event, beside each page that the page cache missed and each request to a device. The buffers are
emptied while the program runs and decoded when it has ended.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from profiler.capture.calls import positions
from profiler.capture.journal import History, Journal
from profiler.capture.kernel import numbers, pagecache, requests, syscalls, tracefs
from profiler.capture.kernel.drain import Drain
from profiler.capture.kernel.formats import check_header_event, parse_format, parse_header_page
from profiler.capture.kernel.pages import Decoder
from profiler.capture.kernel.tracefs import Instance
from profiler.capture.leaving import Leaving
from profiler.capture.ptrace import Ptrace
from profiler.capture.recorder import Recorder
from profiler.capture.tracer import Over, Probe
from profiler.errors import ColdseekError
from profiler.trace import Meta, Trace
from profiler.units import show_plural

if TYPE_CHECKING:
    from profiler.owner import Owner

_READS_ONLY = 'rwbs ~ "R*"'
_WORKERS_ONLY = 'COMM ~ "iou-*"'  # threads in which io_uring reads; no fork event tells of them
_LEAST_KIB, _MOST_KIB = 4 << 10, 32 << 10  # of buffer for each processor
_SHARE = 64  # part of the free memory that buffers may take

Tables = dict[str, dict[str, "np.ndarray"]]


def make(owner: Owner | None = None) -> Kernel:
    """A new tracer; it traces one run. owner: the user whom the program is to run as."""
    return Kernel(owner)


def probe() -> Probe:
    """Whether the tracer works here, by making a buffer and enabling all events in it."""
    try:
        with opened_root() as root, Observer(root, _LEAST_KIB) as observer:
            observer.follow(os.getpid())
            if not observer.layers:
                return Probe(False, "this kernel has no events of the page cache or of block devices",
                             "use --tracer ptrace")  # fmt: skip
    except ColdseekError as error:
        return Probe(False, str(error), "or take --tracer ptrace" if os.geteuid() else "use --tracer ptrace")
    return Probe(True, "sees reads, page cache misses and device requests, and hardly slows down")


@contextlib.contextmanager
def opened_root() -> Iterator[int]:
    """tracefs' top directory, cleared of what a killed coldseek may have left there."""
    root = tracefs.open_root()
    try:
        tracefs.remove_stale(root)
        yield root
    finally:
        os.close(root)


class Observer:
    """Two buffers: `mine` of what the observed tasks do, `all` of what all tasks read from devices, as a
    request is often issued by a worker of the kernel's. A context manager.

    kib: room for each processor; 0: as the machine allows. also: further events of the observed tasks,
    name -> fields. layers: which of "cache" and "device" this kernel can show.
    """

    def __init__(self, root: int, kib: int = 0, also: Mapping[str, Sequence[str]] | None = None) -> None:
        self._root = root
        self._also = {name: fields for name, fields in (also or {}).items() if self._has(_path(name))}
        self._kib = kib or _buffer_kib()
        self._stack = contextlib.ExitStack()
        self._stopped = False
        self.layers: tuple[str, ...] = ()
        self.calls = [name for name in syscalls.NAMES if self._has(f"syscalls/sys_enter_{name}")]

    def __enter__(self) -> Observer:
        if "read" not in self.calls:
            raise ColdseekError("this kernel offers no events of system calls (CONFIG_FTRACE_SYSCALLS)")
        check_header_event(tracefs.headers(self._root)[1])
        with contextlib.ExitStack() as stack:
            stack.enter_context(tracefs.guard(self._root))
            self._mine = self._instance("mine", self._kib, stack)
            self._all = self._instance("all", self._kib // 4, stack)  # a request serves many reads
            if self._has(f"filemap/{pagecache.ADDED}"):
                self.layers += ("cache",)
            if all(self._has(f"block/{event}") for event in requests.FIELDS):
                self.layers += ("device",)
            self._drains = [Drain(one) for one in (self._mine, self._all)]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _instance(self, role: str, kib: int, stack: contextlib.ExitStack) -> Instance:
        made = Instance(self._root, role)
        stack.callback(made.close)
        made.set("trace_clock", "mono")  # CLOCK_MONOTONIC, the clock of all coldseek's times
        made.set("options/overwrite", "0")  # what finds no room is counted
        made.set("buffer_size_kb", str(kib))
        return made

    def _has(self, event: str) -> bool:
        return tracefs.has_event(self._root, event)

    # -- recording ---------------------------------------------------------------------------------------

    def follow(self, *tasks: int) -> None:
        """Record what these tasks do from now on, and all that they make."""
        self._mine.set("options/event-fork", "1")
        self._mine.set("set_event_pid", " ".join(map(str, tasks)))
        for event in pagecache.FIELDS:
            if self._has(f"filemap/{event}"):
                self._mine.enable(f"filemap/{event}")
                self._all.enable(f"filemap/{event}", _WORKERS_ONLY)
        if "device" in self.layers:
            for event in requests.FIELDS:
                self._all.enable(f"block/{event}", _READS_ONLY)
        for event in self._also:
            self._mine.enable(_path(event))
        self._enable(syscalls.READS)

    def follow_more(self, *tasks: int) -> None:
        """Tasks that were there already and had been overlooked."""
        self._mine.set("set_event_pid", " ".join(map(str, tasks)))

    def follow_writes(self) -> None:
        """Record writes too, which move the positions of descriptors: only once a file is open for it."""
        self._enable(syscalls.WRITES)

    def _enable(self, names: Sequence[str]) -> None:
        for name in names:
            if name in self.calls:
                self._mine.enable(f"syscalls/sys_enter_{name}")
                self._mine.enable(f"syscalls/sys_exit_{name}")

    def stop(self) -> None:
        """Record no more, and empty the buffers; once."""
        if self._stopped:
            return
        self._stopped = True
        for one, drain in zip((self._mine, self._all), self._drains, strict=True):
            one.stop()
            drain.stop()

    # -- what was recorded -------------------------------------------------------------------------------

    def lost(self) -> dict[int, int]:
        """Events that found no room, by processor."""
        found: dict[int, int] = {}
        for one in (self._mine, self._all):
            for processor, count in one.lost().items():
                found[processor] = found.get(processor, 0) + count
        return found

    def failures(self) -> list[str]:
        return [drain.failure for drain in self._drains if drain.failure]

    def decode(self) -> tuple[Tables, Tables]:
        """The events of `mine` and of `all`, by name: columns sorted by time. Once."""
        calls = syscalls.wanted(self.calls)
        cache = {name: fields for name, fields in pagecache.FIELDS.items() if self._has(f"filemap/{name}")}
        block = requests.FIELDS if "device" in self.layers else {}
        return (
            self._decode(self._mine, self._drains[0], {**calls, **cache, **self._also}),
            self._decode(self._all, self._drains[1], {**cache, **block}),
        )

    def _decode(self, instance: Instance, drain: Drain, wanted: Mapping[str, Sequence[str]]) -> Tables:
        formats = [parse_format(tracefs.format_of(self._root, _path(event))) for event in wanted]
        present = {
            format_.name: [name for name in wanted[format_.name] if name in format_.fields]
            for format_ in formats
        }
        decoder = Decoder(parse_header_page(tracefs.headers(self._root)[0]), formats, present)
        page_bytes = instance.page_bytes()
        for pages in drain.pages():
            decoder.feed(pages, page_bytes)
        return decoder.tables()


def _path(event: str) -> str:
    systems = {"sys": "syscalls", "mm": "filemap", "block": "block", "sched": "sched"}
    return f"{systems[event.partition('_')[0]]}/{event}"


def _buffer_kib() -> int:
    """How large a buffer to ask for, of each processor."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024
    return max(_LEAST_KIB, min(_MOST_KIB, free // _SHARE // (os.cpu_count() or 1)))


class Kernel:
    """Launches one program and records its reads in all layers. See `tracer.Tracer`."""

    name = "kernel"

    def __init__(self, owner: Owner | None = None) -> None:
        self._owner = owner

    def record(
        self,
        command: Sequence[str],
        started: Callable[[Recorder], None] | None = None,
        *,
        silent: bool = False,
        over: Over | None = None,
        leaving: Leaving | None = None,
    ) -> Trace:
        """Run `command` to its end and give what was seen. See `tracer.Tracer.record`."""
        with contextlib.ExitStack() as stack:
            root = stack.enter_context(opened_root())
            nested = numbers.nested()
            observer = stack.enter_context(Observer(root, also=numbers.FIELDS if nested else None))
            marker = stack.enter_context(contextlib.closing(numbers.Marker(root))) if nested else None
            main = 0

            def follow(pid: int) -> None:
                nonlocal main
                main = pid if marker is None else marker.number()
                observer.follow(main)

            journal = Journal(wrote=observer.follow_writes)
            control = Ptrace(
                leave=observer.calls, journal=journal, attached=follow, owner=self._owner,
                born=(lambda: None) if marker is None else marker.write,
            )  # fmt: skip
            try:
                meta = control.run(
                    command, started, silent=silent, over=over, leaving=leaving, observed=observer.stop
                )
            finally:
                observer.stop()
            tables = observer.decode()
            if nested:
                births = numbers.matched(control.main, main, control.forks, tables[0].get(numbers.FORKED))
                tables = numbers.translated(tables[0], births), numbers.translated(tables[1], births)
                meta = _with_unnumbered(meta, tables[0])
            if not _heard(tables[0], control.main):
                meta = dataclasses.replace(meta, partial=meta.partial or _UNHEARD)
            return assemble(
                observer, tables, syscalls.pairs(tables[0]), journal.history(), control.recorder,
                control.processes, control.start_ns, meta,
            )  # fmt: skip


def assemble(
    observer: Observer,
    tables: tuple[Tables, Tables],
    calls: syscalls.Pairs,
    history: History,
    recorder: Recorder,
    processes: Mapping[int, int],
    start_ns: int,
    meta: Meta,
) -> Trace:
    """All layers on one time line. calls: those of the first of the tables. recorder: holds what was seen
    otherwise, and the files. processes: task -> process, of all observed tasks. start_ns: the zero of the
    trace's times."""
    mine, everyone = tables
    lost, failures = observer.lost(), observer.failures()
    log = syscalls.rows(calls, history, processes, start_ns)
    layers = [positions.place(np.concatenate([recorder.rows(), log]), history, start_ns)]
    if "device" in observer.layers:
        processes = {**processes, **requests.workers(everyone, processes)}
        layers.append(requests.rows(everyone, recorder, processes, start_ns))
    layers.append(pagecache.rows(mine, everyone, layers[0], recorder, processes, start_ns))
    recorder.replace(np.concatenate(layers))
    seen = {"mmap", "exec", "readahead"} if len(observer.layers) == 2 else set()
    recorder.unseen -= seen
    return recorder.trace(
        dataclasses.replace(
            meta,
            tracer="kernel",
            lost_events=meta.lost_events + sum(lost.values()),
            unseen=tuple(set(meta.unseen) - seen),
            notes=(*meta.notes, *failures, *_losses(lost)),
        )
    )


_UNHEARD = (
    "the kernel's trace buffer holds nothing of the program: its reads are missing; use --tracer ptrace"
)


def _heard(tables: Mapping[str, Mapping[str, np.ndarray]], main: int) -> bool:
    """Whether the buffer holds anything of the program's process: that it was told to go on, at the
    least."""
    return any((table["tid"] == main).any() for table in tables.values())


def _with_unnumbered(meta: Meta, tables: Tables) -> Meta:
    """Events of followed tasks whose numbers are not ours are lost: nobody knows whose they are."""
    strangers = np.concatenate([table["tid"][table["tid"] < 0] for table in tables.values()])
    if not len(strangers):
        return meta
    tasks = show_plural(len(np.unique(strangers)), "task")
    note = (
        f"of {tasks} the number inside of this container is not known, so what they read is missing; run "
        f"coldseek outside of it, or use --tracer ptrace"
    )
    return dataclasses.replace(
        meta, lost_events=meta.lost_events + len(strangers), notes=(*meta.notes, note)
    )


def _losses(lost: Mapping[int, int]) -> list[str]:
    if not lost:
        return []
    where = ", ".join(f"{count} on processor {number}" for number, count in sorted(lost.items()))
    return [f"{show_plural(sum(lost.values()), 'event')} found no room in the trace buffers: {where}"]
