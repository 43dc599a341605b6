"""Programs that trace or confine others, or themselves: what they cannot do while they are traced.

A process has one tracer, and a seccomp filter that is on it stays. So where a program's request fails that
would have been granted otherwise, the report says so: what was seen is then not the program's usual start.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

CALLS = ("ptrace", "prctl", "seccomp")
"""The calls that ask for it; `profiler.calls` says with which arguments."""

_ASKED_FOR = {
    "ptrace": ((b"PTRACE_TRACEME",), (b"PTRACE_ATTACH",), (b"PTRACE_SEIZE",)),
    "prctl": ((b"PR_SET_SECCOMP", b"SECCOMP_MODE_STRICT"),),
    "seccomp": ((b"SECCOMP_SET_MODE_STRICT",),),
}
"""How their arguments begin, as strace prints them."""
_MODE_STRICT = 1  # linux/seccomp.h

FILTER = (
    "the program has a seccomp filter of its own that leaves calls to a tracer (SECCOMP_RET_TRACE): it can "
    "have none but coldseek's, so these fail (ENOSYS), as they do for a program without a tracer"
)


def asked(name: str, arguments: Sequence[bytes]) -> bool:
    """Whether a call in a log of strace is one of those that ask for it."""
    return any(tuple(arguments[: len(begin)]) == begin for begin in _ASKED_FOR.get(name, ()))


def asks(name: str, arguments: Sequence[int]) -> bool:
    """The same for a call that the seccomp filter stopped: it may as well ask for a filter."""
    return name in CALLS and (name != "prctl" or arguments[1] == _MODE_STRICT)


def refused(name: str, result: int, tracer: str = "coldseek") -> str:
    """What to say of one of CALLS that has returned; "" where it was not refused because it is traced."""
    if name == "ptrace":
        return _refused_tracing(tracer) if result == -errno.EPERM else ""
    return _refused_strictness(tracer) if result == -errno.EINVAL else ""


def _refused_tracing(tracer: str) -> str:
    return (
        f"the program asked to trace a process, as gdb, strace and some sandboxes do, and was refused: a "
        f"process has one tracer, and that is {tracer}; record the program that it is to look at instead"
    )


def _refused_strictness(tracer: str) -> str:
    return (
        f"the program asked for seccomp's strict mode and was refused, as the filter of {tracer} is on it: "
        f"it ended, or went on without its sandbox; import a log of strace -f -y -ttt -T -o LOG COMMAND"
    )
