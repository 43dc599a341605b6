"""A log of the block layer -> Trace. Pure: it reads the log and nothing else."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from profiler.capture.block_logs.events import Events, Ints
from profiler.capture.block_logs.foreign import refused
from profiler.capture.block_logs.formats import FORMATS, HEAD, Format, format_of
from profiler.capture.block_logs.requests import Found, found
from profiler.capture.calls.event_log import EVENT_DTYPE, OP_CODES, UNKNOWN, Recorder, TaskFacts
from profiler.capture.strace.logs.packing import text_of
from profiler.errors import ColdseekError, NoMemoryError
from profiler.facts.unseen import DEVICE_ONLY
from profiler.files.free_memory import available_bytes
from profiler.files.reading import open_log
from profiler.trace import FileFacts, Meta, Trace
from profiler.units import show_bytes, show_path, show_plural

MOST_LINE = 4096
"""Bytes of a line that are read; no tool writes as many."""

_SHOWN_LENGTH = 80
_NAMED = 5
"""Of those who asked, where nobody did who was named."""
_EVENT_BYTES = 400
"""Of memory that an event takes, at the peak."""


def parse(kind: str, source: str | os.PathLike[str], of: Sequence[str] = ()) -> Trace:
    """Read a log of one of FORMATS into a trace of the device layer, whose tracer is "import".

    of: names or numbers of the tasks or processes whose requests are wanted; none: of all.

    Raises ColdseekError if it cannot be read, is empty, is another tool's, or has no requests with sectors,
    or none of these processes; NoMemoryError if it has more events than there is memory for.
    """
    log, name = FORMATS[kind], show_path(os.fspath(source))
    lines = _Lines(log, name)
    try:
        with open_log(os.fspath(source), f"name a log, as of: {log.command}") as stream:
            lines.feed(text_of(stream, lines.cut, lines.notes.append, os.fspath(source)))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ColdseekError(f"cannot read {name}: {reason}; record one: {log.command}") from error
    except ValueError as error:  # a null byte in the name
        raise ColdseekError(f"cannot read {name}: {error}; record one: {log.command}") from error
    lines.check()
    requests = found(lines.events)
    if not len(requests.reads.time_ns) and not requests.writes and not requests.others:
        raise ColdseekError(f"{name} has no event of a request issued to a disk; record with: {log.command}")
    asked_by = _processes(requests.reads.asker, lines.events.processes)
    wanted = _wanted(lines, requests, asked_by, of)
    return _trace(lines, requests, asked_by, wanted, of)


class _Lines:
    """The lines of a log, taken in one after another. events: what they say. unreadable: how many are of
    block events and say something else; shown: the first of them, to be printed. partial: why it ends too
    soon, ""."""

    def __init__(self, log: Format, name: str) -> None:
        self.events, self.log, self.name = Events(), log, name
        self.unreadable, self.shown, self.partial = 0, "", ""
        self.notes: list[str] = []
        self._head, self._lines, self._taken = b"", 0, 0
        free = available_bytes()
        self._most = 2**62 if free is None else free // _EVENT_BYTES

    def cut(self, why: str) -> None:
        self.partial = why

    def feed(self, pieces: Iterator[bytes]) -> None:
        """Take in the log, in pieces of any length. Raises NoMemoryError."""
        left = b""
        for piece in pieces:
            if len(self._head) < HEAD:
                self._head += piece[: HEAD - len(self._head)]
            first, *lines = piece.split(b"\n")
            if len(left) <= MOST_LINE:
                left += first[: MOST_LINE + 1]
            for line in lines:
                self._take(left)
                left = line
            if len(self.events) > self._most:
                raise NoMemoryError(f"its {len(self.events):,} events take more memory than is free")
        if left:
            self._take(left)

    def _take(self, line: bytes) -> None:
        self._lines += 1
        line = line.rstrip(b"\r\n\t ")
        taken = self.log.read_line(self.events, line) if len(line) <= MOST_LINE else False
        if taken:
            self._taken += 1
        elif taken is False:
            self.unreadable += 1
            shortened = "..." if len(line) > _SHOWN_LENGTH else ""
            words = f"line {self._lines}: {show_path(line[:_SHOWN_LENGTH])}{shortened}"
            self.shown = self.shown or words

    def check(self) -> None:
        """Raise ColdseekError unless it is such a log, with events of requests."""
        if not self._head:
            why = (
                f"of {self.name} nothing can be read: {self.partial}"
                if self.partial
                else f"{self.name} is empty"
            )
            raise ColdseekError(f"{why}; record a log with: {self.log.command}")
        if len(self.events):
            return
        why_not, other = refused(self._head), format_of(self._head)
        if other is not None and FORMATS[other] is not self.log:
            raise ColdseekError(
                f"{self.name} is a log of {FORMATS[other].tool}; use: coldseek import {other} {self.name}"
            )
        if why_not is not None:
            raise ColdseekError(f"{self.name} is {why_not.what}; {why_not.remedy}")
        if self.unreadable:
            why = f"of {self.name} no event can be read, {self.shown}"
            raise ColdseekError(f"{why}; record a log with: {self.log.command}")
        raise ColdseekError(
            f"{self.name} holds no request of {self.log.tool}; record a log with: {self.log.command}"
        )


def _wanted(lines: _Lines, requests: Found, asked_by: Ints, of: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which requests are of those who were named. Raises ColdseekError where none is."""
    asker, names = requests.reads.asker, lines.events.names
    if not of:
        return np.ones(len(asker), bool)
    called = {os.fsencode(word) for word in of}

    def is_one(tid: int) -> bool:
        return bool(called & {b"%d" % tid, names.get(tid, b"")})

    tasks = [tid for tid in np.unique(np.append(asker, asked_by)).tolist() if is_one(tid)]
    found: npt.NDArray[np.bool_] = np.isin(asker, tasks) | np.isin(asked_by, tasks)
    if not found.any():
        most = Counter(filter(None, (names.get(tid) for tid in asked_by.tolist()))).most_common(_NAMED)
        who = ", ".join(show_path(name) for name, _ in most) or "processes whose names are not in it"
        raise ColdseekError(
            f"{lines.name} has no request of {', '.join(map(show_path, of))}; there are those of {who}"
        )
    return found


