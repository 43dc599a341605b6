"""What the guest has in an image, held against the kernel, which has the same file system mounted, and
against the tools that made it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import coldseek, need, need_root, need_tool

from profiler.images import formats
from profiler.images.guest import disk as guest
from profiler.images.guest.contents import Contents, contents
from profiler.images.guest.signatures import signature

MIB = 2**20
FS_IOC_FIEMAP = 0xC020660B
LUKS = "cryptsetup luksFormat -q --key-file /dev/zero --keyfile-size 32 --pbkdf-force-iterations 1000"
INLINE = 0x200  # FIEMAP_EXTENT_DATA_INLINE: it stands in the inode


class Disk:
    """A raw image."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self.size = path.stat().st_size

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._file.fileno(), length, offset)


def fill(root: Path) -> None:
    """Directories deep and wide, small files, one in many pieces, links."""
    source = random.Random(7)
    for number in range(400):
        folder = root / "wide" / f"{number % 5}" if number % 3 else root / "a" / "b" / "c" / f"d{number}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"a file with a long name, number {number}").write_bytes(
            b"x" * source.randrange(1, 20_000)
        )
    os.symlink("y" * 200, root / "long link")
    os.symlink("short", root / "short link")
    os.link(root / "wide" / "1" / "a file with a long name, number 1", root / "other name")
    with (root / "pieces").open("wb") as pieces, (root / "others").open("wb") as others:
        for _ in range(1500):  # more than an inode has room for, and more than one block of extents
            pieces.seek(8192, os.SEEK_CUR)
            for file in (pieces, others):
                file.write(b"z" * 4096)
                if source.randrange(20) == 0:
                    os.fsync(file.fileno())


@contextlib.contextmanager
def mounted(image: Path, at: Path, options: str) -> Iterator[Path]:
    need_root()
    at.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-o", f"loop,{options}", image, at], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(
            f"this kernel does not mount it: {done.stderr.decode(errors='replace').strip()}"
        )  # in CI too
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


def extents(path: Path) -> list[tuple[int, int]]:
    """Where a file lies, as the kernel tells: start and end, bytes."""
    buffer = bytearray(32 + 56 * 4000)
    struct.pack_into("=QQIII", buffer, 0, 0, 2**63, 0, 0, 4000)
    with path.open("rb") as file:
        fcntl.ioctl(file, FS_IOC_FIEMAP, buffer)
    count = struct.unpack_from("=I", buffer, 20)[0]
    rows = [struct.unpack_from("=QQQQQI", buffer, 32 + 56 * number) for number in range(count)]
    return [(start, start + length) for _, start, length, _, _, flags in rows if not flags & INLINE]


def hold_against_the_kernel(found: Contents, root: Path) -> None:
    """Every byte of every file has its kind and its path; nothing else has that of a file."""
    of_files = 0
    for folder, _, names in os.walk(root):
        for path in (Path(folder, name) for name in names):
            if path.is_symlink() or path == root / "other name":
                continue
            for start, end in extents(path):
                of_files += end - start
                rows = np.flatnonzero((found.ends > start) & (found.starts < end))
                assert found.starts[rows[0]] <= start and found.ends[rows[-1]] >= end
                for row in rows:
                    assert found.kinds[row].endswith(" file data")
                    assert os.path.samefile(os.fsencode(root) + found.paths[row], path)
    said = [end - start for start, end, kind in zip(found.starts, found.ends, found.kinds, strict=True)
            if kind.endswith(" file data")]  # fmt: skip
    assert sum(said) == of_files > 10 * MIB


def whole(image: Path, names: bool = True) -> Contents:
    disk = Disk(image)
    return contents(disk, (np.zeros(1, np.int64), np.array([disk.size])), names)


