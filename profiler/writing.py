"""Every file that is written: beside its place, whole or not at all, and through the handle it was made by.

The folder may be another user's, who can give any name another meaning at any moment. So the folder is
opened once, the new file is made in it and never opened by name again. A name that was exchanged meanwhile
may end up on the wrong file; no file of somebody else is ever written to, or given another owner or mode.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from typing import BinaryIO

from profiler.errors import ColdseekError
from profiler.owner import give, invoker
from profiler.units import show_path


def destination(path: str | os.PathLike[str], follow: bool = True) -> str:
    """The file to write for `path`: what a link names, there or not, as everywhere else.

    Not so without `follow`, for a name that nobody has asked for: then a link is what is replaced. Raises
    ColdseekError for what is there and is no regular file: root could replace even a device.
    """
    target = os.fspath(path)
    try:
        # the kernel is asked first: in /tmp it does not follow another's link (fs.protected_symlinks)
        mode = os.stat(target, follow_symlinks=follow).st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    except OSError as error:
        raise _cannot_write(target, error) from error
    if stat.S_ISDIR(mode):
        raise ColdseekError(f"{show_path(target)} is a directory; name a file")
    if not stat.S_ISREG(mode) and (follow or not stat.S_ISLNK(mode)):
        raise ColdseekError(f"{show_path(target)} is no regular file and would be replaced; name another")
    return os.path.realpath(target) if follow and os.path.islink(target) else target


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], follow: bool = True) -> Iterator[BinaryIO]:
    """Give a new file beside `path` to write to; it takes that name on success and is removed on failure.

    Under sudo it becomes that of the user who called it; where it replaces what a link names, it has the
    owner and the mode of that. Raises ColdseekError, naming `path`, in place of OSError, and as
    `destination` does.
    """
    target = destination(path, follow)
    folder, name = os.path.split(target)
    temporary = f".coldseek-{secrets.token_hex(8)}{os.path.splitext(target)[1]}"
    made = False
    try:
        place = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=place), "wb") as file:
                made = True
                yield file
                file.flush()
                # Not before it is written: in /tmp not even root may open another's file for that
                # (fs.protected_regular).
                _own(file.fileno(), _linked(path, name, place) if follow else None)
            os.replace(temporary, name, src_dir_fd=place, dst_dir_fd=place)
            made = False
        finally:
            if made:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=place)
            os.close(place)
    except OSError as error:
        raise _cannot_write(os.fspath(path), error) from error


def _linked(path: str | os.PathLike[str], name: str, place: int) -> os.stat_result | None:
    """The regular file that `path`, a link, names, and that is now replaced; None: there is none."""
    with contextlib.suppress(OSError):
        if os.path.islink(path):
            facts = os.stat(name, dir_fd=place, follow_symlinks=False)
            return facts if stat.S_ISREG(facts.st_mode) else None
    return None


def _own(handle: int, former: os.stat_result | None) -> None:
    if former is None:
        os.fchmod(handle, 0o666 & ~_umask())
        give(handle, invoker())
        return
    with contextlib.suppress(OSError):  # not root: it stays the caller's
        os.fchown(handle, former.st_uid, former.st_gid)
    os.fchmod(handle, stat.S_IMODE(former.st_mode) & 0o777)


def _cannot_write(target: str, error: OSError) -> ColdseekError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return ColdseekError(f"cannot write {show_path(target)}: {reason}; give another place with -o")


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current
