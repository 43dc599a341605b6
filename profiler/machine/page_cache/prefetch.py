"""Bring stretches of files into the page cache, several at a time, before a start asks for them.

Each stretch is announced first (POSIX_FADV_WILLNEED: the kernel makes requests as large as the device takes,
whatever its read-ahead is) and then read, so that it is there when this has ended: the announcement alone
promises nothing. Files are opened for reading only, and only those that are still what they were in the
trace.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import threading
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from profiler.errors import ColdseekError
from profiler.plan import KnownFile, Plan
from profiler.units import device_name, show_bytes, show_path, show_plural

AT_ONCE = 32
"""Threads that read, so requests that are queued: as many as SATA takes (NCQ)."""

PIECE = 2 * 2**20
"""Bytes that a thread announces and reads at a time: as much as the kernel makes of one announcement
(force_page_cache_ra in mm/readahead.c)."""

METADATA = "metadata"
"""Kind of the file that a device is to the file system on it (`trace.FILE_KINDS`)."""

MOST = 0.5
"""Of the bytes to read, files that changed may hold less than this share: many programs write to some small
files of theirs at each start, while with the greater part changed it is another start. Our own choice."""

_SHOWN = 5


@dataclass(frozen=True)
class Changed:
    """A file that is not what it was. why: in words, without its name."""

    path: bytes
    why: str


def changes(files: Sequence[KnownFile]) -> tuple[Changed, ...]:
    """Which of these files are gone or changed since they were recorded. What is a file system's own always
    changes: nothing is known of what it was."""
    return tuple(_changes(files).values())


def changed_parts(plan: Plan) -> dict[int, Changed]:
    """The files of a plan that are gone or changed, by their places in it: they are left out. Raises
    ColdseekError where most of what is to be read is of them."""
    found = _changes(plan.files)
    sizes = [(file, size) for file, _, size in plan.stretches if plan.files[file].kind != METADATA]
    lost = sum(size for file, size in sizes if file in found)
    if lost and lost >= MOST * sum(size for _, size in sizes):
        raise refusal(tuple(found.values()))
    return found


def named(changed: Sequence[Changed]) -> str:
    """What changed, and how, in one line."""
    names = "; ".join(f"{show_path(one.path)} {one.why}" for one in changed[:_SHOWN])
    more = f"; and {show_plural(len(changed) - _SHOWN, 'more file')}" if len(changed) > _SHOWN else ""
    return f"changed since the trace was recorded: {names}{more}"


def refusal(changed: Sequence[Changed]) -> ColdseekError:
    """The error that names them, in one line."""
    return ColdseekError(f"{named(changed)}; record it again")


@dataclass(frozen=True)
class Prefetched:
    """bytes: that were read. left_out: devices whose file system's own blocks could not be read. changed:
    files that are not what they were, and were left out."""

    bytes: int
    left_out: tuple[Changed, ...]
    changed: tuple[Changed, ...] = ()


def prefetch(plan: Plan, on_read: Callable[[int], None] = lambda _: None) -> Prefetched:
    """Read the stretches of the plan, in its order, into the page cache. on_read(bytes) is called from
    several threads as it goes.

    What file systems keep of their own comes first, as files cannot even be looked at without it; where it
    cannot be read, which takes root, that is not an error. Files that changed are left out. Raises
    ColdseekError where most changed, for a file that cannot be read, and for more than fits in memory.
    """
    if not os.path.exists("/proc/self/mountinfo"):
        from profiler.machine import procfs  # only then: a prefetch is to start fast

        procfs.check()
    _fits(plan.size)
    own = {number: file for number, file in enumerate(plan.files) if file.kind == METADATA}
    allowed = _mounted().intersection(file.device for file in plan.files if file.kind != METADATA)
    left_out = {
        number: Changed(file.path, why) for number, file in own.items() if (why := _no_device(file, allowed))
    }
    got = _bring_all(plan.files, [one for one in plan.stretches if one[0] in own.keys() - left_out], on_read)
    changed = changed_parts(plan)
    rest = [one for one in plan.stretches if one[0] not in own and one[0] not in changed]
    got += _bring_all(plan.files, rest, on_read)
    return Prefetched(got, tuple(left_out.values()), tuple(changed.values()))


def _bring_all(
    files: Sequence[KnownFile], stretches: Sequence[tuple[int, int, int]], on_read: Callable[[int], None]
) -> int:
    """Read these stretches (place in files, offset, size); gives the bytes got."""
    work: SimpleQueue[tuple[int, int, int]] = SimpleQueue()
    pieces: Counter[int] = Counter()
    for file, offset, size in stretches:
        until = min(offset + size, files[file].size or offset + size)  # the last page of a file is short
        for begin in range(offset, until, PIECE):
            work.put((file, begin, min(PIECE, until - begin)))
            pieces[file] += 1
    stop, failures, counts = threading.Event(), [], []
    opened = _Opened(files, pieces)

    def read() -> None:
        buffer = bytearray(PIECE)
        with suppress(Empty):
            while not stop.is_set():
                file, offset, size = work.get_nowait()
                try:
                    got = _bring(opened.descriptor(file), offset, memoryview(buffer)[:size])
                    opened.done(file)
                except OSError as error:
                    failures.append((files[file].path, error))
                    stop.set()
                    return
                counts.append(got)
                on_read(got)

    threads = [threading.Thread(target=read, daemon=True) for _ in range(min(AT_ONCE, work.qsize()))]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        stop.set()
    opened.close()
    if failures:
        path, error = failures[0]
        raise ColdseekError(f"cannot read {show_path(path)}: {error.strerror}")
    return sum(counts)


def _fits(size: int) -> None:
    """Raise ColdseekError for more than there is memory for: the first would be gone before it is used."""
    found = re.search(rb"^MemAvailable: +([0-9]+) kB", Path("/proc/meminfo").read_bytes(), re.MULTILINE)
    if found and size > int(found.group(1)) * 1024:
        free = show_bytes(int(found.group(1)) * 1024)
        raise ColdseekError(f"{show_bytes(size)} do not fit in memory, of which {free} are available")


class _Opened:
    """The files that are being read, each opened once, from its first piece to its last."""

    def __init__(self, files: Sequence[KnownFile], pieces: Counter[int]) -> None:
        self._files, self._left = files, pieces
        self._descriptors: dict[int, int] = {}
        self._locks = [threading.Lock() for _ in files]  # one each: to open one waits for the device

    def descriptor(self, file: int) -> int:
        with self._locks[file]:
            if file not in self._descriptors:
                self._descriptors[file] = _open(self._files[file])
            return self._descriptors[file]

    def done(self, file: int) -> None:
        """One of the file's pieces is read."""
        with self._locks[file]:
            self._left[file] -= 1
            if not self._left[file]:
                os.close(self._descriptors.pop(file))

    def close(self) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)


