"""Ranges of a file with what they are, a code each: put one after another, merged, laid over each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from profiler.images.cells import Codes
from profiler.images.map import Layout, owners
from profiler.images.source import Image, Offsets

Ranges = tuple[Offsets, Offsets, Codes]
"""Where each starts and ends (bytes), and its code."""


def painted(image: Image, layers: Sequence[tuple[int, int, str]], rest: str) -> Layout:
    """The layout of a few ranges that may lie over each other, the first on top; `rest`: what is left."""
    size = image.size
    cut = [(max(0, start), min(end, size), kind) for start, end, kind in layers]
    cut = [layer for layer in cut if layer[0] < layer[1]]
    edges = sorted({0, size, *(edge for start, end, _ in cut for edge in (start, end))})
    place = {edge: at for at, edge in enumerate(edges)}
    names = tuple(dict.fromkeys((rest, *(kind for _, _, kind in cut))))
    codes: Codes = np.zeros(len(edges) - 1, np.uint8)
    for start, end, kind in reversed(cut):
        codes[place[start] : place[end]] = names.index(kind)
    bounds = np.array(edges, np.int64)
    return Layout(*merged(bounds[:-1], bounds[1:], codes), names)


def joined(parts: list[Ranges]) -> Ranges:
    """The ranges of all parts, one part after another."""
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint8)
    starts, ends = (np.concatenate([part[n] for part in parts]) for n in range(2))
    return starts, ends, np.concatenate([part[2] for part in parts])


def merged(starts: Offsets, ends: Offsets, codes: Codes) -> Ranges:
    """Neighbours of one code made one."""
    if not len(starts):
        return starts, ends, codes
    differ = (codes[1:] != codes[:-1]) | (starts[1:] != ends[:-1])
    fresh = np.flatnonzero(np.concatenate([np.ones(1, bool), differ]))
    last = np.append(fresh[1:], len(starts)) - 1
    return starts[fresh], ends[last], codes[fresh]


def overlaid(
    starts: Offsets, ends: Offsets, codes: Codes, over: Offsets, over_ends: Offsets, over_codes: Codes
) -> Ranges:
    """Ranges without gaps, with others laid over them where these are."""
    if not len(over) or not len(starts):
        return starts, ends, codes
    low, high = int(starts[0]), int(ends[-1])
    first, last = np.searchsorted(over_ends, low, "right"), np.searchsorted(over, high, "left")
    over, over_ends, over_codes = over[first:last], over_ends[first:last], over_codes[first:last]
    if not len(over):
        return starts, ends, codes
    edges = np.unique(np.clip(np.concatenate([starts, ends[-1:], over, over_ends]), low, high))
    lefts, rights = edges[:-1], edges[1:]
    under = codes[np.searchsorted(starts, lefts, "right") - 1]
    found = owners(lefts, over, over_ends)
    made: Codes = np.where(found >= 0, over_codes[found], under).astype(np.uint8)
    return merged(lefts, rights, made)
