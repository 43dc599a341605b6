"""The user who called sudo: whose program it is that coldseek runs as root, and whose files it writes.

A program that ran as root would find other rights, another home and other settings than when its user
starts it, and would leave files there that the user cannot remove.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import pwd
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from profiler.errors import ColdseekError
from profiler.units import show_path

_MOST_LINKS = 40  # in a name, as for the kernel (path_resolution(7))
_SET_PDEATHSIG, _GET_PDEATHSIG, _GET_DUMPABLE, _SET_DUMPABLE = 1, 2, 3, 4  # linux/prctl.h
_LAST_ID = 2**32 - 2  # the one above it means "leave as it is" to the kernel


@dataclass(frozen=True)
class Owner:
    """A user, as `invoker` finds one. groups: all of them, the primary one too."""

    uid: int
    gid: int
    name: str
    home: str
    groups: tuple[int, ...]

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """These variables with the user's HOME, USER and LOGNAME, which sudo has set to root's."""
        return {**environ, "HOME": self.home, "USER": self.name, "LOGNAME": self.name}

    def become(self) -> None:
        """Make this process the user's, its environment too, and for good: for a forked child before exec.

        Looks nothing up, so it may be called between fork and exec. Raises OSError.
        """
        os.setgroups(self.groups)
        os.setgid(self.gid)
        os.setuid(self.uid)  # last: it takes the right to the others away
        os.environ.update(self.environment({}))


def refused(owner: Owner, number: int) -> ColdseekError:
    """The error for a program that could not be made `owner`'s, with the errno of that."""
    return ColdseekError(
        f"the program cannot run as user {show_path(owner.name)}: {os.strerror(number)}; "
        f"use --as-root to run it as root"
    )


def invoker(environ: Mapping[str, str] = os.environ) -> Owner | None:
    """The user who called sudo; None without sudo, and where root called it.

    sudo says so in SUDO_UID and SUDO_GID. Whoever can set these for a process of root's is root already; of
    other processes they are not looked at. A user that has no entry in the user database goes by number.
    """
    uid, gid = (_number(environ.get(name, "")) for name in ("SUDO_UID", "SUDO_GID"))
    if os.geteuid() != 0 or not uid or gid is None:
        return None
    try:
        known = pwd.getpwuid(uid)
    except KeyError:
        return Owner(uid, gid, str(uid), "/", (gid,))
    return Owner(uid, gid, known.pw_name, known.pw_dir, tuple(os.getgrouplist(known.pw_name, gid)))


def _number(text: str) -> int | None:
    """A user's or group's number as sudo writes it; None for anything else."""
    number = int(text) if re.fullmatch("0|[1-9][0-9]{0,9}", text) else None
    return number if number is not None and number <= _LAST_ID else None


@contextlib.contextmanager
def acting_as(owner: Owner | None) -> Iterator[None]:
    """This process as `owner`, for as long as it takes to spawn a program: the program then is the owner's
    for good, as exec drops the way back. None: nothing happens.

    For what starts a program without a moment between fork and exec. Raises ColdseekError if it may not be.
    """
    if owner is None:
        yield
        return
    users, primary, groups = os.getresuid(), os.getresgid(), os.getgroups()
    with _kept():
        try:
            try:
                os.setgroups(owner.groups)
                os.setresgid(owner.gid, owner.gid, owner.gid)
                os.setresuid(owner.uid, owner.uid, 0)  # the saved one, which exec sets to the effective one
            except OSError as error:
                raise refused(owner, error.errno or 0) from error
            yield
        finally:
            os.setresuid(*users)
            os.setresgid(*primary)
            os.setgroups(groups)


@contextlib.contextmanager
def _kept() -> Iterator[None]:
    """Gives back what the kernel takes from a process whose ids change: that it can be traced, and the
    signal that it gets when its parent dies (prctl(2))."""
    prctl, death = ctypes.CDLL(None).prctl, ctypes.c_int()
    prctl(_GET_PDEATHSIG, ctypes.byref(death), 0, 0, 0)
    dumpable = prctl(_GET_DUMPABLE, 0, 0, 0, 0)
    try:
        yield
    finally:
        prctl(_SET_PDEATHSIG, death.value, 0, 0, 0)
        if dumpable == 1:
            prctl(_SET_DUMPABLE, 1, 0, 0, 0)


