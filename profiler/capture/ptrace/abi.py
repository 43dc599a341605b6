"""System calls as a processor makes them: which number is which call, and how its registers are read.

Numbers and arguments come from `profiler.calls`; here they meet the ways of calling of this machine. Those
of aarch64 and riscv64 are untested: only their numbers are checked, against the kernel's headers.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from profiler.calls import CALLS, KINDS, Row
from profiler.errors import ColdseekError

# linux/audit.h: what seccomp and PTRACE_GET_SYSCALL_INFO call an architecture
AUDIT_X86_64, AUDIT_I386, AUDIT_AARCH64, AUDIT_RISCV64 = 0xC000003E, 0x40000003, 0xC00000B7, 0xC00000F3

Args = tuple[int, ...]
Buffer = Any  # bytes, or an array of ctypes
Decode = Callable[[Buffer, int], Args]
"""(buffer, place of six registers of 64 bits in it) -> the arguments of a call, as its row names them."""

_PAGE = 4096  # of mmap2's offset, whatever the machine's pages are (mmap2(2))
# how one register is read: the kernel ignores the upper half where an argument has 32 bits
_WIDE = {"int": "i4x", "uint": "I4x", "loff": "q", "split": "q8x"}
_NARROW = {"int": "i4x", "loff": "I4xi4x", "split": "I4xi4x"}


@dataclass(frozen=True)
class Abi:
    """One way of making system calls. numbers: name -> number. decode: name -> how to read its arguments.

    word: bytes of a pointer.
    """

    audit: int
    word: int
    numbers: dict[str, int]
    decode: dict[str, Decode]


def native() -> list[Abi]:
    """The ways of making system calls on this machine, the main one first.

    Raises ColdseekError for an architecture whose numbers are not known.
    """
    machine = platform.machine()
    if machine == "x86_64":
        return [
            _abi(AUDIT_X86_64, 8, {row.name: row.x86_64 for row in CALLS}),
            _abi(AUDIT_I386, 4, {row.name: row.i386 for row in CALLS}),
        ]
    if machine in ("aarch64", "riscv64"):
        audit = AUDIT_AARCH64 if machine == "aarch64" else AUDIT_RISCV64
        return [_abi(audit, 8, {row.name: row.generic for row in CALLS})]
    raise ColdseekError(f"the ptrace tracer knows no system calls of {machine}; use --tracer strace")


def register_of(row: Row, argument: str, word: int) -> int:
    """In which register, from 0, an argument of a call begins."""
    before = row.arguments[: row.at(argument)]
    return sum(KINDS[one.kind][word == 4] for one in before)


def _abi(audit: int, word: int, numbers: dict[str, int | None]) -> Abi:
    known = {name: number for name, number in numbers.items() if number is not None}
    return Abi(audit, word, known, {row.name: _decode(row, word) for row in CALLS if row.name in known})


def _decode(row: Row, word: int) -> Decode:
    kinds = [argument.kind for argument in row.arguments]
    if word == 8:
        return struct.Struct("<" + "".join(_WIDE.get(kind, "q") for kind in kinds)).unpack_from
    registers = struct.Struct("<" + "".join(_NARROW.get(kind, "I4x") for kind in kinds))
    if not {"loff", "split", "pages"}.intersection(kinds):
        return registers.unpack_from
    return partial(_joined, registers, kinds)


def _joined(registers: struct.Struct, kinds: list[str], buffer: Buffer, place: int) -> Args:
    """Arguments of a 32-bit call, offsets made whole: of two halves the lower comes first."""
    values = iter(registers.unpack_from(buffer, place))
    found = []
    for kind in kinds:
        value = next(values)
        if kind in ("loff", "split"):
            value |= next(values) << 32
        elif kind == "pages":
            value *= _PAGE
        found.append(value)
    return tuple(found)
