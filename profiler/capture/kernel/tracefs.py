"""tracefs: where the kernel offers its trace events, and instances of it, each a buffer of its own.

See Documentation/trace/ftrace.rst, "Instances". An instance shares nothing with other users of tracefs but
the list of events. It is removed again whatever happens: by `close`, after a kill -9 by a guard process, and
where that was killed too, at coldseek's next start.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence

from profiler.errors import ColdseekError
from profiler.machine.processes.guard import guarded

_MOUNTED = "/sys/kernel/tracing"
# asm-generic/unistd.h: the same numbers on every machine; linux/mount.h
_FSOPEN, _FSCONFIG, _FSMOUNT, _CREATE, _CLOEXEC = 430, 431, 432, 6, 1
_LOSSES = ("overrun", "commit overrun", "dropped events")  # of per_cpu/cpuN/stats
_NAME = re.compile(r"coldseek-(\d+)-(\d+)-(\d+)-[a-z]+\d*")
_GROUP = re.compile(r"coldseek_(\d+)_(\d+)_(\d+)_\d+")
_PROBES = "kprobe_events"
_numbers = itertools.count(1)  # a busy instance that could not be removed must not be in the way of the next
_BUSY_S = 2.0  # an instance cannot be removed while a reader holds a page of it


def open_root() -> int:
    """A descriptor of tracefs' top directory.

    Where it is not mounted it is not mounted by us either: a mount that is in no directory serves as well
    (fsmount(2)), and is gone with its last descriptor. Raises ColdseekError, saying what is missing.
    """
    if os.geteuid() != 0:
        raise ColdseekError("only root can read the kernel's trace events; use sudo")
    with contextlib.suppress(OSError):
        root = os.open(_MOUNTED, os.O_RDONLY | os.O_DIRECTORY)
        if _exists(root, "instances"):
            return root
        os.close(root)
    libc = ctypes.CDLL(None, use_errno=True)
    context = libc.syscall(_FSOPEN, b"tracefs", _CLOEXEC)
    if context < 0:
        raise _refused("open tracefs")
    try:
        if libc.syscall(_FSCONFIG, context, _CREATE, None, None, 0) < 0:
            raise _refused("make a mount of tracefs")
        mount = libc.syscall(_FSMOUNT, context, _CLOEXEC, 0)
        if mount < 0:
            raise _refused("mount tracefs")
    finally:
        os.close(context)
    try:
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=mount)
    finally:
        os.close(mount)


def _refused(what: str) -> ColdseekError:
    reason = os.strerror(ctypes.get_errno())
    locked = _text_of("/sys/kernel/security/lockdown")
    if "[integrity]" in locked or "[confidentiality]" in locked:
        reason += ", it is locked down"
    return ColdseekError(f"the kernel does not let coldseek {what} ({reason})")


class Instance:
    """An own trace buffer. To be closed.

    root: descriptor of tracefs' top directory. role: a word of small letters for its name.
    """

    def __init__(self, root: int, role: str) -> None:
        self._root = root
        me = f"{_namespace()}-{os.getpid()}-{_started(os.getpid())}"
        self._name = f"instances/coldseek-{me}-{role}{next(_numbers)}"
        try:
            os.mkdir(self._name, 0o700, dir_fd=root)
        except OSError as error:
            raise ColdseekError(f"cannot make a trace buffer: {os.strerror(error.errno or 0)}") from error
        try:
            self._top = os.open(self._name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=root)
        except OSError:
            os.rmdir(self._name, dir_fd=root)
            raise
        self._pipes: list[int] = []

    def close(self) -> None:
        """Stop recording and remove the buffer with all its settings."""
        for pipe in self._pipes:
            os.close(pipe)
        os.close(self._top)
        _remove(self._root, self._name)

    # -- settings ----------------------------------------------------------------------------------------

    def set(self, path: str, text: str) -> None:
        """Write a setting. Raises ColdseekError naming it where the kernel refuses."""
        try:
            _write(self._top, path, text)
        except OSError as error:
            raise ColdseekError(
                f"the kernel refuses the trace setting {path}={text}: {os.strerror(error.errno or 0)}"
            ) from error

    def read(self, path: str) -> str:
        """The text of one of its files. Raises OSError."""
        return _read(self._top, path)

    def enable(self, event: str, filter: str = "") -> None:
        """Record an event, named "system/event", from now on. Raises ColdseekError."""
        if filter:
            self.set(f"events/{event}/filter", filter)
        self.set(f"events/{event}/enable", "1")

    def stop(self) -> None:
        """Record no more; what was recorded can still be read."""
        self.set("tracing_on", "0")
        self.set("events/enable", "0")

    # -- reading -----------------------------------------------------------------------------------------

    def processors(self) -> list[int]:
        """The numbers of the processors, each of which has a buffer of its own."""
        listing = os.open("per_cpu", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._top)
        try:
            return sorted(int(name.removeprefix("cpu")) for name in os.listdir(listing))
        finally:
            os.close(listing)

    def pipes(self) -> list[int]:
        """Descriptors to read the binary pages of each processor from, without waiting."""
        if not self._pipes:
            for processor in self.processors():
                path = f"per_cpu/cpu{processor}/trace_pipe_raw"
                self._pipes.append(os.open(path, os.O_RDONLY | os.O_NONBLOCK, dir_fd=self._top))
        return self._pipes

    def page_bytes(self) -> int:
        """Bytes of one page of the buffer."""
        with contextlib.suppress(OSError, ValueError):  # Linux 6.8 or later
            return int(self.read("buffer_subbuf_size_kb")) * 1024
        return os.sysconf("SC_PAGE_SIZE")

    def lost(self, unread: bool = False) -> dict[int, int]:
        """Events that found no room, by processor; without those that lost none. unread: events that are
        still in the buffer count too."""
        found = {}
        for processor in self.processors():
            fields = dict(
                line.split(":", 1) for line in self.read(f"per_cpu/cpu{processor}/stats").splitlines()
            )
            names = (*_LOSSES, "entries") if unread else _LOSSES
            count = sum(int(fields.get(name, "0")) for name in names)
            if count:
                found[processor] = count
        return found


class Probes:
    """Own events, each at the entry of a function of the kernel; see Documentation/trace/kprobetrace.rst.
    To be closed, after the instances that record them. Raises ColdseekError where the kernel refuses.

    probes: event -> the functions, each with what is fetched there, in the kernel's words; of several the
    fields are the same. group: of the events, as "system" in the names of others.
    """

    def __init__(self, root: int, probes: Mapping[str, Sequence[str]]) -> None:
        self._root = root
        self.group = f"coldseek_{_namespace()}_{os.getpid()}_{_started(os.getpid())}_{next(_numbers)}"
        self._events: list[str] = []
        for event, what in ((event, what) for event, all_ in probes.items() for what in all_):
            try:
                _write(root, _PROBES, f"p:{self.group}/{event} {what}", os.O_APPEND)
            except OSError as error:
                self.close()
                raise ColdseekError(
                    f"the kernel takes no probe of {what.split(' ')[0]}: {os.strerror(error.errno or 0)}"
                ) from error
            self._events.append(event)

    def close(self) -> None:
        """Remove them."""
        for event in dict.fromkeys(self._events):
            _remove_probe(self._root, f"{self.group}/{event}")


def has_event(root: int, event: str) -> bool:
    """Whether this kernel has an event, named "system/event"."""
    return _exists(root, f"events/{event}/enable")


def format_of(root: int, event: str) -> str:
    """The text in which the kernel tells how an event lies in the buffer. Raises ColdseekError."""
    return _told(root, f"events/{event}/format")


def headers(root: int) -> tuple[str, str]:
    """The same of a page of the buffer and of the head of each event. Raises ColdseekError."""
    return _told(root, "events/header_page"), _told(root, "events/header_event")


def _told(root: int, path: str) -> str:
    try:
        return _read(root, path)
    except OSError as error:
        raise ColdseekError(
            f"this kernel's tracefs has no {path}: {os.strerror(error.errno or 0)}"
        ) from error


# ---- leaving nothing behind -------------------------------------------------------------------------------


def remove_stale(root: int) -> None:
    """Remove the instances, and then the probes, of coldseeks that are no more."""
    for name in _names(root):
        if _is_stale(_NAME.fullmatch(name)):
            _remove(root, f"instances/{name}", 0)
    for name in _probes(root):
        if _is_stale(_GROUP.fullmatch(name.partition("/")[0])):
            _remove_probe(root, name, 0)


def _is_stale(name: re.Match[str] | None) -> bool:
    """Whether what is named so was made by one that is no more, in this namespace."""
    if name is None:
        return False
    namespace, pid, started = map(int, name.groups())
    return namespace == _namespace() and _started(pid) != started


def _probes(root: int) -> list[str]:
    """The events that are probes of coldseeks, as "group/event"."""
    try:
        lines = _read(root, _PROBES).splitlines()
    except OSError:
        return []  # this kernel has none
    # p:GROUP/EVENT PLACE ARGUMENTS
    names = [line.partition(":")[2].partition(" ")[0] for line in lines]
    return [name for name in names if _GROUP.fullmatch(name.partition("/")[0])]


def _names(root: int) -> list[str]:
    listing = os.open("instances", os.O_RDONLY | os.O_DIRECTORY, dir_fd=root)
    try:
        return [name for name in os.listdir(listing) if _NAME.fullmatch(name)]
    finally:
        os.close(listing)


def guard(root: int) -> contextlib.AbstractContextManager[None]:
    """While entered, this process's instances are removed should it be killed."""
    return guarded(functools.partial(_clear, root, os.getpid()), (root,))


