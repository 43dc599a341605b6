"""Emptying trace buffers while the traced program runs."""

from __future__ import annotations

import os
import select
import signal
import tempfile
import threading
from collections.abc import Iterator
from typing import IO

from profiler.capture.kernel.tracefs import Instance

_PAUSE_MS = 200
"""So often the buffers are looked at; before that the kernel wakes us when one is half full
(buffer_percent)."""

_PAGES_A_TURN = 256
_IN_MEMORY_BYTES = 64 << 20  # of each processor's pages; what is more goes to a file without a name


class Drain:
    """A thread that moves the pages of an instance's buffers to memory, and beyond that to disk."""

    def __init__(self, instance: Instance) -> None:
        self._page = instance.page_bytes()
        self._pipes = instance.pipes()
        self._spools: list[IO[bytes]] = [
            tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 closed when read, in pages()
            for _ in self._pipes
        ]
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

    def pages(self, chunk_bytes: int = 32 << 20) -> Iterator[bytes]:
        """What was recorded: whole pages of one processor at a time, about chunk_bytes of them; once."""
        whole = max(1, chunk_bytes // self._page) * self._page
        for spool in self._spools:
            with spool:
                spool.seek(0)
                while got := spool.read(whole):
                    yield got

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
                pairs = list(zip(self._pipes, self._spools, strict=True))
                while pairs:  # in turns: none may fill up while another is emptied
                    pairs = [(pipe, spool) for pipe, spool in pairs if self._move(pipe, spool)]
                if ended:
                    return
        except OSError as error:
            self.failure = f"the kernel's trace could not be kept: {os.strerror(error.errno or 0)}"

    def _move(self, pipe: int, spool: IO[bytes]) -> bool:
        """Take some pages; False if that were all."""
        for _ in range(_PAGES_A_TURN):
            try:
                got = os.read(pipe, self._page)
            except BlockingIOError:
                return False
            if not got:
                return False
            spool.write(got)
        return True
