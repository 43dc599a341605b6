"""The page cache: what of a set of files is in it, how to get it out, and proof that it is.

A start is cold only if that was measured. `residency` looks, `make_cold` empties as well as it may here and
looks.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from profiler.capture import user_namespace
from profiler.capture.environment import MEMORY_FILESYSTEMS, filesystem_of
from profiler.capture.tracer import Probe
from profiler.errors import ColdseekError
from profiler.units import device_name, show_bytes, show_path, show_plural

COLD_BYTES = 256 * 1024
COLD_SHARE = 0.01
"""A start still counts as cold if at most so many bytes, and so large a share of those looked at, are cached
of files that no running program has mapped: background programs write and read at any moment. Our own
margins."""

WARM_SHARE = 0.95
"""A start counts as warm if so much of what the program needs is cached: the kernel may always drop a few
pages."""

_ATTEMPTS = 3  # a page that was just being written or read cannot be dropped; the next time it can
_DROP_CACHES = "/proc/sys/vm/drop_caches"
_PAGE = mmap.PAGESIZE
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
        return "" if self.cold else f"{'NOT COLD' if self.proved else 'NOT PROVED COLD'}: {self.why}"


# ---- looking ----------------------------------------------------------------------------------------------


def residency(paths: Iterable[bytes]) -> Residency:
    """What of these files is in the page cache; looking neither reads them nor changes what is cached.

    Counted are regular files and block devices, each once, however many names it has. Names that do not
    exist (any more) and things of other kinds are left out: there is nothing of them to read.
    """
    files = checked = resident = 0
    present: list[FileResidency] = []
    looked: list[FileResidency] = []
    unchecked: list[bytes] = []
    for path, descriptor in _each(paths, unchecked):
        found = _look(path, descriptor)
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


def _each(paths: Iterable[bytes], refused: list[bytes]) -> Iterator[tuple[bytes, int]]:
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


def _look(path: bytes, descriptor: int) -> FileResidency | None:
    """What of one open file is cached; None: it cannot be found out."""
    size = os.fstat(descriptor).st_size or _device_size(descriptor)
    counts = _cachestat(descriptor)
    if counts is not None:
        pages, dirty = counts[0], min(counts[1] * _PAGE, size)
    # Since Linux 5.2 mincore answers "all of it" to those who may not know.
    elif not _may_know(descriptor):
        return None
    else:
        try:
            pages, dirty = _mincore(descriptor, size), None
        except OSError:
            return None
    resident = min(pages * _PAGE, size)
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


def _cachestat(descriptor: int) -> tuple[int, int] | None:
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


def _mincore(descriptor: int, size: int) -> int:
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
                answer = (ctypes.c_ubyte * -(-length // _PAGE))()
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
        start = max(end, start // _PAGE * _PAGE)
        end = max(start, -(-hole // _PAGE) * _PAGE)
        if start < size:
            yield start, min(end, size)


# ---- emptying ---------------------------------------------------------------------------------------------


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
        with open(_DROP_CACHES, "wb", buffering=0) as control:
            control.write(b"3")
    except OSError as error:
        raise ColdseekError(
            f"cannot empty the page cache ({_DROP_CACHES}: {os.strerror(error.errno or 0)}); run as root, "
            f"outside a container that has it read-only"
        ) from error


def can_drop_all() -> bool:
    """Whether `drop_all` may be used here; nothing is dropped to find out."""
    try:
        os.close(os.open(_DROP_CACHES, os.O_WRONLY | os.O_CLOEXEC))
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
    for _, descriptor in _each(paths, []):
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


def remedy(found: Residency) -> list[str]:
    """What to do where too little could be looked at, if anything."""
    if not found.unchecked or _is_root():
        return []
    if os.geteuid() == 0:
        return ["run coldseek as root outside of this user namespace: that one may look at all"]
    return ["run coldseek with sudo: root may look at all"]


def _is_root() -> bool:
    return os.geteuid() == 0 and user_namespace.is_whole()


def unlooked(found: Residency) -> str:
    """How many files could not be looked at, in words."""
    return f"{show_plural(len(found.unchecked), 'file')} could not be looked at (not yours)"


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


# ---- what works here --------------------------------------------------------------------------------------


def probes() -> tuple[tuple[str, Probe], ...]:
    """For each way to empty or to look at the cache, whether it works here: tried on a file made for it."""
    try:
        with tempfile.TemporaryFile(dir=_directory_on_disk(), prefix="coldseek-") as sample:
            sample.write(os.urandom(_SAMPLE))
            sample.flush()
            os.fsync(sample.fileno())
            looked = [
                ("cachestat", _probe_cachestat(sample.fileno())),
                ("mincore", _probe_mincore(sample.fileno())),
            ]
            tried = [("fadvise", _probe_fadvise(sample.fileno())), *looked]
    except OSError as error:
        reason = f"no temporary file could be made to try it on: {os.strerror(error.errno or 0)}"
        failed = Probe(False, reason, "make room, or set TMPDIR")
        tried = [("fadvise", failed), ("cachestat", failed), ("mincore", failed)]
    return (("drop_caches", _probe_drop()), *tried)


def tells_of_others() -> bool:
    """Whether the kernel tells what is cached of files that are somebody else's: without that the start of
    an installed program cannot be proved cold. Tried on the C library's and the shell's files."""
    return bool(residency(path for path in (b"/bin/sh", b"/etc/passwd", b"/etc/ld.so.cache")).files)


_SAMPLE = 2**20  # bytes


def _directory_on_disk() -> str:
    """A directory for temporary files that is not in memory, if there is one: there, nothing can be
    evicted."""
    usual = tempfile.gettempdir()
    for place in (usual, "/var/tmp", "."):  # noqa: S108  (mkstemp makes the names)
        with contextlib.suppress(OSError):
            kind = filesystem_of(device_name(os.stat(place).st_dev), os.fsencode(place))
            if kind not in MEMORY_FILESYSTEMS and os.access(place, os.W_OK | os.X_OK):
                return place
    return usual


def _probe_drop() -> Probe:
    if can_drop_all():
        return Probe(True, f"{_DROP_CACHES} may be written: cold starts are cold with names and inodes too")
    how, why = "run as root", "only root may"
    if _is_root():
        how, why = "run outside of this container", "it is read-only here"
    elif os.geteuid() == 0:
        how, why = "run outside of this user namespace", "only root of the machine may"
    return Probe(False, why, f"{how}; without it each file is evicted by fadvise, names and inodes stay")


def _probe_fadvise(descriptor: int) -> Probe:
    before = _look(b"", descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    after = _look(b"", descriptor)
    if before is None or after is None:
        return Probe(
            False, "nothing tells what is cached, so it cannot be checked", "see cachestat and mincore"
        )
    if after.resident:
        return Probe(
            False,
            f"{show_bytes(after.resident)} of {show_bytes(_SAMPLE)} stayed cached",
            "set TMPDIR to a directory on a disk and try again",
        )
    return Probe(True, f"a written file of {show_bytes(before.resident)} was evicted, and that was checked")


def _probe_cachestat(descriptor: int) -> Probe:
    counts = _cachestat(descriptor)
    if counts is None:
        why = os.strerror(ctypes.get_errno())
        return Probe(False, f"the kernel says: {why}", "Linux 6.5 or later has it; mincore serves as well")
    return Probe(True, _looked(counts[0]))


def _probe_mincore(descriptor: int) -> Probe:
    try:
        pages = _mincore(descriptor, _SAMPLE)
    except OSError as error:
        return Probe(False, f"the kernel says: {os.strerror(error.errno or 0)}", "cachestat serves as well")
    return Probe(True, _looked(pages))


def _looked(pages: int) -> str:
    found = f"tells {show_bytes(pages * _PAGE)} of {show_bytes(_SAMPLE)} cached"
    return found if tells_of_others() else f"{found}; of files you own or may write only"
