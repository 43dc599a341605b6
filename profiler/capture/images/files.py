"""The files that a run read, opened again to see what is in them: only these, and only if they still are
what was read.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Container
from itertools import pairwise

import numpy as np

from profiler.images.guest.disk import merged
from profiler.images.runs import Wanted
from profiler.trace import Meta, Trace
from profiler.units import device_name

Identity = tuple[str, int]
"""Device ("major:minor") and inode."""


_DISK_OPTIONS = ("-hda", "-hdb", "-hdc", "-hdd", "-sda", "-cdrom", "-drive")
_MAX_WORDS = 10_000


def as_disks(meta: Meta) -> set[Identity]:
    """The files that the command of one of QEMU's programs names as disks: of these even one that no byte
    tells anything of is a raw image."""
    program = os.path.basename(meta.command[0]) if meta.command else ""
    if not program.startswith("qemu-"):
        return set()
    words = meta.command[1:_MAX_WORDS]
    pairs = [part.partition("=") for word in words for part in word.split(",")]
    names = [value for key, _, value in pairs if key in ("file", "filename", "file.filename")]
    if program.startswith("qemu-system"):  # other words name kernels and firmware, too
        names += [word for option, word in pairwise(words) if option in _DISK_OPTIONS]
    else:
        names += words
    found = set()
    for name in names:
        with contextlib.suppress(OSError, ValueError):
            identity = identity_of(os.stat(os.path.join(meta.cwd, name)))
            if identity is not None:
                found.add(identity)
    return found


def asked(trace: Trace, file: int) -> Wanted:
    """The parts of a file that were read, as sorted ranges without overlaps."""
    starts, ends = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for piece in trace.pieces():
        reads = piece.reads()
        rows = reads[(reads["file"] == file).to_numpy(bool) & reads["offset"].notna().to_numpy(bool)]
        begins = rows["offset"].to_numpy(np.int64)
        starts, ends = merged(
            np.append(starts, begins), np.append(ends, begins + rows["size"].to_numpy(np.int64))
        )
    return starts, ends


class ImageFile:
    """A regular file or block device as an image: open for reading only, without read-ahead."""

    def __init__(self, descriptor: int, status: os.stat_result, identity: Identity) -> None:
        self._descriptor = descriptor
        self.identity = identity
        self.size = status.st_size
        if stat.S_ISBLK(status.st_mode):
            self.size = os.lseek(descriptor, 0, os.SEEK_END)
        # what read-ahead would bring in beside the tables might be found cached by the next run
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)

    def read(self, offset: int, length: int) -> bytes:
        parts, at = [], offset
        while at < offset + length:
            try:
                part = os.pread(self._descriptor, offset + length - at, at)
            except (OSError, OverflowError):
                break
            if not part:
                break
            parts.append(part)
            at += len(part)
        return b"".join(parts)

    def close(self) -> None:
        os.close(self._descriptor)


def open_known(path: bytes, known: Container[Identity]) -> ImageFile | None:
    """The file of this name, if it is one of the known, a regular file or block device, and may be read.

    It is looked at before it is opened: to open a device or a FIFO of that name could have effects, and what
    an image names may be any file of the machine.
    """
    try:
        if identity_of(os.stat(path)) not in known:
            return None
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        status = os.fstat(descriptor)
        identity = identity_of(status)
        if identity is not None and identity in known:
            return ImageFile(descriptor, status, identity)
    except OSError:
        pass
    os.close(descriptor)
    return None


def identity_of(status: os.stat_result) -> Identity | None:
    """As `procfs.describe` names a file: a block device by the device that it is."""
    if stat.S_ISBLK(status.st_mode):
        return device_name(status.st_rdev), status.st_ino
    return (device_name(status.st_dev), status.st_ino) if stat.S_ISREG(status.st_mode) else None
