"""What is calibrated: a file, a new file in a directory, or a block device; opened, and never written to but
for that new file."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from profiler.calibration import existing as existing_files
from profiler.calibration.opened import Opened
from profiler.calibration.places import PAGE, Ints
from profiler.errors import ColdseekError
from profiler.machine import procfs
from profiler.machine.extents import fiemap
from profiler.machine.mounts import MEMORY_FILESYSTEMS, filesystem_of
from profiler.machine.procfs import kind_of
from profiler.units import device_name, show_bytes, show_path

LEAST = 256 * 2**20
"""Bytes that have to be there, so that no place is read twice and most reads are far from one another."""

NEW_FILE = 2**30
"""A new file has so many bytes, if there is room and time to write them."""

_SPARE = 256 * 2**20  # bytes of free space that are left alone
_CHUNK = 16 * 2**20
# linux/fiemap.h: what is not on the device as it is in the file: UNKNOWN, DELALLOC, ENCODED, DATA_ENCRYPTED,
# NOT_ALIGNED, DATA_INLINE, DATA_TAIL, UNWRITTEN
_NOT_READ = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800
_EXTENTS = 250_000

Progress = Callable[[float, str], None]
"""Told the share that is done, 0 to 1, and what is under way."""


@dataclass(frozen=True)
class Target:
    """An opened target. kind: "file", "directory" (a new file in it, nameless), "files" (those in a
    directory, one behind the other) or "block device".

    direct, buffered: the first with O_DIRECT. device: "major:minor". size: bytes. extents: see
    `places.Places`. To be closed, or used in a with statement.
    """

    path: str
    kind: str
    direct: Opened
    buffered: Opened
    device: str
    filesystem: str
    size: int
    extents: Ints

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Of a new file nothing is left."""
        self.direct.close()
        self.buffered.close()


