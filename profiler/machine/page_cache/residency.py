"""What of a set of files is in the page cache."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from profiler.machine import user_namespace
from profiler.units import show_plural

WARM_SHARE = 0.95
"""A start counts as warm if so much of what the program needs is cached: the kernel may always drop a few
pages."""
PAGE = mmap.PAGESIZE
_CACHESTAT = 451  # asm-generic/unistd.h: the same number on every architecture but alpha; since Linux 6.5
_WINDOW = 2**30  # bytes looked at by one mincore call: 256 KiB of answer
_MINCORE_LIMIT = 2**40  # bytes of data in one file: a terabyte takes mincore some 15 s

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
_libc.syscall.argtypes = [ctypes.c_long, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint]
_libc.syscall.restype = ctypes.c_long


@dataclass(frozen=True)
class FileResidency:
    """What of one file is in the page cache, in bytes; `dirty` (not yet written back) is None where not
    known.

    data: its size without its holes, which no start waits for. A hole that was read is cached all the same,
    as zeros, and counts in both.
    """

    path: bytes
    data: int
    resident: int
    dirty: int | None = None


@dataclass(frozen=True)
class Residency:
    """What of a set of files is in the page cache.

    resident_bytes of the checked_bytes (the sizes of the files together, without their holes), in `files`
    files. `unchecked`: files that could not be looked at, because they may not be read or because the kernel
    tells only their owner. `present`: the files of which anything is cached, most first. `looked`: all that
    were looked at.
    """

    resident_bytes: int
    checked_bytes: int
    files: int
    unchecked: tuple[bytes, ...] = ()
    present: tuple[FileResidency, ...] = ()
    looked: tuple[FileResidency, ...] = field(default=(), repr=False, compare=False)

    def of(self, paths: Iterable[bytes]) -> Residency:
        """The same of these files alone, as far as they are among them, by whatever names."""
        wanted = {_identity(path) for path in paths}
        looked = tuple(file for file in self.looked if _identity(file.path) in wanted)
        return Residency(
            sum(file.resident for file in looked),
            sum(file.data for file in looked),
            len(looked),
            tuple(path for path in self.unchecked if _identity(path) in wanted),
            tuple(file for file in self.present if _identity(file.path) in wanted),
            looked,
        )

    def lacks(self, paths: Iterable[bytes]) -> list[bytes]:
        """Those of the paths whose files were neither looked at nor refused."""
        known = {_identity(path) for path in (*(file.path for file in self.looked), *self.unchecked)}
        return [path for path in paths if _identity(path) not in known]

    @property
    def known(self) -> tuple[int, int] | tuple[None, None]:
        """resident_bytes and checked_bytes, None if no file could be looked at: unknown is not 0."""
        return (self.resident_bytes, self.checked_bytes) if self.files else (None, None)


def residency(paths: Iterable[bytes]) -> Residency:
    """What of these files is in the page cache; looking neither reads them nor changes what is cached.

    Counted are regular files and block devices, each once, however many names it has. Names that do not
    exist (any more) and things of other kinds are left out: there is nothing of them to read.
    """
    files = checked = resident = 0
    present: list[FileResidency] = []
    looked: list[FileResidency] = []
    unchecked: list[bytes] = []
    for path, descriptor in each_open(paths, unchecked):
        found = look(path, descriptor)
        if found is None:
            unchecked.append(path)
            continue
        files += 1
        checked += found.data
        resident += found.resident
        looked.append(found)
        if found.resident:
            present.append(found)
    present.sort(key=lambda file: -file.resident)
    return Residency(resident, checked, files, tuple(unchecked), tuple(present), tuple(looked))


def is_warm(found: Residency, needed_bytes: int) -> bool:
    """Whether a program that reads `needed_bytes` of these files (without repetition) starts warm."""
    return found.resident_bytes >= WARM_SHARE * needed_bytes


def is_blind(found: Residency, must: Iterable[bytes] = ()) -> bool:
    """Whether too little could be looked at to tell anything of the start: less than half of the bytes, if
    there are no files that it is all about (`must`), else not all of those.
    """
    must = set(must)
    if not found.files or must:
        return not found.files or not must.isdisjoint(found.unchecked)
    hidden = 0
    for path in found.unchecked:
        with contextlib.suppress(OSError):
            facts = os.stat(path)
            hidden += _allocated(facts) or facts.st_size  # of 0 blocks: perhaps they are not counted
    return hidden > found.checked_bytes


def each_open(paths: Iterable[bytes], refused: list[bytes]) -> Iterator[tuple[bytes, int]]:
    """Each regular file and block device once, with a descriptor that is open while it is looked at."""
    seen = set()
    for path in paths:
        try:
            # The kind is looked at first: to open a FIFO blocks, to open a device may do anything.
            if not _is_data(os.stat(path)):
                continue
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            continue
        except OSError:
            refused.append(path)
            continue
        try:
            facts = os.fstat(descriptor)
            identity = (facts.st_dev, facts.st_ino) if stat.S_ISREG(facts.st_mode) else (facts.st_rdev, None)
            if _is_data(facts) and identity not in seen:
                seen.add(identity)
                yield path, descriptor
        finally:
            os.close(descriptor)


def _identity(path: bytes) -> object:
    """The same for all names of a file."""
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return path
    return (facts.st_dev, facts.st_ino) if not stat.S_ISBLK(facts.st_mode) else facts.st_rdev


def _is_data(facts: os.stat_result) -> bool:
    return stat.S_ISREG(facts.st_mode) or stat.S_ISBLK(facts.st_mode)


def look(path: bytes, descriptor: int) -> FileResidency | None:
    """What of one open file is cached; None: it cannot be found out."""
    size = os.fstat(descriptor).st_size or _device_size(descriptor)
    counts = cachestat(descriptor)
    if counts is not None:
        pages, dirty = counts[0], min(counts[1] * PAGE, size)
    # Since Linux 5.2 mincore answers "all of it" to those who may not know.
    elif not _may_know(descriptor):
        return None
    else:
        try:
            pages, dirty = mincore(descriptor, size), None
        except OSError:
            return None
    resident = min(pages * PAGE, size)
    return FileResidency(path, max(_without_holes(descriptor, size), resident), resident, dirty)


def _without_holes(descriptor: int, size: int) -> int:
    """The size of a file without its holes, as near as it can be told at once, however many there are.

    Blocks are what the file takes on its device: with compression, contents kept in the inode, or a file
    system that does not count them, less than it holds. So they are asked only of a file that has a hole.
    """
    try:
        whole = os.lseek(descriptor, 0, os.SEEK_HOLE) >= size
    except OSError:
        whole = True  # an empty file, a block device
    return size if whole else _allocated(os.fstat(descriptor))


def _allocated(facts: os.stat_result) -> int:
    """Bytes on the device: with room that was reserved behind the end, more than the file has."""
    return min(facts.st_blocks * 512, facts.st_size)  # stat(2): blocks of 512, whatever st_blksize is


def _device_size(descriptor: int) -> int:
    """The size of a block device, which stat gives as 0, as it does for empty files; bytes."""
    try:
        return os.lseek(descriptor, 0, os.SEEK_END)
    except OSError:
        return 0


def cachestat(descriptor: int) -> tuple[int, int] | None:
    """Pages cached, and pages among them not yet written back, of the whole file; None: the kernel will not
    say.

    cachestat(2): struct {off, len} in, where 0, 0 is the whole file; out {nr_cache, nr_dirty, nr_writeback,
    nr_evicted, nr_recently_evicted}. Too old a kernel says ENOSYS, and newer ones EPERM about a file that is
    neither one's own nor writable.
    """
    part, counts = (ctypes.c_uint64 * 2)(), (ctypes.c_uint64 * 5)()
    if _libc.syscall(_CACHESTAT, descriptor, part, counts, 0) != 0:
        return None
    return counts[0], counts[1] + counts[2]


def _may_know(descriptor: int) -> bool:
    """Whether mincore tells the truth about this file (`can_do_mincore` in mm/mincore.c): to its owner, to
    who may write it, and to root, but not to root of a user namespace of which its owner is no user."""
    if user_namespace.is_own(descriptor):
        return True
    return os.access(f"/proc/self/fd/{descriptor}", os.W_OK, effective_ids=True)


def mincore(descriptor: int, size: int) -> int:
    """Pages cached, asked by mincore(2) of a mapping that is never touched. Raises OSError.

    Holes are left out: to read one needs no device, so it does not matter whether it is cached.
    """
    pages = looked = 0
    for start, end in _data_parts(descriptor, size):
        looked += end - start
        if looked > _MINCORE_LIMIT:
            raise OSError(errno.EFBIG, "too much data to look at page by page")
        for at in range(start, end, _WINDOW):
            length = min(_WINDOW, end - at)
            address = _libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, at)
            if address is None or address == ctypes.c_void_p(-1).value:
                raise OSError(ctypes.get_errno(), "mmap")
            try:
                answer = (ctypes.c_ubyte * -(-length // PAGE))()
                if _libc.mincore(address, length, answer) != 0:
                    raise OSError(ctypes.get_errno(), "mincore")
                pages += bytes(answer).count(1)
            finally:
                _libc.munmap(address, length)
    return pages


def _data_parts(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """The parts of a file that are no holes, from page to page; all of it where the file system cannot
    tell."""
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
            hole = os.lseek(descriptor, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # nothing but a hole is left
            start, hole = end, size
        start = max(end, start // PAGE * PAGE)
        end = max(start, -(-hole // PAGE) * PAGE)
        if start < size:
            yield start, min(end, size)


def remedy(found: Residency) -> list[str]:
    """What to do where too little could be looked at, if anything."""
    if not found.unchecked or is_root():
        return []
    if os.geteuid() == 0:
        return ["run coldseek as root outside of this user namespace: that one may look at all"]
    return ["run coldseek with sudo: root may look at all"]


def unlooked(found: Residency) -> str:
    """How many files could not be looked at, in words."""
    return f"{show_plural(len(found.unchecked), 'file')} could not be looked at (not yours)"


def is_root() -> bool:
    return os.geteuid() == 0 and user_namespace.is_whole()
