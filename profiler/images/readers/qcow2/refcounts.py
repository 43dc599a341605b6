"""The refcounts of a qcow2 image: a table of blocks, in which each cluster of the file is counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from profiler.images.build import Builder
from profiler.images.readers.qcow2.header import Header
from profiler.images.readers.qcow2.words import CHUNK, words
from profiler.images.source import Image, Offsets, gather
from profiler.units import show_count

MAX_REFCOUNT_TABLE_BYTES = 8 << 20
"""QEMU's own bound."""
_MAX_REFCOUNT_BYTES = 512 << 20
_MAX_REFCOUNT_BLOCKS = 1 << 18


def claim_refcounts(image: Image, builder: Builder, header: Header) -> tuple[Offsets, Offsets]:
    """Claim the refcount table and its blocks: where these lie, and the number of each."""
    nothing = np.empty(0, np.int64), np.empty(0, np.int64)
    offset, clusters = header.refcounts
    if not clusters:
        builder.lacks("the image has no refcount table")
        return nothing
    if offset % header.cluster:
        builder.note(f"the refcount table at offset {offset:,} does not start where a cluster does")
        return nothing
    length = clusters * header.cluster
    if length > MAX_REFCOUNT_TABLE_BYTES:
        builder.lacks(
            f"a refcount table of {show_count(length)} bytes is too long; the first 8 MiB are used"
        )
        length = MAX_REFCOUNT_TABLE_BYTES
    builder.claim("refcount table", offset, length)
    table = words(image, offset, length // 8, 0)
    found = (table & ~np.uint64(511)).view(np.int64)  # beyond 2^63 it is negative, so outside
    number = np.flatnonzero(found)
    found = found[number]
    good = builder.within("refcount block", found)
    found, number = found[good], number[good]
    ordered, once = np.unique(found, return_index=True)
    if len(ordered) < len(found):
        builder.note("the refcount table names some of its blocks more than once")
    free = builder.claim_cells("refcount block", ordered >> header.cluster_bits)
    return ordered[free], number[once][free].astype(np.int64)


def compare_refcounts(
    image: Image,
    builder: Builder,
    header: Header,
    blocks: tuple[Offsets, Offsets],
    facts: dict[str, Any],
) -> None:
    """Compare the refcounts with what was found: what is counted and nobody points to has leaked."""
    if header.refcount_order > 6:
        return
    offsets, numbers = blocks
    width = 1 << header.refcount_order
    per_block = header.cluster * 8 // width
    used = numbers < -(-builder.cells.count // per_block)
    offsets, numbers = offsets[used], numbers[used]
    if len(offsets) * header.cluster > _MAX_REFCOUNT_BYTES or len(offsets) > _MAX_REFCOUNT_BLOCKS:
        builder.lacks("there are more refcounts than are read; what has leaked is not known throughout")
        return
    labelled, counted, leaked = builder.cells.claimed(), 0, 0
    step = max(1, min(CHUNK // header.cluster, CHUNK // per_block))
    for first in range(0, len(offsets), step):
        rows, _ = gather(image, offsets[first : first + step], header.cluster)
        inside = _not_zero(rows, width)
        number = numbers[first : first + step]
        breaks = np.flatnonzero(np.diff(number) != 1) + 1
        for low, high in zip([0, *breaks.tolist()], [*breaks.tolist(), len(number)], strict=True):
            start = int(number[low]) * per_block
            cells = np.arange(start, min(start + (high - low) * per_block, builder.cells.count))
            counts = inside[low:high].reshape(-1)[: len(cells)]
            cells = cells[counts]
            codes = builder.cells.get(cells)
            free = cells[codes == 0]
            counted += len(cells) - len(free)
            if len(free):
                leaked += len(free)
                builder.claim_cells("leaked cluster", free)
    facts["leaked_clusters"] = leaked
    if leaked:
        builder.note(f"clusters that are counted as used but nobody points to: {show_count(leaked)}")
    if counted < labelled:
        builder.note(f"clusters that are used but counted as free: {show_count(labelled - counted)}")


def _not_zero(rows: npt.NDArray[np.uint8], width: int) -> npt.NDArray[np.bool_]:
    """Which refcounts are above 0, a row a block: entries of `width` bits, the lowest bits first."""
    if width >= 8:
        found: npt.NDArray[np.bool_] = rows.view(f">u{width // 8}") != 0
        return found
    bits = np.unpackbits(rows, axis=1, bitorder="little")
    if width == 1:
        return bits.view(np.bool_)
    some: npt.NDArray[np.uint8] = bits.reshape(len(rows), -1, width).max(axis=2)
    return some.view(np.bool_)
