"""Children that ask not to be traced (CLONE_UNTRACED), made traced ones.

A child that no tracer follows has the seccomp filter all the same, and every call that the filter would
have stopped fails for it (ENOSYS; seccomp(2), SECCOMP_RET_TRACE). So the flag is taken out of the request
while the parent is stopped in its clone, and put back where the program could see that.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass

from profiler.capture import procfs
from profiler.capture.abi import Abi
from profiler.capture.calls.meaning import Call

CLONE_UNTRACED = 0x800000  # linux/sched.h
_POKEUSER = 6  # sys/ptrace.h
_FIRST_ARGUMENT = {8: 14 * 8, 4: 5 * 8}  # rdi and ebx in struct user_regs_struct (sys/user.h), by word


@dataclass(frozen=True)
class Hidden:
    """A clone whose flag was taken out. restore(tid): gives a stopped task, parent or child, it back."""

    restore: Callable[[int], bool]


def reveal(ptrace: Callable[..., int], call: Call, abi: Abi, flags: int) -> Hidden | None:
    """Take CLONE_UNTRACED out of a clone that begins, `call`, of a stopped task.

    None where that cannot be done: the child will be missing, and its calls fail.
    """
    seen = flags & ~CLONE_UNTRACED
    if call.name == "clone3":
        address = call.args[0]
        if not procfs.write_memory(call.tid, address, seen.to_bytes(8, "little")):
            return None
        return Hidden(lambda tid: procfs.write_memory(tid, address, flags.to_bytes(8, "little")))
    if platform.machine() != "x86_64":
        return None
    place = _FIRST_ARGUMENT[abi.word]

    def poke(tid: int, value: int) -> bool:
        return bool(ptrace(_POKEUSER, tid, place, value & (2**64 - 1)) == 0)

    return Hidden(lambda tid: poke(tid, flags)) if poke(call.tid, seen) else None
