"""The command within those that only run another: sudo, env, nice and their kin."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

_WRAPPERS = {
    "sudo": (
        "ugpCrtTUDRha",
        ("user", "group", "prompt", "close-from", "role", "type", "chdir", "chroot", "host"),
        0,
    ),
    "doas": ("uCa", (), 0),
    "env": ("uC", ("unset", "chdir"), 0),
    "nice": ("n", ("adjustment",), 0),
    "ionice": ("cn", ("class", "classdata"), 0),
    "timeout": ("ks", ("kill-after", "signal"), 1),
    "nohup": ("", (), 0),
    "setsid": ("", (), 0),
    "stdbuf": ("ioe", ("input", "output", "error"), 0),
    "time": ("fo", ("format", "output"), 0),
    "chrt": ("TPD", ("sched-runtime", "sched-period", "sched-deadline"), 1),
    "taskset": ("", (), 1),
}  # fmt: skip
"""Programs that run another: letters and names of the options that take a value, and the arguments before
the command (their manuals)."""

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)


def unwrapped(command: Sequence[str]) -> list[str]:
    """The command that wrappers such as sudo or timeout run in the end; [] where that cannot be told."""
    words = list(command)
    while words and (name := os.path.basename(words[0])) in _WRAPPERS:
        letters, names, before = _WRAPPERS[name]
        rest, at = words[1:], 0
        while at < len(rest) and (rest[at].startswith("-") or _is_assignment(name, rest[at])):
            word = rest[at]
            at += 1
            if word == "--":
                while at < len(rest) and _is_assignment(name, rest[at]):
                    at += 1
                break
            if name == "env" and word.startswith(("-S", "--split-string")):
                return []
            at += takes_next(word, letters, names)
        words = rest[at + before :]
    return words


def _is_assignment(wrapper: str, word: str) -> bool:
    return wrapper in ("env", "sudo") and bool(_ASSIGNMENT.fullmatch(word))


def takes_next(option: str, letters: str, names: Iterable[str]) -> bool:
    """Whether the value of an option is the word behind it. In `-xu`, u may take it; in `-ux`, x is it."""
    if option.startswith("--"):
        return option[2:] in names
    for at, letter in enumerate(option[1:], 2):
        if letter in letters:
            return at == len(option)
    return False
