"""Which files and structures make the difference between two starts: new, gone, grown or shrunk."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile

from profiler.facts.starts import Part

NEW, GONE, GREW, SHRANK = KINDS = ("new", "gone", "grew", "shrank")

LEAST_REQUESTS, LEAST_SHARE = 2, 0.01
"""A file grew or shrank if it has so many requests more or fewer, or, with as many of them, so large a share
of its bytes: one request more or less is how large ones are split."""

TOGETHER = 3
"""So many new or gone files of one folder are told in one line."""

Counts = Mapping[Part, tuple[int, int]]


@dataclass(frozen=True)
class Change:
    """kind: one of KINDS. path: of a file, or of the folder of several new or gone ones, which are told
    together. structure: of an image, "" of a whole file. requests, bytes: the difference."""

    kind: str
    path: bytes
    structure: str
    files: int
    requests: int
    bytes: int


def changes(before: Counts, now: Counts) -> tuple[Change, ...]:
    """The dearest first."""
    found = [
        *_whole(NEW, now, before, 1),
        *_whole(GONE, before, now, -1),
        *_sized(before, now),
    ]
    return tuple(
        sorted(found, key=lambda one: (-abs(one.requests), -abs(one.bytes), one.path, one.structure))
    )


def _whole(kind: str, these: Counts, others: Counts, sign: int) -> Iterable[Change]:
    """The files that the others do not have, by the topmost folder that holds no file of theirs, else by
    their own."""
    known = {path for path, _ in others}
    # one that most runs do not read is no file of the start
    only: dict[bytes, tuple[int, int]] = {}
    for (path, _), counts in these.items():
        if path not in known and any(counts):
            requests, size = only.get(path, (0, 0))
            only[path] = requests + counts[0], size + counts[1]
    taken = {folder for path in known for folder in _folders(path)}
    groups: dict[bytes, list[bytes]] = defaultdict(list)
    for path in only:
        folders = _folders(path)
        groups[next((one for one in folders if one not in taken), os.path.dirname(path))].append(path)
    for paths in groups.values():
        for some in [paths] if len(paths) >= TOGETHER else [[path] for path in paths]:
            requests, size = (sum(only[path][place] for path in some) for place in (0, 1))
            name = some[0] if len(some) == 1 else _common(some)
            yield Change(kind, name, "", len(some), sign * requests, sign * size)


def _common(paths: list[bytes]) -> bytes:
    """The folder that holds all of these."""
    folders = [os.path.dirname(path).split(b"/") for path in paths]
    shared = takewhile(lambda names: len(set(names)) == 1, zip(*folders, strict=False))
    return b"/".join(names[0] for names in shared)


def _folders(path: bytes) -> list[bytes]:
    """The folders that a path lies in, the topmost first, without the root and the command's own."""
    parts = path.split(b"/")
    ends = range(2, len(parts))
    return [b"/".join(parts[:end]) for end in ends]


def _sized(before: Counts, now: Counts) -> Iterable[Change]:
    """The parts that both have, or of whose file both have some."""
    paths = {path for path, _ in before} & {path for path, _ in now}
    for part in dict.fromkeys((*before, *now)):
        was, is_now = before.get(part, (0, 0)), now.get(part, (0, 0))
        requests, size = is_now[0] - was[0], is_now[1] - was[1]
        by_bytes = requests == 0 and abs(size) > LEAST_SHARE * was[1]
        if part[0] in paths and (abs(requests) >= LEAST_REQUESTS or by_bytes):
            grew = (requests, size) > (0, 0)
            yield Change(GREW if grew else SHRANK, *part, 1, requests, size)
