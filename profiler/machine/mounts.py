"""Which file system a file is on: what is mounted here."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

from profiler.units import device_name

MEMORY_FILESYSTEMS = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})
"""Their files are nowhere but in memory: reading them never waits for a device."""

NOWHERE = MEMORY_FILESYSTEMS | {"proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "tracefs"}
"""Nothing of these lies on a device."""


@dataclasses.dataclass(frozen=True)
class Mount:
    """A line of /proc/self/mountinfo."""

    number: int  # the mount's id
    device: str  # "major:minor"
    kind: str  # ext4, tmpfs ...


def filesystem_of(device: str, path: bytes | None = None) -> str:
    """The file system ("ext4") of a file whose stat gives this device ("major:minor"); "": not known.

    Where the device is not among the mounted ones (btrfs gives each subvolume a number of its own, overlay
    may pass through those of its layers), the mount that `path` lies on is asked for, if a path is given.
    """
    known = _kinds.get(device)
    if known is None:
        _kinds.update((mount.device, mount.kind) for mount in mounts())
        known = _kinds.get(device)
    if known is None and path is not None:
        known = _kind_by_path(path, device)
        if known is not None:
            _kinds[device] = known
    return known or ""


_kinds: dict[str, str] = {}  # device -> what was found


def forget() -> None:
    """Look up again from now on: numbers of loop devices come again, for other file systems."""
    _kinds.clear()


def _kind_by_path(path: bytes, device: str) -> str | None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)  # opens nothing, so blocks on nothing
    except (OSError, ValueError):
        return None
    try:
        if device_name(os.fstat(descriptor).st_dev) != device:
            return None  # another file by now
        text = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    finally:
        os.close(descriptor)
    found = re.search(r"^mnt_id:\s*([0-9]+)", text, re.MULTILINE)
    return next((mount.kind for mount in mounts() if found and mount.number == int(found.group(1))), None)


def mounts(text: bytes | None = None) -> list[Mount]:
    """The mounts of this process, from /proc/self/mountinfo (proc(5)) or from `text` in its place.

    A line: id, parent, major:minor, root, mount point, options, any number of tags, "-", kind, source,
    options.
    """
    if text is None:
        try:
            text = Path("/proc/self/mountinfo").read_bytes()
        except OSError:
            return []
    found = []
    for line in text.split(b"\n"):
        before, dash, after = line.partition(b" - ")
        fields, rest = before.split(b" "), after.split(b" ")
        if dash and len(fields) >= 6 and fields[0].isdigit():
            kind = re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal.group(1), 8) & 255]), rest[0])
            found.append(Mount(int(fields[0]), os.fsdecode(fields[2]), kind.decode("utf-8", "replace")))
    return found
