"""The commands: parse, call, print. A file a command; no logic here."""

from __future__ import annotations

import errno
import os
import select
import signal
import stat
import sys
from contextlib import suppress
from importlib import import_module

from profiler.cli.app import app
from profiler.cli.output import say
from profiler.errors import ColdseekError
from profiler.units import show_path

__all__ = ["app", "main"]

_COMMANDS = (
    "open_image",
    "record",
    "attach",
    "import_log",
    "report",
    "plot",
    "compare",
    "check",
    "project",
    "remedies.replay",
    "export",
    "remedies.prefetch",
    "remedies.advise",
    "fleet",
    "machine.devices",
    "machine.calibrate",
    "machine.doctor",
)
"""The modules of the commands, in the order of the help. Each imports what is slow only when it runs."""


class _Unread(SystemExit):
    """The end where nobody reads what is printed."""


def main() -> None:
    """Run the command line. The one place where failures are caught and printed, in one line each."""
    try:
        _run()
    except SystemExit as end:
        with suppress(KeyboardInterrupt):  # it is over: there is nothing to interrupt any more
            _tell_end(end.code if isinstance(end.code, int) else int(end.code is not None))
        if isinstance(end, _Unread):
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGPIPE)  # as of any program that goes on writing to a closed pipe
        raise


def _tell_end(status: int) -> None:
    """Print what is to be printed still, and tell whoever waits in front of this process."""
    try:
        sys.stdout.flush()
    except OSError:  # it has been said why, and Python would say it again
        _drop_output()
    leaving = sys.modules.get("profiler.capture.leaving")  # loaded by those commands that step behind
    if leaving is not None:
        leaving.done(status)


def _run() -> None:
    # where it is ignored, which exec passes on, the kernel forgets children before they are waited for
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        _hold_closed_streams()
        _register()
        _call()
    except ColdseekError as error:
        say(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt as error:
        say(str(error) or "interrupted")
        sys.exit(143 if "SIGTERM" in str(error) else 129 if "SIGHUP" in str(error) else 130)
    except MemoryError:
        say("out of memory; record a shorter run")
        sys.exit(ColdseekError.exit_code)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _unread():  # whoever read our output has seen enough
            _drop_output()
            raise _Unread(128 + signal.SIGPIPE) from error
        say(_words(error))
        sys.exit(ColdseekError.exit_code)
    except Exception as error:
        if os.environ.get("COLDSEEK_DEBUG"):
            raise
        words = show_path(f"{type(error).__name__}: {error}")
        say(f"failed by a mistake of its own ({words}); COLDSEEK_DEBUG=1 shows where")
        sys.exit(ColdseekError.exit_code)


def _call() -> None:
    """Run the command, and print all that it has to print. Raises SystemExit, and OSError where that cannot
    be printed."""
    try:
        app(prog_name="coldseek")
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # of which typer makes a 1
            raise end.__context__ from None
        sys.stdout.flush()
        raise


def _unread() -> bool:
    """Whether our output goes to a pipe or a socket that nobody reads any more."""
    output = select.poll()
    output.register(1, 0)  # what has ended is told without being asked for
    return any(told & (select.POLLERR | select.POLLHUP) for _, told in output.poll(0))


def _drop_output() -> None:
    """What could not be printed is not tried again when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), 1)


def _words(error: OSError) -> str:
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"{error.strerror}; allow more (ulimit -n 1024)"
    return str(error)


def _register() -> None:
    for module in _COMMANDS:
        import_module(f"profiler.cli.commands.{module}")
    # they import from each other, so that they were not registered in this order
    order = {f"profiler.cli.commands.{module}": place for place, module in enumerate(_COMMANDS)}
    app.registered_commands.sort(key=lambda command: order[getattr(command.callback, "__module__", "")])


def _hold_closed_streams() -> None:
    """Standard streams that are closed stay so for the traced program, but no file of ours may take their
    place. Raises ColdseekError where there is no /dev/null, which they are and programs get."""
    try:
        while (held := os.open(os.devnull, os.O_RDWR)) <= 2:  # not inherited: exec closes it again
            pass
        real = stat.S_ISCHR(os.fstat(held).st_mode)
        os.close(held)
    except OSError as error:
        raise _no_null(error.strerror or "") from error
    if not real:
        raise _no_null("it is no device")
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


def _no_null(why: str) -> ColdseekError:
    return ColdseekError(
        f"{os.devnull} cannot be used ({why}); make it, as root: rm -f {os.devnull}; "
        f"mknod -m 666 {os.devnull} c 1 3"
    )
