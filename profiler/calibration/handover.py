"""Reads that one thread makes for another, as QEMU's do: what handing over costs more on a miss.

A program whose main thread hands each read to a worker has two more threads to be woken, warm and cold.
Cold, both have waited for the disk meanwhile: processors fell asleep, or took up other work. What this adds
to a read that misses is in no warm run, and not in the time of a read made by the thread that wants it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

from profiler.calibration.opened import Opened

PAGE = 4096

SERIES = ("alone", "alone cached", "handed", "handed cached")
"""The same reads of 4 KiB through the page cache by the thread that wants them and by a worker; those of the
first and the third miss, those of the second and the fourth are of what these just brought in."""

BATCH = 25
"""Reads one after another: a program goes on as it began, and so do its processors."""


_NOWHERE = (-1, -1)


class Worker:
    """A thread that reads for others. To be closed, or used in a with statement."""

    def __init__(self, files: Opened) -> None:
        self._files = files
        self._asked, self._done = os.eventfd(0), os.eventfd(0)  # counters in the kernel; QEMU uses them too
        self._place = _NOWHERE
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the thread end."""
        self._place = _NOWHERE
        os.eventfd_write(self._asked, 1)
        self._thread.join()
        os.close(self._asked)
        os.close(self._done)

    def read(self, offset: int) -> float:
        """Seconds until the worker has read PAGE bytes there and this thread knows of it. Raises OSError
        where the read fails."""
        self._place = self._files.at(offset)
        began = time.perf_counter()
        os.eventfd_write(self._asked, 1)
        os.eventfd_read(self._done)
        took = time.perf_counter() - began
        if self._error is not None:
            raise self._error
        return took

    def _work(self) -> None:
        into = [bytearray(PAGE)]
        while True:
            os.eventfd_read(self._asked)
            descriptor, offset = self._place
            if offset < 0:
                return
            try:
                os.preadv(descriptor, into, offset)
            except OSError as error:
                self._error = error
            os.eventfd_write(self._done, 1)


def batches(files: Opened, worker: Worker, offsets: list[int]) -> Iterator[tuple[str, float]]:
    """Read at the offsets, none of which was read before, half of them either way: a series of SERIES and
    the seconds for each read, a batch at a time."""
    into = [bytearray(PAGE)]

    def alone(offset: int) -> float:
        descriptor, place = files.at(offset)
        began = time.perf_counter()
        os.preadv(descriptor, into, place)
        return time.perf_counter() - began

    for start in range(0, len(offsets) - 2 * BATCH + 1, 2 * BATCH):
        for read, begin, names in ((alone, start, SERIES[:2]), (worker.read, start + BATCH, SERIES[2:])):
            batch = offsets[begin : begin + BATCH]
            for offset in batch:  # a new file is still in the page cache
                descriptor, place = files.at(offset)
                os.posix_fadvise(descriptor, place, PAGE, os.POSIX_FADV_DONTNEED)
            for name in names:
                for offset in batch:
                    yield name, read(offset)
