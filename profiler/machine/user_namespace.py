"""The user namespace that coldseek runs in: root there need not be root of the machine
(user_namespaces(7))."""

from __future__ import annotations

import os
import re
from pathlib import Path

_ALL_IDS = 2**32 - 1
_CAP_FOWNER = 3  # linux/capability.h


def is_whole() -> bool:
    """Whether every user of the machine is one here: who is root here is root of the machine then."""
    return sum(count for _, count in _ranges()) >= _ALL_IDS


def is_own(descriptor: int) -> bool:
    """Whether the kernel takes this process for the owner of an open file (`inode_owner_or_capable` in
    fs/inode.c): it is, or has CAP_FOWNER and the owner is a user of this namespace."""
    owner = os.fstat(descriptor).st_uid
    return _is_user(owner) and (owner == os.geteuid() or _has(_CAP_FOWNER))


def _is_user(uid: int) -> bool:
    """Whether a number is surely a user's here: all who are none have the number of nobody."""
    if not is_whole() and uid == int(Path("/proc/sys/kernel/overflowuid").read_bytes()):
        return False
    return any(first <= uid < first + count for first, count in _ranges())


def _ranges() -> list[tuple[int, int]]:
    """The users of this namespace, as first number and how many; without /proc none is known."""
    try:
        lines = Path("/proc/self/uid_map").read_text().splitlines()
    except OSError:
        return []
    return [(int(first), int(count)) for first, _, count in map(str.split, lines)]


def _has(capability: int) -> bool:
    found = re.search(rb"^CapEff:\s*([0-9a-f]+)", Path("/proc/self/status").read_bytes(), re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> capability & 1)
