"""What the calls of a log mean for processes, threads and their descriptors."""

from __future__ import annotations

import os
import re

from profiler.calls import CALLS, ERRORS, LARGEST, MAX_RW_COUNT
from profiler.capture import confined
from profiler.capture.calls.call import Call
from profiler.capture.calls.descriptors import Descriptors, Open
from profiler.capture.calls.event_log import UNKNOWN, Recorder
from profiler.capture.calls.flags import O_CLOEXEC
from profiler.capture.calls.handlers import HANDLERS
from profiler.capture.calls.meaning import Calls
from profiler.capture.strace import grammar
from profiler.capture.strace.answers import AT_FDCWD, DELETED, LONGEST_PATH, OPENS, Answers
from profiler.capture.strace.grammar import LIMIT, CallText, UnreadableError, number
from profiler.capture.strace.lineage import Lineage
from profiler.capture.strace.names import file_of
from profiler.trace import FileFacts

CLONES = ("clone", "clone2", "clone3", "fork", "vfork")
EXECS = ("execve", "execveat")
NEW_DESCRIPTORS = {
    "pipe": "pipe", "pipe2": "pipe", "socketpair": "socket", "socket": "socket", "accept": "socket",
    "accept4": "socket", "eventfd": "anonymous", "eventfd2": "anonymous", "epoll_create": "anonymous",
    "epoll_create1": "anonymous", "timerfd_create": "anonymous", "signalfd": "anonymous",
    "signalfd4": "anonymous",
    "inotify_init": "anonymous", "inotify_init1": "anonymous", "pidfd_open": "anonymous",
    "perf_event_open": "anonymous", "userfaultfd": "anonymous", "io_uring_setup": "anonymous",
}  # fmt: skip
"""Calls that make descriptors of no files -> their kind. With -y the log names them anyway."""
IO_URING = ("io_uring_setup", "io_uring_enter")
FORMER_NAMES = {former: row.name for row in CALLS for former in row.former}

_COPIES = ("dup", "dup2", "dup3", "fcntl", "fcntl64")
_AT_POSITION = ("read", "readv", "lseek")
_ERESTARTSYS = -512
# arguments that are lengths and offsets: what strace shows as negative there has failed anyway
_NOT_NEGATIVE = {
    row.name: tuple(
        index
        for index, argument in enumerate(row.arguments)
        if argument.kind in ("loff", "pages") or argument.name in ("count", "len", "off", "pos")
        if not any(move.or_position and move.offset == argument.name for move in row.moves)
    )
    for row in CALLS
}
_OFFSETS = {row.name: row.at(move.offset) for row in CALLS for move in row.moves if move.offset}
_MOVES = frozenset(row.name for row in CALLS if row.moves)
# arguments in whose place nothing but a number can stand
_NUMBERS = {
    row.name: tuple(
        index
        for index, argument in enumerate(row.arguments)
        if argument.kind in ("int", "long", "loff", "split")
        and argument.name
        in ("fd", "fd_in", "fd_out", "in_fd", "out_fd", "oldfd", "newfd", "fildes", "count", "pos")
    )
    for row in CALLS
    if row.moves or row.name in ("lseek", "dup", "dup2", "dup3", "close")
}
NAMES = ("rename", "renameat", "renameat2", "unlink", "unlinkat", "chdir", "fchdir")
"""Calls that change what a name means."""

_IN_ARRAY = re.compile(rb"(\d{1,9})(?=[<,\]]|\Z)")


class _LogCalls(Calls):
    """Calls of a log, which does not tell whether two descriptors are one open file: none is looked for."""

    def shared(self, task: int, descriptor: int, file: int) -> Open | None:
        return None


