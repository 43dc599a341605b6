"""What the lines of a log mean for processes, threads and their descriptors; the text's answers to
`calls`.
"""

from __future__ import annotations

import functools
import os
import re
from collections import deque
from dataclasses import dataclass

from profiler.calls import AIO_OPS, CALLS, ERRORS, LARGEST, MAX_RW_COUNT
from profiler.capture import confined
from profiler.capture.calls.call import Call, Identity, Iocb
from profiler.capture.calls.descriptors import Descriptors, Open
from profiler.capture.calls.event_log import UNKNOWN, Recorder, TaskFacts
from profiler.capture.calls.flags import CLONE_FILES, CLONE_THREAD, O_CLOEXEC
from profiler.capture.calls.handlers import HANDLERS
from profiler.capture.calls.meaning import Calls
from profiler.capture.strace import grammar
from profiler.capture.strace.grammar import LIMIT, CallText, UnreadableError, number
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

_OPENS = {"open": (None, 0, 1), "creat": (None, 0, None), "openat": (0, 1, 2), "openat2": (0, 1, 2)}
"""Call -> which argument is the directory, the path, the flags."""
_AT_FDCWD = -100
_STDERR = 2
_COPIES = ("dup", "dup2", "dup3", "fcntl", "fcntl64")
_AT_POSITION = ("read", "readv", "lseek")
_SOURCES = {
    row.name: [row.at(move.descriptor) for move in row.moves if not move.writes]
    for row in CALLS
    if row.moves
}
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

_CLONE_FLAGS = re.compile(rb"flags=([\w|]+)")
_IN_ARRAY = re.compile(rb"(\d{1,9})(?=[<,\]]|\Z)")
# An iocb as any strace prints it: {aio_lio_opcode=IOCB_CMD_PREAD, aio_fildes=9, ...} of today,
# {pread, filedes:9, ...} of before, and of 4.5 data, key, operation, priority, descriptor:
# {0x7f547f6c210, 0, 0, 0, 261}
_LIST = rb"\[(?:[^\[\]\"]|" + grammar.STRING + rb")*\]"
_STRUCT = re.compile(rb"\{((?:[^{}\[\]\"]|" + _LIST + rb"|" + grammar.STRING + rb")*)\}")
_MEMBER = re.compile(
    rb"(?:aio_)?(data|lio_opcode|file?des|buf|iovec|nbytes|offset)[=:]\s?(" + _LIST + rb"|[^,]*)"
)
_POSITIONAL = re.compile(rb"(0x[0-9a-f]{1,16}|\(nil\)|NULL|\d{1,19}), \d+, (\d{1,5}), -?\d+, (\d{1,9})\Z")
_OPERATION = re.compile(rb"(?:\A|, )(?:aio_lio_opcode=)?(IOCB_CMD_\w+|pread|pwrite|preadv|pwritev)(?=,|\Z)")
_IO_EVENT = re.compile(
    rb"\{(?:data[=:]\s?)?(0x[0-9a-f]{1,16}|\(nil\)|NULL|\d{1,19}), (?:obj[=:]\s?)?[^,{}]+, "
    rb"(?:res[=:]\s?)?(-?\d{1,10})\b"
)
_IOCB_CODES = {
    b"IOCB_CMD_PREAD": 0, b"IOCB_CMD_PWRITE": 1, b"IOCB_CMD_PREADV": 7, b"IOCB_CMD_PWRITEV": 8,
    b"pread": 0, b"pwrite": 1, b"preadv": 7, b"pwritev": 8,
}  # fmt: skip
assert set(_IOCB_CODES.values()) == set(AIO_OPS)

_PASSED = re.compile(rb"cmsg_type=SCM_RIGHTS, cmsg_data=\[([^\[\]]*)\]")
_NUMBER_PASSED = re.compile(rb"(?:\A|, )(\d{1,9})")
_MOST_PASSED = 253  # in one message: SCM_MAX_FD of net/scm.h
_LONGEST_PATH = 4096  # PATH_MAX of linux/limits.h
_DELETED = b" (deleted)"
_NAME_BYTES = 15  # of a task's name: TASK_COMM_LEN of linux/sched.h, less the 0 at its end

