"""The files below a folder, as they are: what programs really start from.

A new file lies in one piece, and the host of a virtual disk still has it in memory. Old files lie scattered,
in images of several layers. Both are on the same disk, and one can take twice the time of the other.
"""

from __future__ import annotations

import heapq
import os
import resource
import stat
import time
from collections.abc import Iterator

from profiler.machine.procfs import kind_of
from profiler.units import device_name

LEAST_FILE = 256 * 1024
"""Smaller files have no room for large reads, which are most of what a start waits for."""

MAX_FILES = 300
MAX_LOOKED_AT = 200_000
WITHIN_S = 10.0
"""So long, and at so many names, is looked: more files change no mean."""

_LEFT = 100  # descriptors that are left to others
FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def largest(folder: str, device: str) -> list[str]:
    """The largest regular files below `folder` that lie on `device` ("major:minor"), largest first, as many
    as may be open twice, at most MAX_FILES. Links are not followed, other file systems not entered; what
    may not be read is passed over."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    count = MAX_FILES if allowed == resource.RLIM_INFINITY else min(MAX_FILES, (allowed - _LEFT) // 2)
    return [path for _, path in heapq.nlargest(max(count, 1), _files(folder, device))]


def open_again(path: str, device: str) -> int | None:
    """A descriptor of the file, None where it cannot be had, or is no longer what was found."""
    try:
        descriptor = os.open(path, FLAGS)
    except OSError:
        return None
    facts = os.fstat(descriptor)
    if kind_of(facts.st_mode) == "regular" and device_name(facts.st_dev) == device:
        return descriptor
    os.close(descriptor)
    return None


def _files(folder: str, device: str) -> Iterator[tuple[int, str]]:
    """Size and path of the regular files below, of that device, that may be read; each inode once."""
    until = time.monotonic() + WITHIN_S
    waiting, seen, looked = [folder], set(), 0
    while waiting and looked < MAX_LOOKED_AT and time.monotonic() < until:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    looked += 1
                    facts = entry.stat(follow_symlinks=False)
                    if device_name(facts.st_dev) != device or facts.st_ino in seen:
                        continue
                    if stat.S_ISDIR(facts.st_mode):
                        waiting.append(entry.path)
                    elif stat.S_ISREG(facts.st_mode) and facts.st_size >= LEAST_FILE:
                        seen.add(facts.st_ino)
                        if os.access(entry.path, os.R_OK):
                            yield facts.st_size, entry.path
        except OSError:
            continue
