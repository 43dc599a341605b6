"""The file of a log, opened so that it can do no more than be read."""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO

from profiler.errors import ColdseekError
from profiler.units import show_path


def open_log(path: str) -> BinaryIO:
    """A regular file, or a pipe (as of a shell's `<(zcat LOG.gz)`), by its name or a link to it.

    A pipe that nobody writes to is empty, not waited for. Raises ColdseekError for what is neither - to open
    a device may do something, and some never end - and OSError where it cannot be opened.
    """
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)  # opens nothing yet: open(2)
    try:
        mode = os.fstat(place).st_mode
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            raise ColdseekError(
                f"{show_path(path)} is neither a file nor a pipe; name a log that strace -o has written"
            )
        log = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    finally:
        os.close(place)
    os.set_blocking(log, True)
    return open(log, "rb")
