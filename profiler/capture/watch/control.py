"""Which of the kernel's events tell what becomes of tasks and descriptors, and all of them in one order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from profiler.calls import BY_NAME, F_DUPFD, F_DUPFD_CLOEXEC, F_SETFD, F_SETFL, FIOCLEX, FIONCLEX
from profiler.capture.kernel.syscalls import Columns, Ints

_EVENT_NAMES = {"sendfile": "sendfile64"}  # on 64-bit machines the call is made by this function
_BEGUN = ("close", "ioctl", "mmap")
"""Calls that are taken as they begin: a descriptor is free before close returns, and of the other two
nothing in the result matters."""
_ENDED = (
    "open", "openat", "openat2", "creat", "open_by_handle_at", "close_range", "dup", "dup2", "dup3", "fcntl",
    "unshare", "fadvise64", "readahead", "sendfile", "splice", "copy_file_range", "pidfd_getfd",
    "io_setup",
)  # fmt: skip
OPENS = ("open", "openat", "openat2", "creat", "open_by_handle_at")
MADE = (
    "socket", "accept", "accept4", "eventfd", "eventfd2", "epoll_create", "epoll_create1", "timerfd_create",
    "signalfd", "signalfd4", "inotify_init", "inotify_init1", "memfd_create", "pidfd_open",
    "perf_event_open", "userfaultfd", "fanotify_init", "bpf", "io_uring_setup",
)  # fmt: skip
"""Calls whose result is a descriptor that names no file."""

CARRIERS = {"io_submit": "aio_pread", "io_uring_enter": "uring_read"}
"""Calls within which requests are read that lie in the program's memory -> the operation in a trace."""

NEW, EXECUTED, EXITED, RENAMED, JOINED = (
    "task_newtask", "sched_process_exec", "sched_process_exit", "task_rename", "cgroup_attach_task",
)  # fmt: skip
_TASKS = {
    NEW: ("pid", "comm", "clone_flags"), EXECUTED: ("pid", "old_pid", "filename"), EXITED: ("pid", "comm"),
    RENAMED: ("pid", "newcomm"), JOINED: ("pid", "dst_path"),
}  # fmt: skip


def _event(call: str, at: str) -> str:
    return f"sys_{at}_{_EVENT_NAMES.get(call, call)}"


EVENTS: dict[str, Sequence[str]] = {
    **_TASKS,
    **{
        _event(call, "enter"): tuple(argument.name for argument in BY_NAME[call].arguments)
        for call in (*_BEGUN, *_ENDED)
    },
    **{_event(call, "exit"): ("ret",) for call in (*_ENDED, *MADE)},
}
"""Event -> its fields."""
CARRIED = {
    _event(call, at): ("ret",) if at == "exit" else () for call in CARRIERS for at in ("enter", "exit")
}
"""The events of CARRIERS -> their fields."""


def _any_of(field: str, values: Sequence[int]) -> str:
    return " || ".join(f"{field} == {value}" for value in values)


FILTERS = {
    "sys_enter_ioctl": _any_of("cmd", (FIOCLEX, FIONCLEX)),
    "sys_enter_fcntl": _any_of("cmd", (F_DUPFD, F_DUPFD_CLOEXEC, F_SETFD, F_SETFL)),
    "sys_enter_mmap": "fd < 0x80000000",  # of files: anonymous memory is mapped with -1
    **{_event(call, "exit"): "ret >= 0" for call in MADE},
}


class Event(NamedTuple):
    """An event: when (ns, the buffer's clock), in which task, what, and its fields in the order of
    EVENTS."""

    time_ns: int
    task: int
    name: str
    values: tuple[int | bytes, ...]


def in_order(tables: Mapping[str, Columns]) -> Iterator[Event]:
    """The events of EVENTS in decoded tables, by time; fields that a kernel has not got are 0."""
    names = [name for name in EVENTS if name in tables and len(tables[name]["time_ns"])]
    if not names:
        return
    times = np.concatenate([tables[name]["time_ns"] for name in names])
    which = np.repeat(np.arange(len(names)), [len(tables[name]["time_ns"]) for name in names])
    order = np.argsort(times, kind="stable")
    rows = [_rows(name, tables[name]) for name in names]
    for time_ns, number in zip(times[order].tolist(), which[order].tolist(), strict=True):
        task, values = next(rows[number])
        yield Event(time_ns, task, names[number], values)


def _rows(name: str, table: Columns) -> Iterator[tuple[int, tuple[int | bytes, ...]]]:
    count = len(table["time_ns"])
    columns = [
        _as_kind(name, field, table[field]).tolist() if field in table else [0] * count
        for field in EVENTS[name]
    ]
    return zip(table["tid"].tolist(), zip(*columns, strict=True), strict=True)


def call_of(event: str) -> str:
    """The call of an event that is named sys_enter_CALL or sys_exit_CALL, as in profiler.calls."""
    name = event.partition("_")[2].partition("_")[2]
    return _CALLS.get(name, name)


_CALLS = {event: call for call, event in _EVENT_NAMES.items()}


def _as_kind(event: str, field: str, values: Ints) -> Ints:
    """An argument as the kernel takes it: of an int or unsigned int the upper half of the register counts
    not."""
    if not event.startswith("sys_enter_"):
        return values
    kinds = {argument.name: argument.kind for argument in BY_NAME[call_of(event)].arguments}
    if kinds[field] == "int":
        return ((values & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000
    return values & 0xFFFFFFFF if kinds[field] == "uint" else values
