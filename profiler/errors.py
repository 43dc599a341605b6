"""The failures coldseek reports in one line. They are caught and printed in one place, `cli.main`."""

from __future__ import annotations


class ColdseekError(Exception):
    """A failure of coldseek's own. The text is one line: what went wrong with which file, and the remedy."""

    exit_code = 125


class CannotRunError(ColdseekError):
    """The command exists but cannot be executed (the shell's 126)."""

    exit_code = 126


class CommandNotFoundError(ColdseekError):
    """The command was not found (the shell's 127)."""

    exit_code = 127


class UsageError(ColdseekError):
    """The command line asks for something that makes no sense."""

    exit_code = 2


class NoMemoryError(ColdseekError, MemoryError):
    """More memory would be needed than is free; the words do not name the file that it is for."""


class TraceFormatError(ColdseekError):
    """A file is no trace of ours, is damaged, or is of a newer version."""


class BaselineError(ColdseekError):
    """A file is no baseline of ours, or is damaged."""


class CatalogueError(ColdseekError):
    """A file is no catalogue of traces, is damaged, or is of a newer version."""


class InterruptedRunError(ColdseekError):
    """A run was interrupted, and nothing of it is kept. why: words of `Meta.partial`; the exit status is
    that of a program that dies by the signal."""

    def __init__(self, why: str, words: str) -> None:
        super().__init__(words)
        numbers = {"SIGTERM": 15, "SIGHUP": 1}
        self.exit_code = 128 + next((number for name, number in numbers.items() if name in why), 2)


NOT_READY = "not ready within"
"""So begins why a run was given up that was not ready in time: `Meta.partial` of its trace, too."""
