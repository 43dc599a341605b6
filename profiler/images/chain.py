"""The files that make up one disk: an image, its external data file, its backing file, that one's ...

The names stand in the images, so they are as hostile as the rest: the caller's opener decides what may be
opened, and nothing here opens anything by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np

from profiler.facts.structures import UNALLOCATED
from profiler.images import extents, formats
from profiler.images.build import safe
from profiler.images.map import MAX_RANGES, Extent, Map, Placed
from profiler.images.names import named
from profiler.images.ranges import painted
from profiler.images.runs import Wanted
from profiler.images.source import Image
from profiler.units import show_path

MAX_DEPTH = 64
MAX_FILES = 4096
"""Files of all disks of a chain together."""


@dataclass(frozen=True)
class Opened:
    """A file that an opener gave. name: where names within it start from. identity: the same for the same
    file, such as device and inode."""

    image: Image
    name: str
    identity: Hashable


@dataclass(frozen=True)
class Link:
    """One file of a chain and its map. front: number of the file that names it; None: the first. part:
    whether it holds data of that file's own disk, and not of one behind it: an extent, an external data
    file."""

    opened: Opened
    map: Map
    front: int | None = None
    part: bool = False


Opener = Callable[[str, str], Opened | str]
"""Opens the file that an image names: (name, name of that image, "" where a relative name starts from the
folder of the program) -> the file, or why not in a few words; "" where nothing is to be said of it."""


def chain(
    first: Opened,
    opener: Opener,
    wanted: Callable[[Opened], Wanted | None] = lambda _: None,
    format: str | None = None,
) -> tuple[list[Link], tuple[str, ...]]:
    """The maps of `first` and of all files that it needs, and notes on what could not be followed.

    wanted: see `formats.read`. format: that of `first`, where it is declared; None: told from its bytes.
    A file that is behind itself ends the chain, as do MAX_DEPTH images. Raises nothing of its own.
    """
    links: list[Link] = []
    notes: list[str] = []
    seen: set[Hashable] = set()
    at, declared, front = first, format, None

    def follow(name: str, what: str) -> tuple[Opened, str] | None:
        """The file that `at` names, if it is none of the chain yet, and the format declared in the name."""
        found = _follow(name, at, opener)
        if isinstance(found, str):
            if found:
                notes.append(f"the {what} of {show_path(at.name)}, {safe(name)}: {found}")
            return None
        if found[0].identity in seen:
            loop = ": a loop" if what == "backing file" else ""
            notes.append(f"the {what} of {show_path(at.name)} is part of the chain already{loop}")
            return None
        seen.add(found[0].identity)
        return found

    seen.add(at.identity)
    for depth in range(1, MAX_DEPTH + 1):
        made = formats.read(at.image, declared, wanted(at))
        if links and front is not None:
            notes.extend(_strangers(links[front], Link(at, made)))
        this = len(links)
        links.append(Link(at, made, front))
        if made.data_file and (found := follow(made.data_file, "data file")):
            links.append(Link(found[0], _outside(found[0].image, made), this, part=True))
        for extent in made.extents:
            layer: Extent | None = extent
            before = this
            while layer is not None:
                if len(links) >= MAX_FILES:
                    notes.append(f"the chain has more than {MAX_FILES} files; the rest is left out")
                    return links, tuple(notes)
                if not (found := follow(layer.name, "extent")):
                    break
                held = extents.read(found[0].image, made.format, layer, wanted(found[0]))
                links.append(Link(found[0], held, before, part=layer is extent))
                layer, before = layer.behind, len(links) - 1
        if not made.backing:
            break
        if depth == MAX_DEPTH:
            notes.append(f"the chain of backing files is longer than {MAX_DEPTH}; the rest is left out")
            break
        found = follow(made.backing, "backing file")
        if not found:
            break
        at, declared, front = found[0], found[1] or made.backing_format or None, this
    return links, tuple(notes)


def _follow(name: str, image: Opened, opener: Opener) -> tuple[Opened, str] | str:
    """The file of this name, and the format that the name declares."""
    meant = named(name)
    if meant.remote:
        return f"it is remote ({meant.remote}), so no read of it is a read of a file"
    if meant.reason:
        return meant.reason
    found = opener(meant.path, "" if meant.anywhere else image.name)
    return found if isinstance(found, str) else (found, meant.format)


def _strangers(front: Link, link: Link) -> list[str]:
    """Whether the file behind an image is another one than that which it was made on."""
    expected, known = front.map.facts.get("parent_id", ""), link.map.facts.get("id", "")
    if not expected or not known or expected == known:
        return []
    return [
        f"{show_path(link.opened.name)} is not what {show_path(front.opened.name)} was made on, or has "
        f"changed since: its ID is {safe(known)}, and {safe(expected)} is expected"
    ]


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
