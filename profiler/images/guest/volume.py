"""A part of a disk as a disk of its own: a partition."""

from __future__ import annotations

from profiler.images.source import Image, take


class Volume:
    """The bytes [start, end) of an image."""

    def __init__(self, image: Image, start: int, end: int) -> None:
        self._image, self._start = image, start
        self.size = max(0, min(end, image.size) - start)

    def read(self, offset: int, length: int) -> bytes:
        return take(self._image, self._start + offset, min(length, self.size - offset))
