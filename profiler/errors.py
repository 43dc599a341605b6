"""The failures coldseek reports in one line. They are caught and printed in one place, `cli.main`."""

from __future__ import annotations


class ColdseekError(Exception):
    """A failure of coldseek's own. The text is one line: what went wrong with which file, and the remedy.

    >>> try:
    ...     coldseek.load("none.trace.parquet")
    ... except coldseek.ColdseekError as error:
    ...     print(error.exit_code, error)
    125 cannot read none.trace.parquet: No such file or directory
    """

    exit_code = 125


class CannotRunError(ColdseekError):
    """The command exists but cannot be executed (the shell's 126).

    >>> coldseek.record(["/etc/passwd"])
    Traceback (most recent call last):
    profiler.errors.CannotRunError: cannot run /etc/passwd: ...
    """

    exit_code = 126


class CommandNotFoundError(ColdseekError):
    """The command was not found (the shell's 127).

    >>> coldseek.record(["no-such-program"])
    Traceback (most recent call last):
    profiler.errors.CommandNotFoundError: no-such-program: command not found; check the name and your PATH
    """

    exit_code = 127


class UsageError(ColdseekError):
    """The command line asks for something that makes no sense.

    >>> coldseek.record("ls /")
    Traceback (most recent call last):
    profiler.errors.UsageError: a command is a list of words, such as ['ls', '/']
    """

    exit_code = 2


class NoMemoryError(ColdseekError, MemoryError):
    """More memory would be needed than is free; the words do not name the file that it is for.

    >>> issubclass(coldseek.NoMemoryError, MemoryError)
    True
    """


class TraceFormatError(ColdseekError):
    """A file is no trace of ours, is damaged, or is of a newer version.

    >>> coldseek.Trace.from_frame(pd.DataFrame({"path": ["/a"], "ofset": [0], "size": [1]}))
    Traceback (most recent call last):
    profiler.errors.TraceFormatError: a table of reads has the columns path, offset, size; ...
    """


class BaselineError(ColdseekError):
    """A file is no baseline of ours, or is damaged.

    >>> _ = pathlib.Path("damaged.json").write_text("{")
    >>> coldseek.check(["true"], baseline="damaged.json")
    Traceback (most recent call last):
    profiler.errors.BaselineError: damaged.json: ...
    """


class CatalogueError(ColdseekError):
    """A file is no catalogue of traces, is damaged, or is of a newer version."""


class InterruptedRunError(ColdseekError):
    """A run was interrupted, and nothing of it is kept. why: words of `Meta.partial`; the exit status is
    that of a program that dies by the signal.

    >>> coldseek.InterruptedRunError("ended by SIGTERM", "nothing was saved").exit_code
    143
    """

    def __init__(self, why: str, words: str) -> None:
        super().__init__(words)
        numbers = {"SIGTERM": 15, "SIGHUP": 1}
        self.exit_code = 128 + next((number for name, number in numbers.items() if name in why), 2)


NOT_READY = "not ready within"
"""So begins why a run was given up that was not ready in time: `Meta.partial` of its trace, too."""
