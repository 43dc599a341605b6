"""Children that ask not to be traced (CLONE_UNTRACED), made traced ones.

A child that no tracer follows has the seccomp filter all the same, and every call that the filter would
have stopped fails for it (ENOSYS; seccomp(2), SECCOMP_RET_TRACE). So the flag is taken out of the request
while the parent is stopped in its clone, and put back where the program could see that.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from profiler.capture.ptrace import memory
from profiler.capture.ptrace.stops import POKEUSER

# linux/sched.h; vfork is a clone with CLONE_VFORK and CLONE_VM (linux: kernel/fork.c)
CLONE_UNTRACED, _FLAGS_OF_VFORK = 0x800000, 0x4100
_FIRST_ARGUMENT = {8: 14 * 8, 4: 5 * 8}  # rdi and ebx in struct user_regs_struct (sys/user.h), by word


@dataclass(frozen=True)
class Hidden:
    """A clone whose flag was taken out. restore(tid): gives a stopped task, parent or child, it back."""

    restore: Callable[[int], bool]


def flags_of(tid: int, name: str, args: Sequence[int]) -> int | None:
    """The flags with which a stopped task is about to make another; None: they cannot be read."""
    if name == "clone3":  # struct clone_args begins with them
        raw = memory.read(tid, args[0], 8)
        return None if raw is None else int.from_bytes(raw, "little")
    return args[0] if name == "clone" else _FLAGS_OF_VFORK if name == "vfork" else 0


def reveal(
    ptrace: Callable[..., int], tid: int, name: str, args: Sequence[int], flags: int, word: int
) -> Hidden | None:
    """Take CLONE_UNTRACED out of a clone that a stopped task begins. word: bytes of a pointer of its.

    None where that cannot be done: the child will be missing, and its calls fail.
    """
    seen = flags & ~CLONE_UNTRACED
    if name == "clone3":
        address = args[0]
        if not memory.write(tid, address, seen.to_bytes(8, "little")):
            return None
        return Hidden(lambda tid: memory.write(tid, address, flags.to_bytes(8, "little")))
    if platform.machine() != "x86_64":
        return None
    place = _FIRST_ARGUMENT[word]

    def poke(tid: int, value: int) -> bool:
        return bool(ptrace(POKEUSER, tid, place, value & (2**64 - 1)) == 0)

    return Hidden(lambda tid: poke(tid, flags)) if poke(tid, seen) else None
