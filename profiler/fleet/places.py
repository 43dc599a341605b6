"""Where the traces of a fleet lie: files, folders and patterns here, and what fsspec reaches by a URL."""

from __future__ import annotations

import datetime
import glob
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from profiler.errors import ColdseekError, UsageError
from profiler.facts.fleet import Place
from profiler.files.reading import open_regular
from profiler.fleet.extra import needed
from profiler.trace import SUFFIX
from profiler.units import show_bytes, show_path

MOST_BYTES = 4 * 2**30
"""Of a trace: a larger one is not read into memory."""

SETTLED_NS = 2 * 10**9
"""A file may change once more within one tick of its file system's clock, which is as long on some: what
changed so shortly before it was looked at is looked at again."""

_PATTERN = frozenset("*?[")


def find(names: Iterable[str], now_ns: int) -> list[Place]:
    """The traces that these names stand for, each once, by name. A folder stands for all `.trace.parquet`
    files in it and below; links to folders are not followed. now_ns: since 1970.

    Raises UsageError for a name that stands for none, ColdseekError for a URL that cannot be reached.
    """
    known: dict[str, Place] = {}
    for name in names:
        places = list(_of_url(name) if is_url(name) else _of_files(name))
        if not places:
            raise UsageError(
                f"{show_path(name)}: no trace is there; name a folder, a pattern, or a file (*{SUFFIX})"
            )
        for place in places:
            settled = place.changed_ns is not None and place.changed_ns < now_ns - SETTLED_NS
            known[place.name] = place if settled else Place(place.name, place.size, None)
    return [known[name] for name in sorted(known)]


def read(name: str) -> bytes:
    """The bytes of a trace. Raises OSError, ColdseekError, and whatever the library of a URL raises."""
    opened = needed("fsspec").open(name, "rb") if is_url(name) else open_regular(name)
    with opened as file:
        data: bytes = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ColdseekError(f"it is larger than {show_bytes(MOST_BYTES)}; record a shorter run")
    return data


def is_url(name: str) -> bool:
    return "://" in name


def _of_files(name: str) -> Iterator[Place]:
    path = os.path.abspath(name)
    if os.path.isdir(path):
        for folder, _, files in os.walk(path):
            for file in files:
                if file.endswith(SUFFIX):
                    yield from _place(os.path.join(folder, file))
    elif os.path.lexists(path):
        yield from _place(path)
    elif _PATTERN & set(name):
        for each in glob.iglob(path, recursive=True):
            if not os.path.isdir(each):
                yield from _place(each)


def _place(path: str) -> Iterator[Place]:
    try:
        facts = os.stat(path)
    except OSError:
        yield Place(path, None, None)  # it is told why when it is read
        return
    if not stat.S_ISREG(facts.st_mode):
        yield Place(path, None, None)
        return
    yield Place(path, facts.st_size, facts.st_mtime_ns)


def _of_url(url: str) -> Iterator[Place]:
    core = needed("fsspec.core")
    try:
        system, path = core.url_to_fs(url)
        if _PATTERN & set(url):
            entries = system.glob(path, detail=True)
        elif system.isdir(path):
            entries = system.find(path, detail=True)
            entries = {name: facts for name, facts in entries.items() if name.endswith(SUFFIX)}
        elif system.exists(path):
            entries = {path: system.info(path)}
        else:
            entries = {}
        for name, facts in entries.items():
            if facts.get("type") != "directory":
                yield Place(system.unstrip_protocol(name), _size(facts), _changed_ns(facts))
    except (OSError, ImportError, ValueError, KeyError, RuntimeError) as error:
        words = show_path(str(error).strip().split("\n")[0][:200] or type(error).__name__)
        raise ColdseekError(
            f"cannot list {show_path(url)}: {words}; see the fsspec of that protocol"
        ) from error


def _size(facts: Mapping[str, Any]) -> int | None:
    size = facts.get("size")
    return size if isinstance(size, int) and size >= 0 else None


def _changed_ns(facts: Mapping[str, Any]) -> int | None:
    """What file systems of fsspec call the time of the last change differs."""
    for name in ("mtime", "LastModified", "last_modified", "updated"):
        value = facts.get(name)
        if isinstance(value, datetime.datetime):
            return int(value.timestamp() * 1e6) * 1000
        if isinstance(value, int | float) and not isinstance(value, bool):
            return int(value * 1e6) * 1000
    return None
