"""The meaning of each system call that reads files or moves descriptors, for all tracers.

A tracer decodes a finished call into a `Call` and hands it to `Calls.finish`, which changes the descriptors
and records the events. Whatever only the tracer can know (what a new descriptor names, what lies in the
program's memory) it answers through `Source`.
"""

from __future__ import annotations

import os
from collections import deque

from profiler.calls import ERRORS, LARGEST, MAX_RW_COUNT, WITHOUT_EFFECT
from profiler.capture.calls.call import Call, Identity, Source
from profiler.capture.calls.descriptors import Descriptors, Open
from profiler.capture.calls.event_log import OP_CODES, UNKNOWN, Recorder
from profiler.capture.calls.flags import O_APPEND, O_CLOEXEC, O_DIRECT, O_PATH
from profiler.capture.calls.handlers import HANDLERS
from profiler.machine import links
from profiler.trace import DATA_KINDS, FileFacts

MOST_ASKED = 20_000
"""So many names are kept of files that are not there, or that symbolic links lead to."""


class Calls:
    """Finished calls in, events and descriptor changes out. One per run."""

    def __init__(self, recorder: Recorder, descriptors: Descriptors, source: Source) -> None:
        self.recorder = recorder
        self.descriptors = descriptors
        self.source = source
        self._asked: set[bytes] = set()  # names of files that are not there, or that lead over links
        self._submitted: dict[tuple[int, object], deque[int]] = {}  # (pid, key) -> events, oldest first

    def finish(self, call: Call) -> None:
        """Take in one finished call; its name must be in HANDLERS."""
        if call.result not in WITHOUT_EFFECT:
            HANDLERS[call.name](self, call)

    # -- descriptors ------------------------------------------------------------------------------------

    def appeared(self, call: Call, descriptor: int, flags: int = 0, position: int | None = None) -> Open:
        """Register the open that `descriptor` names from now on, made by this call with these flags."""
        identity = self.source.identify(call, descriptor)
        return self._register(call, descriptor, Identity(identity.key, identity.facts, position, flags))

    def met(self, call: Call, descriptor: int, moved: int = 0) -> Open:
        """Register what `descriptor` names, which was open before, or was passed by another process.

        moved: bytes by which this very call moved the position that the source reports.
        """
        identity = self.source.identify(call, descriptor)
        if identity.position is not None:
            identity.position = max(0, identity.position - moved)
        number = self.recorder.known(identity.key)
        if number is not None and identity.facts.kind in DATA_KINDS:
            shared = self.shared(call.tid, descriptor, number)
            if shared is not None:
                self.descriptors.open(call.tid, descriptor, shared, bool(identity.flags & O_CLOEXEC))
                return shared
        return self._register(call, descriptor, identity)

    def shared(self, task: int, descriptor: int, file: int) -> Open | None:
        """The open of this file that `descriptor` shares with another one that is known."""
        tables = {id(table): (other, table) for other, table in self.descriptors.tables.items()}
        for other, table in tables.values():
            for known, opened in table.opens.items():
                if opened.file == file and self.source.same_open(task, descriptor, other, known):
                    return opened
        return None

    def opened(self, identity: Identity) -> Open:
        """A new open, which need not have a descriptor: io_uring has open files of its own."""
        facts, flags = identity.facts, identity.flags
        data = facts.kind in DATA_KINDS or facts.kind == "unknown"
        return Open(
            self.recorder.file(identity.key, facts), self.recorder.handle(), identity.position,
            bool(flags & O_APPEND), bool(flags & O_DIRECT),
            data and not flags & O_PATH, flags & os.O_ACCMODE != os.O_RDONLY,
        )  # fmt: skip

    def _register(self, call: Call, descriptor: int, identity: Identity) -> Open:
        opened = self.opened(identity)
        self.descriptors.open(call.tid, descriptor, opened, bool(identity.flags & O_CLOEXEC))
        return opened

    def followed(self, call: Call, path: bytes) -> None:
        """Record the symbolic links on the way to what is called `path`, the first time that it is."""
        if path in self._asked or len(self._asked) >= MOST_ASKED:
            return
        self._asked.add(path)
        for link in links.followed(path, b"/proc/%d/root" % call.tid):
            facts = FileFacts(link.path, link.device, link.inode, kind="link")
            self.happened(call, "lookup", Open(self.recorder.file(("link", link), facts), -1))

    def absent(self, path: bytes) -> Open | None:
        """What stands for a file that was looked for and is not there; None once there are too many."""
        if path not in self._asked and len(self._asked) >= MOST_ASKED:
            return None
        self._asked.add(path)
        return Open(self.recorder.file(("absent", path), FileFacts(path, kind="absent")), -1)

    def find(self, call: Call, descriptor: int, moved: int = 0) -> Open:
        """The open behind a descriptor, asked of the source if it was never seen before."""
        opened = self.descriptors.get(call.tid, descriptor)
        return self.met(call, descriptor, moved) if opened is None else opened

    def is_file(self, opened: Open) -> None:
        """The descriptor has proved to be seekable: an unknown kind of file is a regular one."""
        facts = self.recorder.files[opened.file]
        if facts.kind == "unknown":
            facts.kind = "regular"

    # -- events -----------------------------------------------------------------------------------------

    def moved_data(
        self,
        call: Call,
        op: str,
        opened: Open,
        offset: int | None,
        requested: int,
        result: int | None = None,
        took_ns: int | None = None,
    ) -> None:
        """Record a read or write of `opened` that ended with `result` bytes or -errno, and took so long
        (default of both: the call's)."""
        got = call.result if result is None else result
        took = call.duration_ns if took_ns is None else took_ns
        self.recorder.add(
            call.time_ns, took, call.pid, call.tid, OP_CODES[op], opened.file, opened.handle,
            _place(offset), _amount(requested),
            got if got >= 0 else UNKNOWN, -got if got < 0 else 0, opened.direct,
        )  # fmt: skip

    def happened(
        self, call: Call, op: str, opened: Open | None, offset: int | None = None, requested: int = 0
    ) -> None:
        """Record something that moves no data itself: open, lseek, mmap, advice."""
        self.recorder.add(
            call.time_ns, call.duration_ns, call.pid, call.tid, OP_CODES[op],
            -1 if opened is None else opened.file, -1 if opened is None else opened.handle,
            _place(offset), _amount(requested), UNKNOWN,
            -call.result if -4096 < call.result < 0 else 0, opened is not None and opened.direct,
        )  # fmt: skip

    def unended(self, call: Call, op: str, opened: Open, offset: int | None, requested: int) -> int:
        """Record a read or write whose end was not seen, or not yet; gives the event's number."""
        return self.recorder.add(
            call.time_ns, UNKNOWN, call.pid, call.tid, OP_CODES[op], opened.file, opened.handle,
            _place(offset), _amount(requested), UNKNOWN, 0, opened.direct,
        )  # fmt: skip

    def submitted(
        self, call: Call, key: object, op: str, opened: Open, offset: int | None, requested: int
    ) -> None:
        """Record an asynchronous operation at its start; `completed` with the same key fills in the
        result."""
        event = self.unended(call, op, opened, offset, requested)
        # programs use a key again as soon as its operation has ended, and some give all the same one
        self._submitted.setdefault((call.pid, key), deque()).append(event)

    def completed(self, pid: int, key: object, result: int, end_ns: int) -> None:
        """An operation submitted before has ended with `result` bytes or -errno. Nothing happens if none is
        known by `key`."""
        waiting = self._submitted.get((pid, key))
        if not waiting:
            return
        event = waiting.popleft()
        # it stood in the program's memory, where anything may stand
        if not -ERRORS < result <= MAX_RW_COUNT:
            self.recorder.complete(event, UNKNOWN, 0, end_ns)
        else:
            self.recorder.complete(event, result if result >= 0 else UNKNOWN, max(0, -result), end_ns)

    @property
    def pending(self) -> int:
        """Operations submitted whose end was not seen."""
        return sum(len(waiting) for waiting in self._submitted.values())


def _place(offset: int | None) -> int:
    return offset if offset is not None and 0 <= offset <= LARGEST else UNKNOWN


def _amount(requested: int) -> int:
    return requested if 0 <= requested <= LARGEST else LARGEST  # size_t: a program may ask for all there is
