"""The address spaces of a traced program, and what of the files mapped there was used.

Nobody tells a tracer of page faults. But the pages that they made stay in the page tables until the mapping,
or the whole address space, is gone; so right before that the page tables are looked at, and each stretch of
pages that is there becomes an event `present`: from when its part of the file was mapped until the look.

A fault maps what the page cache holds of the FAULT_AROUND bytes around it too, so up to that much was not
used itself; and, from Linux 6.18 on, all of a larger folio, up to a huge page, which is noted. What faults
bring in comes in single pages, so after a cold start there are next to no such folios. Not seen is what was
there in between only: evicted under pressure, given up by madvise(2), or mapped over by memory that is no
file's.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from profiler.calls import MAP_FIXED
from profiler.capture.calls.call import Call
from profiler.capture.calls.descriptors import Open
from profiler.capture.calls.event_log import OP_CODES, Recorder
from profiler.capture.mapped import pagemap
from profiler.capture.mapped.layout import Layout, Part
from profiler.capture.mapped.pagemap import PAGE
from profiler.machine import procfs
from profiler.machine.procfs import Line
from profiler.trace import DATA_KINDS
from profiler.units import show_bytes, show_plural

FAULT_AROUND = max(1 << 16, PAGE)
"""What one fault maps at most, aligned in the addresses (mm/memory.c: fault_around_bytes)."""

MOST_EVENTS = 4_000_000
"""Of one run; 244 MB in memory or on the disk."""

_MEMORY = (b"/memfd:", b"/SYSV", b"/dev/zero", b"/[aio]", b"/anon_hugepage")
"""How memory is called that is no file's, though it is mapped like one (proc_pid_maps(5))."""


_Row = tuple[int, int, int, int, int, int, int, int, int, int]
"""Of an event what `Recorder.add` takes."""


@dataclass(eq=False)
class Space:
    """The memory of a process, or of several (vfork). tasks: those in it that were not seen to end. seen:
    it was looked at, and has not changed since but by what an exec does."""

    layout: Layout = field(default_factory=Layout)
    tasks: set[int] = field(default_factory=set)
    seen: bool = False


