"""The user who called sudo: whose program it is that coldseek runs as root, and whose files it writes.

A program that ran as root would find other rights, another home and other settings than when its user
starts it, and would leave files there that the user cannot remove.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from profiler.errors import ColdseekError
from profiler.units import show_path

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


def give(file: str | int, owner: Owner | None) -> None:
    """Make a file that was just created the user's: an open one, or by its name (of a link the link itself).

    It stays whose it is if `owner` is None, and where the file system knows no owners or does not obey root.
    """
    if owner is not None:
        with contextlib.suppress(OSError):
            os.chown(file, owner.uid, owner.gid, follow_symlinks=isinstance(file, int))


def make_folder(path: str, owner: Owner | None) -> None:
    """Make a folder, and those above it, where they are not there; those that were made become the user's.

    Raises OSError.
    """
    if os.path.isdir(path):
        return
    above = os.path.dirname(path.rstrip("/"))
    if above:
        make_folder(above, owner)
    try:
        os.mkdir(path)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    else:
        give(path, owner)