@contextlib.contextmanager
def reaching_as(owner: Owner | None) -> Iterator[None]:
    """To reach and make files in, as far as the thread's permissions go, as `owner`; None: nothing happens.

    Unlike in `acting_as` nobody can send this process a signal for it: only what the kernel asks of file
    systems changes (setfsuid(2)), and files that are made are the owner's. Raises PermissionError if it is
    not to be had.
    """
    if owner is None:
        yield
        return
    libc, groups = ctypes.CDLL(None), os.getgroups()
    os.setgroups(owner.groups)
    with _kept():
        former = libc.setfsgid(owner.gid), libc.setfsuid(owner.uid)
        try:
            # they give what was before, and no error
            if (libc.setfsgid(-1) % 2**32, libc.setfsuid(-1) % 2**32) != (owner.gid, owner.uid):
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
            yield
        finally:
            libc.setfsuid(former[1])
            libc.setfsgid(former[0])
            os.setgroups(groups)


def open_folder(path: str, owner: Owner | None) -> tuple[int, Owner | None]:
    """A descriptor of a folder to write to, and as whom (see `reaching_as`).

    That is `owner`, whose permissions count: in a folder that a user can exchange root writes nothing that
    the user could not. Only in a folder that nobody but root can exchange it is root, and as far as the way
    leads through such root goes ahead. Raises OSError.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    if owner is None:
        return os.open(path, flags), None
    with contextlib.suppress(PermissionError), reaching_as(owner):
        return _writable(path, None), owner
    way, rest = _way_of_root(path)
    try:
        user = owner if rest else None
        with reaching_as(user):
            return _writable(rest or ".", way), user
    finally:
        os.close(way)


def _writable(path: str, above: int | None) -> int:
    """A descriptor of a folder in which files can be made. Raises OSError."""
    place = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=above)
    if not os.access(".", os.W_OK | os.X_OK, dir_fd=place, effective_ids=True):
        os.close(place)
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return place


def _way_of_root(path: str) -> tuple[int, str]:
    """The first folder that a name leads through, or leads to, that somebody else than root could change,
    and the rest of the name from there on; where there is none the last one, and "".

    Only root's folders, and links, come before it: others cannot write to them, or exchange nothing of
    root's there (the sticky bit). Raises PermissionError for a link of another's, and OSError.
    """
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    parts = os.path.join(os.getcwd(), path).split("/")
    place, links = os.open("/", flags), 0
    try:
        while True:
            facts = os.fstat(place)
            others = facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            if facts.st_uid != 0 or (others and not facts.st_mode & stat.S_ISVTX):
                return place, "/".join(parts) or "."
            if not parts:
                return place, ""
            below = os.open(parts.pop(0) or ".", flags, dir_fd=place)
            facts = os.fstat(below)
            if stat.S_ISLNK(facts.st_mode):
                links += 1
                target = os.readlink("", dir_fd=below)
                os.close(below)
                if facts.st_uid != 0 or links > _MOST_LINKS:
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
                parts = target.split("/") + parts
                if not target.startswith("/"):
                    continue
                below = os.open("/", flags)
            os.close(place)
            place = below
    except BaseException:
        os.close(place)
        raise


def only_roots(path: str) -> bool:
    """Whether nobody but root can have made what is named so, nor anything that the name leads through."""
    try:
        place, rest = _way_of_root(os.path.dirname(path))
    except OSError:
        return False
    try:
        return not rest and os.stat(os.path.basename(path), dir_fd=place, follow_symlinks=False).st_uid == 0
    except OSError:
        return False
    finally:
        os.close(place)


def give(file: str | int, owner: Owner | None) -> None:
    """Make a file that was just created the user's: an open one, or by its name (of a link the link itself).

    It stays whose it is if `owner` is None, and where the file system knows no owners or does not obey root.
    """
    if owner is not None:
        with contextlib.suppress(OSError):
            os.chown(file, owner.uid, owner.gid, follow_symlinks=isinstance(file, int))


def make_folder(path: str, owner: Owner | None) -> None:
    """Make a folder, and those above it, where they are not there; those that are made become the user's,
    and are made by the user where that is allowed (see `open_folder`).

    Raises OSError.
    """
    if os.path.isdir(path):
        return
    above, name = os.path.split(path.rstrip("/"))
    if above:
        make_folder(above, owner)
    place, user = open_folder(above or ".", owner)
    try:
        with reaching_as(user):
            os.mkdir(name, dir_fd=place)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    else:
        if user is None and owner is not None:
            _give_folder(name, place, owner)
    finally:
        os.close(place)


def _give_folder(name: str, place: int, owner: Owner) -> None:
    made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
    try:
        give(made, owner)
    finally:
        os.close(made)