def _open(file: KnownFile) -> int:
    """Open what was looked at, and nothing else: to open a terminal, a pipe or the kernel's log does
    something."""
    place = os.open(file.path, os.O_PATH | os.O_CLOEXEC)  # looks only: open(2)
    try:
        status = os.fstat(place)
        is_disk = stat.S_ISBLK(status.st_mode)
        is_same = (
            is_disk and device_name(status.st_rdev) == file.device
            if file.kind == METADATA
            else (is_disk or stat.S_ISREG(status.st_mode)) and status.st_ino == file.inode
        )
        if not is_same:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(place)


def _mounted() -> set[str]:
    """The devices of mounted file systems, as "major:minor" (proc_pid_mountinfo(5)). Reads no disk."""
    with open("/proc/self/mountinfo", "rb") as source:
        return {line.split(b" ", 3)[2].decode() for line in source}


def _bring(descriptor: int, offset: int, into: memoryview) -> int:
    """Announce and read one stretch; gives the bytes got."""
    os.posix_fadvise(descriptor, offset, len(into), os.POSIX_FADV_WILLNEED)
    got = 0
    while got < len(into):
        count = os.preadv(descriptor, [into[got:]], offset + got)
        if count == 0:
            break
        got += count
    return got


def _no_device(file: KnownFile, allowed: Collection[str]) -> str:
    """Why the device that a file system lies on is not read; "": it is. allowed: devices of mounted file
    systems on which the plan has files."""
    if file.device not in allowed:
        return "holds no file system of the files that are to be read"
    try:
        os.close(_open(file))
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or "no such name"
    return ""


def _changes(files: Sequence[KnownFile]) -> dict[int, Changed]:
    found = ((at, file.path, _change(file)) for at, file in enumerate(files) if file.kind != METADATA)
    return {at: Changed(path, why) for at, path, why in found if why}


def _change(file: KnownFile) -> str:
    """What is different; "": nothing."""
    path, device, inode, size = file.path, file.device, file.inode, file.size
    if None in ((inode,) if file.written else (inode, size, file.mtime_ns)) or not device:
        return "is not known well enough (the trace does not say what it was)"
    try:
        facts = os.stat(path)
    except FileNotFoundError:
        return "is gone"
    except (OSError, ValueError) as error:
        return f"cannot be looked at ({getattr(error, 'strerror', None) or 'no such name'})"
    if stat.S_ISBLK(facts.st_mode):
        is_same = facts.st_ino == inode and device in (device_name(facts.st_rdev), device_name(facts.st_dev))
        return "" if is_same else "is another device"
    if not stat.S_ISREG(facts.st_mode):
        return "is no regular file any more"
    if facts.st_ino != inode or device_name(facts.st_dev) != device:
        return "is another file of that name"
    if file.written:
        return ""
    if facts.st_size != size:
        return f"had {size} bytes and has {facts.st_size}"
    return "" if facts.st_mtime_ns == file.mtime_ns else "was written to"
