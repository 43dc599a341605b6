"""Emptying trace buffers while the traced program runs."""

from __future__ import annotations

import os
import select
import signal
import threading
from array import array
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from profiler.capture.calls.spill import FullError, Spill
from profiler.capture.kernel.buffer.pages import LAST_NS
from profiler.capture.kernel.tracefs import Instance

_PAUSE_MS = 200
"""So often the buffers are looked at; before that the kernel wakes us when one is half full
(buffer_percent)."""

_PAGES_A_TURN = 256
_CHUNK_BYTES = 4 << 20


class Spool:
    """The pages of one processor, in their order. limit, others: see `Spill`."""

    def __init__(self, page_bytes: int, limit: int, others: int = 0) -> None:
        self._page = page_bytes
        self._pages = Spill(limit, others)
        self._begins = array("Q")  # ns: a page begins with the time of its first record

    def append(self, page: bytes) -> None:
        """Raises FullError; the pages up to this one are kept then, but no more."""
        self._begins.frombytes(page[:8])
        try:
            self._pages.append(page)
        except FullError:
            self._pages.hold(page)
            raise

    @property
    def begins(self) -> npt.NDArray[np.int64]:
        """When each page begins, in ns by the buffer's clock; never earlier than the page before."""
        begins = np.maximum.accumulate(np.array(self._begins, np.uint64).view(np.int64))
        return np.clip(begins, 0, LAST_NS - 1)

    def between(self, start_ns: int, end_ns: int) -> Iterator[bytes]:
        """The pages that begin within [start_ns, end_ns), some MiB of them at a time."""
        first, last = np.searchsorted(self.begins, [start_ns, end_ns]).tolist()
        step = max(1, _CHUNK_BYTES // self._page)
        for page in range(first, last, step):
            yield self._pages.read(page * self._page, (min(page + step, last) - page) * self._page)

    def close(self) -> None:
        self._pages.close()


class Drain:
    """A thread that moves the pages of an instance's buffers away: to memory, and beyond `limit` bytes to
    disk."""

    def __init__(self, instance: Instance, limit: int) -> None:
        self.page_bytes = instance.page_bytes()
        self._pipes = instance.pipes()
        count = len(self._pipes)
        self.spools = [Spool(self.page_bytes, limit // count, 2 * count) for _ in self._pipes]
        self.failure = ""  # why pages could not be kept; what came after that is lost, and counted so
        self._ends, self._end = os.pipe()
        self._thread = threading.Thread(target=self._run, name="drain", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take what is left and end. To be called once, when nothing more is recorded."""
        os.write(self._end, b"x")  # closing it is not enough: a child that is no program yet has it too
        self._thread.join()
        os.close(self._end)
        os.close(self._ends)

    def close(self) -> None:
        """Give up what was kept."""
        for spool in self.spools:
            spool.close()

    def _run(self) -> None:
        # for the main thread, which waits for the program and would not hear of what is delivered here
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        poll = select.poll()
        poll.register(self._ends, select.POLLIN)
        for pipe in self._pipes:
            poll.register(pipe, select.POLLIN)
        try:
            while True:
                ended = any(descriptor == self._ends for descriptor, _ in poll.poll(_PAUSE_MS))
                pairs = list(zip(self._pipes, self.spools, strict=True))
                while pairs:  # in turns: none may fill up while another is emptied
                    pairs = [(pipe, spool) for pipe, spool in pairs if self._move(pipe, spool)]
                if ended:
                    return
        except FullError as error:
            self.failure = str(error)
        except OSError as error:
            self.failure = f"the kernel's trace could not be read on: {os.strerror(error.errno or 0)}"

    def _move(self, pipe: int, spool: Spool) -> bool:
        """Take some pages; False if that were all."""
        for _ in range(_PAGES_A_TURN):
            try:
                page = os.read(pipe, self.page_bytes)
            except BlockingIOError:
                return False
            if not page:
                return False
            spool.append(page)
        return True
