"""A folder of one's own for a while, removed even after a kill -9 with what still writes into it ended."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import time

from profiler.files.owner import Owner, give, open_folder, reaching_as
from profiler.machine.processes.guard import guarded

_PATIENCE_S = 60.0
_PAUSE_S = 0.02


class Scratch:
    """A new folder that only its owner can enter. To be closed; a kill -9 of this process removes it too.

    above: the folder to make it in. owner: whose it is to be; None: the one who runs this. What merely has
    its name is never removed: it is held open, emptied through that, and compared before its name goes.
    Raises OSError.
    """

    def __init__(self, above: str, prefix: str, owner: Owner | None = None) -> None:
        self._name = prefix + secrets.token_hex(8)
        self.path = os.path.join(os.path.abspath(above), self._name)
        self._session = os.getsid(0)
        with contextlib.ExitStack() as stack:
            self._above, user = open_folder(above, owner)
            stack.callback(os.close, self._above)
            # by the other guard it can only be cleared when it is there
            stack.enter_context(guarded(self._unmake, (self._above,)))
            with reaching_as(user):
                os.mkdir(self._name, 0o700, dir_fd=self._above)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            self._folder = os.open(self._name, flags, dir_fd=self._above)
            stack.callback(os.close, self._folder)
            give(self._folder, owner)
            stack.enter_context(guarded(self._clear, (self._folder, self._above)))
            self._held = stack.pop_all()

    @property
    def inside(self) -> str:
        """Its path by way of the descriptor that this process holds: nobody can put another folder in its
        place. For this process, and as the working directory of those that it starts."""
        return f"/proc/self/fd/{self._folder}"

    def close(self) -> None:
        """Remove it, where it is still there, and let go of it."""
        self.remove()
        self._held.close()

    def remove(self) -> None:
        """Remove it with all that is in it, as far as that can be done."""
        with contextlib.suppress(OSError):
            # opened anew: how far a listing has come, the guard shares with the process that was killed
            listing = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._folder)
            try:
                for name in os.listdir(listing):
                    _remove(name, listing)
            finally:
                os.close(listing)
        with contextlib.suppress(OSError):
            if self._is_there():
                os.rmdir(self._name, dir_fd=self._above)

    def _is_there(self) -> bool:
        try:
            found = os.stat(self._name, dir_fd=self._above, follow_symlinks=False)
            return os.path.samestat(found, os.fstat(self._folder))
        except OSError:
            return False

    # -- by the guard, when this process is no more ------------------------------------------------------

    def _unmake(self) -> None:
        """Remove it as long as it is empty."""
        with contextlib.suppress(OSError):
            os.rmdir(self._name, dir_fd=self._above)

    def _clear(self) -> None:
        """Remove it, and end what this process started and what goes on with a file in it: the room on the
        disk would be taken until that ends, with nothing to be seen of it."""
        deadline = time.monotonic() + _PATIENCE_S
        inside = ""
        with contextlib.suppress(OSError):
            inside = os.readlink(f"/proc/self/fd/{self._folder}") + "/"
        while self._is_there() and time.monotonic() < deadline:
            self.remove()  # first: then nobody can make a file in it any more
            while inside and _end(inside, self._session) and time.monotonic() < deadline:
                time.sleep(_PAUSE_S)
            time.sleep(_PAUSE_S)


def _remove(name: str, above: int) -> None:
    """Remove a file, or a folder with all that is in it; no link is followed."""
    with contextlib.suppress(OSError):
        try:
            os.unlink(name, dir_fd=above)
        except (IsADirectoryError, PermissionError):  # what unlink(2) says of folders
            shutil.rmtree(name, ignore_errors=True, dir_fd=above)


def _end(inside: str, session: int) -> bool:
    """Kill what of a session has a file open whose name begins like this; whether there is any.

    The session is that of the process that was killed: whom it had started can no longer be told. A backup
    that reads the file, say, is in another one.
    """
    found = False
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            process = os.pidfd_open(int(name))  # first: the number may be another's by the time of the kill
            try:
                if os.getsid(int(name)) == session and _holds(name, inside):
                    found = True
                    signal.pidfd_send_signal(process, signal.SIGKILL)
            finally:
                os.close(process)
    return found


def _holds(process: str, inside: str) -> bool:
    """Whether it has a file open whose name, as the kernel keeps it after the removal too, begins like
    this."""
    folder = f"/proc/{process}/fd"
    for name in os.listdir(folder):
        with contextlib.suppress(OSError):
            if os.readlink(f"{folder}/{name}").startswith(inside):
                return True
    return False
