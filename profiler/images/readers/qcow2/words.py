"""Tables of qcow2: 64-bit words, big-endian, each with an offset of the file and flags."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from profiler.images.source import Image, take

OFFSET = np.uint64(0x00FF_FFFF_FFFF_FE00)
"""The bits of a word that are an offset."""
CHUNK = 2 << 20
"""Bytes of tables that are held at once."""
MAX_ENTRIES = 16 << 20
"""Of all L1 tables together, and of all bitmap tables."""
MAX_LIST_BYTES = 64 << 20
"""Of the snapshot table, of the bitmap directory."""
MAX_NAMES = 10
"""Of snapshots and of bitmaps that are told, to name one in a command."""


def words(image: Image, offset: int, count: int, first: int) -> npt.NDArray[np.uint64]:
    """Words `first` to `count` of the table at `offset`, at most a chunk of them; fewer where the file
    ends."""
    length = min(count - first, CHUNK // 8) * 8
    raw = take(image, offset + first * 8, length)
    return np.frombuffer(raw, ">u8", len(raw) // 8).astype(np.uint64)