@pytest.mark.parametrize(
    "words",
    [
        "mke2fs -q -t ext4",
        "mke2fs -q -t ext4 -b 1024 -O ^64bit,^metadata_csum,uninit_bg",
        "mke2fs -q -t ext4 -b 1024 -O meta_bg,^resize_inode",
        "mke2fs -q -t ext4 -b 2048 -O bigalloc -C 16384 -I 512",
        "mke2fs -q -t ext4 -O inline_data,sparse_super2",
        "mke2fs -q -t ext3 -b 1024",
        "mke2fs -q -t ext2 -b 4096 -O ^sparse_super,^filetype,^resize_inode",
        "mkfs.xfs -q",
        "mkfs.xfs -q -b size=2048 -i size=1024 -n size=8192",
        "mkfs.xfs -q -m crc=0 -n ftype=0",
        "mkfs.xfs -q -d agcount=4 -i nrext64=1,sparse=1",
    ],
)
def test_files_are_where_the_kernel_has_them(tmp_path: Path, words: str) -> None:
    image, at = tmp_path / "disk.raw", tmp_path / "mnt"
    image.touch()
    os.truncate(image, 400 * MIB)
    tool, *options = words.split()
    need_tool(tool)
    made = subprocess.run([tool, *options, image], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(
            f"this {tool} does not make it: {made.stderr.strip()[:200]!r}"
        )  # in CI too: an older one
    with mounted(image, at, "rw") as root:
        fill(root)
    found = whole(image)
    assert not found.notes
    with mounted(image, at, "ro") as root:
        hold_against_the_kernel(found, root)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("btrfs", "mkfs.btrfs -q"), ("vfat", "mkfs.vfat -F 32"), ("vfat", "mkfs.vfat -F 16"),
        ("ntfs", "mkfs.ntfs -q -F -f"), ("f2fs", "mkfs.f2fs -q"), ("swap", "mkswap"),
        ("xfs", "mkfs.xfs -q"), ("ext2", "mke2fs -q -t ext2"), ("ext4", "mke2fs -q -t ext4"),
        ("LUKS", f"{LUKS} --type luks1"), ("LUKS", f"{LUKS} --type luks2 --pbkdf pbkdf2"),
    ],
)  # fmt: skip
def test_what_tools_make_is_told(tmp_path: Path, name: str, words: str) -> None:
    image = tmp_path / "disk.raw"
    image.touch()
    os.truncate(image, 400 * MIB)
    tool, *options = words.split()
    need_tool(tool)
    subprocess.run([tool, *options, image], check=True, capture_output=True)
    found = signature(Disk(image))
    assert found is not None and found.name == name


def test_the_files_of_a_guest_are_named_from_outside(tmp_path: Path) -> None:
    for tool in ("mke2fs", "qemu-img", "qemu-io"):
        need_tool(tool)
    tree, raw, image = tmp_path / "tree", tmp_path / "disk.raw", tmp_path / "disk.qcow2"
    (tree / "usr/lib").mkdir(parents=True)
    (tree / "usr/lib/libx.so").write_bytes(b"library " * 131072)
    (tree / "other").write_bytes(b"o" * MIB)
    raw.touch()
    os.truncate(raw, 32 * MIB)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, raw], check=True, capture_output=True)
    subprocess.run(["qemu-img", "convert", "-c", "-O", "qcow2", raw, image], check=True)
    found = whole(raw)
    row = int(np.flatnonzero(found.paths == b"/usr/lib/libx.so")[0])
    read = f"read {found.starts[row]} {int(found.ends[row] - found.starts[row])}"
    for options, path in ((["--guest-files"], "/usr/lib/libx.so"), ([], None)):
        trace = tmp_path / "a.trace.parquet"
        coldseek("record", "--tracer", "ptrace", *options, "-o", trace, "--", "qemu-io", "-c", read, image)
        report = json.loads(coldseek("report", trace, "--format", "json").stdout)
        rows = next(file for file in report["files"] if file["path"] == str(image))["contents"]
        first = max(rows, key=lambda one: one["reads"])
        assert (first["kind"], first["path"]) == ("ext4 file data", path)


@pytest.mark.parametrize(
    "words",
    [
        "qcow2 -o cluster_size=512", "qcow2 -c", "qcow2 -o extended_l2=on", "vdi", "vhdx", "qed", "vmdk",
        "vmdk -o subformat=streamOptimized", "vpc", "vpc -o subformat=fixed", "qcow", "parallels",
    ],
)  # fmt: skip
def test_the_guest_has_the_same_in_an_image_of_any_format(tmp_path: Path, words: str) -> None:
    for tool in ("mke2fs", "qemu-img"):
        need_tool(tool)
    name, *options = words.split()
    need(name in formats.READ, f"the structures of {name} are not read")
    raw, image = tmp_path / "disk.raw", tmp_path / "image"
    tree = tmp_path / "tree"
    (tree / "usr/lib").mkdir(parents=True)
    for number in range(40):
        (tree / f"usr/lib/lib{number}.so").write_bytes(b"library " * (number * 500))
    raw.touch()
    os.truncate(raw, 32 * MIB)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, raw], check=True, capture_output=True)
    command = ["qemu-img", "convert", "-O", name, *options, raw, image]
    subprocess.run(command, check=True, capture_output=True)
    found = formats.read(Disk(image), name if name == "vpc" else None)
    disk = guest.Disk([guest.layer(Disk(image), found)], found.facts["virtual_size"], complete=True)
    for names in (False, True):
        wanted = whole(raw, names)
        made = contents(disk, (np.zeros(1, np.int64), np.array([32 * MIB])), names)
        for column in ("starts", "ends", "kinds", "paths"):
            assert np.array_equal(getattr(made, column), getattr(wanted, column))
    assert not names or sum(path.startswith(b"/usr/lib/lib") for path in made.paths) >= 39
