"""A system call that has ended, as a tracer hands it over, and what only the tracer can tell of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from profiler.trace import FileFacts


@dataclass(slots=True)
class Call:
    """A system call that has ended. args: as in the manual page, numbers and addresses, up to six.

    result: what the kernel returned, -errno on failure. Offsets that a 32-bit program passes in two halves
    are one argument here.
    """

    time_ns: int
    duration_ns: int
    pid: int
    tid: int
    name: str
    args: Sequence[int]
    result: int


@dataclass(slots=True)
class Iocb:
    """One entry of io_submit(2): its address, what it does, on which descriptor, where and how much."""

    address: int
    opcode: int
    descriptor: int
    requested: int
    offset: int | None  # None: not known


@dataclass(slots=True)
class Identity:
    """What a descriptor names: a key for `Recorder.file` and the facts; where the next read starts (bytes;
    None: not known), and the flags of open(2)."""

    key: object
    facts: FileFacts
    position: int | None = None
    flags: int = 0


class Source(Protocol):
    """What only the tracer can answer, asked while the call that has ended is at hand."""

    def identify(self, call: Call, descriptor: int) -> Identity:
        """What `descriptor` names after the call."""

    def same_open(self, task: int, descriptor: int, other: int, other_descriptor: int) -> bool:
        """Whether descriptors of two tasks are one open file, as dup and fork make them. False: not
        known."""

    def received(self, call: Call) -> list[int]:
        """The descriptors that another process has passed with what recvmsg or recvmmsg has received."""

    def vector_bytes(self, call: Call, address: int, count: int) -> int:
        """Sum of the lengths in an array of `count` iovec structures."""

    def value_at(self, call: Call, argument: int) -> int | None:
        """The number that argument number `argument` points to, after the call; None for NULL, and if it
        cannot be looked at."""

    def path_at(self, call: Call, argument: int, directory: int | None) -> bytes | None:
        """The path in argument number `argument`, from the root on; `directory`: the argument with what it
        is relative to, None: the working directory. None: not known."""

    def iocbs(self, call: Call) -> list[Iocb]:
        """The entries of io_submit that the kernel accepted."""

    def io_events(self, call: Call) -> list[tuple[int, int]]:
        """What io_getevents gave: (address of the iocb, result)."""