_SHORT_NAME = 512  # bytes; longer ones are not worth the memory of being remembered
_file_of = functools.lru_cache(4096)(grammar.file_of)


def file_of(annotation: bytes) -> tuple[bytes, bool, str]:
    """`grammar.file_of`, of which most logs ask the same again and again."""
    return _file_of(annotation) if len(annotation) <= _SHORT_NAME else grammar.file_of(annotation)


@dataclass(slots=True)
class Started:
    """A call whose end is in a later line. text: from its name on, as far as it is printed."""

    time_ns: int
    text: bytes


class _LogCalls(Calls):
    """Calls of a log, which does not tell whether two descriptors are one open file: none is looked for."""

    def shared(self, task: int, descriptor: int, file: int) -> Open | None:
        return None


class Tasks:
    """Processes and threads of a log, and the calls that they made. One per log.

    Task numbers are those of the log; 0 is the process whose lines have no number. `changes` counts
    whatever may have changed the meaning of some descriptor.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.descriptors = Descriptors()
        self.calls = _LogCalls(recorder, self.descriptors, self)
        self.pending: dict[int, Started] = {}
        self._births: dict[int, Started] = {}  # those of `pending` that make a task, and some of before
        self.main: int | None = None
        self.unprefixed_pid = 0
        self.command: tuple[str, ...] = ()
        self.cwd = ""
        self.exec_errno = 0  # why the first program could not be executed
        self.first_call = ""
        self.changes = 0
        self.closes = False  # whether the log has calls that close: else what a descriptor means may be old
        self.iocbs_missing = 0  # that io_submit took and the log does not show
        self.placeless = 0  # reads of descriptors that were open before the log begins
        self.doubtful = 0  # reads behind the end of a file, of descriptors whose close is not in the log
        self._ended: set[Open] = set()  # read to the end
        self._met: set[int] = set()  # descriptors that some process was seen to open
        self._names_now: dict[int, bytes] = {}  # of renamed files
        self._directories: dict[int, bytes] = {}  # process -> where it is
        self._pids: dict[int, int] = {}
        self.now_ns = 0  # of the line that is taken in
        self._facts: dict[int, TaskFacts] = {}  # of those that live
        self._former_names: dict[int, bytes] = {}  # of tasks that have executed a program since
        self._ended_facts: dict[int, TaskFacts] = {}  # of those whose end has just been taken in
        self._text = CallText("", [], None, -1)
        self._unnamed = 0
        self._submitted: dict[tuple[int, int], deque[int]] = {}  # (pid, data) -> addresses made up for iocbs
        self._address = 0

    # -- tasks ---------------------------------------------------------------------------------------------

    def pid_of(self, task: int) -> int:
        return self._pids.get(task, task)

    def meet(self, task: int) -> None:
        """A finished call of `task`: if it is new, find out whose child or thread it is."""
        if self.main is None:
            self.main = task
        elif task in self._pids:
            return
        else:
            self.changes += 1
            parent = self._parent(task)
            if parent is not None:
                self._born(parent, task, self.pending[parent].text)
                return
            if (
                self.main == 0 and not self.unprefixed_pid
            ):  # no child of it: the first process, now with its number
                self.unprefixed_pid = task
            self.descriptors.share(self.main, task)
            self._pids[task] = self.pid_of(self.main)
            self._begins(task, -1)
            return
        self._pids[task] = task
        self.descriptors.table(task)
        self._begins(task, -1)

    def _begins(self, task: int, parent: int, since_ns: int | None = None) -> None:
        """A row for a task that is met. since_ns: when it was made, if the log shows that."""
        facts = TaskFacts(task, self.pid_of(task), parent, start_ns=since_ns)
        self._former_names.pop(task, None)
        above = self._facts.get(parent)
        if above is not None:
            facts.name, facts.program = above.name, above.program
        before = self._facts.get(task)
        if before is not None and before.end_ns is None:
            if before.parent < 0 <= parent:  # met before its maker's call has ended
                before.pid, before.parent = facts.pid, parent
                before.start_ns = since_ns if before.start_ns is None else before.start_ns
                before.name, before.program = before.name or facts.name, before.program or facts.program
            return
        self._facts[task] = self.recorder.task(facts)

    def name(self, names: dict[int, bytes]) -> None:
        """What tasks called themselves last, in the lines that were just taken in."""
        for task, name in names.items():
            facts = self._ended_facts.get(task) or self._facts.get(task)
            # strace may go on with the name that it knew before a task executed a program
            if facts is not None and name != self._former_names.get(task):
                facts.name = name
        self._ended_facts.clear()

    def start(self, task: int, started: Started) -> None:
        """A call of `task` has begun whose end is in a later line."""
        self.pending[task] = started
        if started.text.startswith((b"clone", b"fork", b"vfork")):
            self._births.pop(task, None)  # to the end
            self._births[task] = started

    def _parent(self, task: int) -> int | None:
        """Who is about to make a task, the last first; None: nobody, as far as the log shows."""
        self._births.pop(task, None)
        while self._births:
            parent = next(reversed(self._births))
            if self.pending.get(parent) is self._births[parent]:
                return parent
            del self._births[parent]
        return None

    def _born(self, parent: int, child: int, text: bytes) -> None:
        """`parent` has made `child` by the call in `text`, of which the end may be missing."""
        flags = 0
        if text.startswith(b"clone"):
            found = _CLONE_FLAGS.search(text)
            flags = number(found[1]) if found else 0
        if flags & (CLONE_FILES | CLONE_THREAD):
            self.descriptors.share(parent, child)
        else:
            self.descriptors.fork(parent, child)
        self._pids[child] = self.pid_of(parent) if flags & CLONE_THREAD else child
        if self.pid_of(parent) in self._directories:
            self._directories.setdefault(self._pids[child], self._directories[self.pid_of(parent)])
        self._begins(child, parent, self.now_ns)
        self.changes += 1

    def _cloned(self, task: int, text: bytes, child: int) -> None:
        self.meet(task)
        if 0 < child <= grammar.LARGEST_PID and (
            child not in self._pids or self._is_stranger(task, child, text)
        ):
            self._born(task, child, text)

    def _is_stranger(self, task: int, child: int, text: bytes) -> bool:
        """Whether the child was met before its parent's call ended and was taken for something else."""
        shares = self.descriptors.table(task) is self.descriptors.table(child)
        found = _CLONE_FLAGS.search(text) if text.startswith(b"clone") else None
        return shares != bool(number(found[1]) & (CLONE_FILES | CLONE_THREAD) if found else False)

    def ended(self, task: int) -> None:
        """+++ exited +++ or killed."""
        self.pending.pop(task, None)
        self.descriptors.exit(task)
        facts = self._facts.pop(task, None)
        if facts is not None:
            facts.end_ns = max(self.now_ns, facts.start_ns or 0)
            self._ended_facts[task] = facts
        if task != self.main:
            self._pids.pop(task, None)
        self.changes += 1

    def superseded(self, task: int, by: int) -> None:
        """exec in the thread `by`: it goes on under the number of its process."""
        self.descriptors.rename(by, task)
        if by in self.pending:
            self.start(task, self.pending.pop(by))
        self._pids.pop(by, None)
        facts = self._facts.pop(by, None)
        if facts is not None:
            facts.end_ns = max(self.now_ns, facts.start_ns or 0)
        self.changes += 1

    def resume(self, task: int, name: bytes) -> Started | None:
        """The beginning of the call of this name that `task` has now ended; None if it is not in the log."""
        if (
            task not in self._pids
            and task not in self.pending
            and self.main in (0, None)
            and not self.unprefixed_pid
        ):
            waiting = self.pending.get(0)  # as soon as there are two tasks, each line has a number
            if waiting is not None and waiting.text.startswith(name + b"("):
                self.unprefixed_pid = task
                self.meet(0)
                self.descriptors.share(0, task)
                self._pids[task] = 0
                self.start(task, self.pending.pop(0))
        started = self.pending.get(task)
        if started is None or not started.text.startswith(name + b"("):
            return None
        return self.pending.pop(task)

    # -- calls ---------------------------------------------------------------------------------------------

    def finish(self, text: CallText, whole: bytes, task: int, time_ns: int) -> None:
        """Take in a finished call with a result; its name must be one that matters. whole: all of its text.

        Raises UnreadableError if the text holds something else than such a call does.
        """
        self.first_call = self.first_call or text.name
        name, result = FORMER_NAMES.get(text.name, text.name), text.result
        assert result is not None
        if name in CLONES:
            self._cloned(task, whole, result)
            return
        self.meet(task)
        if name in EXECS:
            if result == 0:
                self._executed(task, text)
            elif not self.command and task == self.main:
                self.exec_errno = -result
            return
        if name == "io_uring_enter" and result > 0 and text.args[1] != b"0":
            self.recorder.unseen.add("io_uring")
        if name == "io_uring_setup" and any(b"IORING_SETUP_SQPOLL" in argument for argument in text.args):
            self.recorder.unseen.add("sqpoll")
        if name in NEW_DESCRIPTORS:
            self._made(task, text)
        if name in NAMES and result == 0:
            self._named(task, text)
        self.closes = self.closes or name in ("close", "close_range", "dup2", "dup3")
        if confined.asked(name, text.args):
            self.recorder.note_once(confined.refused(name, result, "strace"))
        if name in HANDLERS:
            self._finish(name, text, task, time_ns, result)

    def _finish(self, name: str, text: CallText, task: int, time_ns: int, result: int) -> None:
        self._text = text
        if _AT_FDCWD in text.names and not self.cwd:
            self.cwd = os.fsdecode(file_of(text.names[_AT_FDCWD])[0])
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
        call = Call(time_ns, duration_ns, self.pid_of(task), task, name, args, result)
        for descriptor, annotation in text.names.items():
            self._trust(call, descriptor, annotation)
        if not self.closes and name in _AT_POSITION:
            self._doubt(call)
        self.calls.finish(call)
        if (name in _OPENS or name in _COPIES) and result >= 0:
            self._met.add(result)
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
            self.changes += 1
        elif call.result > 0 and opened in self._ended:
            self.descriptors.close(call.tid, call.args[0])
            self._met.add(call.args[0])
            self.doubtful += 1
            self.changes += 1

    def is_doubtful(self, opened: Open) -> bool:
        """Whether the next read of this open may be one of another file."""
        return opened in self._ended and not self.closes

    def _trust(self, call: Call, descriptor: int, annotation: bytes) -> None:
        """What the line says a descriptor names is the truth: some calls are not in the log."""
        opened = self.descriptors.get(call.tid, descriptor)
        if opened is None:
            return
        path = file_of(annotation)[0]
        known = self.recorder.files[opened.file].path.removesuffix(_DELETED)
        if path not in (known, self._names_now.get(opened.file)):
            self.descriptors.close(call.tid, descriptor)
            self.calls.met(call, descriptor)

    def _named(self, task: int, text: CallText) -> None:
        """A file, or a process's directory, has another name now; or the name means nothing any more."""
        if text.name in ("chdir", "fchdir"):
            where = self._path(task, text, None, 0) if text.name == "chdir" else self._path_of(task, text, 0)
            if where.startswith(b"/") and len(where) < _LONGEST_PATH:
                self._directories[self.pid_of(task)] = where
            return
        at = text.name.endswith(("at", "at2"))
        old = self._path(task, text, 0 if at else None, 1 if at else 0)
        file = self.recorder.known((old, False))
        if text.name.startswith("unlink"):
            self.recorder.rename((old, False), None)
            return
        new = self._path(task, text, 2 if at else None, 3 if at else 1)
        self.recorder.rename((old, False), (new, False))
        if file is not None:
            self._names_now[file] = new

    def _executed(self, task: int, text: CallText) -> None:
        self.descriptors.exec(task)
        self.changes += 1
        program = grammar.string(text.args[0 if text.name == "execve" else 1])
        self._becomes(task, program)
        if not self.command and task == self.main:
            arguments = text.args[1 if text.name == "execve" else 2 :][:1]
            words = grammar.strings(arguments[0]) if arguments and arguments[0] != b"[...]" else []
            self.command = tuple(os.fsdecode(word) for word in words or [program])

    def _becomes(self, task: int, program: bytes) -> None:
        """A task executes a program: a row of its own, but for the first that the log shows of it."""
        facts = self._facts.get(task)
        if facts is None:
            return
        self._former_names[task] = facts.name
        if facts.program or facts.parent >= 0:
            facts.end_ns = max(self.now_ns, facts.start_ns or 0)
            facts = TaskFacts(task, self.pid_of(task), facts.parent, start_ns=facts.end_ns)
            self._facts[task] = self.recorder.task(facts)
        facts.program, facts.name = program, os.path.basename(program)[:_NAME_BYTES]

    def _made(self, task: int, text: CallText) -> None:
        """Pipes, sockets and the like, in a log without names."""
        result = text.result if text.result is not None else -1
        if result < 0 or text.result_name or text.names:
            return
        several = text.name in ("pipe", "pipe2", "socketpair")
        where = text.args[3 if text.name == "socketpair" else 0] if several else b""
        kind = NEW_DESCRIPTORS[text.name]
        facts = FileFacts(f"{kind}:[{text.name}]".encode(), kind=kind)
        flags = 0 if several else number(text.args[-1]) if text.args else 0
        for descriptor in [int(found) for found in _IN_ARRAY.findall(where)] if several else [result]:
            opened = Open(self.recorder.file(facts.path, facts), self.recorder.handle(), None, data=False)
            self.descriptors.open(task, descriptor, opened, bool(flags & O_CLOEXEC))

    # -- calls.Source --------------------------------------------------------------------------------------

    def identify(self, call: Call, descriptor: int) -> Identity:
        text = self._text
        opens = _OPENS.get(call.name)
        annotation = text.names.get(descriptor)
        if text.result_name and descriptor == call.result:
            annotation = text.result_name
        if annotation:
            path, deleted, kind = file_of(annotation)
        elif opens is not None:
            if not grammar.string(text.args[opens[1]]):
                return self._undecoded(text.args[opens[1]])
            path, deleted = self._path(call.tid, text, opens[0], opens[1]), False
            kind = grammar.kind_of(path) if path.startswith(b"/") else "regular"
        else:
            return self._nameless(call, descriptor)
        if opens is not None and opens[2] is not None:
            flags = call.args[opens[2]] if call.name != "openat2" else (self.value_at(call, 2) or 0)
            if flags & os.O_TMPFILE == os.O_TMPFILE and not annotation:
                return self._undecoded(b"unnamed file in " + path)
            if flags & os.O_DIRECTORY and flags & os.O_TMPFILE != os.O_TMPFILE and kind == "regular":
                kind = "directory"
        facts = FileFacts(path + (_DELETED if deleted else b""), kind=kind)
        return Identity((path, deleted), facts)

    def same_open(self, task: int, descriptor: int, other: int, other_descriptor: int) -> bool:
        return False  # no log tells

    def received(self, call: Call) -> list[int]:
        return [
            int(descriptor)
            for passed in _PASSED.findall(b", ".join(self._text.args))
            for descriptor in _NUMBER_PASSED.findall(passed)[:_MOST_PASSED]
        ]

    def _path(self, task: int, text: CallText, directory: int | None, argument: int) -> bytes:
        """The path in an argument, from the root on where it is known what it is relative to."""
        path = grammar.string(text.args[argument])
        if path.startswith(b"/"):
            return path
        if directory is None or number(text.args[directory]) == _AT_FDCWD:
            named = text.names.get(_AT_FDCWD)
            where = file_of(named)[0] if named else self._directories.get(self.pid_of(task), b"")
        else:
            where = self._path_of(task, text, directory)
        if not where.startswith(b"/") or len(where) + len(path) >= _LONGEST_PATH:
            return path  # what lies so deep has no name that a call could take
        return os.path.normpath(os.path.join(where, path))

    def _path_of(self, task: int, text: CallText, argument: int) -> bytes:
        """What the descriptor in an argument names; b"": not known."""
        descriptor = number(text.args[argument])
        if descriptor in text.names:
            return file_of(text.names[descriptor])[0]
        opened = self.descriptors.get(task, descriptor)
        return self.recorder.files[opened.file].path if opened is not None else b""

    def _undecoded(self, shown: bytes) -> Identity:
        """A file of its own: nothing tells whether another open is of the same one."""
        self._unnamed += 1
        path = b"(%s: file %d, not named in the log)" % (shown[:80], self._unnamed)
        return Identity(("nameless", self._unnamed), FileFacts(path, kind="regular"))

    def _nameless(self, call: Call, descriptor: int) -> Identity:
        """A descriptor that the log did not show being opened: perhaps of a file, if its reads get data."""
        self._unnamed += 1  # another one each time: it was closed in between
        path = f"(descriptor {descriptor} of process {call.pid}: not named in the log)".encode()
        sources = [call.args[index] for index in _SOURCES.get(call.name, ())]
        before = descriptor > _STDERR and descriptor not in self._met
        kind = "regular" if before and descriptor in sources and call.result > 0 else "unknown"
        if kind == "regular":
            self.placeless += 1
        return Identity(("nameless", self._unnamed), FileFacts(path, kind=kind))

    def vector_bytes(self, call: Call, address: int, count: int) -> int:
        return grammar.vector_bytes(self._text.args[1])

    def path_at(self, call: Call, argument: int, directory: int | None) -> bytes | None:
        return None  # logs are read anywhere: what is not there cannot be placed

    def value_at(self, call: Call, argument: int) -> int | None:
        if call.name == "openat2":
            found = re.match(rb"\{flags=([^,}]*)", self._text.args[argument])
            return number(found[1]) if found else None
        text = self._text.args[2 if call.name == "_llseek" else argument]
        values = grammar.pointed(text)
        if values is None:
            return None
        before, after = values
        moved = max(0, call.result)
        if after is None:  # unchanged, or printed before the call
            after = before if call.name == "_llseek" else before + moved
        if after > LARGEST:
            raise UnreadableError
        return max(after, 0 if call.name == "_llseek" else moved)

    def iocbs(self, call: Call) -> list[Iocb]:
        found = [self._iocb(call, body) for body in _STRUCT.findall(self._text.args[2])]
        if len(found) < call.result:  # by their addresses only, or cut off
            self.recorder.unseen.add("aio")
            self.iocbs_missing += call.result - len(found)
        return found

    def _iocb(self, call: Call, body: bytes) -> Iocb:
        positional = _POSITIONAL.match(body)
        offset: int | None = None
        if positional is not None:
            data, opcode, descriptor = positional[1], int(positional[2]), int(positional[3])
            requested = 0
        else:
            member = {
                b"fildes" if name.startswith(b"fil") else name: value
                for name, value in _MEMBER.findall(body)
            }
            operation = _OPERATION.search(body)
            data = member.get(b"data", b"0")
            opcode = _IOCB_CODES.get(operation[1], -1) if operation is not None else -1
            descriptor = grammar.plain_number(member.get(b"fildes", member.get(b"filedes", b"")))
            buffers = member.get(b"buf", member.get(b"iovec", b""))
            vector = buffers.startswith(b"[")
            requested = grammar.vector_bytes(buffers) if vector else number(member.get(b"nbytes", b"0"))
            offset = number(member[b"offset"]) if b"offset" in member else None
        self._address += 1  # the log has the address in io_getevents only
        self._submitted.setdefault((call.pid, _key(data)), deque()).append(self._address)
        return Iocb(self._address, opcode, descriptor, requested, offset)

    def io_events(self, call: Call) -> list[tuple[int, int]]:
        made = []
        for data, result in _IO_EVENT.findall(self._text.args[3]):
            waiting = self._submitted.get((call.pid, _key(data)))
            if waiting and -ERRORS < int(result) <= MAX_RW_COUNT:
                made.append((waiting.popleft(), int(result)))
        return made


def _key(data: bytes) -> int:
    """The number that a program gave a request, as printed."""
    return int(data, 0) if data[:1].isdigit() else 0
