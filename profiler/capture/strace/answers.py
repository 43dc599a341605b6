"""What the text of a call answers to `calls.handlers`, and what is remembered for that from call to call."""

from __future__ import annotations

import os
import re
from collections import deque

from profiler.calls import AIO_OPS, CALLS, ERRORS, LARGEST, MAX_RW_COUNT
from profiler.capture.calls.call import Call, Identity, Iocb
from profiler.capture.calls.descriptors import Descriptors
from profiler.capture.calls.event_log import Recorder
from profiler.capture.strace import grammar, names
from profiler.capture.strace.grammar import CallText, UnreadableError, number
from profiler.capture.strace.lineage import Lineage
from profiler.capture.strace.names import file_of
from profiler.trace import FileFacts

OPENS = {"open": (None, 0, 1), "creat": (None, 0, None), "openat": (0, 1, 2), "openat2": (0, 1, 2)}
"""Call -> which argument is the directory, the path, the flags."""
AT_FDCWD = -100
DELETED = b" (deleted)"
LONGEST_PATH = 4096  # PATH_MAX of linux/limits.h
_STDERR = 2
_SOURCES = {
    row.name: [row.at(move.descriptor) for move in row.moves if not move.writes]
    for row in CALLS
    if row.moves
}

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


class Answers:
    """A `call.Source` of a log. text: the call that is at hand, to be set.

    iocbs_missing: requests that io_submit took and the log does not show. placeless: reads of descriptors
    that were open before the log begins. met: descriptors that some process was seen to open.
    """

    def __init__(self, recorder: Recorder, descriptors: Descriptors, lineage: Lineage) -> None:
        self.recorder = recorder
        self.descriptors = descriptors
        self.text = CallText("", [], None, -1)
        self.iocbs_missing = 0
        self.placeless = 0
        self.met: set[int] = set()
        self._lineage = lineage
        self._unnamed = 0
        self._submitted: dict[tuple[int, int], deque[int]] = {}  # (pid, data) -> addresses made up for iocbs
        self._address = 0

    def identify(self, call: Call, descriptor: int) -> Identity:
        text = self.text
        opens = OPENS.get(call.name)
        annotation = text.names.get(descriptor)
        if text.result_name and descriptor == call.result:
            annotation = text.result_name
        if annotation:
            path, deleted, kind = file_of(annotation)
        elif opens is not None:
            if not grammar.string(text.args[opens[1]]):
                return self._undecoded(text.args[opens[1]])
            path, deleted = self.path(call.tid, text, opens[0], opens[1]), False
            kind = names.kind_of(path) if path.startswith(b"/") else "regular"
        else:
            return self._nameless(call, descriptor)
        if opens is not None and opens[2] is not None:
            flags = call.args[opens[2]] if call.name != "openat2" else (self.value_at(call, 2) or 0)
            if flags & os.O_TMPFILE == os.O_TMPFILE and not annotation:
                return self._undecoded(b"unnamed file in " + path)
            if flags & os.O_DIRECTORY and flags & os.O_TMPFILE != os.O_TMPFILE and kind == "regular":
                kind = "directory"
        facts = FileFacts(path + (DELETED if deleted else b""), kind=kind)
        return Identity((path, deleted), facts)

    def same_open(self, task: int, descriptor: int, other: int, other_descriptor: int) -> bool:
        return False  # no log tells

    def received(self, call: Call) -> list[int]:
        return [
            int(descriptor)
            for passed in _PASSED.findall(b", ".join(self.text.args))
            for descriptor in _NUMBER_PASSED.findall(passed)[:_MOST_PASSED]
        ]

    def path(self, task: int, text: CallText, directory: int | None, argument: int) -> bytes:
        """The path in an argument, from the root on where it is known what it is relative to."""
        path = grammar.string(text.args[argument])
        if path.startswith(b"/"):
            return path
        if directory is None or number(text.args[directory]) == AT_FDCWD:
            named = text.names.get(AT_FDCWD)
            where = (
                file_of(named)[0]
                if named
                else self._lineage.directories.get(self._lineage.pid_of(task), b"")
            )
        else:
            where = self.path_of(task, text, directory)
        if not where.startswith(b"/") or len(where) + len(path) >= LONGEST_PATH:
            return path  # what lies so deep has no name that a call could take
        return os.path.normpath(os.path.join(where, path))

    def path_of(self, task: int, text: CallText, argument: int) -> bytes:
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
        before = descriptor > _STDERR and descriptor not in self.met
        kind = "regular" if before and descriptor in sources and call.result > 0 else "unknown"
        if kind == "regular":
            self.placeless += 1
        return Identity(("nameless", self._unnamed), FileFacts(path, kind=kind))

    def vector_bytes(self, call: Call, address: int, count: int) -> int:
        return grammar.vector_bytes(self.text.args[1])

    def path_at(self, call: Call, argument: int, directory: int | None) -> bytes | None:
        return None  # logs are read anywhere: what is not there cannot be placed

    def value_at(self, call: Call, argument: int) -> int | None:
        if call.name == "openat2":
            flags = re.match(rb"\{flags=([^,}]*)", self.text.args[argument])
            return number(flags[1]) if flags else None
        text = self.text.args[2 if call.name == "_llseek" else argument]
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
        iocbs = [self._iocb(call, body) for body in _STRUCT.findall(self.text.args[2])]
        if len(iocbs) < call.result:  # by their addresses only, or cut off
            self.recorder.unseen.add("aio")
            self.iocbs_missing += call.result - len(iocbs)
        return iocbs

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
        events = []
        for data, result in _IO_EVENT.findall(self.text.args[3]):
            waiting = self._submitted.get((call.pid, _key(data)))
            if waiting and -ERRORS < int(result) <= MAX_RW_COUNT:
                events.append((waiting.popleft(), int(result)))
        return events


def _key(data: bytes) -> int:
    """The number that a program gave a request, as printed."""
    return int(data, 0) if data[:1].isdigit() else 0
