"""Opening what somebody names, without what that could set going or wait for."""

from __future__ import annotations

import os
import stat
from typing import BinaryIO

from profiler.errors import ColdseekError
from profiler.units import show_path


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """A regular file, to be read. Raises ColdseekError for a pipe, device or socket of that name, which
    would be waited for, or would do something; OSError where it cannot be opened."""
    # looked at first, as to open a device may have effects; and again, as another may have taken its place
    for mode in (os.stat(path).st_mode, None):
        if mode is None:
            file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 the caller closes it
            mode = os.fstat(file.fileno()).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # of a folder `open` says what it is
            raise ColdseekError(f"{show_path(os.fspath(path))} is no regular file; name one")
    return file


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
