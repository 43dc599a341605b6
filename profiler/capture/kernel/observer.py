"""The kernel's events of one run, from its own trace buffer."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from profiler.capture.calls.spill import budget_bytes
from profiler.capture.kernel import pagecache, requests, syscalls, tracefs
from profiler.capture.kernel.buffer.drain import Drain
from profiler.capture.kernel.buffer.formats import check_header_event, parse_format, parse_header_page
from profiler.capture.kernel.buffer.pages import LAST_NS, Decoder
from profiler.capture.kernel.probed import stand_ins
from profiler.capture.kernel.tracefs import Instance
from profiler.capture.kernel.windows import Tables, Window, cuts
from profiler.errors import ColdseekError
from profiler.files.free_memory import available_bytes
from profiler.units import show_plural

if TYPE_CHECKING:
    pass

LEAST_KIB, _MOST_KIB = 4 << 10, 32 << 10  # of buffer for each processor

_LEAST_WINDOW, _MOST_WINDOW = 1 << 20, 32 << 20  # bytes of pages; what they mean takes some ten times that

_READS_ONLY = 'rwbs ~ "R*"'
_WORKERS_ONLY = 'COMM ~ "iou-*"'  # threads in which io_uring reads; no fork event tells of them
_SHARE = 64  # part of the free memory that buffers may take
_WINDOW_SHARE = 64


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
    return max(LEAST_KIB, min(_MOST_KIB, most))
