"""Opening what somebody names, without what that could set going or wait for."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import BinaryIO

from profiler.errors import ColdseekError
from profiler.units import show_path

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """A regular file, to be read. Raises ColdseekError for a pipe, device or socket of that name, and
    OSError where it cannot be opened."""
    return _opened(path, stat.S_ISREG, "is no regular file; name one")


def open_log(path: str, remedy: str = "name a log that strace -o has written") -> BinaryIO:
    """A regular file, or a pipe (as of a shell's `<(zcat LOG.gz)`), by its name or a link to it.

    A pipe that nobody writes to is empty, not waited for. Raises ColdseekError, with the remedy, for what is
    neither, and OSError where it cannot be opened.
    """
    return _opened(path, _is_stream, f"is neither a file nor a pipe; {remedy}")


def _is_stream(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)


def _opened(path: str | os.PathLike[str], is_good: Callable[[int], bool], words: str) -> BinaryIO:
    """The file. is_good: of its mode, whether it may be opened. words: what is said of it if not."""
    # opens nothing yet (open(2)): to open a device may do something, and some never end
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        facts = os.fstat(place)
        if stat.S_ISDIR(facts.st_mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not is_good(facts.st_mode):
            raise ColdseekError(f"{show_path(os.fspath(path))} {words}")
        try:
            file = os.open(f"/proc/self/fd/{place}", _FLAGS)
        except FileNotFoundError:  # there is no /proc
            file = os.open(path, _FLAGS)
    finally:
        os.close(place)
    if not os.path.samestat(os.fstat(file), facts):
        os.close(file)
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    os.set_blocking(file, True)
    return open(file, "rb")
