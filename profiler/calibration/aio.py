"""Reads that are under way together, by the kernel's own asynchronous I/O (io_submit(2)).

One thread keeps any number of reads going without its own work, or that of other threads, being measured.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import mmap
import os
import platform
import time
from collections.abc import Iterator, Sequence

import numpy as np

from profiler.calibration.opened import Opened

# linux/aio_abi.h; fields that stay 0 are left out
_REQUEST = np.dtype(
    {
        "names": ("data", "opcode", "file", "buffer", "size", "offset"),
        "formats": ("u8", "u2", "u4", "u8", "u8", "i8"),
        "offsets": (0, 16, 20, 24, 32, 40),
        "itemsize": 64,
    }
)
_EVENT = np.dtype({"names": ("data", "result"), "formats": ("u8", "i8"), "offsets": (0, 16), "itemsize": 32})
_CALLS = {  # io_setup, io_destroy, io_getevents, io_submit
    "x86_64": (206, 207, 208, 209),
    "aarch64": (0, 1, 4, 2),
    "riscv64": (0, 1, 4, 2),
}

_libc = ctypes.CDLL(None, use_errno=True)


class Queue:
    """Reads of one file, up to `depth` under way at a time, each into a buffer of its own of `size` bytes.

    Raises OSError where this kernel has no asynchronous I/O or its limit (fs.aio-max-nr) is reached. To be
    closed, or used in a with statement.
    """

    def __init__(self, files: Opened, depth: int, size: int) -> None:
        try:
            self._setup, self._destroy, self._getevents, self._submit = _CALLS[platform.machine()]
        except KeyError:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
        self._context = ctypes.c_ulong(0)
        self._memory = mmap.mmap(-1, depth * size)  # starts with a page, as O_DIRECT asks
        self._events = np.zeros(depth, _EVENT)
        self._requests = np.zeros(depth, _REQUEST)
        held = ctypes.c_char.from_buffer(self._memory)
        start = ctypes.addressof(held)
        del held  # else the memory could not be given back
        self._requests["data"] = np.arange(depth)
        self._files = files  # opcode 0 is IOCB_CMD_PREAD
        self._requests["buffer"] = start + np.arange(depth, dtype=np.uint64) * np.uint64(size)
        self._requests["size"] = size
        self._offsets = self._requests["offset"]
        addresses = self._requests.ctypes.data + np.arange(depth) * _REQUEST.itemsize
        self._addresses = addresses.astype(np.uint64)
        self._size = size
        self._call(self._setup, depth, ctypes.byref(self._context))

    def __enter__(self) -> Queue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait for what is under way, then free all."""
        if self._context.value:
            self._call(self._destroy, self._context)
            self._context.value = 0
        self._memory.close()

    def read(self, offsets: Sequence[int], until: float) -> tuple[int, float]:
        """Read at each offset, beginning no more after `until` (time.perf_counter); how many, in what time.

        Raises OSError for a read that fails or is short.
        """
        waiting = iter(offsets)
        # several ends are taken up at once: the work for each would be measured with them
        batch = ctypes.c_long(max(1, len(self._requests) // 8))
        room, events = ctypes.c_long(len(self._events)), ctypes.c_void_p(self._events.ctypes.data)
        began = time.perf_counter()
        count, done = self._start(range(len(self._requests)), waiting), 0
        while done < count:
            if count - done < batch.value:
                batch = ctypes.c_long(1)
            try:
                got = self._call(self._getevents, self._context, batch, room, events, None)
            except InterruptedError:
                continue
            finished = self._events[:got]
            if (finished["result"] != self._size).any():
                result = int(finished["result"][finished["result"] != self._size][0])
                number = -result if result < 0 else errno.EIO
                raise OSError(number, os.strerror(number))
            done += got
            if time.perf_counter() < until:
                count += self._start(finished["data"].tolist(), waiting)
        return done, time.perf_counter() - began

    def _start(self, slots: Sequence[int], waiting: Iterator[int]) -> int:
        """Start the next reads in these slots, as far as there are any; how many."""
        offsets = list(itertools.islice(waiting, len(slots)))
        if not offsets:
            return 0
        taken = np.array(slots[: len(offsets)], np.int64)
        self._requests["file"][taken], self._offsets[taken] = self._files.all_at(np.array(offsets, np.int64))
        pointers = self._addresses[taken]
        begun = 0
        while begun < len(offsets):  # the kernel may take a part of them
            begun += self._call(
                self._submit, self._context, ctypes.c_long(len(offsets) - begun),
                ctypes.c_void_p(pointers.ctypes.data + 8 * begun),
            )  # fmt: skip
        return len(offsets)

    @staticmethod
    def _call(number: int, *arguments: object) -> int:
        result = int(_libc.syscall(ctypes.c_long(number), *arguments))
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result
