"""What the shell offers where a value is to be completed. Nothing here loads what takes long."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

_TARGETS = ("pid:", "unit:", "container:", "cgroup:", "user:", "all", "none")
_DEVICE_FILES = (".toml", ".json")


def values(*words: str) -> Callable[[str], list[str]]:
    """A function that offers those of these words that begin so."""

    def offered(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return offered


def targets(incomplete: str) -> list[str]:
    """What can be watched; behind user: the names of the users."""
    if not incomplete.startswith("user:"):
        return values(*_TARGETS)(incomplete)
    import pwd

    return values(*sorted(f"user:{user.pw_name}" for user in pwd.getpwall()))(incomplete)


def devices(incomplete: str) -> list[str]:
    """The names of the presets, and device files."""
    import profiler

    folder = os.path.join(os.path.dirname(profiler.__file__), "devices", "presets")
    presets = [name.removesuffix(".toml") for name in _listed(folder) if name.endswith(".toml")]
    return [*values(*presets)(incomplete), *_files(incomplete, _DEVICE_FILES)]


def traces(incomplete: str) -> list[str]:
    """Traces, in whatever folder was typed."""
    from profiler.cli.traces import SUFFIX

    return _files(incomplete, (SUFFIX,))


def _files(incomplete: str, endings: tuple[str, ...]) -> list[str]:
    """Files that end so, and the folders on the way to more of them."""
    folder, begin = os.path.split(incomplete)
    found = []
    for name in _listed(folder or "."):
        path = os.path.join(folder, name)
        if not name.startswith(begin) or (name.startswith(".") and not begin) or not name.isprintable():
            continue
        if name.endswith(endings):
            found.append(path)
        elif begin and os.path.isdir(path):
            found.append(path + "/")
    return found


def _listed(folder: str) -> list[str]:
    with suppress(OSError):
        return sorted(os.listdir(folder))
    return []