class Spaces:
    """All address spaces of a run. Is told of each task that begins, maps, unmaps, executes and ends, while
    that is stopped. All times are ns from the start of the run.

    missed: address spaces, or parts of them, that could not be looked at.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.missed = 0
        self._recorder = recorder
        self._of: dict[int, Space] = {}
        self._process: dict[int, int] = {}
        self._events = 0
        self._huge_bytes = 0
        self._over = False
        self._waiting: list[_Row] = []  # to be recorded, by the tracer's own thread
        self._turn = threading.Lock()  # the run may be found to be over by a thread of its own

    def began(self, tid: int, pid: int, parent: int | None, shares: bool, now_ns: int) -> None:
        """A task of process `pid` is there. parent: who made it; None: nobody who is known. shares: its
        memory is that one's."""
        with self._turn:
            self._process[tid] = pid
            above = self._of.get(parent) if parent is not None else None
            if above is None:
                space = Space(Layout(now_ns))
            else:
                space = above if shares else Space(above.layout.copy(now_ns))
            space.tasks.add(tid)
            self._of[tid] = space

    def mapped(self, call: Call, address: int, opened: Open) -> None:
        """A call has mapped a file at `address`."""
        _, length, _, _, _, offset = call.args[:6]
        space = self._of.get(call.tid)
        if space is None or not 0 <= address < 2**62 or not 0 < length < 2**62 or offset < 0:
            return
        since_ns = call.time_ns + max(0, call.duration_ns)
        end = address + -(-length // PAGE) * PAGE
        with self._turn:
            space.seen = False
            space.layout.put(Part(address, end, offset, opened.file, opened.handle, since_ns))

    def leaves(self, call: Call) -> None:
        """A call is about to unmap something (munmap), or to map a file over it (mmap)."""
        space, start, length = self._of.get(call.tid), call.args[0], call.args[1]
        over = call.name != "munmap"
        if space is None or (over and not call.args[3] & MAP_FIXED):
            return
        end = start + -(-length // PAGE) * PAGE
        if not 0 <= start < end < 2**62:
            return
        with self._turn:
            parts = space.layout.overlapping(start, end)
            if not parts:
                return
            # A library is laid out by mapping its parts over a mapping of the whole, before it is used: what
            # else lies between is of no interest then. Of what is unmapped whole /proc would say the same.
            whole = len(parts) == 1 and (parts[0].start, parts[0].end) == (start, end)
            if not over and not whole:
                parts = self._parts(call.tid, space, start, end) or []
            self._take(call.tid, parts, call.time_ns, copies=not over)
            space.layout.remove(start, end)

    def executes(self, tid: int, now_ns: int) -> None:
        """A task is about to become another program, if that works."""
        space = self._of.get(tid)
        # after vfork it is the parent's too, which goes on with it
        if space is not None and len({self._process[one] for one in space.tasks}) < 2:
            with self._turn:
                self._look(tid, space, now_ns)
                space.seen = True

    def executed(
        self, tid: int, gone: Iterable[int], mappings: Iterable[tuple[procfs.Mapping, int]], now_ns: int
    ) -> None:
        """A task has become another program, with these mappings and the opens that they came by. gone: what
        else was of its process, and its own former number."""
        with self._turn:
            for one in {tid, *gone}:
                self._leave(one)
            self._process[tid] = tid
            space = self._of[tid] = Space(Layout(now_ns), {tid})
            for mapping, handle in mappings:
                file = self._recorder.file(mapping.key, mapping.facts)
                start, end, offset = mapping.start, mapping.end, mapping.offset
                space.layout.put(Part(start, end, offset, file, handle, now_ns))

    def ending(self, tid: int, now_ns: int) -> None:
        """A task is about to end. The last of an address space takes that with it."""
        with self._turn:
            space = self._of.get(tid)
            if space is not None:
                space.tasks.discard(tid)
                if not space.tasks:
                    self._look(tid, space, now_ns)
                    space.seen = True

    def gone(self, tid: int) -> None:
        """A task has ended, and was seen `ending`, or not: killed without a word."""
        with self._turn:
            self._leave(tid)

    def stop(self, now_ns: int, *, here: bool = True) -> None:
        """What is observed is over, while tasks may go on: look at what they have now. here: False: from
        another thread than the tracer's."""
        with self._turn:
            if self._over:
                return
            for space in set(self._of.values()):
                task = next(iter(space.tasks), None)
                if task is not None:
                    self._look(task, space, now_ns, here=here)
            self._over = True

    def settle(self) -> None:
        """Record what is not recorded yet; in the tracer's own thread."""
        self._record()
        if self._huge_bytes:
            self._recorder.note_once(
                f"{show_bytes(self._huge_bytes)} of mapped files lay in memory as huge pages, each of which "
                f"one touch maps: less of it may have been read; after a cold start there are next to none"
            )
        if self.missed:
            self._recorder.note_once(
                f"{show_plural(self.missed, 'address space')} could not be looked at in the end (killed, "
                f"not dumpable, or too large): what was read there through mappings is missing in part"
            )

    # -- looking -----------------------------------------------------------------------------------------

    def _leave(self, tid: int) -> None:
        space = self._of.pop(tid, None)
        self._process.pop(tid, None)
        if space is None:
            return
        space.tasks.discard(tid)
        if not space.tasks and not space.seen and not self._over:
            self.missed += 1
            space.seen = True

    def _look(self, tid: int, space: Space, now_ns: int, *, here: bool = True) -> None:
        """Take all that a space has."""
        if not self._over:
            self._take(tid, self._parts(tid, space, 0, 2**62), now_ns, here=here)

    def _take(
        self, tid: int, parts: list[Part] | None, now_ns: int, *, copies: bool = True, here: bool = True
    ) -> None:
        """Record what is present of these parts. None: they are not known."""
        if self._over:
            return
        found = None
        if parts is not None and self._events < MOST_EVENTS:
            with contextlib.suppress(OSError, pagemap.TooMuchError):
                found = pagemap.present(tid, _joined(parts), copies=copies)
        if found is None or parts is None:
            self.missed += 1
            return
        pid, op = self._process[tid], OP_CODES["present"]
        rows: list[_Row] = []
        for one, start, end in pieces(found.stretches, parts):
            since = min(one.since_ns, now_ns)
            offset, size = one.offset + start - one.start, end - start
            rows.append((since, now_ns - since, pid, tid, op, one.file, one.handle, offset, size, size))
        self._events += len(rows)
        self._huge_bytes += found.huge_bytes
        self._waiting += rows
        if here:
            self._record()

    def _record(self) -> None:
        add = self._recorder.add
        for row in self._waiting:
            add(*row)
        self._waiting.clear()

    def _parts(self, tid: int, space: Space, start: int, end: int) -> list[Part] | None:
        """What is mapped of data files now between two addresses, by /proc; None: it does not tell."""
        lines = procfs.maps(tid)
        if lines is None:
            return None
        found, files = [], self._recorder.files
        for line in lines:
            if line.end <= start or line.start >= end:
                continue
            part = space.layout.at(line.start)
            if part is None or part.offset + line.start - part.start != line.offset:
                part = self._met(tid, line, space.layout.since_ns)
            if part is None and not line.path.startswith(_MEMORY):
                return None
            if part is None or files[part.file].kind not in DATA_KINDS:
                continue
            low, high = max(line.start, start), min(line.end, end)
            found.append(Part(low, high, line.offset + low - line.start, part.file, part.handle,
                              max(part.since_ns, space.layout.since_ns)))  # fmt: skip
        return found

    def _met(self, tid: int, line: Line, since_ns: int) -> Part | None:
        """A mapping that was not seen to be made, or was moved since."""
        named = procfs.mapped_file(tid, line)
        if named is None:
            return None
        return Part(line.start, line.end, line.offset, self._recorder.file(*named), -1, since_ns)


def _joined(parts: list[Part]) -> list[tuple[int, int]]:
    """The addresses of parts, which come in their order, where they lie together as one."""
    found: list[tuple[int, int]] = []
    for one in parts:
        if found and found[-1][1] == one.start:
            found[-1] = found[-1][0], one.end
        else:
            found.append((one.start, one.end))
    return found


def pieces(found: list[tuple[int, int]], parts: list[Part]) -> Iterator[tuple[Part, int, int]]:
    """Stretches of addresses cut at the bounds of the parts that they lie in, and at multiples of
    FAULT_AROUND, as no fault reaches over these: of each piece the part, its start and its end. All come by
    address, and neither stretches nor parts overlap."""
    at = 0
    for start, end in found:
        while at < len(parts) and parts[at].end <= start:
            at += 1
        for one in islice(parts, at, None):
            if one.start >= end:
                break
            low, high = max(start, one.start), min(end, one.end)
            while low < high:
                until = min(high, (low // FAULT_AROUND + 1) * FAULT_AROUND)
                yield one, low, until
                low = until
