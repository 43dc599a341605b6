"""Small images of every format, and what a hostile hand could make of them: for the tests and for
`scripts/fuzz-images`.

The images were made by qemu-img and qemu-io 7.2: `v3.qcow2` has clusters of 512 bytes, two snapshots, two
bitmaps, compressed clusters and a backing file; the names of the others say what they are. Key material was
blanked. `differencing.vhd`, `old.hdd`, `cowd.vmdk`, `sesparse.vmdk`, `extents.vmdk` and `disk.xml` are of
`vm_images`.
`dfvfs*` are of the test data of dfVFS (github.com/log2timeline/dfvfs, Apache License 2.0), whose authors
changed the IDs of the two VHD and not the checksums; `dfvfs-differential.vhd` calls the other image.vhd.
`guest-*` hold file systems, made by mke2fs 1.47 and mkfs.xfs 6.1: `guest-ext4.raw` in a partition,
`guest-packed.qcow2` in compressed clusters, `guest-xfs4.raw` one of xfs's version 4, whose directories do
not tell of what type files are.
`pyvhd.vhd` was made by PyPI's pyvhd 0.0.1, laid out as Xen's vhd-util does, with a batmap.
"""

from __future__ import annotations

import lzma
import struct
import unicodedata
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from profiler.images import extents, formats
from profiler.images.build import MAX_SIZE
from profiler.images.chain import Opened, chain
from profiler.images.guest.contents import contents
from profiler.images.guest.disk import Disk, layer, seen_now
from profiler.images.guest.pieces import MAX_PIECES
from profiler.images.map import MAX_RANGES, Extent, Map

FOLDER = Path(__file__).resolve().parent / "data" / "images"
NAMES = tuple(sorted(path.name.removesuffix(".xz") for path in FOLDER.glob("*.xz")))

MOST_PLACES = 4000
"""Of so many places in an image, spread over it, some are changed."""

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
    words = np.flatnonzero(np.frombuffer(raw[: len(raw) // 8 * 8], np.uint64))
    found = np.unique(words[:, None] * 8 + (0, 4, 8))
    spread = found[:: -(-len(found) // MOST_PLACES)]
    return tuple(np.union1d(spread, found[-500:]).tolist())  # some formats end with what matters


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
        check_guest(image, found)
    return found


def check_guest(image: Patched, found: Map) -> None:
    """What the guest has in an image, of all its disk: sound, whatever it is."""
    size = min(found.facts.get("virtual_size") or 0, MAX_SIZE)
    disk = Disk([layer(seen_now(image, found.format), found)], size, complete=True)
    asked = disk.asked([(np.zeros(1, np.int64), np.array([image.size]))])
    assert (asked[0] < asked[1]).all() and (asked[0][1:] > asked[1][:-1]).all()
    made = contents(disk, asked, names=True)
    assert len(made.starts) == len(made.kinds) == len(made.paths) <= MAX_PIECES
    assert (made.starts >= 0).all() and (made.starts < made.ends).all() and (made.ends <= size).all()
    assert (made.starts[1:] >= made.ends[:-1]).all()
    assert all(map(is_a_line, made.notes))
    starts, ends, _ = disk.places(0, made.starts, made.ends)
    assert (starts < ends).all() and (starts[1:] >= ends[:-1]).all()
    assert not len(ends) or (starts[0] >= 0 and ends[-1] <= image.size)


def is_a_line(text: str) -> bool:
    """Whether a text does nothing to a terminal, as `show_path` has it: characters that Unicode has not
    given a meaning yet are shown."""
    return not any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in text)


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
    assert all(is_a_line(note) for note in found.notes)


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
    assert 1 <= len(links) <= 70 and all(is_a_line(note) for note in notes)
    pieces = ((1 << 40, 512, 1 << 16), (0, 0, 1024), (1 << 50, 1 << 61, 1 << 50), (512, 700, 0))
    for form, kinds in (("vmdk", ("FLAT", "SPARSE")), ("parallels", ("Plain", "Compressed"))):
        for kind in kinds:
            assert_sound(extents.read(image, form, Extent("a", kind, pieces)), image.size)
