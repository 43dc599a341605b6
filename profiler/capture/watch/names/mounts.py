"""What is mounted where: the lines of /proc/PID/mountinfo (proc_pid_mountinfo(5)). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

UNMARKED = frozenset(
    {
        b"autofs", b"binfmt_misc", b"bpf", b"cgroup", b"cgroup2", b"configfs", b"debugfs", b"devpts",
        b"efivarfs", b"fusectl", b"mqueue", b"nsfs", b"pstore", b"rpc_pipefs", b"securityfs", b"selinuxfs",
        b"smackfs", b"tracefs",
    }
)  # fmt: skip
"""File systems that hold no data: to open a file there once more, as its notification does, may even have
effects (tracefs, debugfs) or mount something (autofs)."""

_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")
_MINOR_BITS = 20  # of a dev_t inside the kernel (linux/kdev_t.h)
_DIGITS = 18  # of a number that is believed: all of them fit into 64 bits


@dataclass(frozen=True, slots=True)
class Mount:
    """number: as of statx(2), no two at one time have the same. device: of the file system, as the kernel
    writes it (major << 20 | minor). root: what of the file system is mounted; point: where. options: those
    of the file system, still escaped."""

    number: int
    device: int
    root: bytes
    point: bytes
    kind: bytes
    options: bytes


def kernel_device(major: int, minor: int) -> int:
    """A device as the kernel's events write it."""
    return major << _MINOR_BITS | minor


def unescaped(word: bytes) -> bytes:
    r"""A word in which blanks, commas and the like are written as \040."""
    return _OCTAL.sub(lambda found: bytes([int(found[1], 8)]), word)


def parsed(text: bytes) -> list[Mount]:
    """The mounts, in the order of the text; lines that are none are left out."""
    return [mount for line in text.split(b"\n") if (mount := _mount(line)) is not None]


def _mount(line: bytes) -> Mount | None:
    # ID PARENT MAJOR:MINOR ROOT POINT OPTIONS TAG... - KIND SOURCE OPTIONS
    before, dash, after = line.partition(b" - ")
    fields, rest = before.split(b" "), after.split(b" ")
    if not dash or len(fields) < 6 or len(rest) < 3:
        return None
    major, colon, minor = fields[2].partition(b":")
    numbers = (fields[0], major, minor)
    if not colon or not all(word.isdigit() and len(word) <= _DIGITS for word in numbers):
        return None
    return Mount(
        int(fields[0]),
        kernel_device(int(major), int(minor)),
        unescaped(fields[3]),
        unescaped(fields[4]),
        unescaped(rest[0]),
        b" ".join(rest[2:]),  # no file system has blanks there; if one had, they would belong to it
    )


def below(path: bytes, folder: bytes) -> bytes | None:
    """The path as it is seen from the folder, which begins with a slash; None: it does not lie there."""
    if folder in (b"", b"/"):
        return path if path.startswith(b"/") else None
    if path == folder:
        return b"/"
    return path[len(folder) :] if path.startswith(folder + b"/") else None


def joined(folder: bytes, path: bytes) -> bytes:
    """The reverse of `below`."""
    if path == b"/":
        return folder or b"/"
    return path if folder in (b"", b"/") else folder + path


def elsewhere(mounts: list[Mount], device: int, path: bytes) -> bytes | None:
    """What a file is called where these are mounted, from its path within its file system; None: it is not
    to be reached there, as far as they tell."""
    best: tuple[int, bytes] | None = None
    for mount in mounts:
        rest = below(path, mount.root) if mount.device == device else None
        if rest is not None and (best is None or len(mount.root) > best[0]):
            best = len(mount.root), joined(mount.point, rest)
    return None if best is None else best[1]
