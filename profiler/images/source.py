"""A disk image as bytes that can be asked for, and the few ways in which its structures are read."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

Offsets = npt.NDArray[np.int64]
"""Byte offsets or numbers of cells."""

_AT_ONCE = 4 << 20  # bytes of one read: neighbouring tables are read together up to this


class Image(Protocol):
    """Bytes at offsets. `read` gives fewer bytes than asked for only where the file ends (or cannot be
    read); it raises nothing."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, length: int) -> bytes: ...


class Held:
    """An image that lies in memory."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def size(self) -> int:
        return len(self._content)

    def read(self, offset: int, length: int) -> bytes:
        return self._content[offset : offset + length]


def take(image: Image, offset: int, length: int) -> bytes:
    """Up to `length` bytes from `offset`: what of them lies within the file, so none where none does."""
    if offset < 0 or length <= 0 or offset >= image.size:
        return b""
    return image.read(offset, min(length, image.size - offset))


def gather(image: Image, offsets: Offsets, length: int) -> tuple[npt.NDArray[np.uint8], int]:
    """Tables of `length` bytes each at rising `offsets`, a row each, and how many of them the file cut short
    (zeros stand for what is missing). Tables that lie side by side are read together.
    """
    rows = np.zeros((len(offsets), length), np.uint8)
    if not len(offsets):
        return rows, 0
    flat, short = rows.reshape(-1), 0
    breaks = np.flatnonzero(np.diff(offsets) != length) + 1
    for first, last in zip([0, *breaks.tolist()], [*breaks.tolist(), len(offsets)], strict=True):
        step = max(1, _AT_ONCE // length)
        for row in range(first, last, step):
            wanted = (min(row + step, last) - row) * length
            found = take(image, int(offsets[row]), wanted)
            flat[row * length : row * length + len(found)] = np.frombuffer(found, np.uint8)
            short += -(-(wanted - len(found)) // length)
    return rows, short


def text(raw: bytes) -> str:
    """A name from an image, as Python holds file names: it ends at the first zero byte."""
    return raw.partition(b"\0")[0].decode("utf-8", "surrogateescape")
