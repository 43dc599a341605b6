"""What a partition holds, told by the marks that each kind of file system or volume leaves.

The places are those that libblkid looks at (util-linux, libblkid/src/superblocks/*.c), magic and offset; and
where a mark is short, what has to be beside it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from profiler.images.source import Image, take

_KIB = 1024
_MARKS: tuple[tuple[str, int, bytes], ...] = (
    ("LUKS", 0, b"LUKS\xba\xbe"),
    ("LUKS", 0x4000, b"SKUL\xba\xbe"),  # the second header of version 2
    ("BitLocker", 3, b"-FVE-FS-"),
    ("LVM physical volume", 0x218, b"LVM2 001"),
    ("LVM physical volume", 0x018, b"LVM2 001"),
    ("LVM physical volume", 0x418, b"LVM2 001"),
    ("LVM physical volume", 0x618, b"LVM2 001"),
    ("RAID member", 0, b"\xfc\x4e\x2b\xa9"),  # mdraid 1.1; the other versions: see _raid
    ("RAID member", 4096, b"\xfc\x4e\x2b\xa9"),  # 1.2
    ("btrfs", 0x10040, b"_BHRfS_M"),
    ("f2fs", 1024, b"\x10\x20\xf5\xf2"),
    ("erofs", 1024, b"\xe2\xe1\xf5\xe0"),
    ("squashfs", 0, b"hsqs"),
    ("iso9660", 32769, b"CD001"),
    ("ntfs", 3, b"NTFS    "),
    ("exfat", 3, b"EXFAT   "),
    ("ReFS", 3, b"ReFS\0\0\0\0"),
    ("vfat", 0x52, b"FAT32   "),
    ("vfat", 0x36, b"FAT12   "),
    ("vfat", 0x36, b"FAT16   "),
    ("swap", 4086, b"SWAPSPACE2"),
    ("swap", 8182, b"SWAPSPACE2"),
    ("swap", 16374, b"SWAPSPACE2"),
    ("swap", 32758, b"SWAPSPACE2"),
    ("swap", 65526, b"SWAPSPACE2"),
)
"""Name, offset, magic. The first that fits counts: what wraps others comes before them."""
_BOOT_SECTORS = ("ntfs", "exfat", "vfat")
"""These end their first sector as a boot sector does."""
_HEAD = 0x10048  # bytes from the start in which all marks lie but those of zfs and of RAID at the end
_UBERBLOCK = 0x00BAB10C
_ZFS_LABEL, _ZFS_RING, _ZFS_NEEDED = 256 * _KIB, 128 * _KIB, 4
"""A label of 256 KiB at the start holds 128 KiB of uberblocks in its second half; libblkid wants four."""
FILE_SYSTEMS = ("ext2", "ext3", "ext4", "xfs", "ntfs", "exfat", "ReFS", "vfat", "btrfs", "f2fs", "erofs",
                "squashfs", "iso9660", "zfs")  # fmt: skip
READ_ONLY = ("erofs", "squashfs", "iso9660")
"""Archives more than disks: programs ship their files in them."""


@dataclass(frozen=True)
class Signature:
    """What a volume holds. start, end: bytes of the mark, or of the superblock where that is known."""

    name: str
    start: int
    end: int

    @property
    def kind(self) -> str:
        """What the whole volume is called."""
        return f"{self.name} file system" if self.name in FILE_SYSTEMS else self.name

    @property
    def mark(self) -> str:
        """What the bytes from start to end are called."""
        return f"{self.name} superblock" if self.name in FILE_SYSTEMS else f"{self.name} header"


def signature(volume: Image) -> Signature | None:
    """What the volume holds; None: nothing that leaves a mark that is known. Raises nothing."""
    head = take(volume, 0, _HEAD)
    for name, place, magic in _MARKS[:9]:
        if head[place : place + len(magic)] == magic and _fits(name, place, head):
            return Signature(name, *_extent(name, place, magic))
    found = _raid(volume) or _ext(head) or _xfs(head)
    if found:
        return found
    for name, place, magic in _MARKS[9:]:
        if head[place : place + len(magic)] == magic and _fits(name, place, head):
            return Signature(name, *_extent(name, place, magic))
    return _zfs(volume)


def _extent(name: str, place: int, magic: bytes) -> tuple[int, int]:
    """Where the header that holds a mark lies: from the start of the sector, or of the page, with it."""
    if name == "btrfs":
        return 0x10000, 0x11000
    if name in ("f2fs", "erofs"):
        return 1024, 2048
    if name == "swap":
        return 0, place + len(magic)
    first = place // 512 * 512
    return first, first + (4096 if place == 4096 else 512)


def _fits(name: str, place: int, head: bytes) -> bool:
    if name in _BOOT_SECTORS:
        return head[510:512] == b"\x55\xaa"
    if name == "LVM physical volume":  # the label of LVM, 24 bytes before the mark
        return head[place - 0x18 : place - 0x10] == b"LABELONE"
    if name == "RAID member":  # the version beside the magic
        return head[place + 4 : place + 8] == b"\1\0\0\0"
    return True


def _raid(volume: Image) -> Signature | None:
    """mdraid 0.90 and 1.0, whose superblocks lie at the end (md.4): 64 KiB and 8 KiB before it."""
    size = volume.size
    places = (size // 65536 * 65536 - 65536, (size - 8192) // 4096 * 4096)
    for place, version in zip(places, (0, 1), strict=True):
        raw = take(volume, place, 8)
        if raw[:4] in (b"\xfc\x4e\x2b\xa9", b"\xa9\x2b\x4e\xfc") and version in (raw[4], raw[-1]):
            return Signature("RAID member", place, place + 4096)
    return None


def _ext(head: bytes) -> Signature | None:
    raw = head[1024:2048]
    if len(raw) < 1024 or raw[56:58] != b"\x53\xef":
        return None
    compatible, incompatible = struct.unpack_from("<II", raw, 92)
    # has_journal; extents, 64bit, flex_bg
    name = "ext4" if incompatible & 0x2C0 else "ext3" if compatible & 4 else "ext2"
    return Signature(name, 1024, 2048)


def _xfs(head: bytes) -> Signature | None:
    return Signature("xfs", 0, 512) if head[:4] == b"XFSB" else None


def _zfs(volume: Image) -> Signature | None:
    raw = take(volume, _ZFS_RING, _ZFS_RING)
    found = sum(
        _UBERBLOCK in (int.from_bytes(raw[place : place + 8], "little"),
                       int.from_bytes(raw[place : place + 8], "big"))
        for place in range(0, len(raw) - 7, _KIB)
    )  # fmt: skip
    return Signature("zfs", 0, _ZFS_LABEL) if found >= _ZFS_NEEDED else None
