"""The calls in which a task may sleep for something else than a disk, and what it then waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from profiler.capture.kernel import syscalls


@dataclass(frozen=True)
class Blocking:
    """A call. reason: one of trace.WAIT_REASONS where the call alone tells it, else "": its descriptors do.
    first: the field of its first argument, which tells one wait from another; "": it has none that does."""

    name: str
    reason: str
    first: str = ""


RING = "ring"
"""The reason of calls that wait for requests that were submitted before: it is theirs."""

BLOCKING = (
    *(Blocking(name, "", "fd") for name in (*syscalls.NAMES, "sendto", "sendmsg", "sendmmsg")),
    *(Blocking(name, "", "ufds") for name in ("poll", "ppoll")),
    *(Blocking(name, "") for name in ("select", "pselect6")),
    *(Blocking(name, "", "epfd") for name in ("epoll_wait", "epoll_pwait", "epoll_pwait2")),
    *(Blocking(name, "socket", "fd") for name in (
        "recvfrom", "recvmsg", "recvmmsg", "accept", "accept4", "connect",
    )),
    *(Blocking(name, "lock", "uaddr") for name in ("futex", "futex_wait")),
    Blocking("futex_waitv", "lock", "waiters"),
    *(Blocking(name, "lock", "fd") for name in ("flock", "fcntl")),
    *(Blocking(name, "lock", "semid") for name in ("semop", "semtimedop")),
    *(Blocking(name, "child") for name in ("wait4", "waitid", "vfork", "clone", "clone3")),
    *(Blocking(name, "timer") for name in ("nanosleep", "clock_nanosleep")),
    *(Blocking(name, "signal") for name in ("pause", "rt_sigsuspend", "rt_sigtimedwait")),
    *(Blocking(name, "pipe", "msqid") for name in ("msgrcv", "msgsnd")),
    *(Blocking(name, "pipe", "mqdes") for name in ("mq_timedreceive", "mq_timedsend")),
    *(Blocking(name, RING) for name in ("io_getevents", "io_pgetevents", "io_uring_enter")),
)  # fmt: skip
NAMES = tuple(call.name for call in BLOCKING)
NUMBERS = {name: number for number, name in enumerate(NAMES)}
MAKING = ("vfork", "clone", "clone3")
"""Calls that make a process, for whose first steps their maker may sleep as if for a disk (state D): the end
of these is recorded too, and that of reads is anyway. That the others have ended is seen by the next one."""

SWITCH, WAKING = "sched_switch", "sched_waking"
EVENTS: Mapping[str, Sequence[str]] = {
    SWITCH: ("prev_pid", "prev_state", "next_pid"),
    WAKING: ("pid", "common_flags"),
    **{
        f"sys_enter_{call.name}": (call.first,) if call.first else ()
        for call in BLOCKING
        if call.name not in syscalls.NAMES
    },
    **{f"sys_exit_{name}": () for name in MAKING},
}
"""Event -> its fields. Reads are recorded anyway, and writes once a file is open for it."""

FILTERS = {
    "sys_enter_futex": "op != 129 && op != 1",  # FUTEX_WAKE, PRIVATE or not (linux/futex.h)
    "sys_enter_fcntl": "cmd == 7 || cmd == 38",  # F_SETLKW, F_OFD_SETLKW (asm-generic/fcntl.h)
}
"""In the kernel's words, and few of them: each costs time at each call. Half of all calls of futex wake
somebody, and wait for nothing."""


def filters_beside(others: Mapping[str, str]) -> dict[str, str]:
    """FILTERS and others, that may be of the same events: whatever either lets pass."""
    return {
        name: " || ".join(filter(None, (others.get(name, ""), FILTERS.get(name, ""))))
        for name in {**others, **FILTERS}
    }


def beside(others: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """EVENTS and others, whose fields may be of the same events."""
    return {
        name: tuple(dict.fromkeys((*others.get(name, ()), *EVENTS.get(name, ()))))
        for name in (*others, *(name for name in EVENTS if name not in others))
    }
