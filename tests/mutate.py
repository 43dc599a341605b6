"""Small images of every format, and what a hostile hand could make of them: for the tests and for
`scripts/fuzz-images`.

The images were made by qemu-img and qemu-io 7.2: `v3.qcow2` has clusters of 512 bytes, two snapshots, two
bitmaps, compressed clusters and a backing file; the names of the others say what they are. Key material was
blanked.
"""

from __future__ import annotations

import lzma
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

from profiler.images import formats
from profiler.images.build import MAX_SIZE
from profiler.images.chain import Opened, chain
from profiler.images.map import MAX_RANGES, Map

FOLDER = Path(__file__).resolve().parent / "data" / "images"
NAMES = tuple(sorted(path.name.removesuffix(".xz") for path in FOLDER.glob("*.xz")))

VALUES = (
    0, 1, 2, 3, 7, 9, 0x7F, 0x80, 0xFF, 0x200, 0x1000, 0xFFFF, 0x10000, 1 << 20, (1 << 31) - 1, 1 << 31,
    (1 << 32) - 1, 1 << 32, 1 << 40, (1 << 56) - 512, 1 << 56, 1 << 61, 1 << 62, (1 << 62) | 512,
    (1 << 63) - 1, 1 << 63, (1 << 64) - 512, (1 << 64) - 1,
)  # fmt: skip
"""Numbers at which something may overflow, end, or become negative."""


@cache
def content(name: str) -> bytes:
    """The bytes of one of NAMES."""
    return lzma.decompress((FOLDER / f"{name}.xz").read_bytes())


@cache
def places(name: str) -> tuple[int, ...]:
    """Where in an image something stands: words that are not zero, and those right behind them."""
    raw = content(name)
    found = {at + more for at in range(0, len(raw), 8) if any(raw[at : at + 8]) for more in (0, 4, 8)}
    return tuple(sorted(found))[:2000]


class Patched:
    """An image with some bytes changed and of any size: cut, or followed by zeros. It stays as small as it
    was."""

    def __init__(self, base: bytes, patches: list[tuple[int, bytes]], size: int | None = None) -> None:
        self._base, self._patches = base, patches
        self.size = len(base) if size is None else size

    def read(self, offset: int, length: int) -> bytes:
        assert offset >= 0 and length > 0 and offset + length <= self.size, "the reader keeps to the file"
        assert length <= 64 << 20, "the reader asks for no more than it can hold"
        part = bytearray(self._base[offset : offset + length])
        part += bytes(length - len(part))
        for at, new in self._patches:
            low, high = max(at, offset), min(at + len(new), offset + length)
            if low < high:
                part[low - offset : high - offset] = new[low - at : high - at]
        return bytes(part)


def mutated(name: str, number: Callable[[int], int]) -> Patched:
    """An image with up to eight changes. number(n) gives the next whole number below n."""
    base, spots, patches = content(name), places(name), []
    for _ in range(number(8) + 1):
        at = spots[number(len(spots))] + (number(8) if number(4) == 0 else 0)
        how = number(4)
        if how == 0:
            new = bytes([number(256)])
        elif how == 1:  # a place of the image itself: tables that point to tables
            new = struct.pack(">Q" if number(2) else "<Q", number(len(base) // 512 + 1) * 512)
        else:
            value = VALUES[number(len(VALUES))] + number(3) - 1
            form = (">Q", "<Q", ">I", "<I", ">H", "<H")[number(6)]
            new = struct.pack(form, value & ((1 << 8 * struct.calcsize(form)) - 1))
        patches.append((at, new))
    size = None
    if number(4) == 0:
        size = number(len(base) + 1) if number(4) else min(len(base) + VALUES[number(len(VALUES))], MAX_SIZE)
    return Patched(base, patches, size)


def check(image: Patched, format: str | None = None) -> Map:
    """The map of an image, whatever it is, holds what `Map` promises."""
    found = formats.read(image, format)
    if found.format in formats.READ:
        assert_sound(found, image.size)
    return found


def assert_sound(found: Map, size: int) -> None:
    starts, ends = found.layout.starts, found.layout.ends
    assert starts.dtype == ends.dtype == "int64" and len(starts) <= MAX_RANGES
    assert (starts < ends).all() and (starts[1:] == ends[:-1]).all()
    if len(starts):
        assert starts[0] == 0 and found.layout.codes.max() < len(found.layout.names)
        assert ends[-1] == size or any("the map ends" in note for note in found.notes)
    for rows in (found.placed, found.outside):
        reached = rows.starts + rows.lengths
        assert (rows.starts >= 0).all() and (rows.lengths > 0).all()
        assert (rows.starts[1:] >= reached[:-1]).all() and (rows.guest >= 0).all()
    if len(found.placed.starts):
        assert found.placed.starts[-1] + found.placed.lengths[-1] <= size
    assert all(note.isprintable() for note in found.notes)


def check_tables(found: Map) -> None:
    """The tables that are made of a map."""
    for limit in (MAX_RANGES, 5):
        places, cut = found.places(limit)
        assert (places["end"] > places["start"]).all() and (cut or places["guest"].isna().all())
        assert (places["end"] - places["start"]).sum() == (found.ranges["end"] - found.ranges["start"]).sum()
    assert len(found.guest) == len(found.placed.starts)


def check_chain(image: Patched) -> None:
    """An image that names itself, or anything else, as what is behind it."""

    def opener(name: str, _: str) -> Opened | str:
        return Opened(image, name, name[:2]) if name else "no name"

    links, notes = chain(Opened(image, "top", "top"), opener)
    assert 1 <= len(links) <= 70 and all(note.isprintable() for note in notes)