def _clear(root: int, watched: int) -> None:
    """Remove what is left of a process that has been killed, which takes a moment to be gone."""
    deadline = time.monotonic() + _BUSY_S
    while time.monotonic() < deadline:
        remove_stale(root)  # leaves alone those of the living
        instances, probes = _names(root), _probes(root)
        left = {*(name.split("-")[2] for name in instances), *(name.split("_")[2] for name in probes)}
        if str(watched) not in left:
            return
        time.sleep(0.05)


def _remove(root: int, name: str, patience_s: float = _BUSY_S) -> None:
    """Remove an instance; its events stop. Left alone where it stays busy, or is gone already."""
    _until_gone(functools.partial(os.rmdir, name, dir_fd=root), patience_s)


def _remove_probe(root: int, name: str, patience_s: float = _BUSY_S) -> None:
    """The same of a probe, which is busy while an instance records it."""
    _until_gone(functools.partial(_write, root, _PROBES, f"-:{name}", os.O_APPEND), patience_s)


def _until_gone(remove: Callable[[], None], patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            remove()
            return
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() >= deadline:
                return
            time.sleep(0.01)


def _namespace() -> int:
    """Which process ids we speak of: containers have their own, and tracefs is one for all of them."""
    return os.stat("/proc/self/ns/pid").st_ino


def _started(pid: int) -> int:
    """When a process started, in the kernel's ticks; -1 if there is none. Numbers are used again."""
    fields = _text_of(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 and fields[0] not in "ZX" else -1


# ---- small files ------------------------------------------------------------------------------------------


def _exists(top: int, path: str) -> bool:
    try:
        os.stat(path, dir_fd=top)
    except OSError:
        return False
    return True


def _read(top: int, path: str) -> str:
    with open(os.open(path, os.O_RDONLY, dir_fd=top), "rb") as source:
        return source.read().decode()


def _write(top: int, path: str, text: str, flags: int = 0) -> None:
    descriptor = os.open(path, os.O_WRONLY | flags, dir_fd=top)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _text_of(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as source:
            return source.read()
    except OSError:
        return ""
