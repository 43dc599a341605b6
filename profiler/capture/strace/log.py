"""Logs of strace -> Trace, whoever made them and with whatever options. Pure: it reads the log and nothing
else.

    trace = parse("qemu-img.strace")

Two paths lead through a log and come to the same result: `strace_columns` decodes the usual lines many at
a time, and every other line is read on its own by the grammar in `strace_text`. What a call means is said
in `calls`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from typing import BinaryIO

import numpy as np

from profiler.capture import confined
from profiler.capture.calls.descriptors import Open, Table
from profiler.capture.calls.event_log import UNKNOWN, Recorder
from profiler.capture.calls.handlers import HANDLERS
from profiler.capture.calls.slots import Slots
from profiler.capture.strace.batch import HOT, LSEEK, NO_DATA, POSITIONAL, SKIP, Batch
from profiler.capture.strace.clock import Clock
from profiler.capture.strace.columns import FULL, GENERAL, RESUMED, STARTED, Columns, Decoder, layout_of
from profiler.capture.strace.grammar import UnreadableError, split_call, split_prefix
from profiler.capture.strace.logs import comms, family
from profiler.capture.strace.logs.dressing import Undresser
from profiler.capture.strace.logs.foreign import Tool, tool_of
from profiler.capture.strace.logs.packing import BLOCK, FAMILY_BLOCK, text_of
from profiler.capture.strace.tasks import (
    CLONES,
    EXECS,
    FORMER_NAMES,
    IO_URING,
    NAMES,
    NEW_DESCRIPTORS,
    Started,
    Tasks,
)
from profiler.errors import ColdseekError
from profiler.files.reading import open_log
from profiler.trace import Meta, Trace
from profiler.units import show_path, show_plural

_SHOWN = 3  # unreadable lines
_SHOWN_LENGTH = 80
_SHORT = 256  # chosen lines: below that, arrays are not worth their while
_SAMPLE = 400  # lines to learn the layout from
_MANY = 1000  # calls under way, or meanings, above which they are not gone through again and again

_MATTER = frozenset(
    (
        *HANDLERS,
        *CLONES,
        *EXECS,
        *NEW_DESCRIPTORS,
        *IO_URING,
        *FORMER_NAMES,
        *NAMES,
        *confined.CALLS,
        "exit_group",
    )
)
_HARMLESS = (b"F_GET", b"F_DUPFD", b"F_SETFD")  # of fcntl: they change no flags of the open
_CHANGES_TABLES = frozenset(("unshare", "close_range"))

_CALL = re.compile(rb"(\w+)\(")
_ASIDE = (b"mprotect(", b"brk(", b"futex(", b"rt_sigaction(", b"getpid(")
_AT_POSITION = re.compile(rb"(?<!\w)readv?\(\d+<?")
_KEY = re.compile(rb"(\w+)\((0|[1-9]\d{0,8})(?:<[^<>]*>)?(?:, )?(.*)", re.DOTALL)
_RESUMED = re.compile(rb"<\.\.\. (\w+) resumed> ?")
_UNFINISHED = re.compile(rb" ?<unfinished \.\.\.>\s*\Z")
_DETACHED = re.compile(rb" ?<detached \.\.\.>\s*\Z")
_ATTACHED = re.compile(rb"(?:strace: )?Process \d{1,10} attached(?: \([^()]*\))?\s*\Z")
_DURATION = re.compile(rb" (<\d{1,9}(?:\.\d{1,9})?>)\s*\Z")
_INJECTED = re.compile(rb" \(INJECTED[^()\"]*\)(?: <[\d.]+>)?\s*\Z")  # after the result, not in a string
_TAIL_BYTES = 80
_EXITED = re.compile(
    rb"\+\+\+ (?:exited with (\d{1,3})|killed by (SIG\w+)(?: \(core dumped\))?) \+\+\+\s*\Z"
)
_SUPERSEDED = re.compile(rb"\+\+\+ superseded by execve in pid (\d{1,9}) \+\+\+\s*\Z")
_SIGNAL = re.compile(rb"--- .* ---\s*\Z")
_BESIDE = re.compile(  # what strace prints beside calls: -k, -e read and -e write, its own remarks
    rb"\s*\Z| [>+|*] |\s*<unfinished \.\.\.>\s*\Z|(?:\S*/)?strace: |\[ Process PID=\d+ runs in "
    rb"|Process \d+ (?:attached|detached|resumed|suspended)|System call usage summary"
)
_SUMMARY = re.compile(rb"% time +seconds ")  # -C, at the end of the log
_SUMMARY_ROW = re.compile(rb"[- ]+\Z| *\d+\.\d\d +\d+\.\d+ +(?:\d++ ++)*+\w++\s*\Z|% time +seconds ")
_REMEDY = "record a log with: strace -f -y -ttt -T -o LOG COMMAND"


Source = str | os.PathLike[str] | BinaryIO


def parse(*sources: Source) -> Trace:
    """Read a log, from a file or a binary stream, or the logs of one strace -ff, into a trace whose tracer
    is "import". They may be compressed, and dressed in whatever logs get on their way (`logs.dressing`).

    Raises ColdseekError if it cannot be read, is empty, is another tool's, or holds no line of strace's.
    """
    # what makes the tables takes as long to load as half a million lines take to be read: meanwhile
    tables = threading.Thread(target=lambda: [import_module(name) for name in ("pandas", "pyarrow.parquet")])
    tables.start()
    return read(sources, Log(), before_trace=tables.join)


def read(sources: Sequence[Source], log: Log, before_trace: Callable[[], None] = lambda: None) -> Trace:
    """`parse` with a log that has been made for it. before_trace: called when all of it has been read."""
    names = [show_path(_name(source)) for source in sources]
    name = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    log.undresser = Undresser()
    try:
        _feed(sources, log)
        log.finish()
    except _ForeignError as error:
        raise ColdseekError(f"{name} is {error.tool.name}; {error.tool.remedy}") from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ColdseekError(
            f"cannot read {name}: {reason}; name a log that strace -o has written"
        ) from error
    except ValueError as error:  # a null byte in the name
        raise ColdseekError(f"cannot read {name}: {error}; name a log that strace -o has written") from error
    if not log.lines:
        why = f"of {name} nothing can be read: {log.partial}" if log.partial else f"{name} is empty"
        raise ColdseekError(f"{why}; {_REMEDY}")
    if not log.recognised:
        raise ColdseekError(f"{name} holds no line of strace's; {_REMEDY}")
    before_trace()
    return log.trace()


def _name(source: Source) -> str:
    return (
        os.fspath(source)
        if isinstance(source, (str, os.PathLike))
        else str(getattr(source, "name", "the log"))
    )


def _feed(sources: Sequence[Source], log: Log) -> None:
    def cut(why: str) -> None:
        log.partial = why

    def note(words: str) -> None:
        if words not in log.notes:  # it may be so of each of many files
            log.notes.append(words)

    if len(sources) > 1:
        paths = [_name(source) for source in sources]
        for line in family.merged(paths, lambda path: _lines(path, cut, note), note):
            log.feed(line)
        return
    (source,) = sources
    if isinstance(source, (str, os.PathLike)):
        log.tasks.unprefixed_pid = family.pid_of(os.fspath(source)) or 0
        with open_log(os.fspath(source)) as stream:
            _feed_stream(stream, log, cut)
    else:
        _feed_stream(source, log, cut)


def _feed_stream(stream: BinaryIO, log: Log, cut: Callable[[str], None]) -> None:
    for piece in text_of(stream, cut, log.notes.append, _name(stream)):
        log.feed(piece)


def _lines(path: str, cut: Callable[[str], None], note: Callable[[str], None]) -> Iterator[bytes]:
    """The lines of a log, each with its newline; of one longer than a BLOCK no more than its beginning."""
    with open_log(path) as stream:
        left = b""
        for piece in text_of(stream, cut, note, path, FAMILY_BLOCK):
            first, *others = piece.split(b"\n")
            if len(left) < BLOCK:
                left += first
            for line in others:
                yield left + b"\n"
                left = line
        if left:
            yield left + b"\n"


class _ForeignError(Exception):
    """The log is not strace's."""

    def __init__(self, tool: Tool) -> None:
        super().__init__(tool.name)
        self.tool = tool


