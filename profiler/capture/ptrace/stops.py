"""ptrace(2): its requests, the stops that it knows by number, and the function itself.

Imports next to nothing: the process that stays behind (see keeper.py) shall be small.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
from collections.abc import Callable

# linux/ptrace.h; python-ptrace has the older half of these
CONT, SYSCALL, GETEVENTMSG, SEIZE, LISTEN, GET_SYSCALL_INFO = 7, 24, 0x4201, 0x4206, 0x4208, 0x420E
TRACEME, POKEUSER, ATTACH = 0, 6, 16
EVENT_FORK, EVENT_VFORK, EVENT_CLONE = NEW_TASK = 1, 2, 3
EVENT_EXEC, EVENT_EXIT, EVENT_SECCOMP, EVENT_STOP = 4, 6, 7, 128
OPTIONS = (
    1  # TRACESYSGOOD: returns from calls are told from real SIGTRAPs
    | 1 << EVENT_FORK | 1 << EVENT_VFORK | 1 << EVENT_CLONE
    | 1 << EVENT_EXEC | 1 << EVENT_EXIT | 1 << EVENT_SECCOMP
    # EXITKILL: without a tracer every call that the filter would stop fails with ENOSYS (seccomp(2)). What
    # is killed can be started again; what goes on while its opens and writes fail does harm.
    | 1 << 20
)  # fmt: skip
CALL_BEGINS = EVENT_SECCOMP << 16 | signal.SIGTRAP << 8 | 0x7F
CALL_RETURNED = (signal.SIGTRAP | 0x80) << 8 | 0x7F
JOB_STOPS = frozenset((signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU))
WALL = 0x40000000  # __WALL of waitpid(2): wait for threads too

# struct ptrace_syscall_info: op, padding, arch, instruction pointer, stack pointer; then, at entry, number,
# six arguments, and what the filter returned with SECCOMP_RET_TRACE; at return the result
INFO_BYTES = 88
HEAD = struct.Struct("<4xI16xQi44xI")  # arch, number, the first argument as a descriptor, the filter's word
ARGUMENTS_AT = 32
RESULT, RESULT_AT = struct.Struct("<q"), 24
OUR_FILTER = 0xC5EE
"""What our filter returns, to be told from a filter of the program's own (SECCOMP_RET_DATA)."""

FAILED = 2**64 - 1  # -1, as the binding declares the result unsigned
_NUMBER = {"x86_64": 15 * 8}  # of the call, in struct user_regs_struct (sys/user.h)


def last_error() -> OSError:
    """What the latest request failed with."""
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))  # Python makes ESRCH a ProcessLookupError


def refuse(ptrace: Callable[..., int], tid: int) -> None:
    """Make the call that a task begins fail with ENOSYS, which is what stands for its result by now.

    So does the kernel with a call that the program's own filter hands to a tracer that is not there
    (SECCOMP_RET_TRACE). On other machines than x86-64 it is carried out.
    """
    if platform.machine() in _NUMBER:
        ptrace(POKEUSER, tid, _NUMBER[platform.machine()], FAILED)
