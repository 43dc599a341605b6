"""Starting the traced program: fork, attach, filter, exec - and clear words when it cannot be started."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from profiler.errors import CannotRunError, ColdseekError, CommandNotFoundError
from profiler.files.owner import refused
from profiler.units import show_path

if TYPE_CHECKING:
    from profiler.files.owner import Owner


def find_program(name: str) -> str:
    """The path of a program, as the shell finds it. Raises CommandNotFoundError or CannotRunError."""
    found = shutil.which(name)
    if found is None:
        exists = os.path.dirname(name) and os.path.exists(name)
        raise exec_error(name, errno.EACCES if exists else errno.ENOENT)
    return found


def launch(
    command: Sequence[str],
    attach: Callable[[int], None],
    prepare: Callable[[], None],
    silent: bool,
    owner: Owner | None = None,
    born: Callable[[], None] = lambda: None,
    streams: Mapping[int, int] | None = None,
) -> Launched:
    """Fork a child that runs `prepare` and becomes `command` once `attach(pid)` has been done here.

    born: the first that the child does, before `attach`. streams: further descriptors that it is given,
    number -> which.

    The child keeps stdin, stdout, stderr (if `silent`, these are /dev/null), working directory, process
    group and signals, and its user unless `owner` is another. Raises what `attach` raises; the child is
    gone then.
    """
    go_read, go_write = os.pipe()
    news_read, news_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(go_write)
            os.close(news_read)
            born()
            if os.read(go_read, 1) != b"x":
                os._exit(125)
            for number in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)  # Python ignores these; a program must not inherit it
            if silent:
                null = os.open(os.devnull, os.O_RDWR)
                for stream in (0, 1, 2):
                    os.dup2(null, stream)
            for stream, end in (streams or {}).items():
                os.dup2(end, stream)
            try:
                prepare()
            except OSError as error:
                os.write(news_write, f"filter {error.errno or 0}\n".encode())
                os._exit(125)
            try:
                if owner is not None:
                    owner.become()  # after the filter, which root may install without giving up set-user-ID
            except OSError as error:
                os.write(news_write, f"owner {error.errno or 0}\n".encode())
                os._exit(125)
            os.write(news_write, f"exec {time.monotonic_ns()}\n".encode())
            os.execvp(command[0], list(command))  # noqa: S606
        except OSError as error:
            os.write(news_write, f"failed {error.errno or 0}\n".encode())
        finally:
            os._exit(125)
    os.close(go_read)
    os.close(news_write)
    try:
        attach(pid)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        os.close(news_read)
        raise
    finally:
        with contextlib.suppress(OSError):
            os.write(go_write, b"x")
        os.close(go_write)
    return Launched(pid, news_read, owner)


def working_directory() -> str:
    """Where programs are started; "" if that directory is gone, as happens to shells left standing in it."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


class Launched:
    """A child on its way to become a program. Its news are to be had when it has ended or has become one."""

    def __init__(self, pid: int, news: int, owner: Owner | None = None) -> None:
        self.pid = pid
        self._owner = owner
        self._news = news

    @cached_property
    def _told(self) -> dict[str, int]:
        """What the child wrote before it closed the pipe, by ending or by exec."""
        with open(self._news, "rb") as source:
            lines = source.read(256).decode().splitlines()
        return {word: int(number) for word, _, number in (line.partition(" ") for line in lines)}

    @property
    def exec_ns(self) -> int:
        """When it called exec, on the monotonic clock: the kernel's work to load the program comes after."""
        return self._told.get("exec", 0)

    def failure(self, command: Sequence[str]) -> ColdseekError | None:
        """Why the program was not started; None if it was."""
        if "filter" in self._told:
            reason = os.strerror(self._told["filter"])
            return ColdseekError(
                f"the system call filter cannot be installed ({reason}); use --tracer strace"
            )
        if self._owner is not None and "owner" in self._told:
            return refused(self._owner, self._told["owner"])
        return exec_error(command[0], self._told["failed"], self._owner) if "failed" in self._told else None


def exec_error(program: str, number: int, owner: Owner | None = None) -> ColdseekError:
    """The error for a program whose exec failed with this errno, in the shell's manner: 127 not found, 126
    else. owner: the user whom it was to run as; None: the one who runs coldseek."""
    shown = show_path(program) or "''"
    if number in (errno.ENOENT, errno.ENOTDIR):
        if os.path.exists(program):
            return CannotRunError(f"cannot run {shown}: its interpreter is missing; look at its first line")
        return CommandNotFoundError(f"{shown}: command not found; check the name and your PATH")
    if os.path.isdir(program):
        return CannotRunError(f"cannot run {shown}: it is a directory; name a program in it")
    remedy = {
        errno.EACCES: "make it executable (chmod +x) or name its interpreter",
        errno.ENOEXEC: "it is no program for this machine, or a script without a #! line",
    }.get(number, "run it without coldseek to see more")
    if owner is not None and number == errno.EACCES:
        shown, remedy = f"{shown} as user {show_path(owner.name)}", f"{remedy}, or use --as-root"
    return CannotRunError(f"cannot run {shown}: {os.strerror(number)}; {remedy}")
