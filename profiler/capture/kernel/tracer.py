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
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from profiler.capture.calls.positions import Positions
from profiler.capture.finish.finish import Finish
from profiler.capture.journal import History, Journal
from profiler.capture.kernel import blocking, numbers, pagecache, requests, settling, syscalls, tracefs
from profiler.capture.kernel.drain import Drain
from profiler.capture.kernel.formats import check_header_event, parse_format, parse_header_page
from profiler.capture.kernel.pages import LAST_NS, Decoder
from profiler.capture.kernel.probed import stand_ins
from profiler.capture.kernel.switches import Switches
from profiler.capture.kernel.tracefs import Instance
from profiler.capture.kernel.windows import Tables, Window, cuts
from profiler.capture.leaving import Leaving
from profiler.capture.ptrace import Ptrace
from profiler.capture.recorder import EVENT_DTYPE, Recorder
from profiler.capture.spill import Spill, budget_bytes
from profiler.capture.tracer import Over, Probe
from profiler.capture.watch.whom.sleeps import Sleep, Sleeps
from profiler.errors import ColdseekError
from profiler.free_memory import available_bytes
from profiler.trace import Meta, Trace
from profiler.units import show_plural

if TYPE_CHECKING:
    from profiler.owner import Owner

_READS_ONLY = 'rwbs ~ "R*"'
_WORKERS_ONLY = 'COMM ~ "iou-*"'  # threads in which io_uring reads; no fork event tells of them
_LEAST_KIB, _MOST_KIB = 4 << 10, 32 << 10  # of buffer for each processor
_SHARE = 64  # part of the free memory that buffers may take
_LEAST_WINDOW, _MOST_WINDOW = 1 << 20, 32 << 20  # bytes of pages; what they mean takes some ten times that
_WINDOW_SHARE = 64


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
    name -> fields; filters: of some of these, in the kernel's words; by_workers: those that io_uring's
    threads have too, in `all`; probes: those that are no events of the kernel's own, as `tracefs.Probes` has
    them. layers: which of "cache" and "device" this kernel can show; faults: whether page faults on mapped
    files, too.
    """

    def __init__(
        self,
        root: int,
        kib: int = 0,
        also: Mapping[str, Sequence[str]] | None = None,
        filters: Mapping[str, str] | None = None,
        by_workers: Collection[str] = (),
        probes: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._root = root
        self._probes = {**stand_ins.for_faults(root), **(probes or {})}
        self._also = {name: fields for name, fields in (also or {}).items() if self._can(name)}
        self._cache = {name: fields for name, fields in pagecache.FIELDS.items() if self._can(name)}
        self.faults = stand_ins.FAULTED in self._cache
        self._filters = filters or {}
        self._by_workers = frozenset(by_workers).intersection(self._also)
        free = available_bytes()
        self._kib = kib or _buffer_kib(free)
        self._window_bytes = _window_bytes(free)
        self._broken = 0
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
            probes = stack.enter_context(contextlib.closing(tracefs.Probes(self._root, self._probes)))
            self._group = probes.group
            self._mine = self._instance("mine", self._kib, stack)
            self._all = self._instance("all", self._kib // 4, stack)  # a request serves many reads
            if pagecache.ADDED in self._cache:
                self.layers += ("cache",)
            if all(self._has(f"block/{event}") for event in requests.FIELDS):
                self.layers += ("device",)
            limit = budget_bytes() // 2
            self._drains = [Drain(instance, limit) for instance in (self._mine, self._all)]
            for drain in self._drains:
                stack.callback(drain.close)
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

    def _can(self, event: str) -> bool:
        return event in self._probes or self._has(path_of(event))

    def _path(self, event: str) -> str:
        return f"{self._group}/{event}" if event in self._probes else path_of(event)

    # -- recording ---------------------------------------------------------------------------------------

    def follow(self, *tasks: int) -> None:
        """Record what these tasks do from now on, and all that they make."""
        self._mine.set("options/event-fork", "1")
        self._mine.set("set_event_pid", " ".join(map(str, tasks)))
        self._begin()

    def follow_all(self) -> None:
        """Record what all tasks of the machine do from now on, but for the threads of this process."""
        own = " ".join(os.listdir("/proc/self/task"))
        self._mine.set("set_event_notrace_pid", own)  # to empty the buffers must not fill them
        self._begin()

    def _begin(self) -> None:
        for event in self._cache:
            self._mine.enable(self._path(event))
            self._all.enable(self._path(event), _WORKERS_ONLY)
        if "device" in self.layers:
            for event in requests.FIELDS:
                self._all.enable(f"block/{event}", _READS_ONLY)
        for event in self._also:
            self._mine.enable(self._path(event), self._filters.get(event, ""))
            if event in self._by_workers:
                self._all.enable(self._path(event), _WORKERS_ONLY)
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
        """Events that found no room, in the buffers or on the disk, by processor."""
        found: dict[int, int] = {}
        for instance, drain in zip((self._mine, self._all), self._drains, strict=True):
            for processor, count in instance.lost(unread=bool(drain.failure)).items():
                found[processor] = found.get(processor, 0) + count
        return found

    def failures(self) -> list[str]:
        """Why not all that was recorded is there, a sentence each."""
        faults = [f"INCOMPLETE: {drain.failure}" for drain in self._drains if drain.failure]
        if self._broken:
            pages = show_plural(self._broken, "page")
            faults.append(
                f"INCOMPLETE: {pages} of the kernel's trace made no sense; their events are missing"
            )
        return faults

    def forget(self) -> None:
        """Give up what was recorded, and the room that it takes."""
        for drain in self._drains:
            drain.close()

    def windows(self, only: Collection[str] = ()) -> Iterator[Window]:
        """All that was recorded, decoded window by window; as often as it is asked for. only: some of the
        events that were given as `also`, and nothing else."""
        calls = syscalls.wanted(self.calls)
        block = requests.FIELDS if "device" in self.layers else {}
        workers = {name: self._also[name] for name in self._by_workers}
        mine, all_ = {**calls, **self._cache, **self._also}, {**self._cache, **workers, **block}
        if only:
            mine, all_ = {name: mine[name] for name in only if name in self._also}, {}
        decoders = [self._decoder(mine), self._decoder(all_)]
        begins = [spool.begins for drain in self._drains for spool in drain.spools]
        for start_ns, end_ns in cuts(begins, self._window_bytes // self._drains[0].page_bytes):
            for decoder, drain in zip(decoders, self._drains, strict=True):
                _decode(decoder, drain, start_ns, end_ns)
            yield Window(start_ns, end_ns, *(decoder.take(end_ns) for decoder in decoders))
        self._broken = sum(decoder.damaged + decoder.gaps for decoder in decoders)

    def events(self, wanted: Mapping[str, Sequence[str]]) -> Tables:
        """All events of some kinds that the observed tasks had, which have to fit in memory. wanted: name ->
        fields, of those given as `also`."""
        decoder = self._decoder({name: wanted[name] for name in wanted if name in self._also})
        _decode(decoder, self._drains[0], 0, LAST_NS)
        return decoder.take()

    def _decoder(self, wanted: Mapping[str, Sequence[str]]) -> Decoder:
        formats = [parse_format(tracefs.format_of(self._root, self._path(event))) for event in wanted]
        present = {
            format_.name: [name for name in wanted[format_.name] if name in format_.fields]
            for format_ in formats
        }
        return Decoder(parse_header_page(tracefs.headers(self._root)[0]), formats, present)


def _decode(decoder: Decoder, drain: Drain, start_ns: int, end_ns: int) -> None:
    for spool in drain.spools:
        for pages in spool.between(start_ns, end_ns):
            decoder.feed(pages, drain.page_bytes)


def path_of(event: str) -> str:
    """Where tracefs has an event: "system/event"."""
    system = event.partition("_")[0]
    folder = {"sys": "syscalls", "mm": "filemap"}.get(system, system)
    return f"{folder}/{event}"


def _window_bytes(free: int | None) -> int:
    """How many bytes of pages to decode at once. free: bytes of memory."""
    return _MOST_WINDOW if free is None else max(_LEAST_WINDOW, min(_MOST_WINDOW, free // _WINDOW_SHARE))


def _buffer_kib(free: int | None) -> int:
    """How large a buffer to ask for, of each processor. free: bytes of memory."""
    most = _MOST_KIB if free is None else free // 1024 // _SHARE // (os.cpu_count() or 1)
    return max(_LEAST_KIB, min(_MOST_KIB, most))


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
        finish: Finish | None = None,
    ) -> Trace:
        """Run `command` to its end and give what was seen. See `tracer.Tracer.record`."""
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
            control = Ptrace(
                leave=observer.calls, journal=journal, attached=follow, owner=self._owner,
                born=(lambda: None) if marker is None else marker.write,
            )  # fmt: skip
            sleeps = Sleeps(control.running)
            try:
                with sleeps:
                    meta = control.run(
                        command, started, silent=silent, over=over, leaving=leaving, finish=finish,
                        observed=observer.stop,
                    )  # fmt: skip
            finally:
                observer.stop()
            births = None
            if nested:
                forked = observer.events(numbers.FIELDS).get(numbers.FORKED)
                births = numbers.matched(control.main, main, control.forks, forked)
            return assemble(
                observer, journal.history(), control.recorder, control.processes, control.start_ns, meta,
                main=control.main, births=births, sleeps=sleeps.found,
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
