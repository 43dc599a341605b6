"""What the guest has in its disk: the file systems in tests/data/images, as they are known to be."""

from __future__ import annotations

import struct
import zlib

import mutate
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.images import formats
from profiler.images.guest.contents import Contents, contents
from profiler.images.guest.disk import Disk, Layer, layer, merged, seen_now
from profiler.images.guest.signatures import signature
from profiler.images.map import Placed
from profiler.images.source import Held, Image

FILES = {b"/etc/f1": 700, b"/etc/f2": 1400, b"/etc/f3": 2100, b"/etc/f4": 2800, b"/etc/f5": 3500,
         b"/usr/lib/deep/er/big": 30000}  # fmt: skip
"""Of which the file systems were made: path, size. A file of n * 700 bytes is full of x, the last of y."""
NAMES = ("guest-ext3.raw", "guest-ext4.raw", "guest-xfs.raw", "guest-xfs4.raw", "guest-packed.qcow2")


def disk_of(image: Image) -> Disk:
    found = formats.read(image)
    whole = formats.read(seen_now(image, found.format))
    return Disk([layer(image, whole)], found.facts["virtual_size"], complete=True)


def everything(disk: Image, names: bool = True) -> Contents:
    return contents(disk, (np.array([0]), np.array([disk.size])), names)


@pytest.mark.parametrize("name", NAMES)
def test_each_file_is_where_its_bytes_are(name: str) -> None:
    disk = disk_of(Held(mutate.content(name)))
    found = everything(disk)
    assert not found.notes
    sizes = dict.fromkeys(FILES, 0)
    for start, end, kind, path in zip(found.starts, found.ends, found.kinds, found.paths, strict=True):
        if not kind.endswith("file data"):
            continue
        letter = b"y" if path.endswith(b"big") else b"x"
        raw = disk.read(int(start), int(end - start))
        assert raw.rstrip(b"\0") == letter * len(raw.rstrip(b"\0"))
        sizes[path] += len(raw.rstrip(b"\0"))
    assert sizes == FILES


@pytest.mark.parametrize("name", NAMES)
def test_no_byte_of_a_file_is_anywhere_else(name: str) -> None:
    disk = disk_of(Held(mutate.content(name)))
    found = everything(disk, names=False)
    other = [
        row for row, kind in enumerate(found.kinds) if kind.endswith(("in no file", "outside partitions"))
    ]
    for row in other:
        start, end = int(found.starts[row]), int(found.ends[row])
        assert b"xxxxxxxx" not in disk.read(start, end - start)
    assert not found.paths.any()


def test_the_structures_have_names() -> None:
    kinds = {name: set(everything(disk_of(Held(mutate.content(name)))).kinds) for name in NAMES}
    usual = {f"ext4 {kind}" for kind in (
        "superblock", "group descriptors", "block bitmap", "inode bitmap", "inode table", "directory",
        "file data", "link", "in no file")}  # fmt: skip
    assert kinds["guest-packed.qcow2"] == usual
    assert kinds["guest-ext4.raw"] == usual | {"partition table", "outside partitions"}
    assert {"ext3 journal", "ext3 extent tree"} < kinds["guest-ext3.raw"]
    assert kinds["guest-xfs.raw"] == {f"xfs {kind}" for kind in (
        "superblock", "group headers", "inode tree", "inodes", "journal", "directory", "file data",
        "in no file")}  # fmt: skip


def test_only_what_is_asked_for_is_told() -> None:
    disk = disk_of(Held(mutate.content("guest-ext4.raw")))
    whole = everything(disk)
    row = int(np.flatnonzero(whole.paths == b"/usr/lib/deep/er/big")[0])
    start = int(whole.starts[row])
    some = contents(disk, (np.array([start]), np.array([start + 1])), names=True)
    assert [*some.paths] == [b"/usr/lib/deep/er/big"] and some.kinds[0] == "ext4 file data"
    assert not len(contents(disk, (np.empty(0, np.int64), np.empty(0, np.int64))).starts)


# ---- signatures ------------------------------------------------------------------------------------------


def marked(*parts: tuple[int, bytes], size: int = 1 << 20) -> Held:
    raw = bytearray(size)
    for at, part in parts:
        raw[at : at + len(part)] = part
    return Held(bytes(raw))


BOOT = (510, b"\x55\xaa")


@pytest.mark.parametrize(
    ("image", "name"),
    [
        (marked((3, b"NTFS    "), BOOT), "ntfs"), (marked((3, b"NTFS    ")), None),
        (marked((0x52, b"FAT32   "), BOOT), "vfat"), (marked((0x36, b"FAT16   "), BOOT), "vfat"),
        (marked((3, b"EXFAT   "), BOOT), "exfat"), (marked((0x10040, b"_BHRfS_M")), "btrfs"),
        (marked((1024, b"\x10\x20\xf5\xf2")), "f2fs"), (marked((0, b"LUKS\xba\xbe\0\2")), "LUKS"),
        (marked((0x200, b"LABELONE"), (0x218, b"LVM2 001")), "LVM physical volume"),
        (marked((0x218, b"LVM2 001")), None), (marked((4086, b"SWAPSPACE2")), "swap"),
        (marked((65526, b"SWAPSPACE2")), "swap"), (marked((0, b"XFSB")), "xfs"),
        (marked((4096, b"\xfc\x4e\x2b\xa9\1\0\0\0")), "RAID member"),
        (marked((0, b"\xfc\x4e\x2b\xa9\1\0\0\0")), "RAID member"),
        (marked(((1 << 20) - 65536, b"\xfc\x4e\x2b\xa9\0\0\0\0")), "RAID member"),
        (marked(((1 << 20) - 8192, b"\xfc\x4e\x2b\xa9\1\0\0\0")), "RAID member"),
        (marked(*((131072 + 1024 * n, struct.pack("<Q", 0x00BAB10C)) for n in range(4))), "zfs"),
        (marked(*((131072 + 1024 * n, struct.pack(">Q", 0x00BAB10C)) for n in range(4))), "zfs"),
        (marked((131072, struct.pack("<Q", 0x00BAB10C))), None),
        (marked((1080, b"\x53\xef")), "ext2"), (marked((32769, b"CD001")), "iso9660"),
        (marked((0, b"hsqs")), "squashfs"), (marked(), None), (Held(b""), None), (Held(b"XFSB"), "xfs"),
    ],
)  # fmt: skip
def test_signatures(image: Held, name: str | None) -> None:
    found = signature(image)
    assert (found.name if found else None) == name


