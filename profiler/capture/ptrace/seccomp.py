"""The seccomp-BPF filter that lets only the wanted system calls stop a traced program.

See seccomp(2) and Documentation/userspace-api/seccomp_filter.rst. Without it a program stops at each of its
calls; most of QEMU's are of no interest.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable

from profiler.calls import BY_NAME
from profiler.capture.ptrace.abi import AUDIT_X86_64, Abi, register_of
from profiler.capture.ptrace.stops import OUR_FILTER

# linux/seccomp.h, linux/prctl.h
_ALLOW, _TRACE = 0x7FFF0000, 0x7FF00000 | OUR_FILTER
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2
# linux/bpf_common.h: load a word; jump; jump if equal, if at least, if any bit is set; return
_LOAD, _JUMP, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x05, 0x15, 0x35, 0x45, 0x06
# offsets into struct seccomp_data; of an argument the lower half, on little-endian machines
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16
_X32_BIT = 0x40000000  # asm/unistd.h: system calls of the x32 mode have this bit

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand


def program(wanted: Iterable[tuple[Abi, Iterable[str]]]) -> list[Instruction]:
    """The filter: stop for the named calls of each way of calling (and for x32 calls, which nobody
    decodes); else run.

    Calls that `profiler.calls` says matter only with certain arguments stop only with those.
    """
    code: list[Instruction] = []
    for abi, names in wanted:
        body: list[Instruction] = [(_LOAD, 0, 0, _NUMBER)]
        if abi.audit == AUDIT_X86_64:
            body += [(_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, _TRACE)]
        for name in names:
            if name in abi.numbers:
                test = _test(name, abi)
                body += [(_EQUAL, 0, len(test), abi.numbers[name]), *test]
        body.append((_RETURN, 0, 0, _ALLOW))
        # a jump reaches 255 instructions at most; the body is longer, so that a plain jump skips it
        code += [(_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, abi.audit), (_JUMP, 0, 0, len(body)), *body]
    return [*code, (_RETURN, 0, 0, _TRACE)]


def _test(name: str, abi: Abi) -> list[Instruction]:
    """What to do with a call of this name: stop, or look at the argument that tells whether it matters."""
    when = BY_NAME[name].when
    if when is None:
        return [(_RETURN, 0, 0, _TRACE)]
    load = (_LOAD, 0, 0, _ARGUMENTS + 8 * register_of(BY_NAME[name], when.argument, abi.word))
    if when.without:
        return [load, (_ANY_BIT, 1, 0, when.without), (_RETURN, 0, 0, _TRACE), (_RETURN, 0, 0, _ALLOW)]
    tests = [(_EQUAL, len(when.values) - place, 0, value) for place, value in enumerate(when.values)]
    return [load, *tests, (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _TRACE)]


def install(code: list[Instruction]) -> None:
    """Put the filter on this process, for good: every program it becomes and every child has it too.

    Without CAP_SYS_ADMIN the kernel demands that the process gives up gaining privileges by exec first.
    Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    packed = b"".join(struct.pack("HBBI", *instruction) for instruction in code)
    held = ctypes.create_string_buffer(packed, len(packed))
    argument = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(held)))
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, argument, 0, 0) == 0:
        return
    if ctypes.get_errno() == errno.EACCES:
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, argument, 0, 0) == 0:
            return
    raise OSError(ctypes.get_errno(), "seccomp: " + os.strerror(ctypes.get_errno()))