@functools.cache
def _helper() -> ThreadPoolExecutor:
    """One thread: arrays and RE2 leave the interpreter free meanwhile."""
    return ThreadPoolExecutor(1, "strace-columns")


os.register_at_fork(after_in_child=_helper.cache_clear)  # its thread is not in the copy that saves a trace


@dataclass(slots=True)
class Known:
    """What a hot line means as long as `table` has `opened` at `descriptor`. use: what `Batch.use` gave.
    opens: of the table, when that was last so."""

    kind: int
    opened: Open
    use: int
    table: Table
    descriptor: int
    opens: Slots

    def is_stale(self) -> bool:
        """Whether it has another meaning now."""
        opens = self.table.opens
        if opens is not self.opens:
            if opens.get(self.descriptor) is not self.opened:
                return True
            self.opens = opens
        return False


class Log:
    """One log on its way to become a trace: `feed` it pieces as they come, then `finish`, then `trace`.

    fast: False sends every line through the general path (for tests). lines: taken in so far. recognised:
    whether any of them was strace's. partial: why the log is not whole, if that is known before its end.
    """

    def __init__(self, *, fast: bool = True) -> None:
        self.recorder = Recorder()
        self.tasks = Tasks(self.recorder)
        self.partial = ""
        self.notes: list[str] = []  # of what was done to the log before it was read
        self.undresser: Undresser | None = None
        self.lines = 0
        self.recognised = False
        self.exit_status: int | None = None
        self.ended = False  # the first process, as far as the log shows
        self._fast = fast
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        self._overlong = False
        self._cut_off = False
        self._decoder: Decoder | None = None
        self._ahead: tuple[bytes, dict[int, bytes], Future[Columns]] | None = None
        self._named = False  # lines begin with the name of their task too
        self._clock = Clock()
        self._batch = Batch(self.recorder)
        # (task, text of a call up to its first comma) -> what it means
        self._known: dict[tuple[int, bytes], Known] = {}
        self._changes = 0
        self._stretch = _SHORT
        self._in_summary = False
        self._broken_off: int | None = None  # task whose line a remark has cut in two
        self._unreadable = 0
        self._shown: list[str] = []
        self._beginnings_missing = 0
        self._one_task: int | None = None
        self._several_tasks = False
        self._whole = False  # calls are in the log that nobody asks for on purpose
        self._seeks = False
        self._at_position = False

    # -- pieces to blocks of whole lines -------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Take in the next piece of the log, of any length."""
        for at in range(0, len(data), BLOCK):
            piece = data[at : at + BLOCK]
            self._waiting.append(piece)
            self._waiting_size += len(piece)
            if self._waiting_size >= BLOCK:
                self._take_whole_lines()
                if self._waiting_size >= BLOCK:  # not one newline in all that
                    if not self._overlong:
                        self._catch_up()
                        self.lines += 1
                        self._not_read(self.lines, self._waiting[0])
                    self._overlong = True
                    self._waiting, self._waiting_size = [], 0

    def flush(self) -> None:
        """Take in the whole lines among what was fed so far."""
        self._take_whole_lines()
        self._catch_up()

    def _take_whole_lines(self) -> None:
        data = b"".join(self._waiting)
        end = data.rfind(b"\n") + 1
        self._waiting, self._waiting_size = [data[end:]], len(data) - end
        begin = 0
        if self._overlong and end:  # the end of that line
            begin = data.index(b"\n") + 1
            self._overlong = False
        if end > begin:
            self._take(data[begin:end])

    def finish(self) -> None:
        """The log has ended: what waits is its last line, whole or cut off."""
        self.flush()
        last = b"".join(self._waiting)
        if last and not self._overlong:
            before = self._unreadable
            self._take(last + b"\n")
            self._catch_up()
            self._cut_off = self._unreadable > before
        self._waiting, self._waiting_size = [], 0

    # -- a block -------------------------------------------------------------------------------------------

    def _take(self, block: bytes) -> None:
        """Take in whole lines: another thread makes their columns while the block before is gone through."""
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n")
        if self.undresser is not None:
            if self._decoder is None:
                self._undress(block)
            block = self.undresser(block)
        if self._decoder is None:
            self._named = comms.has_names(block[: BLOCK // 4])
        names: dict[int, bytes] = {}
        if self._named:
            block, names = comms.taken(block)
        if self._decoder is None:
            self._decoder = self._learn(block)
        self._whole = self._whole or any(name in block for name in _ASIDE)
        self._seeks = self._seeks or b"lseek(" in block
        self._at_position = self._at_position or _AT_POSITION.search(block) is not None
        columns = _helper().submit(self._decoder.decode, block)
        self._catch_up()
        self._ahead = block, names, columns

    def _undress(self, block: bytes) -> None:
        """Learn from the first lines whose log it is, and what it is dressed in."""
        assert self.undresser is not None
        head = block[: BLOCK // 4]
        tool = tool_of(head)
        if tool is not None:
            raise _ForeignError(tool)
        self.undresser.learn(head)
        if self.undresser.notes:
            self.notes.append(f"left out of each line: {', '.join(self.undresser.notes)}")

    def _catch_up(self) -> None:
        """Run through the block whose columns were asked for."""
        if self._ahead is None:
            return
        block, names, columns = self._ahead[0], self._ahead[1], self._ahead[2].result()
        self._ahead = None
        ready = len(columns.chosen) < len(columns.starts) or bool((columns.shape != GENERAL).any())
        self.recognised = self.recognised or ready
        self._complete(block, columns)
        times = self._clock.times(columns.stamp_ns, self.lines)
        self._count_tasks(columns.task)
        self._run(block, columns, times[columns.chosen])
        self.tasks.name(names)
        self.lines += len(columns.starts)

    def _learn(self, block: bytes) -> Decoder:
        """Look at the log's first lines for its layout."""
        seen = []
        for line in block[: BLOCK // 4].split(b"\n", _SAMPLE)[:_SAMPLE]:
            with contextlib.suppress(UnreadableError):
                prefix = split_prefix(line)
                if _CALL.match(line, prefix.end):
                    seen.append((prefix, line))
        styles = [prefix.stamp.style if prefix.stamp is not None else "" for prefix, _ in seen]
        self._clock.style = max(sorted(set(styles)), key=styles.count, default="")
        usual = [
            (prefix, line[: prefix.end], found[1] if found else b"")
            for (prefix, line), style in zip(seen, styles, strict=True)
            if style == self._clock.style and not line.endswith((b"= ?", b" <unfinished ...>"))
            for found in [_DURATION.search(line, max(0, len(line) - 30))]
        ]
        return Decoder(layout_of(usual) if self._fast else None, sorted(_MATTER))

    def _complete(self, block: bytes, columns: Columns) -> None:
        """Fill in task, time and text of the lines that are not in the log's layout, as far as they can be
        read.
        """
        odd = np.flatnonzero(columns.text_at < 0)
        places = zip(odd.tolist(), columns.starts[odd].tolist(), columns.ends[odd].tolist(), strict=True)
        for row, start, end in places:
            line = block[start:end]
            if _BESIDE.match(line) or _SUMMARY_ROW.match(line):
                columns.text_at[row] = start
                continue
            try:
                prefix = split_prefix(line)
            except UnreadableError:
                continue
            columns.text_at[row] = start + prefix.end
            if prefix.task is not None:
                columns.task[row] = prefix.task
            if prefix.stamp is not None and prefix.stamp.style == self._clock.style:
                columns.stamp_ns[row] = prefix.stamp.ns

    def _count_tasks(self, tasks: np.ndarray) -> None:
        seen = tasks[tasks >= 0]
        if len(seen) and not self._several_tasks:
            self._one_task = int(seen[0]) if self._one_task is None else self._one_task
            self._several_tasks = bool((seen != self._one_task).any())

    def _run(self, block: bytes, columns: Columns, times: np.ndarray) -> None:
        """Take in the chosen lines in their order. times: theirs, ns.

        A stretch ends where descriptors may have changed; as long as they do not, stretches grow.
        """
        start, count = 0, len(times)
        while start < count:
            stop = min(count, start + self._stretch)
            reached = self._take_stretch(block, columns, times, start, stop)
            self._stretch = min(4 * self._stretch, BLOCK) if reached == stop else _SHORT
            start = reached

    def _take_stretch(self, block: bytes, columns: Columns, times: np.ndarray, start: int, stop: int) -> int:
        """Take in the chosen lines from `start` on; gives the line to go on with, which is `stop` at the
        latest.
        """
        known, pending, batch, keys = self._known, self.tasks.pending, self._batch, columns.keys
        timed = bool(self._clock.style)
        doubts = not self.tasks.closes
        may_tie = self._may_tie(times[start:stop])
        relied_on: list[Known] = []  # what the lines that are not looked at one by one mean
        if stop - start > _SHORT:
            groups = np.unique(columns.group[start:stop][columns.shape[start:stop] == FULL]).tolist()
            idle = {group: found for group in groups if (found := self._idle(keys[group]))}
            relied_on += idle.values()
            hard = batch.plan(columns, start, stop, list(idle))
        else:
            hard = batch.plan_none(columns, start, stop)
        easy_uses, is_easy, wait = batch.easy_uses, batch.is_easy, batch.waiting.append
        descriptors = self.tasks.descriptors
        each = (
            part[hard].tolist()
            for part in (columns.chosen, columns.shape, columns.group, times, columns.result)
        )
        for index, row, shape, group, time_ns, result in zip(hard.tolist(), *each, strict=True):
            task = max(0, int(columns.task[row])) if shape == GENERAL else keys[group][0]
            if shape == STARTED:
                pending[task] = Started(time_ns, keys[group][1])
                continue
            key = found = None
            if shape == FULL:
                key = keys[group]
                found = known.get(key)
            elif shape == RESUMED and task in pending:
                key = (task, pending[task].text)
                found = known.get(key)
            at_end = doubts and result == 0 and found is not None and found.kind == POSITIONAL
            if found is None or at_end or (found.table.opens is not found.opens and found.is_stale()):
                if may_tie:
                    batch.flush(columns, times, timed, index)
                before = descriptors.changes
                self._general(block, columns, row, task, time_ns)
                if key is not None:
                    found = self._remember(key)
                    if shape == FULL and is_easy[group] and found is not None:
                        easy_uses[group] = found.use
                        relied_on.append(found)
                changed = self.tasks.changes != self._changes or batch.is_full
                if (
                    changed
                    or (shape == FULL and is_easy[group] and found is None)
                    or (descriptors.changes != before and self._are_stale(relied_on))
                ):
                    batch.flush(columns, times, timed, index)
                    if changed:
                        self._changes = self.tasks.changes
                        known.clear()
                        batch.forget()
                    return int(index) + 1
                continue
            if shape == RESUMED:
                batch.begun[index] = pending.pop(task).time_ns
            kind, opened = found.kind, found.opened
            if kind == POSITIONAL:
                offset = opened.position
                if offset is None:
                    wait((index, found.use, UNKNOWN))
                else:
                    wait((index, found.use, offset))
                    opened.advance(result)
            elif kind == NO_DATA:
                batch.begun.pop(index, None)
            else:
                if kind == LSEEK:
                    opened.seek(result)
                wait((index, found.use, 0))
            if shape == FULL and is_easy[group]:
                easy_uses[group] = found.use
                relied_on.append(found)
        batch.flush(columns, times, timed, stop)
        return stop

    def _are_stale(self, relied_on: list[Known]) -> bool:
        """Whether any of these has another meaning now; of many it is not worth finding out."""
        return len(relied_on) > _MANY or any(known.is_stale() for known in relied_on)

    def _may_tie(self, times: np.ndarray) -> bool:
        """Whether events of these lines may have one time. They have to be recorded in the order of their
        lines then, so that what waits is not to be overtaken by what need not.
        """
        if len(self.tasks.pending) > _MANY:  # not worth finding out: it is safe to say yes
            return True
        begun = [call.time_ns for call in self.tasks.pending.values()]
        if begun and (max(begun) >= times[0] or len(set(begun)) < len(begun)):
            return True
        return bool((times[1:] <= times[:-1]).any())

    def _idle(self, key: tuple[int, bytes]) -> Known | None:
        """What is known of calls with this key if they are of no interest: they move no data of files."""
        found = self._known.get(key)
        if found is None or found.kind != NO_DATA or found.is_stale():
            return None
        return found

    def _remember(self, key: tuple[int, bytes]) -> Known | None:
        """The general path has just read a line with this key: the next like it need not go there."""
        task, text = key
        call = _KEY.match(text)
        if call is None:
            return None
        name, descriptor, more = call[1].decode(), int(call[2]), call[3]
        table = self.tasks.descriptors.table(task)
        opened = table.opens.get(descriptor)
        if opened is None or name not in HOT or self.tasks.is_doubtful(opened):
            return None
        if not opened.data:
            found = Known(NO_DATA, opened, SKIP, table, descriptor, table.opens)
        elif not more and not (name == "write" and opened.append):
            use = self._batch.use(name, opened, self.tasks.pid_of(task), task)
            found = Known(HOT[name], opened, use, table, descriptor, table.opens)
        else:
            return None
        self._known[key] = found
        return found

    # -- the general path: one line ------------------------------------------------------------------------

    def _general(self, block: bytes, columns: Columns, row: int, task: int, time_ns: int) -> None:
        text_at, end = int(columns.text_at[row]), int(columns.ends[row])
        self.tasks.now_ns = time_ns
        try:
            if text_at < 0:
                raise UnreadableError
            self._line(block[text_at : end - 1], task, time_ns)
        except (UnreadableError, IndexError):  # IndexError: fewer arguments than such a call has
            self._not_read(self.lines + row + 1, block[int(columns.starts[row]) : end - 1])

    def _line(self, text: bytes, task: int, time_ns: int) -> None:
        broken_off, self._broken_off = self._broken_off, None
        call = _CALL.match(text)
        if call is not None:
            self._call(call[1], text, call.end(), task, time_ns)
            self.recognised = True
        elif text.startswith(b"<... "):
            self._resumed(text, task, time_ns)
            self.recognised = True
        elif text.startswith(b"+++ "):
            self._ended(text, task)
            self.recognised = True
        elif broken_off is not None and broken_off in self.tasks.pending and not _BESIDE.match(text):
            started = self.tasks.pending.pop(broken_off)
            name = started.text.partition(b"(")[0]
            self._call(name, started.text + text, len(name) + 1, broken_off, started.time_ns)
        elif _SUMMARY.match(text):
            self._in_summary = True
        elif not (
            _BESIDE.match(text) or _SIGNAL.match(text) or (self._in_summary and _SUMMARY_ROW.match(text))
        ):
            raise UnreadableError

    def _call(self, name: bytes, text: bytes, start: int, task: int, time_ns: int) -> None:
        attached = _ATTACHED.search(text, max(start, len(text) - 80))
        if attached is not None:  # a remark in the middle of a call
            text = text[: attached.start()] + b" <unfinished ...>"
            self._broken_off = task
        word = name.decode()
        if _DETACHED.search(text, max(start, len(text) - 40)):
            self.partial = "strace was detached from the program before its end"
            return
        unfinished = _UNFINISHED.search(text, max(start, len(text) - 40))
        if word not in _MATTER:
            if unfinished is None and b" = " not in text:
                raise UnreadableError
        elif unfinished is not None:
            begun = text[: unfinished.start()]
            self.tasks.start(task, Started(time_ns, begun))
            if word == "close":  # by the time it returns another task may own the number again
                self._finish(word, begun + b") = 0", start, task, time_ns)
        else:
            self._finish(word, text, start, task, time_ns)

    def _resumed(self, text: bytes, task: int, time_ns: int) -> None:
        found = _RESUMED.match(text)
        if found is None:
            raise UnreadableError
        name = found[1].decode()
        if name not in _MATTER:
            if b" = " not in text and not _UNFINISHED.search(text, max(0, len(text) - 40)):
                raise UnreadableError
            return
        started = self.tasks.resume(task, found[1])
        if started is None:
            self._beginnings_missing += 1
            return
        if name == "close":
            return
        whole = started.text + text[found.end() :]
        self._finish(name, whole, len(name) + 1, task, started.time_ns, time_ns)

    def _finish(self, name: str, text: bytes, start: int, task: int, time_ns: int, end_ns: int = -1) -> None:
        """A call of which all the text is there. end_ns: when it was resumed, if it was split."""
        call = split_call(name, text, start)
        if name == "exit_group" and task == (self.tasks.main if self.tasks.main is not None else task):
            status = re.match(rb"\d{1,3}\Z", call.args[0])
            self.exit_status = int(status[0]) & 255 if status else self.exit_status
            self.ended = True
        if call.result is None or _INJECTED.search(text, max(0, len(text) - _TAIL_BYTES)):
            return  # did not come to its end, or never came to the kernel
        if call.duration_ns < 0 and end_ns >= 0 and self._clock.style:
            call.duration_ns = max(0, end_ns - time_ns)
        self.tasks.finish(call, text, task, time_ns)
        if name in _CHANGES_TABLES or (name.startswith("fcntl") and not call.args[1].startswith(_HARMLESS)):
            self.tasks.changes += 1

    def _ended(self, text: bytes, task: int) -> None:
        found, superseded = _EXITED.match(text), _SUPERSEDED.match(text)
        if superseded is not None:
            self.tasks.superseded(task, int(superseded[1]))
        elif found is None:
            raise UnreadableError
        else:
            if task == self.tasks.main or self.tasks.main is None:
                self.ended = True
                if found[1]:
                    self.exit_status = int(found[1]) & 255
                else:
                    number = getattr(signal, found[2].decode(), None)
                    self.exit_status = None if number is None else 128 + int(number)
            self.tasks.ended(task)

    def _not_read(self, number: int, line: bytes) -> None:
        self._unreadable += 1
        if len(self._shown) < _SHOWN:
            shown = show_path(line[:_SHOWN_LENGTH]) + ("..." if len(line) > _SHOWN_LENGTH else "")
            self._shown.append(f"line {number}: {shown}")

    # -- result --------------------------------------------------------------------------------------------

    def trace(self) -> Trace:
        """What the log says. After `finish`, or before it for what is known so far."""
        timed = bool(self._clock.style)
        meta = Meta(
            command=self.tasks.command,
            cwd=self.tasks.cwd,
            started_at=self._clock.started_at,
            tracer="import",
            wall_s=self._clock.last_ns / 1e9 if timed else None,
            exit_status=self.exit_status,
            partial=self._why_partial(),
            unseen=self._unseen(),
            notes=tuple(self._notes(timed)),
        )
        trace = self.recorder.trace(meta)
        pid = self.tasks.unprefixed_pid
        if not pid:
            return trace
        events = trace.events.assign(
            **{
                name: trace.events[name].mask(trace.events[name] == 0, pid).astype("int32")
                for name in ("pid", "tid")
            }
        )
        tasks = trace.tasks.assign(
            **{
                name: trace.tasks[name].mask(trace.tasks[name] == 0, pid).astype("int32")
                for name in ("pid", "tid", "parent")
            }
        )
        return dataclasses.replace(trace, events=events, tasks=tasks)

    @property
    def started_at(self) -> str:
        """When the log begins, UTC, ISO 8601; "" if it does not tell."""
        return self._clock.started_at

    def _why_partial(self) -> str:
        if self.partial:
            return self.partial
        if self._cut_off:
            return "the log is cut off in its last line"
        if self._overlong:
            return "the log ends in a line without end"
        return "" if self.ended else "the log ends before the program does"

    def _unseen(self) -> tuple[str, ...]:
        unseen = {"mmap", "readahead", "exec"}
        if self.tasks.first_call not in EXECS:
            unseen.add("early")
        if not self._several_tasks:
            unseen.add("threads")
        if self.tasks.calls.pending:
            unseen.add("completions")
        return tuple(sorted(unseen))

    def _doubts(self) -> Iterator[str]:
        """What is not sure for want of calls that the log does not hold."""
        tasks = self.tasks
        if tasks.doubtful:
            count = show_plural(tasks.doubtful, "descriptor")
            yield (
                f"the log holds no close: {count} gave data behind the end of a file, which are another "
                f"file's or a socket's and are left out"
            )
        if tasks.placeless:
            count = show_plural(tasks.placeless, "descriptor")
            yield (
                f"the log does not show {count} being opened: their reads are counted as reads of files, at "
                f"offsets that are not known; they may be of pipes or sockets"
            )
        if tasks.iocbs_missing:
            count = show_plural(tasks.iocbs_missing, "request")
            yield f"{count} of io_submit are not shown in the log: what they read is missing"
        if self._at_position and not self._seeks and not self._whole:
            yield (
                "the log holds no lseek: where reads without an offset of their own begin is right only if "
                "the program made none"
            )

    def _notes(self, timed: bool) -> Iterator[str]:
        yield from self.notes
        if self._unreadable:
            first = "the first, " if self._unreadable > 1 else ""
            count = show_plural(self._unreadable, "line")
            yield f"{count} could not be read; {first}{'; '.join(self._shown)}"
        if not timed:
            yield "the log has no times: events are in the order of its lines, and no durations are known"
        if self._beginnings_missing:
            yield f"{show_plural(self._beginnings_missing, 'call')} ended whose beginning is not in the log"
        yield from self._doubts()
        waiting = len(self.tasks.pending)
        if waiting:
            yield f"{show_plural(waiting, 'call')} had not ended when the log does"
