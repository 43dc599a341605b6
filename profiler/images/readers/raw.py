"""A raw image: its partitions, and what each holds. Offsets in the file are those of the guest."""

from __future__ import annotations

import numpy as np

from profiler.images.guest.partitions import partitions
from profiler.images.guest.signatures import READ_ONLY, signature
from profiler.images.guest.volume import Volume
from profiler.images.map import Map, Placed
from profiler.images.ranges import painted
from profiler.images.runs import Wanted
from profiler.images.source import Image


def read(image: Image, wanted: Wanted | None = None) -> Map:
    """The map of a raw image. Raises nothing: what is wrong with the image becomes a note."""
    notes: list[str] = []
    tables, parts = partitions(image, notes)
    layers, systems = list(tables), []
    for start, end in parts or [(0, image.size)]:
        found = signature(Volume(image, start, end))
        if found:
            layers.append((start + found.start, start + found.end, found.mark))
            systems.append(found.name)
        if parts or found:
            layers.append((start, end, found.kind if found else "partition"))
    layout = painted(image, layers, "outside partitions" if parts else "data")
    facts = {"virtual_size": image.size, "partitions": len(parts), "file_systems": systems}
    return Map("raw", facts, layout, _same(image.size), tuple(notes))


def is_disk(image: Image) -> bool:
    """Whether the bytes say that this is a disk: it has partitions, or starts as what a disk holds does."""
    found = signature(image)
    return bool(partitions(image, [])[1]) or (found is not None and found.name not in READ_ONLY)


def _same(size: int) -> Placed:
    """The file is the guest's disk."""
    some = min(1, size)
    return Placed(np.zeros(some, np.int64), np.full(some, size), np.zeros(some, np.int64))