def test_what_wraps_a_file_system_counts_before_it() -> None:
    assert signature(marked((0, b"LUKS\xba\xbe"), (1080, b"\x53\xef"))).name == "LUKS"  # type: ignore[union-attr]
    mirror = marked(((1 << 20) - 8192, b"\xfc\x4e\x2b\xa9\1\0\0\0"), (1080, b"\x53\xef"))
    assert signature(mirror).name == "RAID member"  # type: ignore[union-attr]


# ---- the guest's disk ------------------------------------------------------------------------------------


def placed(*runs: tuple[int, int, int]) -> Placed:
    """Start, length, guest."""
    columns = np.array(runs, np.int64).reshape(-1, 3)
    return Placed(columns[:, 0], columns[:, 1], columns[:, 2])


def plain(content: bytes, *runs: tuple[int, int, int]) -> Layer:
    return Layer(Held(content), placed(*runs), np.zeros(len(runs), bool), 0, "", True)


def test_what_is_in_front_counts_and_what_is_nowhere_is_zeros() -> None:
    front = plain(b"....ffff", (4, 4, 8))
    back = plain(b"bbbbBBBBcccc", (0, 8, 4), (8, 4, 16))
    disk = Disk([front, back], 24, complete=True)
    assert disk.read(0, 100) == b"\0\0\0\0bbbbffff\0\0\0\0cccc\0\0\0\0"
    assert disk.read(6, 4) == b"bbff"
    unknown = Disk([front, back], 24, complete=False)
    assert unknown.read(4, 20) == b"bbbbffff" and unknown.read(0, 4) == b""


def test_compressed_clusters_are_unpacked_and_bad_ones_are_nothing() -> None:
    packer = zlib.compressobj(wbits=-12)
    packed = packer.compress(b"guest" * 200) + packer.flush()
    content = b"." * 16 + packed + b"rubbish"
    runs = placed((16, len(packed), 0), (16 + len(packed), 7, 1000))
    one = Layer(Held(content), runs, np.ones(2, bool), 1000, "deflate", True)
    disk = Disk([one], 2000, complete=True)
    assert disk.read(5, 10) == b"guestguest" and disk.read(1000, 10) == b""
    assert [int(part[0]) for part in disk.asked([(np.array([20]), np.array([21]))])] == [0, 1000]
    starts, ends, row = disk.places(0, np.array([0, 10]), np.array([10, 500]))
    assert (starts.tolist(), ends.tolist(), row.tolist()) == ([16], [16 + len(packed)], [1])


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9), st.integers(0, 60)), max_size=8),
    st.lists(st.tuples(st.integers(0, 70), st.integers(1, 20)), max_size=5),
)
def test_places_lead_back_to_the_bytes(
    runs: list[tuple[int, int, int]], wanted: list[tuple[int, int]]
) -> None:
    content = bytes(range(1, 51))
    chosen, at = [], 0
    for gap, length, guest in runs:
        start = at + gap % 3
        length = min(length, 50 - start)
        if length > 0:
            chosen.append((start, length, guest))
            at = start + length
    disk = Disk([plain(content, *chosen)], 64, complete=True)
    lows, sizes = (np.array([one[n] for one in wanted], np.int64) for n in range(2))
    starts, ends = merged(lows, np.minimum(lows + sizes, 64))
    found = disk.places(0, starts, ends)
    for start, end, row in zip(*(column.tolist() for column in found), strict=True):
        raw = content[start:end]
        assert raw in disk.read(int(starts[row]), int(ends[row] - starts[row]))
    asked = disk.asked([(np.array([0]), np.array([50]))])
    assert (asked[0] < asked[1]).all() and (asked[1] <= 64).all()


def test_what_cannot_be_read_has_no_names() -> None:
    raw = mutate.content("guest-ext4.raw")
    found = everything(Held(raw))
    rows = np.flatnonzero(found.kinds == "ext4 directory")
    edges = [0, *np.stack([found.starts[rows], found.ends[rows]], 1).reshape(-1).tolist(), len(raw)]
    runs = [(low, high - low, low) for low, high in zip(edges[::2], edges[1::2], strict=True)]
    holes = Layer(Held(raw), placed(*runs), np.zeros(len(runs), bool), 0, "", True)
    some = everything(Disk([holes], len(raw), complete=False))
    assert set(some.kinds) == set(found.kinds)
    assert set(some.paths.tolist()) <= {b"", b"/"} and len(set(found.paths.tolist())) > 6


@pytest.mark.parametrize("log", [12, 31, 32, 63, 64, 255])
def test_blocks_of_a_group_as_many_as_no_number_holds(log: int) -> None:
    raw = bytearray(mutate.content("guest-xfs.raw"))
    raw[124] = log
    everything(Held(bytes(raw)))
