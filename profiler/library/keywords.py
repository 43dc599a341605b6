"""Errors in the words of Python: rooms below name options of the command; people here pass parameters."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from profiler.errors import ColdseekError

KEYWORDS = {
    "--after": "after", "--as-root": "owner=None", "--baseline": "baseline", "--before": "before",
    "--beside": "beside", "--budget": "budget", "--by": "by", "--cache": "cache", "--copies": "copies",
    "--device": "device", "--evict": "evict", "--for": "seconds", "--grace": "grace", "--image": "image",
    "--in": "least", "--layer": "layer", "--limit": "limits", "--on": "on", "--order": "order",
    "--own": "own", "--runs": "runs", "--save": "save", "--stop": "stop=True", "--timeout": "timeout",
    "--tracer": "tracer", "--until": "until", "--update": "update=True", "--with": "targets",
}  # fmt: skip
"""Option of the command -> parameter of the library."""

VALUES = frozenset(
    [
        "all",
        "auto",
        "cold",
        "device",
        "files",
        "info",
        "kernel",
        "keep",
        "map",
        "ptrace",
        "strace",
        "syscall",
        "time",
        "warm",
    ]
)
"""Words that are values of such options, and so are in quotation marks in Python."""

_COMMAND = re.compile(r"coldseek (check|record) (--[a-z-]+)")
_OPTION = re.compile(r"(?<![\w-])(--[a-z-]+)(?![\w-])(?:(?: |=)([a-z]+)\b)?")


def in_python(words: str) -> str:
    """The same with parameters in place of options.

    >>> in_python("only root can drop the whole page cache; use sudo, or --evict files")
    "only root can drop the whole page cache; use sudo, or evict='files'"
    """
    return _OPTION.sub(_keyword, _COMMAND.sub(r"\1(..., \2)", words))


def _keyword(option: re.Match[str]) -> str:
    name, word = option[1], option[2] or ""
    if name not in KEYWORDS:
        return option[0]
    keyword = KEYWORDS[name]
    if word in VALUES and "=" not in keyword:
        return f"{keyword}={word!r}"
    return f"{keyword}{option[0].removeprefix(name)}"


@contextlib.contextmanager
def words_of_python() -> Iterator[None]:
    """Errors of coldseek that come out of here are told in the words of Python. A decorator too."""
    try:
        yield
    except ColdseekError as error:
        error.args = (in_python(str(error)), *error.args[1:])
        raise
