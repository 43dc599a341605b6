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
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

import pandas as pd

from profiler.capture.procfs import device_name
from profiler.errors import ColdseekError
from profiler.units import show_bytes, show_path, show_plural

AT_ONCE = 32
"""Threads that read, so requests that are queued: as many as SATA takes (NCQ)."""

PIECE = 2 * 2**20
"""Bytes that a thread announces and reads at a time: as much as the kernel makes of one announcement
(force_page_cache_ra in mm/readahead.c)."""

_SHOWN = 5


@dataclass(frozen=True)
class Changed:
    """A file that is not what it was. why: in words, without its name."""

    path: bytes
    why: str


def changes(files: pd.DataFrame) -> tuple[Changed, ...]:
    """Which of these files (rows of `trace.FILE_COLUMNS`) are gone or changed since they were recorded."""
    columns = (files[name].tolist() for name in ("path", "device", "inode", "size", "mtime_ns"))
    found = []
    for path, device, inode, size, mtime_ns in zip(*columns, strict=True):
        why = _change(path, device, inode, size, mtime_ns)
        if why:
            found.append(Changed(path, why))
    return tuple(found)


def refusal(changed: Sequence[Changed]) -> ColdseekError:
    """The error that names them, in one line."""
    named = "; ".join(f"{show_path(one.path)} {one.why}" for one in changed[:_SHOWN])
    more = f"; and {show_plural(len(changed) - _SHOWN, 'more file')}" if len(changed) > _SHOWN else ""
    return ColdseekError(f"changed since the trace was recorded: {named}{more}; record it again")


def prefetch(
    stretches: pd.DataFrame, files: pd.DataFrame, on_read: Callable[[int], None] = lambda _: None
) -> int:
    """Read the stretches (columns file, offset, size; in this order) of these files into the page cache;
    gives the number of bytes that were read. on_read(bytes) is called from several threads as it goes.

    Raises ColdseekError for a file that changed or cannot be read, and for more than fits in memory.
    """
    known = files.loc[sorted(set(stretches["file"].tolist()))]
    changed = changes(known)
    if changed:
        raise refusal(changed)
    _fits(int(stretches["size"].sum()))
    paths, inodes = known["path"].to_dict(), known["inode"].to_dict()
    work: SimpleQueue[tuple[int, int, int]] = SimpleQueue()
    for file, offset, size in stretches[["file", "offset", "size"]].to_numpy().tolist():
        for begin in range(offset, offset + size, PIECE):
            work.put((file, begin, min(PIECE, offset + size - begin)))
    stop, failures, counts = threading.Event(), [], []

    def read() -> None:
        buffer = bytearray(PIECE)
        with suppress(Empty):
            while not stop.is_set():
                file, offset, size = work.get_nowait()
                try:
                    got = _bring(paths[file], inodes[file], offset, memoryview(buffer)[:size])
                except OSError as error:
                    failures.append((paths[file], error))
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


def _bring(path: bytes, inode: int, offset: int, into: memoryview) -> int:
    """Announce and read one stretch; gives the bytes got."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_ino != inode:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        os.posix_fadvise(descriptor, offset, len(into), os.POSIX_FADV_WILLNEED)
        got = 0
        while got < len(into):
            count = os.preadv(descriptor, [into[got:]], offset + got)
            if count == 0:
                break
            got += count
        return got
    finally:
        os.close(descriptor)


def _change(path: bytes, device: str, inode: object, size: object, mtime_ns: object) -> str:
    """What is different; "": nothing."""
    if any(value is pd.NA for value in (inode, size, mtime_ns)) or not device:
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
    if facts.st_size != size:
        return f"had {size} bytes and has {facts.st_size}"
    return "" if facts.st_mtime_ns == mtime_ns else "was written to"