def open_target(path: str, until: float, progress: Progress, existing: bool = False) -> Target:
    """Open what is to be calibrated. In a directory a new file is written, until `until` (time.monotonic) or
    until it has NEW_FILE bytes, but at least LEAST. existing: of a directory the largest files in it and
    below it.

    Raises ColdseekError, one line with the remedy, for what is missing, may not be read, is too small, lies
    in memory, is no file, directory or block device, and where the space does not suffice.
    """
    procfs.check()
    shown = show_path(path)
    try:
        facts = os.stat(path)
    except (OSError, ValueError) as error:
        raise ColdseekError(f"cannot measure {shown}: {_reason(error)}") from error
    kind = {"regular": "file", "block": "block device"}.get(kind_of(facts.st_mode), kind_of(facts.st_mode))
    if kind not in ("file", "directory", "block device"):
        raise ColdseekError(
            f"{shown} is no file, directory or block device; name one on the device to measure"
        )
    device = device_name(facts.st_rdev if kind == "block device" else facts.st_dev)
    filesystem = "" if kind == "block device" else filesystem_of(device, os.fsencode(path))
    if filesystem in MEMORY_FILESYSTEMS:
        raise ColdseekError(
            f"{shown} lies in memory ({filesystem}): there is no device to measure; name a place on a disk"
        )
    if existing:
        return _existing(path, kind, device, filesystem, progress)
    buffered = _new_file(path, until, progress) if kind == "directory" else _open(path, kind, facts)
    try:
        size = os.lseek(buffered, 0, os.SEEK_END)
        if size < LEAST:
            raise ColdseekError(f"{shown} is too small: {show_bytes(size)}, {_NEEDED}")
        extents = (
            np.array([[0, size // PAGE * PAGE]]) if kind == "block device" else _on_disk(buffered, size)
        )
        there = int(extents[:, 1].sum())
        if there < LEAST:
            raise ColdseekError(
                f"only {show_bytes(there)} of {shown} lie on a device as they are, the rest are holes, "
                f"never written or compressed; {_NEEDED}"
            )
        direct = _open_direct(buffered, shown, filesystem)
    except BaseException:
        os.close(buffered)
        raise
    return Target(path, kind, Opened((direct,)), Opened((buffered,)), device, filesystem, size, extents)


def _existing(path: str, kind: str, device: str, filesystem: str, progress: Progress) -> Target:
    """The largest files below a directory, one behind the other."""
    shown = show_path(path)
    if kind != "directory":
        raise ColdseekError(f"{shown} is no directory; --existing measures the files in one, as in /usr")
    progress(0.0, "looking for files")
    buffered: list[int] = []
    direct: list[int] = []
    begins, stretches, total = [], [np.zeros((0, 2), np.int64)], 0
    try:
        for name in existing_files.largest(path, device):
            descriptor = existing_files.open_again(name, device)
            if descriptor is None:
                continue
            buffered.append(descriptor)
            direct.append(_open_direct(descriptor, show_path(name), filesystem))
            extents = _on_disk(descriptor, os.lseek(descriptor, 0, os.SEEK_END), written_back=True)
            begins.append(total)
            stretches.append(extents + np.array([total, 0], np.int64))
            total += int(extents[-1].sum()) if len(extents) else 0
        every = np.concatenate(stretches)
        there = int(every[:, 1].sum())
        if there < LEAST:
            raise ColdseekError(
                f"only {show_bytes(there)} of files that may be read were found in {shown}; {_NEEDED}"
            )
    except BaseException:
        Opened((*buffered, *direct)).close()
        raise
    return Target(
        path, "files", Opened(tuple(direct), tuple(begins)), Opened(tuple(buffered), tuple(begins)),
        device, filesystem, there, every,
    )  # fmt: skip


_NEEDED = (
    f"at least {show_bytes(LEAST)} are needed; name a larger one, or a directory on the same device, "
    f"where a file is made and removed again"
)


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else str(error)


def _open(path: str, kind: str, facts: os.stat_result) -> int:
    shown = show_path(path)
    try:
        # does not wait, whatever may have taken the file's place
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        remedy = ""
        if error.errno in (errno.EACCES, errno.EPERM):
            larger = "a directory on it that you may write to" if kind == "block device" else "another file"
            remedy = f"; run it as root (sudo coldseek calibrate ...), or name {larger}"
        raise ColdseekError(f"cannot read {shown}: {_reason(error)}{remedy}") from error
    found = os.fstat(descriptor)
    if (found.st_dev, found.st_ino) != (facts.st_dev, facts.st_ino):
        os.close(descriptor)
        raise ColdseekError(f"{shown} was replaced while it was opened; try again")
    return descriptor


def _open_direct(descriptor: int, shown: str, filesystem: str) -> int:
    """The same file once more, past the page cache: by its descriptor, as a new file has no name."""
    try:
        direct = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise ColdseekError(f"cannot read {shown}: {_reason(error)}") from error
        raise ColdseekError(
            f"{shown}: its file system ({filesystem or 'unknown'}) cannot read past the page cache "
            f"(O_DIRECT); name a place on another, or its block device"
        ) from error
    return direct


def _on_disk(descriptor: int, size: int, written_back: bool = False) -> Ints:
    """The stretches of a file that lie on its device as they are: rows of start and length, multiples of
    PAGE. Where the file system does not tell places (FIEMAP), all that is no hole."""
    try:
        if not written_back:
            os.fsync(descriptor)  # else what was just written has no place
        rows, _ = fiemap(descriptor, _EXTENTS)
        rows = rows[(rows[:, 3] & _NOT_READ) == 0]
        start, physical, length = rows[:, 0], rows[:, 1], rows[:, 2]
    except OSError:
        start, length = _data(descriptor, size)
        physical = start
    if not len(start):
        return np.zeros((0, 2), np.int64)
    goes_on = (start[1:] == start[:-1] + length[:-1]) & (physical[1:] == physical[:-1] + length[:-1])
    first = np.flatnonzero(np.append(True, ~goes_on))
    begin = -(-start[first] // PAGE) * PAGE
    end = np.minimum(np.append(start[first[1:] - 1] + length[first[1:] - 1], start[-1] + length[-1]), size)
    end = end // PAGE * PAGE
    found: Ints = np.stack([begin, end - begin], axis=1)[end > begin]
    return found


def _data(descriptor: int, size: int) -> tuple[Ints, Ints]:
    """What is no hole, by lseek(2): starts and lengths."""
    starts: list[int] = []
    lengths: list[int] = []
    at = 0
    while at < size and len(starts) < _EXTENTS:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
            at = os.lseek(descriptor, start, os.SEEK_HOLE)
        except OSError:  # ENXIO: only a hole is left
            break
        starts.append(start)
        lengths.append(at - start)
    return np.array(starts, np.int64), np.array(lengths, np.int64)


def _new_file(folder: str, until: float, progress: Progress) -> int:
    """A file in `folder` that has no name, so that nothing of it is left however this process ends.

    It is full of what no drive or file system can compress, written back in chunks, and then dropped from
    the page cache.
    """
    shown = show_path(folder)
    try:
        space = os.statvfs(folder)
        free = space.f_bavail * space.f_frsize
        size = min(NEW_FILE, (free - _SPARE) // _CHUNK * _CHUNK)
        if size < LEAST:
            raise ColdseekError(
                f"{shown} has {show_bytes(free)} free, {show_bytes(LEAST + _SPARE)} are needed; make room, "
                f"or name a large file on the same device"
            )
        with tempfile.TemporaryFile(dir=folder, prefix=".coldseek-", buffering=0) as made:
            written = _fill(made.fileno(), size, until, progress)
            os.posix_fadvise(made.fileno(), 0, written, os.POSIX_FADV_DONTNEED)
            return os.open(f"/proc/self/fd/{made.fileno()}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        remedy = "make room, or name" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "name"
        raise ColdseekError(
            f"cannot write a file in {shown}: {_reason(error)}; {remedy} a large file on the same device"
        ) from error


def _fill(descriptor: int, size: int, until: float, progress: Progress) -> int:
    """Write up to `size` bytes; how many."""
    rng = np.random.default_rng()
    written = 0
    while written < size and (written < LEAST or time.monotonic() < until):
        progress(0.0, f"writing a file, {show_bytes(written)}")
        left = memoryview(rng.bytes(_CHUNK))
        while left:
            count = os.write(descriptor, left)
            left = left[count:]
        os.fsync(descriptor)  # else all of it would be waited for at the end
        written += _CHUNK
    return written