class Tasks:
    """The calls of a log, and what they do to descriptors. One per log.

    lineage: who makes them. exec_errno: why the first program could not be executed. closes: whether the log
    has calls that close: else what a descriptor means may be old. doubtful: reads behind the end of a file,
    of descriptors whose close is not in the log.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.descriptors = Descriptors()
        self.lineage = Lineage(recorder, self.descriptors)
        self.answers = Answers(recorder, self.descriptors, self.lineage)
        self.calls = _LogCalls(recorder, self.descriptors, self.answers)
        self.command: tuple[str, ...] = ()
        self.cwd = ""
        self.exec_errno = 0
        self.first_call = ""
        self.closes = False
        self.doubtful = 0
        self._ended: set[Open] = set()  # read to the end
        self._names_now: dict[int, bytes] = {}  # of renamed files

    def finish(self, text: CallText, whole: bytes, task: int, time_ns: int) -> None:
        """Take in a finished call with a result; its name must be one that matters. whole: all of its text.

        Raises UnreadableError if the text holds something else than such a call does.
        """
        self.first_call = self.first_call or text.name
        name, result = FORMER_NAMES.get(text.name, text.name), text.result
        assert result is not None
        if name in CLONES:
            self.lineage.cloned(task, whole, result)
            return
        self.lineage.meet(task)
        if name in EXECS:
            if result == 0:
                self._executed(task, text)
            elif not self.command and task == self.lineage.main:
                self.exec_errno = -result
            return
        if name == "io_uring_enter" and result > 0 and text.args[1] != b"0":
            self.recorder.unseen.add("io_uring")
        if name == "io_uring_setup" and any(b"IORING_SETUP_SQPOLL" in argument for argument in text.args):
            self.recorder.unseen.add("sqpoll")
        if name in NEW_DESCRIPTORS:
            self._made_descriptors(task, text)
        if name in NAMES and result == 0:
            self._named(task, text)
        self.closes = self.closes or name in ("close", "close_range", "dup2", "dup3")
        if confined.asked(name, text.args):
            self.recorder.note_once(confined.refused(name, result, "strace"))
        if name in HANDLERS:
            self._finish(name, text, task, time_ns, result)

    def _finish(self, name: str, text: CallText, task: int, time_ns: int, result: int) -> None:
        self.answers.text = text
        if AT_FDCWD in text.names and not self.cwd:
            self.cwd = os.fsdecode(file_of(text.names[AT_FDCWD])[0])
        if (name in _MOVES and result > MAX_RW_COUNT) or (name == "lseek" and result > LARGEST):
            raise UnreadableError
        if result < 0 and result != _ERESTARTSYS and (result <= -ERRORS):
            raise UnreadableError
        args = [number(argument) for argument in text.args]
        for index in _NUMBERS.get(name, ()):
            grammar.plain_number(text.args[index])
        offset = _OFFSETS.get(name)
        if offset is not None and args[offset] >= LIMIT:
            raise UnreadableError
        for index in _NOT_NEGATIVE.get(name, ()):
            args[index] = max(0, args[index])
        duration_ns = text.duration_ns if text.duration_ns >= 0 else UNKNOWN
        call = Call(time_ns, duration_ns, self.lineage.pid_of(task), task, name, args, result)
        for descriptor, annotation in text.names.items():
            self._trust(call, descriptor, annotation)
        if not self.closes and name in _AT_POSITION:
            self._doubt(call)
        self.calls.finish(call)
        if (name in OPENS or name in _COPIES) and result >= 0:
            self.answers.met.add(result)
        if text.result_name and result >= 0:
            self._trust(call, result, text.result_name)

    def _doubt(self, call: Call) -> None:
        """In a log without closes, data behind the end of a file are another file's."""
        opened = self.descriptors.get(call.tid, call.args[0])
        if opened is None or not opened.data:
            return
        if call.name == "lseek":
            self._ended.discard(opened)
        elif call.result == 0:
            self._ended.add(opened)
            self.lineage.changes += 1
        elif call.result > 0 and opened in self._ended:
            self.descriptors.close(call.tid, call.args[0])
            self.answers.met.add(call.args[0])
            self.doubtful += 1
            self.lineage.changes += 1

    def is_doubtful(self, opened: Open) -> bool:
        """Whether the next read of this open may be one of another file."""
        return opened in self._ended and not self.closes

    def _trust(self, call: Call, descriptor: int, annotation: bytes) -> None:
        """What the line says a descriptor names is the truth: some calls are not in the log."""
        opened = self.descriptors.get(call.tid, descriptor)
        if opened is None:
            return
        path = file_of(annotation)[0]
        known = self.recorder.files[opened.file].path.removesuffix(DELETED)
        if path not in (known, self._names_now.get(opened.file)):
            self.descriptors.close(call.tid, descriptor)
            self.calls.met(call, descriptor)

    def _named(self, task: int, text: CallText) -> None:
        """A file, or a process's directory, has another name now; or the name means nothing any more."""
        if text.name in ("chdir", "fchdir"):
            where = (
                self.answers.path(task, text, None, 0)
                if text.name == "chdir"
                else self.answers.path_of(task, text, 0)
            )
            if where.startswith(b"/") and len(where) < LONGEST_PATH:
                self.lineage.directories[self.lineage.pid_of(task)] = where
            return
        relative = text.name.endswith(("at", "at2"))
        old = self.answers.path(task, text, 0 if relative else None, 1 if relative else 0)
        file = self.recorder.known((old, False))
        if text.name.startswith("unlink"):
            self.recorder.rename((old, False), None)
            return
        new = self.answers.path(task, text, 2 if relative else None, 3 if relative else 1)
        self.recorder.rename((old, False), (new, False))
        if file is not None:
            self._names_now[file] = new

    def _executed(self, task: int, text: CallText) -> None:
        self.descriptors.exec(task)
        self.lineage.changes += 1
        program = grammar.string(text.args[0 if text.name == "execve" else 1])
        self.lineage.becomes(task, program)
        if not self.command and task == self.lineage.main:
            arguments = text.args[1 if text.name == "execve" else 2 :][:1]
            words = grammar.strings(arguments[0]) if arguments and arguments[0] != b"[...]" else []
            self.command = tuple(os.fsdecode(word) for word in words or [program])

    def _made_descriptors(self, task: int, text: CallText) -> None:
        """Pipes, sockets and the like, in a log without names."""
        result = text.result if text.result is not None else -1
        if result < 0 or text.result_name or text.names:
            return
        several = text.name in ("pipe", "pipe2", "socketpair")
        where = text.args[3 if text.name == "socketpair" else 0] if several else b""
        kind = NEW_DESCRIPTORS[text.name]
        facts = FileFacts(f"{kind}:[{text.name}]".encode(), kind=kind)
        flags = 0 if several else number(text.args[-1]) if text.args else 0
        for descriptor in [int(shown) for shown in _IN_ARRAY.findall(where)] if several else [result]:
            opened = Open(self.recorder.file(facts.path, facts), self.recorder.handle(), None, data=False)
            self.descriptors.open(task, descriptor, opened, bool(flags & O_CLOEXEC))
