"""Errors in the words of Python: rooms below name options of the command; people here pass parameters."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from profiler.errors import ColdseekError

SAME = {
    "after", "baseline", "before", "beside", "budget", "by", "cache", "copies", "device", "evict", "grace",
    "image", "layer", "on", "order", "own", "runs", "save", "scratch", "since", "timeout", "to", "tracer",
    "until",
}  # fmt: skip
"""Options of the command whose parameters have their names."""

OTHERS = {
    "as-root": "owner=None", "existing": "existing=True", "for": "seconds", "in": "least", "limit": "limits",
    "stop": "stop=True", "update": "update=True", "with": "targets",
}  # fmt: skip
"""The others, of which some are no words for parameters in Python."""

VALUES = {
    "all", "auto", "cold", "device", "files", "info", "kernel", "keep", "map", "ptrace", "strace", "syscall",
    "time", "warm",
}  # fmt: skip
"""Words that are values of such options, and so are in quotation marks in Python."""

_COMMAND = re.compile(r"coldseek (check|record) (--[a-z-]+)")
_OPTION = re.compile(r"(?<![\w-])--([a-z-]+)(?![\w-])(?:(?: |=)([a-z]+)\b)?")


def in_python(words: str) -> str:
    """The same with parameters in place of options.

    >>> in_python("only root can drop the whole page cache; use sudo, or --evict files")
    "only root can drop the whole page cache; use sudo, or evict='files'"
    """
    return _OPTION.sub(_keyword, _COMMAND.sub(r"\1(..., \2)", words))


def _keyword(option: re.Match[str]) -> str:
    name, word = option[1], option[2] or ""
    keyword = name if name in SAME else OTHERS.get(name)
    if keyword is None:
        return option[0]
    if word in VALUES and "=" not in keyword:
        return f"{keyword}={word!r}"
    return keyword + option[0].removeprefix(f"--{name}")


@contextlib.contextmanager
def words_of_python() -> Iterator[None]:
    """Errors of coldseek that come out of here are told in the words of Python. A decorator too."""
    try:
        yield
    except ColdseekError as error:
        error.args = (in_python(str(error)), *error.args[1:])
        raise
