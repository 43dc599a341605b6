"""System calls as numbers: which number is which call on which architecture, and where its arguments lie.

Numbers come from python-ptrace's tables; calls younger than those are added here.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

from profiler.errors import ColdseekError

# linux/audit.h: what seccomp and PTRACE_GET_SYSCALL_INFO call an architecture
AUDIT_X86_64, AUDIT_I386, AUDIT_AARCH64, AUDIT_RISCV64 = 0xC000003E, 0x40000003, 0xC00000B7, 0xC00000F3

# Since Linux 5.1 a new call has one number everywhere (Documentation/process/adding-syscalls.rst).
_COMMON = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "clone3": 435, "close_range": 436, "openat2": 437,
}  # fmt: skip
_I386 = {
    "_llseek": 140, "dup3": 330, "preadv": 333, "pwritev": 334,
    "copy_file_range": 377, "preadv2": 378, "pwritev2": 379, "io_pgetevents": 385,
}  # fmt: skip

Args = Sequence[int]


@dataclass(frozen=True)
class Abi:
    """One way of making system calls. numbers: name -> number. word: bytes of a pointer.

    arrange: for calls whose arguments do not lie as the manual page shows them, a function that lays them
    so.
    """

    audit: int
    word: int
    numbers: dict[str, int]
    arrange: dict[str, Callable[[Args], Args]]


def _joined(low: int, high: int) -> int:
    value = (high & 0xFFFFFFFF) << 32 | (low & 0xFFFFFFFF)
    return value - (1 << 64) if value >> 63 else value


# 32-bit x86 passes 64-bit offsets as two halves, low first (linux: arch/x86/kernel/sys_ia32.c)
_ARRANGE_I386: dict[str, Callable[[Args], Args]] = {
    **dict.fromkeys(
        ("pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2"),
        lambda args: (args[0], args[1], args[2], _joined(args[3], args[4])),
    ),
    "fadvise64": lambda args: (args[0], _joined(args[1], args[2]), args[3], args[4]),
    "fadvise64_64": lambda args: (args[0], _joined(args[1], args[2]), _joined(args[3], args[4]), args[5]),
    "readahead": lambda args: (args[0], _joined(args[1], args[2]), args[3]),
    "mmap2": lambda args: (*args[:4], _signed(args[4]), args[5] * 4096),
}


def _signed(value: int) -> int:
    """The int that a 32-bit register holds."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def native() -> list[Abi]:
    """The ways of making system calls on this machine, the main one first.

    Raises ColdseekError for an architecture whose numbers are not known.
    """
    machine = platform.machine()
    if machine == "x86_64":
        # the old mmap of 32-bit x86 takes a pointer to its arguments and no C library uses it any more
        return [
            _abi("x86_64", AUDIT_X86_64, 8, {}, {}),
            _abi("i386", AUDIT_I386, 4, _I386, _ARRANGE_I386, without=("mmap",)),
        ]
    if machine == "aarch64":
        return [_abi("aarch64", AUDIT_AARCH64, 8, {}, {})]
    if machine == "riscv64":
        return [_abi("riscv64", AUDIT_RISCV64, 8, {}, {})]
    raise ColdseekError(f"the ptrace tracer knows no system calls of {machine}; use --tracer strace")


def _abi(
    module: str,
    audit: int,
    word: int,
    added: dict[str, int],
    arrange: dict[str, Callable[[Args], Args]],
    without: tuple[str, ...] = (),
) -> Abi:
    numbers: dict[int, str] = import_module(f"ptrace.syscall.linux.{module}").SYSCALL_NAMES
    # the table of x86_64 holds the calls of x32 too, under the same names and higher numbers
    known = {name: number for number, name in sorted(numbers.items(), reverse=True) if name not in without}
    return Abi(audit, word, {**known, **_COMMON, **added}, arrange)
