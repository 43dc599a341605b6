"""Columns of whole numbers as a page carries them: byte planes, deflated, as base64.

A column is cut into planes, the lowest byte of all its values first, then the next: planes of equal bytes
take next to nothing. A browser inflates them itself (DecompressionStream, "deflate-raw").
"""

from __future__ import annotations

import binascii
import json
import zlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

LEVEL = 4
"""Of zlib. At 6 a page is 3% smaller and takes twice the time (a million reads, measured)."""


_THREADS = 2
"""zlib works beside Python; more threads would hold more columns in memory at once."""


class Pack:
    """The blocks of a page. What is put in gives a plain value that names it, for the page's own facts."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS)
        self._blocks: list[Future[bytes]] = []

    @property
    def blocks(self) -> list[bytes]:
        return [block.result() for block in self._blocks]

    def column(self, values: npt.NDArray[np.integer], signed: bool = False) -> dict[str, int]:
        """Whole numbers, not negative unless `signed`: then zigzag, 0, -1, 1, -2 as 0, 1, 2, 3."""
        if signed:
            values = values.astype(np.int64)
            values = (values << 1) ^ (values >> 63)
        planes = max((int(values.max()).bit_length() + 7) // 8, 1) if len(values) else 1
        width = values.dtype.itemsize
        raw = np.ascontiguousarray(values, f"<i{width}").view(np.uint8).reshape(len(values), width)
        block = self._add([raw[:, plane].tobytes() for plane in range(planes)])
        return {"block": block, "rows": len(values), "planes": planes, "signed": int(signed)}

    def facts(self, value: Any) -> int:
        """Any JSON value; NaN is none of it."""
        return self._add([json.dumps(value, allow_nan=False, separators=(",", ":")).encode()])

    def base64(self) -> list[str]:
        """The text of each block."""
        return [binascii.b2a_base64(block, newline=False).decode() for block in self.blocks]

    def _add(self, parts: Sequence[bytes]) -> int:
        self._blocks.append(self._pool.submit(_deflated, parts))
        return len(self._blocks) - 1


def _deflated(parts: Sequence[bytes]) -> bytes:
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -15)
    return b"".join([*map(packer.compress, parts), packer.flush()])
