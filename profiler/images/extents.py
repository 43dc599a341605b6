"""The files that a descriptor names, VMDK's or Parallels': their data has the places of the disk that they
make up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from profiler.facts.structures import UNALLOCATED
from profiler.images.map import MAX_RANGES, Extent, Map, Placed
from profiler.images.ranges import painted
from profiler.images.readers import parallels, parallels_descriptor, vmdk, vmdk_descriptor
from profiler.images.runs import Wanted
from profiler.images.source import Image

_FLAT = vmdk_descriptor.FLAT | {parallels_descriptor.PLAIN}
_READERS = {"vmdk": vmdk.read, "parallels": parallels.read}
_SPARSE = {"vmdk": "sparse extent", "parallels": "expandable disk"}


def read(image: Image, format: str, part: Extent, wanted: Wanted | None = None) -> Map:
    """The map of such a file. format: of the descriptor, "vmdk" or "parallels"."""
    if part.kind in _FLAT:
        return _flat(image, format, part)
    found = _READERS[format](image, wanted)
    guest, _, length = part.pieces[0]
    notes = found.notes
    if len(part.pieces) > 1:
        notes = (*notes, "the disk is described to hold this file more than once; the first place counts")
    if not found.facts.get("virtual_size"):
        notes = (*notes, f"this is no {_SPARSE[format]}, though the descriptor calls it one")
    placed = found.placed
    keep = placed.guest < length
    placed = Placed(placed.starts[keep], placed.lengths[keep], placed.guest[keep] + guest)
    # the descriptor says what is behind the disk
    return replace(found, placed=placed, notes=notes, backing="", extents=())


def _flat(image: Image, format: str, part: Extent) -> Map:
    """The guest's bytes as they are. Of places that are claimed twice the first has it."""
    pieces = sorted((start, min(start + length, image.size), guest) for guest, start, length in part.pieces)
    runs: list[tuple[int, int, int]] = []
    notes = []
    if any(start + length > image.size for _, start, length in part.pieces):
        notes.append("the file is shorter than the descriptor says")
    end = 0
    for start, stop, guest in pieces:
        if start < end:
            notes.append("two parts of the disk are described to lie in one place")
        if max(start, end) < stop:
            runs.append((max(start, end), stop, guest + max(0, end - start)))
            end = stop
    starts, ends, guests = np.array(runs, np.int64).reshape(-1, 3).T
    layout = painted(image, [(start, stop, "data") for start, stop, _ in runs[:MAX_RANGES]], UNALLOCATED)
    facts = {"subformat": part.kind, "virtual_size": sum(length for *_, length in part.pieces)}
    return Map(format, facts, layout, Placed(starts, ends - starts, guests), tuple(dict.fromkeys(notes)))
