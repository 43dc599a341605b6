"""How much memory coldseek can still take before something is refused to it, or kills it.

What is free on the machine is not all of it: the control groups (cgroups(7)) of a container or of a service,
and a limit on the address space (setrlimit(2)), may allow less.
"""

from __future__ import annotations

import os
import re
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

_V1_LIMIT, _V1_USED = "memory.limit_in_bytes", "memory.usage_in_bytes"
_V2_LIMITS, _V2_USED = ("memory.max", "memory.high"), "memory.current"
_CACHED = ("inactive_file", "active_file", "total_inactive_file", "total_active_file")
"""Of memory.stat: pages of files, which count as used by a group and go where there is need. Version 1 has
those of the groups below as `total_`, version 2 has them in both."""


def available_bytes(root: str = "/") -> int | None:
    """Bytes that this process may still use: the least of what is free on the machine (MemAvailable of
    /proc/meminfo), in its control group and in each group around that (version 2: memory.max or memory.high
    less memory.current; version 1: memory.limit_in_bytes less memory.usage_in_bytes; cached files do not
    count as used), and below its RLIMIT_AS. What cannot be found out does not bound; None: nothing is known.

    root: where /proc and the control groups are looked for.
    """
    top = Path(root)
    bounds = [_machine(top), *_groups(top), _address_space(top)]
    known = [one for one in bounds if one is not None]
    return max(min(known), 0) if known else None


@contextmanager
def within_free_memory() -> Iterator[None]:
    """In here no more memory can be had than is free at the start: whoever asks for more gets MemoryError,
    where Linux would hand out the addresses and kill some process later.

    It is a limit on the address space of the whole process (RLIMIT_AS), so what other threads take counts
    too, and children inherit it: none is to be started in here. Threads take turns.
    """
    with _turn:
        free, used = available_bytes(), _address_space_used(Path("/"))
        former = resource.getrlimit(resource.RLIMIT_AS)
        if free is not None and used is not None:
            bounds = [used + free, *(limit for limit in former if limit != resource.RLIM_INFINITY)]
            resource.setrlimit(resource.RLIMIT_AS, (min(bounds), former[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, former)


_turn = threading.RLock()


def _machine(top: Path) -> int | None:
    found = re.search(r"^MemAvailable: *([0-9]{1,15}) kB$", _text(top / "proc/meminfo"), re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _address_space(top: Path) -> int | None:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    used = _address_space_used(top)
    return None if limit == resource.RLIM_INFINITY or used is None else limit - used


def _address_space_used(top: Path) -> int | None:
    pages = re.match("[0-9]{1,15} ", _text(top / "proc/self/statm"))
    return int(pages[0]) * os.sysconf("SC_PAGE_SIZE") if pages else None


def _groups(top: Path) -> Iterator[int | None]:
    """What is left in the own control group, and in each that it is in."""
    own = _own_groups(top)
    for line in _text(top / "proc/self/mountinfo").splitlines():
        # ID PARENT DEVICE ROOT PLACE OPTIONS ... - TYPE SOURCE OPTIONS, see proc_pid_mountinfo(5)
        before, _, after = line.partition(" - ")
        fields, (kind, *options) = before.split(), re.split("[ ,]", after)
        version = {"cgroup2": 2, "cgroup": 1}.get(kind)
        if version is None or len(fields) < 5 or (version == 1 and "memory" not in options):
            continue
        group, base = PurePosixPath(own.get(version, "/")), PurePosixPath(_unescaped(fields[3]))
        # a group outside of what is mounted, as in some containers: there the mount's top is our own
        inside = group.relative_to(base) if group.is_relative_to(base) else PurePosixPath()
        place = top / _unescaped(fields[4]).lstrip("/")
        if ".." not in inside.parts:
            for folder in (inside, *inside.parents):
                yield _left(place / folder, version)


def _own_groups(top: Path) -> dict[int, str]:
    """Version -> name of the own group among those that count memory."""
    own = {}
    for line in _text(top / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if number == "0" and not controllers:
            own[2] = name
        elif "memory" in controllers.split(","):
            own[1] = name
    return own


def _left(folder: Path, version: int) -> int | None:
    """What one group may still take; None: no limit, or it is not known."""
    names = _V2_LIMITS if version == 2 else (_V1_LIMIT,)
    limits = [limit for name in names if (limit := _number(folder / name)) is not None]
    used = _number(folder / (_V2_USED if version == 2 else _V1_USED))
    if not limits or used is None:
        return None
    wanted = _CACHED[:2] if version == 2 else _CACHED[2:]
    stat = dict(re.findall(r"^(\w+) ([0-9]{1,18})$", _text(folder / "memory.stat"), re.MULTILINE))
    cached = sum(int(stat.get(name, 0)) for name in wanted)
    return min(limits) - max(used - cached, 0)


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if re.fullmatch("[0-9]{1,20}", text) else None  # "max": no limit


def _unescaped(name: str) -> str:
    """mountinfo writes a blank in a name as \\040."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), name)


def _text(path: Path) -> str:
    """What a file of the kernel's holds; "" where it cannot be read."""
    try:
        return path.read_text("utf-8", "surrogateescape")
    except (OSError, ValueError):
        return ""
