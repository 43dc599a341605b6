"""One line of a log on its own, whatever it is: a call or a part of one, an end, a signal, a remark."""

from __future__ import annotations

import re
import signal

from profiler.capture import confined
from profiler.capture.calls.handlers import HANDLERS
from profiler.capture.strace.clock import Clock
from profiler.capture.strace.grammar import UnreadableError, split_call
from profiler.capture.strace.lineage import Started
from profiler.capture.strace.tasks import (
    CLONES,
    EXECS,
    FORMER_NAMES,
    IO_URING,
    NAMES,
    NEW_DESCRIPTORS,
    Tasks,
)
from profiler.units import show_path

_SHOWN = 3  # unreadable lines
_SHOWN_LENGTH = 80

MATTER = frozenset(
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

CALL = re.compile(rb"(\w+)\(")
_RESUMED = re.compile(rb"<\.\.\. (\w+) resumed> ?")
_UNFINISHED = re.compile(rb" ?<unfinished \.\.\.>\s*\Z")
_DETACHED = re.compile(rb" ?<detached \.\.\.>\s*\Z")
_ATTACHED = re.compile(rb"(?:strace: )?Process \d{1,10} attached(?: \([^()]*\))?\s*\Z")
_INJECTED = re.compile(rb" \(INJECTED[^()\"]*\)(?: <[\d.]+>)?\s*\Z")  # after the result, not in a string
_TAIL_BYTES = 80
_EXITED = re.compile(
    rb"\+\+\+ (?:exited with (\d{1,3})|killed by (SIG\w+)(?: \(core dumped\))?) \+\+\+\s*\Z"
)
_SUPERSEDED = re.compile(rb"\+\+\+ superseded by execve in pid (\d{1,9}) \+\+\+\s*\Z")
_SIGNAL = re.compile(rb"--- .* ---\s*\Z")
BESIDE = re.compile(  # what strace prints beside calls: -k, -e read and -e write, its own remarks
    rb"\s*\Z| [>+|*] |\s*<unfinished \.\.\.>\s*\Z|(?:\S*/)?strace: |\[ Process PID=\d+ runs in "
    rb"|Process \d+ (?:attached|detached|resumed|suspended)|System call usage summary"
)
_SUMMARY = re.compile(rb"% time +seconds ")  # -C, at the end of the log
SUMMARY_ROW = re.compile(rb"[- ]+\Z| *\d+\.\d\d +\d+\.\d+ +(?:\d++ ++)*+\w++\s*\Z|% time +seconds ")


class Lines:
    """Reads lines one by one. One per log.

    recognised: whether any line was strace's. partial: why the log is not whole, "" if it is. ended,
    exit_status: of the first process, as far as the log shows. unreadable, shown: how many lines could not
    be read, and the first of them. beginnings_missing: calls that ended whose beginning is not in the log.
    """

    def __init__(self, tasks: Tasks, clock: Clock) -> None:
        self._tasks = tasks
        self._lineage = tasks.lineage
        self._clock = clock
        self.recognised = False
        self.partial = ""
        self.ended = False
        self.exit_status: int | None = None
        self.unreadable = 0
        self.shown: list[str] = []
        self.beginnings_missing = 0
        self._in_summary = False
        self._broken_off: int | None = None  # task whose line a remark has cut in two

    def read(self, number: int, line: bytes, text: bytes | None, task: int, time_ns: int) -> None:
        """Take in a line. number: its place in the log, from 1. text: without what stands before it; None:
        that could not be told apart."""
        self._lineage.now_ns = time_ns
        try:
            if text is None:
                raise UnreadableError
            self._line(text, task, time_ns)
        except (UnreadableError, IndexError):  # IndexError: fewer arguments than such a call has
            self.not_read(number, line)

    def _line(self, text: bytes, task: int, time_ns: int) -> None:
        broken_off, self._broken_off = self._broken_off, None
        call = CALL.match(text)
        if call is not None:
            self._call(call[1], text, call.end(), task, time_ns)
            self.recognised = True
        elif text.startswith(b"<... "):
            self._resumed(text, task, time_ns)
            self.recognised = True
        elif text.startswith(b"+++ "):
            self._ended(text, task)
            self.recognised = True
        elif broken_off is not None and broken_off in self._lineage.pending and not BESIDE.match(text):
            started = self._lineage.pending.pop(broken_off)
            name = started.text.partition(b"(")[0]
            self._call(name, started.text + text, len(name) + 1, broken_off, started.time_ns)
        elif _SUMMARY.match(text):
            self._in_summary = True
        elif not (
            BESIDE.match(text) or _SIGNAL.match(text) or (self._in_summary and SUMMARY_ROW.match(text))
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
        if word not in MATTER:
            if unfinished is None and b" = " not in text:
                raise UnreadableError
        elif unfinished is not None:
            begun = text[: unfinished.start()]
            self._lineage.start(task, Started(time_ns, begun))
            if word == "close":  # by the time it returns another task may own the number again
                self._finish(word, begun + b") = 0", start, task, time_ns)
        else:
            self._finish(word, text, start, task, time_ns)

    def _resumed(self, text: bytes, task: int, time_ns: int) -> None:
        head = _RESUMED.match(text)
        if head is None:
            raise UnreadableError
        name = head[1].decode()
        if name not in MATTER:
            if b" = " not in text and not _UNFINISHED.search(text, max(0, len(text) - 40)):
                raise UnreadableError
            return
        started = self._lineage.resume(task, head[1])
        if started is None:
            self.beginnings_missing += 1
            return
        if name == "close":
            return
        whole = started.text + text[head.end() :]
        self._finish(name, whole, len(name) + 1, task, started.time_ns, time_ns)

    def _finish(self, name: str, text: bytes, start: int, task: int, time_ns: int, end_ns: int = -1) -> None:
        """A call of which all the text is there. end_ns: when it was resumed, if it was split."""
        call = split_call(name, text, start)
        if name == "exit_group" and task == (self._lineage.main if self._lineage.main is not None else task):
            status = re.match(rb"\d{1,3}\Z", call.args[0])
            self.exit_status = int(status[0]) & 255 if status else self.exit_status
            self.ended = True
        if call.result is None or _INJECTED.search(text, max(0, len(text) - _TAIL_BYTES)):
            return  # did not come to its end, or never came to the kernel
        if call.duration_ns < 0 and end_ns >= 0 and self._clock.style:
            call.duration_ns = max(0, end_ns - time_ns)
        self._tasks.finish(call, text, task, time_ns)
        if name in _CHANGES_TABLES or (name.startswith("fcntl") and not call.args[1].startswith(_HARMLESS)):
            self._lineage.changes += 1

    def _ended(self, text: bytes, task: int) -> None:
        exited, superseded = _EXITED.match(text), _SUPERSEDED.match(text)
        if superseded is not None:
            self._lineage.superseded(task, int(superseded[1]))
        elif exited is None:
            raise UnreadableError
        else:
            if task == self._lineage.main or self._lineage.main is None:
                self.ended = True
                if exited[1]:
                    self.exit_status = int(exited[1]) & 255
                else:
                    number = getattr(signal, exited[2].decode(), None)
                    self.exit_status = None if number is None else 128 + int(number)
            self._lineage.ended(task)

    def not_read(self, number: int, line: bytes) -> None:
        """A line of the log, counted from 1, is none of strace's."""
        self.unreadable += 1
        if len(self.shown) < _SHOWN:
            shown = show_path(line[:_SHOWN_LENGTH]) + ("..." if len(line) > _SHOWN_LENGTH else "")
            self.shown.append(f"line {number}: {shown}")
