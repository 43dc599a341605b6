"""Files that really have their bytes on the disk, to be read instead of others."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from profiler.errors import ColdseekError
from profiler.machine.extents import fiemap
from profiler.units import show_bytes, show_path

Ints = npt.NDArray[np.int64]
Extents = np.ndarray[tuple[int, int], np.dtype[np.int64]]
"""A row each: logical, physical, length (bytes), flags; none where the file system does not tell places."""

SPARE = 256 * 2**20
"""Bytes of free space that are left alone."""
_CHUNK = 4 * 2**20
_BLOCK = 4096
_EXTENTS = 100_000


def check_space(folder: str, needed: int) -> None:
    """Raise ColdseekError unless `needed` bytes can be written in `folder`, and SPARE are left."""
    space = os.statvfs(folder)
    free = space.f_bavail * space.f_frsize
    if needed + SPARE > free:
        raise ColdseekError(
            f"{show_path(folder)} has {show_bytes(free)} free, {show_bytes(needed + SPARE)} are needed; "
            f"make room, name another directory, or read a block device with --on DEVICE"
        )


def write(path: str, size: int, starts: Ints, ends: Ints, place: str) -> Extents:
    """Make a file of `size` bytes, rounded up to a block, of which the stretches are written, and all of it
    is given room; where it lies then.

    starts, ends: of the stretches. A stretch that only has room would be read as zeros without the device.
    place: what errors call the directory. What is written cannot be compressed; it is written back, and
    dropped from the page cache.
    Raises ColdseekError.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    size = -(-size // _BLOCK) * _BLOCK
    try:
        descriptor = os.open(path, flags, 0o600)
        try:
            if size:
                os.posix_fallocate(descriptor, 0, size)
            rng = np.random.default_rng()
            for start, end in _joined(starts, np.minimum(ends, size)):
                for begin in range(start, end, _CHUNK):
                    _write_at(descriptor, rng.bytes(min(_CHUNK, end - begin)), begin)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            return _places(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        remedy = "make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "name another directory"
        why = os.strerror(error.errno or 0)
        raise ColdseekError(
            f"cannot write {show_bytes(size)} in {show_path(place)}: {why}; {remedy}"
        ) from error


def _joined(starts: Ints, ends: Ints) -> Sequence[tuple[int, int]]:
    """The stretches in whole blocks, in order, those that touch joined."""
    if not len(starts):
        return []
    order = np.argsort(starts, kind="stable")
    begin, until = starts[order] // _BLOCK * _BLOCK, -(-ends[order] // _BLOCK) * _BLOCK
    until = np.maximum.accumulate(until)
    first = np.flatnonzero(np.append(True, begin[1:] > until[:-1]))
    return list(zip(begin[first].tolist(), until[np.append(first[1:] - 1, len(until) - 1)].tolist(),
                    strict=True))  # fmt: skip


def _write_at(descriptor: int, data: bytes, offset: int) -> None:
    left = memoryview(data)
    while left:
        count = os.pwrite(descriptor, left, offset)
        left, offset = left[count:], offset + count


def _places(descriptor: int) -> Extents:
    try:
        return fiemap(descriptor, _EXTENTS)[0]
    except OSError:
        return np.empty((0, 4), np.int64)
