"""The files that make up one disk: an image, its external data file, its backing file, that one's ...

The names stand in the images, so they are as hostile as the rest: the caller's opener decides what may be
opened, and nothing here opens anything by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np

from profiler.images import formats
from profiler.images.build import Wanted, painted, safe
from profiler.images.image import Image
from profiler.images.map import MAX_RANGES, UNALLOCATED, Map, Placed
from profiler.units import show_path

MAX_DEPTH = 64


@dataclass(frozen=True)
class Opened:
    """A file that an opener gave. name: where names within it start from. identity: the same for the same
    file, such as device and inode."""

    image: Image
    name: str
    identity: Hashable


@dataclass(frozen=True)
class Link:
    """One file of a chain and its map."""

    opened: Opened
    map: Map


Opener = Callable[[str, str], Opened | str]
"""Opens the file that an image names: (name, name of that image) -> the file, or why not in a few words; ""
where nothing is to be said of it."""


def chain(
    first: Opened,
    opener: Opener,
    wanted: Callable[[Opened], Wanted | None] = lambda _: None,
    format: str | None = None,
) -> tuple[list[Link], tuple[str, ...]]:
    """The maps of `first` and of all files behind it, and notes on what could not be followed.

    wanted: see `formats.read`. format: that of `first`, where it is declared; None: told from its bytes.
    A file that is behind itself ends the chain, as do MAX_DEPTH files. Raises nothing of its own.
    """
    links: list[Link] = []
    notes: list[str] = []
    seen: set[Hashable] = set()
    at, declared = first, format
    while True:
        seen.add(at.identity)
        made = formats.read(at.image, declared, wanted(at))
        links.append(Link(at, made))
        if made.data_file:
            data = _follow(made.data_file, at, opener)
            if data == "":
                pass
            elif isinstance(data, str):
                notes.append(f"the data file of {show_path(at.name)}, {safe(made.data_file)}: {data}")
            elif data.identity in seen:
                notes.append(f"the data file of {show_path(at.name)} is part of the chain already")
            else:
                seen.add(data.identity)
                links.append(Link(data, _outside(data.image, made)))
        if not made.backing:
            return links, tuple(notes)
        if len(links) >= MAX_DEPTH:
            notes.append(f"the chain of backing files is longer than {MAX_DEPTH}; the rest is left out")
            return links, tuple(notes)
        found = _follow(made.backing, at, opener)
        if isinstance(found, str):
            if found:
                notes.append(f"the backing file of {show_path(at.name)}, {safe(made.backing)}: {found}")
            return links, tuple(notes)
        if found.identity in seen:
            notes.append(f"the backing file of {show_path(at.name)} is part of the chain already: a loop")
            return links, tuple(notes)
        at, declared = found, made.backing_format or None


def _follow(name: str, image: Opened, opener: Opener) -> Opened | str:
    """What QEMU would take for a protocol has a colon before its first slash; only files are followed."""
    plain = name.removeprefix("file:")
    if name.startswith("json:") or re.match(r"[^/]*:", plain):
        return "no plain file, so not followed"
    return opener(plain, image.name)


def _outside(image: Image, made: Map) -> Map:
    """The map of an external data file: data where the image in front of it says so."""
    notes: tuple[str, ...] = ()
    runs = made.outside
    starts, ends = runs.starts, np.minimum(runs.starts + runs.lengths, image.size)
    keep = starts < ends
    placed = Placed(starts[keep], (ends - starts)[keep], runs.guest[keep])
    if len(starts) > MAX_RANGES // 2:
        starts, ends = starts[: MAX_RANGES // 2], ends[: MAX_RANGES // 2]
        notes = ("data lies in so many pieces that only the first are labelled",)
    layers = [
        (start, end, "data cluster") for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    ]
    facts = {"virtual_size": made.facts.get("virtual_size", 0)}
    return Map("raw", facts, painted(image, layers, UNALLOCATED), placed, notes)
