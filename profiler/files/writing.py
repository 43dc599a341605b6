"""Every file that is written: beside its place, whole or not at all, and through the handle it was made by.

The folder may be another user's, who can give any name another meaning at any moment. So the folder is
opened once, the new file is made in it and never opened by name again. A name that was exchanged meanwhile
may end up on the wrong file; no file of somebody else is ever written to, or given another owner or mode.
Under sudo the folder is opened, and the file made, with the permissions of the user who called it (see
`owner.open_folder`).

The new file has no name until it is whole (O_TMPFILE of open(2)), so a kill leaves nothing of it; only
where it replaces another has it a name of its own for a moment, whole as it is. Where the file system has no
such files it is `.coldseek-...` all the time, and a kill -9 leaves that.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from typing import BinaryIO

from profiler.errors import ColdseekError
from profiler.files.owner import Owner, give, invoker, only_roots, open_folder, reaching_as
from profiler.units import show_path


def destination(path: str | os.PathLike[str], follow: bool = True) -> str:
    """The file to write for `path`: what a link names, there or not, as everywhere else.

    Not so without `follow`, for a name that nobody has asked for: then a link is what is replaced. Raises
    ColdseekError for what is there and is no regular file: root could replace even a device.
    """
    target = os.fspath(path)
    if _names_a_descriptor(target):
        raise ColdseekError(
            f"{show_path(target)} is a file that is open already and would be replaced; name another"
        )
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


def _names_a_descriptor(target: str) -> bool:
    """Whether a name stands for what somebody has open, such as /dev/stdout."""
    for _ in range(40):  # as many links as the kernel follows
        folder, name = os.path.split(os.path.abspath(target))
        folder = os.path.realpath(folder)
        if folder.startswith("/proc/") and folder.endswith("/fd"):
            return True
        if not os.path.islink(os.path.join(folder, name)):
            return False
        with contextlib.suppress(OSError):
            target = os.path.join(folder, os.readlink(os.path.join(folder, name)))
    return False


@contextlib.contextmanager
def place_of(path: str | os.PathLike[str], follow: bool = True) -> Iterator[tuple[int, str, Owner | None]]:
    """The folder that `path` is to be written to, opened, the name in it, and who is to do so (see
    `owner.reaching_as`). Raises OSError, and as `destination` does."""
    target, owner = destination(path, follow), invoker()
    folder, name = os.path.split(target)
    place, user = open_folder(folder or ".", owner)
    try:
        if user != owner and target != os.fspath(path) and not only_roots(os.fspath(path)):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))  # another's link to root's folder
        yield place, name, user
    finally:
        os.close(place)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], follow: bool = True, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Give a new file to write to; it takes the name `path` on success and is gone on failure. mode: of a
    new file, less what the umask takes.

    Under sudo it becomes that of the user who called it; where it replaces what a link names, it has the
    owner and the mode of that. Raises ColdseekError, naming `path`, in place of OSError, and as
    `destination` does.
    """
    try:
        with place_of(path, follow) as (place, name, user):
            with reaching_as(user):
                handle, temporary = _made(place, name)
            try:
                with os.fdopen(handle, "wb") as file:
                    yield file
                    file.flush()
                    # Not before it is written: in /tmp not even root may open another's file for that
                    # (fs.protected_regular).
                    _own(handle, None, mode)
                    if not temporary:
                        with reaching_as(user), contextlib.suppress(FileExistsError):
                            _link(handle, place, name)
                            return
                        temporary = _temporary(name)
                        with reaching_as(user):
                            _link(handle, place, temporary)
                    former = _linked(path, name, place) if follow else None
                    if former is not None:
                        _own(handle, former, mode)
                with reaching_as(user):
                    os.replace(temporary, name, src_dir_fd=place, dst_dir_fd=place)
                temporary = ""
            finally:
                if temporary:
                    with contextlib.suppress(OSError), reaching_as(user):
                        os.unlink(temporary, dir_fd=place)
    except OSError as error:
        raise _cannot_write(os.fspath(path), error) from error


def append(path: str, data: bytes) -> None:
    """Add to the end of a regular file, which is made where there is none, in one write. No link is followed
    as the last part of the name. Raises ColdseekError, naming `path`."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        with place_of(path, follow=False) as (place, name, user), reaching_as(user):
            handle = os.open(name, flags, 0o666, dir_fd=place)
        with open(handle, "ab", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ColdseekError(f"{show_path(path)} is no regular file; nothing is added to it")
            file.write(data)
    except OSError as error:
        raise _cannot_write(path, error) from error


def _made(place: int, name: str) -> tuple[int, str]:
    """A new file in a folder, open, and what it is called until it is whole; "": nothing."""
    with contextlib.suppress(OSError):
        return _unnamed(place), ""
    temporary = _temporary(name)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(temporary, flags, 0o600, dir_fd=place), temporary


def _unnamed(place: int) -> int:
    """A new file without a name. Raises OSError where there are none, or could not be named."""
    os.stat("/proc/self/fd")
    return os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=place)


def _link(handle: int, place: int, name: str) -> None:
    """Name an unnamed file (linkat(2)). Raises FileExistsError, OSError."""
    os.link(f"/proc/self/fd/{handle}", name, dst_dir_fd=place, follow_symlinks=True)


def _temporary(name: str) -> str:
    return f".coldseek-{secrets.token_hex(8)}{os.path.splitext(name)[1]}"


def _linked(path: str | os.PathLike[str], name: str, place: int) -> os.stat_result | None:
    """The regular file that `path`, a link, names, and that is now replaced; None: there is none."""
    with contextlib.suppress(OSError):
        if os.path.islink(path):
            facts = os.stat(name, dir_fd=place, follow_symlinks=False)
            return facts if stat.S_ISREG(facts.st_mode) else None
    return None


def _own(handle: int, former: os.stat_result | None, mode: int) -> None:
    if former is None:
        os.fchmod(handle, mode & ~_umask())
        give(handle, invoker())
        return
    with contextlib.suppress(OSError):  # not root: it stays the caller's
        os.fchown(handle, former.st_uid, former.st_gid)
    os.fchmod(handle, stat.S_IMODE(former.st_mode) & 0o777 | mode & 0o100)


def _cannot_write(target: str, error: OSError) -> ColdseekError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return ColdseekError(f"cannot write {show_path(target)}: {reason}; give another place with -o")


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current
