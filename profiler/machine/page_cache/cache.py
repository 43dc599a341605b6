"""The page cache emptied, for all or for a set of files, and proof that it is.

A start is cold only if that was measured.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from profiler.errors import ColdseekError
from profiler.facts.runs import NOT_PROVED_COLD
from profiler.machine.mounts import MEMORY_FILESYSTEMS, filesystem_of
from profiler.machine.page_cache.residency import (
    FileResidency,
    Residency,
    each_open,
    is_blind,
    remedy,
    residency,
    unlooked,
)
from profiler.units import device_name, show_bytes, show_path, show_plural

COLD_BYTES = 256 * 1024
COLD_SHARE = 0.01
"""A start still counts as cold if at most so many bytes, and so large a share of those looked at, are cached
of files that no running program has mapped: background programs write and read at any moment. Our own
margins."""

_ATTEMPTS = 3  # a page that was just being written or read cannot be dropped; the next time it can
DROP_CACHES = "/proc/sys/vm/drop_caches"


@dataclass(frozen=True)
class Coldness:
    """How the page cache was emptied (method: "drop_caches" or "fadvise"), and the proof: what was left
    right after.

    cold: whether that counts as a cold start. why: one line that says what is left and what that means.
    proved: False where too little could be looked at to tell. excused: files that could not be dropped and
    need not be. must: those of which nothing may be left.
    """

    method: str
    residency: Residency
    cold: bool
    why: str
    proved: bool = True
    excused: frozenset[bytes] = field(default=frozenset(), repr=False)
    must: tuple[bytes, ...] = field(default=(), repr=False)

    def of(self, paths: Iterable[bytes]) -> Coldness:
        """The proof for these files alone: what the start really read."""
        return _judge(self.method, self.residency.of([*self.must, *paths]), list(self.must), self.excused)

    @property
    def fault(self) -> str:
        """What to say loudly of a start that is not known to be cold; "" for one that is."""
        return "" if self.cold else f"{'NOT COLD' if self.proved else NOT_PROVED_COLD}: {self.why}"


def drop_all() -> None:
    """Write everything back and empty the whole machine's page cache, with names and inodes; root only.

    What running programs have mapped stays. Raises ColdseekError where it may not be done.
    """
    os.sync()
    _drop()


def _drop() -> None:
    """The same of what is written back already."""
    try:
        # Documentation/admin-guide/sysctl/vm.rst: 1 the page cache, 2 dentries and inodes, 3 both
        with open(DROP_CACHES, "wb", buffering=0) as control:
            control.write(b"3")
    except OSError as error:
        raise ColdseekError(
            f"cannot empty the page cache ({DROP_CACHES}: {os.strerror(error.errno or 0)}); run as root, "
            f"outside a container that has it read-only"
        ) from error


def can_drop_all() -> bool:
    """Whether `drop_all` may be used here; nothing is dropped to find out."""
    try:
        os.close(os.open(DROP_CACHES, os.O_WRONLY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def evict(paths: Iterable[bytes]) -> Residency:
    """Write these files back and ask for their pages to be dropped (posix_fadvise); what stayed all the
    same.

    Anyone may who may read the files. What stays is mapped by a running program, or is being written or
    read.
    """
    paths = list(paths)
    for _, descriptor in each_open(paths, []):
        with contextlib.suppress(OSError):  # a read-only file system has nothing to write back
            os.fsync(descriptor)
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    return residency(paths)


def make_cold(paths: Iterable[bytes], must: Iterable[bytes] = (), whole: bool | None = None) -> Coldness:
    """Get these files out of the page cache by the best means there is here, and prove it.

    whole: False: file by file, even where the whole page cache could be dropped; see `eviction`.

    It counts as cold if nothing is left but pages of files that running programs have mapped (the C library,
    the Python that runs coldseek: they would not be read in a true cold start of this program either), files
    that are nowhere but in memory, and crumbs of at most COLD_BYTES and COLD_SHARE. Of the files of `must`
    (the disk image that it is all about) nothing at all may be left.
    """
    must = list(must)
    files = list(dict.fromkeys([*must, *paths]))
    as_root = can_drop_all() if whole is None else whole
    if as_root:
        drop_all()
        found = residency(files)
    else:
        found = evict(files)
    for _ in range(_ATTEMPTS - 1):
        if not found.present:
            break
        evict(file.path for file in found.present)
        found = residency(files)
    if as_root:
        # To look at a file brings its name and inode back from the device; the start shall find them there.
        _drop()
    excused = frozenset(_mapped_or_in_memory(found.present) - set(must))
    return _judge("drop_caches" if as_root else "fadvise", found, must, excused)


def _judge(method: str, found: Residency, must: list[bytes], known: frozenset[bytes]) -> Coldness:
    excused = known.intersection(file.path for file in found.present)
    left = [file for file in found.present if file.path not in excused]
    left_bytes = sum(file.resident for file in left)
    allowed = min(COLD_BYTES, COLD_SHARE * found.checked_bytes)
    dropped = left_bytes <= allowed and not any(file.path in must for file in left)
    blind = is_blind(found, must)
    cached = show_bytes(found.resident_bytes) if found.resident_bytes else "nothing"
    parts = [f"{cached} of {show_plural(found.files, 'file')} cached"]
    if excused:
        share = "all" if not left else show_bytes(found.resident_bytes - left_bytes)
        parts.append(f"{share} of that mapped by running programs, or in a file system in memory")
    if not dropped:
        worst = max(left, key=lambda file: (file.path in must, file.resident))
        state = ", being written" if worst.dirty else ""
        parts.append(f"{show_bytes(worst.resident)} of {show_path(worst.path)} could not be dropped{state}")
    if found.unchecked:
        parts.append(f"{unlooked(found)}{', most of what it reads' if blind and not must else ''}")
    if method == "fadvise":
        how = "--evict all drops them too" if can_drop_all() else "only root can drop them"
        parts.append(f"names and inodes stay cached ({how})")
    if not found.files:
        parts = ["no file could be looked at"]
    if blind:
        parts += remedy(found)
    cold, proved = dropped and not blind, not blind or not dropped
    return Coldness(method, found, cold, "; ".join(parts), proved, known, tuple(must))


def in_memory(path: bytes) -> bool:
    """Whether a file is nowhere but in memory, or is no more: nothing of it waits for a device."""
    try:
        device = device_name(os.stat(path).st_dev)
    except (OSError, ValueError):
        return True
    return filesystem_of(device, path) in MEMORY_FILESYSTEMS


def _mapped_or_in_memory(files: Iterable[FileResidency]) -> set[bytes]:
    """Those of the files whose pages cannot be dropped, and need not be for a start to be cold."""
    files = list(files)
    if not files:
        return set()
    mapped = _mappings()
    found = set()
    for file in files:
        with contextlib.suppress(OSError):
            facts = os.stat(file.path)
            device = device_name(facts.st_dev)
            if (
                (device, facts.st_ino) in mapped
                or os.path.realpath(file.path) in mapped  # btrfs shows another device there than stat does
                or filesystem_of(device, file.path) in MEMORY_FILESYSTEMS
            ):
                found.add(file.path)
    return found


def _mappings() -> set[tuple[str, int] | bytes]:
    """Every file that a running program has mapped, as ("major:minor", inode) and as path; those we may see.

    From /proc/PID/maps (proc(5)): "address permissions offset major:minor inode path", the device in
    hexadecimal.
    """
    found: set[tuple[str, int] | bytes] = set()
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            for line in (process / "maps").read_bytes().split(b"\n"):
                fields = line.split(None, 5)
                if len(fields) == 6 and fields[4] != b"0":
                    major, _, minor = fields[3].partition(b":")
                    found.add((f"{int(major, 16)}:{int(minor, 16)}", int(fields[4])))
                    found.add(fields[5])
    return found
