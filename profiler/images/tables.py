"""Two levels of tables, as most formats have them: a directory of where the tables lie, and in these where
the data lies."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from profiler.images.build import Builder
from profiler.images.source import Image, Offsets, gather
from profiler.units import show_count

MAX_BYTES = 1 << 30
"""So much of the tables of an image is read."""

_AT_ONCE = 2 << 20  # bytes


def distinct(
    builder: Builder, kind: str, offsets: Offsets, index: Offsets, length: int
) -> tuple[Offsets, Offsets]:
    """The tables of `length` bytes that are read: where they lie, rising, each once, and its number in the
    directory."""
    offsets, once = np.unique(offsets, return_index=True)
    index, room = index[once], MAX_BYTES // length
    if len(offsets) > room:
        builder.lacks(f"of {show_count(len(offsets))} {kind}s the first {show_count(room)} are read")
    return offsets[:room], index[:room]


def entries(
    image: Image, builder: Builder, kind: str, offsets: Offsets, index: Offsets, length: int, word: str
) -> Iterator[tuple[npt.NDArray[np.uint64], Offsets]]:
    """Of some of the distinct tables at a time their entries, of the type `word`, and which of all entries
    of the disk each is."""
    each = length // np.dtype(word).itemsize
    step = max(1, _AT_ONCE // length)
    for first in range(0, len(offsets), step):
        rows, short = gather(image, offsets[first : first + step], length)
        if short:
            builder.lacks(f"the file ends within its {kind}s")
        number = index[first : first + step, None] * each + np.arange(each)
        yield rows.reshape(-1).view(word).astype(np.uint64), number.reshape(-1)
