"""Bytes that grow: in memory at first, then in a file without a name, so that a long run needs no more
memory than a short one. What is mapped from a file the kernel can take out of memory again, which counts
where a control group bounds that."""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile

import numpy as np
import numpy.typing as npt

from profiler.errors import ColdseekError
from profiler.files.free_memory import available_bytes
from profiler.units import show_path

_SHARE = 8  # part of the free memory that is taken before a file is
_SHARE_OF_LAST = 4  # when the disk is full
_MOST_BYTES = 256 << 20
_LARGE = "/var/tmp"  # noqa: S108 file-hierarchy(7): for what is large; /tmp is often memory itself


def budget_bytes() -> int:
    """How many bytes to hold in memory before a file takes them: as the machine, or our control group,
    allows."""
    free = available_bytes()
    return _MOST_BYTES // 4 if free is None else min(_MOST_BYTES, free // _SHARE)


def folder() -> str:
    """Where files without a name go: to TMPDIR or, if that is not set, to the place for large ones."""
    if os.environ.get("TMPDIR") or not os.access(_LARGE, os.W_OK | os.X_OK):
        return tempfile.gettempdir()
    return _LARGE


class FullError(ColdseekError):
    """There is no room for more, on the disk or in memory. What was held stays as it is."""

    def __init__(self, error: OSError) -> None:
        super().__init__(
            f"no more can be kept in {show_path(folder())} ({os.strerror(error.errno or 0)}); set TMPDIR to "
            f"a folder on a disk with room"
        )


class Spill:
    """Bytes that are appended and read again.

    limit: so many are held in memory while the disk has room; once it is full some more, as the free memory
    allows. others: how many more such may do so at the same time. `append` raises FullError where neither
    has room; then nothing of that was appended.
    """

    def __init__(self, limit: int, others: int = 0) -> None:
        self._limit = limit
        self._others = others
        self._full: FullError | None = None
        self._memory = bytearray()
        self._file = -1
        self._on_disk = 0  # bytes; what is in memory comes after these

    def __len__(self) -> int:
        return self._on_disk + len(self._memory)

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Add `data` at the end, all of it or nothing."""
        if len(self._memory) + len(data) > self._limit:
            try:
                self._make_room(len(data))
            except FullError as error:
                self._in_memory_alone(error)
                if len(self._memory) + len(data) > self._limit:
                    raise
        self._memory += data

    def _make_room(self, size: int) -> None:
        if self._full is not None:
            raise self._full
        self._flush()
        self._limit = max(self._limit, size)  # what comes at once fits

    def _in_memory_alone(self, error: FullError) -> None:
        """From now on nothing goes to the disk."""
        if self._full is None:
            self._full = error
            self._limit += (available_bytes() or 0) // _SHARE_OF_LAST // (1 + self._others)

    def hold(self, data: bytes) -> None:
        """Add a little at the end, whatever the limit: what is in hand when `append` has failed."""
        self._memory += data

    def write(self, start: int, data: bytes) -> None:
        """Put `data` in place of what is there from byte `start` on."""
        below = max(0, min(len(data), self._on_disk - start))  # of it so much lies in the file
        if below:
            os.pwrite(self._file, data[:below], start)
        if below < len(data):
            at = start + below - self._on_disk
            self._memory[at : at + len(data) - below] = data[below:]

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes from byte `start` on, fewer where it ends before."""
        if start >= self._on_disk:
            at = start - self._on_disk
            return bytes(self._memory[at : at + size])
        if start + size > self._on_disk:
            return self.read(start, self._on_disk - start) + self.read(
                self._on_disk, start + size - self._on_disk
            )
        parts = []
        while size and (part := os.pread(self._file, size, start)):
            parts.append(part)
            start, size = start + len(part), size - len(part)
        return b"".join(parts)

    def view(self, dtype: npt.DTypeLike) -> np.ndarray:
        """All of it as an array, which is neither to be written nor to be kept while more is appended."""
        if self._on_disk:
            with contextlib.suppress(FullError):  # what has no room there stays in memory, and is copied
                self._make_room(0)
        if not self._on_disk:
            return np.frombuffer(self._memory, dtype)
        mapped = np.frombuffer(mmap.mmap(self._file, self._on_disk, access=mmap.ACCESS_READ), dtype)
        if not self._memory:
            return mapped
        return np.concatenate([mapped, np.frombuffer(self._memory, dtype)])

    def close(self) -> None:
        """Give up what is held. Arrays that were given stay."""
        self._memory = bytearray()
        if self._file >= 0:
            os.close(self._file)
            self._file, self._on_disk = -1, 0

    def __del__(self) -> None:
        self.close()

    def _flush(self) -> None:
        """Move what is in memory to the file."""
        if self._memory:
            self._put(self._memory)
            self._memory = bytearray()

    def _put(self, data: bytes | bytearray | memoryview) -> None:
        try:
            if self._file < 0:
                self._file = _unnamed()
            done = 0
            try:
                while done < len(data):
                    with memoryview(data) as view, view[done:] as rest:
                        done += os.pwrite(self._file, rest, self._on_disk + done)
            except OSError:
                os.ftruncate(self._file, self._on_disk)
                raise
        except OSError as error:
            raise FullError(error) from error
        self._on_disk += len(data)


def array(count: int, dtype: npt.DTypeLike, in_memory: bool) -> np.ndarray:
    """A new array of zeros; if not in memory it is mapped from a file, as long as the disk has room."""
    size = count * np.dtype(dtype).itemsize
    if in_memory or not size:
        return np.zeros(count, dtype)
    try:
        file = _unnamed()
        try:
            os.posix_fallocate(file, 0, size)  # else a full disk is a SIGBUS later on
            return np.frombuffer(mmap.mmap(file, size), dtype)
        finally:
            os.close(file)
    except OSError:
        return np.zeros(count, dtype)


def _unnamed() -> int:
    """A new file that is gone with its last descriptor."""
    with tempfile.TemporaryFile(buffering=0, dir=folder()) as file:
        return os.dup(file.fileno())