def _trace(
    lines: _Lines, requests: Found, asked_by: Ints, wanted: npt.NDArray[np.bool_], of: Sequence[str]
) -> Trace:
    events, reads, recorder = lines.events, requests.reads.rows(wanted), Recorder()
    for disk in events.disks:
        recorder.file(disk, _facts(disk))
    rows = np.zeros(len(reads.time_ns), EVENT_DTYPE)
    rows["time_ns"], rows["offset"], rows["tid"] = reads.time_ns, reads.offset, reads.tid
    rows["duration_ns"] = np.where(reads.duration_ns < 0, UNKNOWN, reads.duration_ns)
    rows["size"] = rows["requested"] = reads.size
    rows["pid"] = asked_by[wanted]
    rows["file"], rows["handle"] = reads.disk, -1
    by_itself = reads.asker == reads.tid
    rows["op"] = np.where(by_itself, OP_CODES["request"], OP_CODES["kernel_request"])
    recorder.append(rows)
    for tid in sorted({*reads.tid.tolist(), *reads.asker.tolist()}):
        name = events.names.get(tid, b"")
        recorder.task(TaskFacts(tid, events.processes.get(tid, tid), name=name))
    return recorder.trace(
        Meta(
            tracer="import",
            tracer_version=lines.log.tool,
            wall_s=requests.span_s,
            lost_events=events.lost,
            partial=lines.partial,
            unseen=(DEVICE_ONLY,),
            notes=(*_notes(lines, requests), *_others(requests, wanted)),
            targets=tuple(of),
        )
    )


def _others(requests: Found, wanted: npt.NDArray[np.bool_]) -> Iterator[str]:
    others = requests.reads.rows(~wanted)
    if len(others.size):
        size = show_bytes(int(others.size.sum()))
        yield f"left out, as others asked for them: {show_plural(len(others.size), 'request')}, {size}"


def _processes(tids: Ints, processes: dict[int, int]) -> Ints:
    """Of each task its process, as far as the log tells; else itself."""
    tasks, which = np.unique(tids, return_inverse=True)
    return np.array([processes.get(tid, tid) for tid in tasks.tolist()], np.int64)[which.reshape(-1)]


def _facts(disk: bytes) -> FileFacts:
    """A disk by its number, or by its name where the log has that."""
    if b":" in disk:
        return FileFacts(b"(disk %b)" % disk, device=disk.decode(), kind="block")
    return FileFacts(b"/dev/" + disk, kind="block")


def _notes(lines: _Lines, requests: Found) -> Iterator[str]:
    events = lines.events
    yield from lines.notes
    if lines.unreadable:
        first = "the first, " if lines.unreadable > 1 else ""
        yield f"{show_plural(lines.unreadable, 'line')} could not be read; {first}{lines.shown}"
    if requests.writes or requests.others:
        size = show_bytes(requests.written_bytes)
        yield (
            f"left out, as a cold start is what is read: {show_plural(requests.writes, 'write')}, {size}"
            f"{f'; {requests.others:,} other requests (discards and the like)' if requests.others else ''}"
        )
    open_ends = len(requests.reads.time_ns) - requests.completed
    if open_ends:
        yield f"of {show_plural(open_ends, 'request')} the log has no end: how long these took is not known"
    if requests.again:
        yield f"{show_plural(requests.again, 'request')} went back into the queue; counted when issued again"
    if events.cached:
        pages, files = sum(events.cached.values()), len(events.cached)
        yield (
            f"{show_plural(pages, 'page')} of {show_plural(files, 'file')} came into the page cache "
            f"meanwhile, as the log's filemap events say; which files these are is not known"
        )
    if requests.strays:
        size = show_bytes(requests.stray_bytes)
        count = show_plural(requests.strays, "read")
        yield f"{count}, {size}, had been issued before the log begins: left out"
    if words := _differs(events, requests):
        yield words


def _differs(events: Events, requests: Found) -> str:
    """Where the lines are not what the tool's own summary counts; "": they are, or there is none."""
    told = events.told
    reads = requests.completed + requests.strays + events.empty_ends
    size = (requests.completed_bytes + requests.stray_bytes) // 1024
    if not told or (told["reads"], told["read_kib"]) == (reads, size):
        return ""
    return (
        f"INCOMPLETE: the log's own summary has {told['reads']:,} reads completed, "
        f"{told['read_kib']:,} KiB; its lines have {reads:,}, {size:,} KiB"
    )
