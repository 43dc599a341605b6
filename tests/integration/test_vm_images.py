"""Images as VM hosts have them: what is labelled against what qemu-img, or another reader, makes of them."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import random
import struct
import subprocess
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import mutate
import numpy as np
import pytest
import vm_images
from conftest import need, need_tool
from small_programs import until

from profiler.analysis.advice.traced_image import image_of, unread
from profiler.errors import ColdseekError
from profiler.facts.images import ImageFacts
from profiler.images import formats
from profiler.images.chain import Link, Opened, chain
from profiler.images.guest import disk as guest_disk
from profiler.images.map import Map
from profiler.machine.qemu_img import WAYS, open_command
from profiler.studies.record import record
from profiler.trace import Trace

MIB = 1 << 20
SIZE = 24 * MIB


@pytest.fixture(autouse=True)
def tools() -> None:
    need_tool("qemu-img")
    need_tool("qemu-io")


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout


def noise(length: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(length)


def source(path: Path, size: int = SIZE) -> Path:
    """A disk with data in a few places, none of it alike, and zeros between."""
    with path.open("wb") as file:
        file.truncate(size)
        for number, (place, length) in enumerate((
            (0, 5000), (64 << 10, 70_000), (MIB, 300_000), (3500 << 10, 100_000), (size - 3 * MIB, MIB),
            (size - 4096, 4096),
        )):  # fmt: skip
            file.seek(place)
            file.write(noise(length, number))
    return path


class Disk:
    """A file as an image that is not held in memory."""

    def __init__(self, path: Path) -> None:
        self._path, self.size = path, path.stat().st_size

    def read(self, offset: int, length: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek(offset)
            return file.read(length)


def opened(path: Path) -> Opened:
    return Opened(Disk(path), str(path), os.path.realpath(path))


def beside(name: str, image: str) -> Opened | str:
    path = Path(image).parent / name
    return opened(path) if path.is_file() else "no such file"


def links_of(path: Path) -> list[Link]:
    links, notes = chain(opened(path), beside)
    assert notes == ()
    for link in links:
        mutate.assert_sound(link.map, link.opened.image.size)
    return links


def assert_holds(links: Iterable[Link], guest: bytes) -> None:
    """Each place of data holds what the guest sees there, and elsewhere it sees nothing."""
    left = bytearray(guest)
    for link in links:
        assert link.map.layout.names
        for start, length, place in link.map.guest.to_numpy().tolist():
            length = min(length, len(guest) - place)
            if length > 0:
                assert link.opened.image.read(start, length) == guest[place : place + length]
                left[place : place + length] = bytes(length)
    assert not any(left)


def as_raw(path: Path, *options: str) -> bytes:
    """The guest's disk as qemu-img reads it."""
    flat = path.with_suffix(".flat")
    run("qemu-img", "convert", *options, "-O", "raw", path, flat)
    return flat.read_bytes()


def kinds(found: Map) -> set[str]:
    return set(found.ranges["kind"])


def assert_places(found: Map, path: Path, format: str) -> int:
    """Every place that `qemu-img map` tells of is that of the same part of the guest's disk here."""
    rows = json.loads(run("qemu-img", "map", "--output=json", "-f", format, path))
    held = {
        start + at: guest + at
        for start, length, guest in found.guest.to_numpy().tolist()
        for at in range(0, length, 512)
    }
    seen = 0
    for row in rows:
        if row["data"] and "offset" in row:
            assert held[row["offset"]] == row["start"]
            seen += 1
    return seen


# ---- what qemu-img makes --------------------------------------------------------------------------------

MADE = {
    "vpc": ("vpc", "", {"footer", "footer copy", "dynamic disk header", "block allocation table",
                        "block bitmap", "data block"}),
    "vpc fixed": ("vpc", "subformat=fixed,force_size=on", {"data", "footer"}),
    "vpc of the size that is asked for": ("vpc", "force_size=on", {"block bitmap", "data block"}),
    "qcow": ("qcow", "", {"header", "L1 table", "L2 table", "data cluster"}),
    "parallels": ("parallels", "", {"header", "block allocation table", "data cluster"}),
    "parallels of 64k": ("parallels", "cluster_size=64k", {"header", "data cluster"}),
}  # fmt: skip


@pytest.mark.parametrize("variant", MADE)
def test_what_qemu_img_makes(tmp_path: Path, variant: str) -> None:
    format, options, expected = MADE[variant]
    path = tmp_path / "image"
    command = ["qemu-img", "convert", "-f", "raw", "-O", format, *(("-o", options) if options else ())]
    run(*command, source(tmp_path / "source"), path)
    (link,) = links_of(path)
    found = link.map
    assert found.format == format and found.notes == () and expected <= kinds(found)
    info = json.loads(run("qemu-img", "info", "--output=json", "-f", format, path))
    assert found.facts["virtual_size"] == info["virtual-size"]
    if format == "qcow":
        assert found.facts["cluster_size"] == info["cluster-size"]
    assert_holds([link], as_raw(path, "-f", format))
    assert assert_places(found, path, format) or format == "qcow"


def test_a_compressed_qcow(tmp_path: Path) -> None:
    path = tmp_path / "image"
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow", source(tmp_path / "source"), path)
    # of `qemu-img convert -c` 7.2 fails at the end
    commands = [f"write -c -P {number} {8192 + 4 * number}k 4k" for number in range(1, 40)]
    run("qemu-io", "-f", "qcow", *(part for one in commands for part in ("-c", one)), path)
    found = links_of(path)[0].map
    assert found.notes == () and {"compressed cluster", "data cluster"} <= kinds(found)
    import zlib

    guest, raw = as_raw(path, "-f", "qcow"), path.read_bytes()
    packed = found.ranges[found.ranges["kind"] == "compressed cluster"]
    seen = 0
    for start, length, place in found.guest.to_numpy().tolist():
        if ((packed["start"] <= start) & (start < packed["end"])).any():
            unpacked = zlib.decompressobj(-12).decompress(raw[start : start + length])
            assert unpacked == guest[place : place + len(unpacked)] and unpacked
            seen += 1
        else:
            assert raw[start : start + length] == guest[place : place + length]
    assert seen == found.facts["compressed_clusters"] > 10


def test_a_qcow_with_a_backing_file(tmp_path: Path) -> None:
    source(tmp_path / "base")
    path = tmp_path / "image"
    run("qemu-img", "create", "-q", "-f", "qcow", "-b", "base", "-F", "raw", path)
    run("qemu-io", "-f", "qcow", "-c", "write -P 7 5M 3k", "-c", "write -P 8 2M 1k", path)
    links = links_of(path)
    assert [link.map.format for link in links] == ["qcow", "raw"]
    found = links[0].map
    assert found.facts["cluster_size"] == 512
    raw = path.read_bytes()
    seen = {place: raw[start : start + length] for start, length, place in found.guest.to_numpy().tolist()}
    assert seen == {5 * MIB: b"\7" * 3072, 2 * MIB: b"\10" * 1024}


VMDKS = ("monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat")


@pytest.mark.parametrize("subformat", VMDKS)
def test_a_vmdk_is_one_disk(tmp_path: Path, subformat: str) -> None:
    path, size = tmp_path / "disk.vmdk", 3 << 30
    run("qemu-img", "create", "-q", "-f", "vmdk", "-o", f"subformat={subformat}", path, str(size))
    writes = {MIB: 300 << 10, (2 << 30) - 4096: 8192, size - 65536: 65536, 5 * MIB + 512: 512}
    commands = [f"write -P {number + 1} {place} {length}" for number, (place, length)
                in enumerate(writes.items())]  # fmt: skip
    run("qemu-io", "-f", "vmdk", *(part for one in commands for part in ("-c", one)), path)
    links = links_of(path)
    assert links[0].map.facts["virtual_size"] == size
    names = [Path(link.opened.name).name for link in links]
    parts = {"twoGbMaxExtentSparse": ["disk-s001.vmdk", "disk-s002.vmdk"],
             "twoGbMaxExtentFlat": ["disk-f001.vmdk", "disk-f002.vmdk"],
             "monolithicFlat": ["disk-flat.vmdk"]}.get(subformat, [])  # fmt: skip
    assert names == ["disk.vmdk", *parts]
    assert [link.front for link in links] == [None] + [0] * len(parts)
    assert all(link.part for link in links[1:])
    for number, (place, length) in enumerate(writes.items()):
        missing = length
        for link in links:
            for start, many, guest in link.map.guest.to_numpy().tolist():
                low, high = max(place, guest), min(place + length, guest + many)
                if low < high:
                    held = link.opened.image.read(start + low - guest, high - low)
                    assert held == bytes([number + 1]) * (high - low)
                    missing -= high - low
        assert missing == 0
    # as a person, qemu-img map names the file of each extent
    for line in run("qemu-img", "map", "-f", "vmdk", path).splitlines()[1:]:
        start, length, offset, name = line.split(None, 3)
        link = links[names.index(Path(name).name)]
        rows = link.map.guest
        row = rows[(rows["start"] <= int(offset, 16)) & (int(offset, 16) < rows["start"] + rows["length"])]
        assert int(row["guest"].iloc[0]) + int(offset, 16) - int(row["start"].iloc[0]) == int(start, 16)


def test_a_vmdk_with_a_parent(tmp_path: Path) -> None:
    run("qemu-img", "convert", "-O", "vmdk", source(tmp_path / "source"), tmp_path / "base.vmdk")
    path = tmp_path / "top.vmdk"
    run("qemu-img", "create", "-q", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", path)
    run("qemu-io", "-f", "vmdk", "-c", "write -P 7 9M 64k", path)
    links = links_of(path)
    assert [Path(link.opened.name).name for link in links] == ["top.vmdk", "base.vmdk"]
    assert links[0].map.facts["parent_id"] == links[1].map.facts["id"]
    assert_holds(links[1:], as_raw(tmp_path / "base.vmdk"))
    # the parent was written to meanwhile: QEMU does not read the pair, and a note says it
    run("qemu-io", "-f", "vmdk", "-c", "write 0 512", tmp_path / "base.vmdk")
    read = subprocess.run(["qemu-io", "-r", "-f", "vmdk", "-c", "read 0 512", path], capture_output=True)
    assert b"read failed" in read.stdout + read.stderr
    assert "has changed since" in chain(opened(path), beside)[1][0]


# ---- made byte by byte, and read by QEMU -----------------------------------------------------------------


def grains_of(content: bytes, grain: int) -> dict[int, bytes]:
    """The parts of a disk that are not zeros, in a random order."""
    found = {at // grain: content[at : at + grain] for at in range(0, len(content), grain)}
    used = [number for number, part in found.items() if any(part)]
    random.Random(1).shuffle(used)
    return {number: found[number].ljust(grain, b"\0") for number in used}


ESX = {
    "COWD": ("VMFSSPARSE", "vmfsSparse", lambda raw: vm_images.cowd(len(raw), grains_of(raw, 512))),
    "COWD of 4k": ("VMFSSPARSE", "vmfsSparse",
                   lambda raw: vm_images.cowd(len(raw), grains_of(raw, 4096), 8)),
    "SESPARSE": ("SESPARSE", "seSparse", lambda raw: vm_images.sesparse(
        len(raw), grains_of(raw, 4096) | {4090: b"", 4097: b""})),
    "VMFS": ("VMFS", "vmfs", bytes),
}  # fmt: skip


@pytest.mark.parametrize("variant", ESX)
def test_extents_of_esx(tmp_path: Path, variant: str) -> None:
    kind, type, make = ESX[variant]
    guest = source(tmp_path / "source").read_bytes()
    (tmp_path / "disk-delta.vmdk").write_bytes(make(guest))
    path = tmp_path / "disk.vmdk"
    path.write_bytes(vm_images.descriptor(f'RW {len(guest) // 512} {kind} "disk-delta.vmdk"', type))
    links = links_of(path)
    assert [link.map.notes for link in links[1:]] == [()]
    assert links[0].map.facts["virtual_size"] == len(guest)
    assert_holds(links, guest)
    run("qemu-img", "compare", "-f", "vmdk", "-F", "raw", path, tmp_path / "source")
    assert ("grain" in kinds(links[1].map)) == (kind != "VMFS")
    if kind == "SESPARSE":
        assert {
            "volatile header",
            "grain directory",
            "grain table",
            "free bitmap",
            "backmap",
            "journal",
        } <= (kinds(links[1].map))


def test_many_extents_of_every_kind(tmp_path: Path) -> None:
    guest = bytearray(source(tmp_path / "source").read_bytes())
    third = 8 * MIB
    guest[third : third + 100] = noise(100)
    (tmp_path / "a.vmdk").write_bytes(vm_images.cowd(third, grains_of(guest[:third], 512)))
    (tmp_path / "b c.vmdk").write_bytes(noise(1024, 7) + guest[third : 2 * third])
    (tmp_path / "s.vmdk").write_bytes(vm_images.sesparse(third, grains_of(guest[2 * third :], 4096)))
    lines = [f'RW {third // 512} SPARSE "a.vmdk"', f'RW {third // 512} FLAT "b c.vmdk" 2',
             f'RW {third // 512} SESPARSE "s.vmdk"']  # fmt: skip
    path = tmp_path / "disk.vmdk"
    path.write_bytes(vm_images.descriptor("\n".join(lines), "twoGbMaxExtentFlat"))
    links = links_of(path)
    assert len(links) == 4 and links[0].map.facts["virtual_size"] == len(guest)
    assert_holds(links, bytes(guest))
    (tmp_path / "source").write_bytes(guest)
    run("qemu-img", "compare", "-f", "vmdk", "-F", "raw", path, tmp_path / "source")
    # zeros, which no file holds, and which QEMU leaves out of the disk
    path.write_bytes(vm_images.descriptor("\n".join([lines[0], f"RW {MIB // 512} ZERO", lines[1]])))
    links = links_of(path)
    assert links[0].map.facts["virtual_size"] == 17 * MIB
    assert links[2].map.guest.to_numpy().tolist() == [[1024, third, 9 * MIB]]


# ---- what other readers make of it ------------------------------------------------------------------------


def reader(library: str, *paths: Path) -> Any:
    """An image as one of the libyal libraries reads it (pyqcow, pyvhdi, pyvmdk), its parents behind it."""
    need(importlib.util.find_spec(library) is not None, f"without {library}, of PyPI")
    module, found = importlib.import_module(library), []
    for path in paths:
        if library == "pyvmdk":
            found.append(module.handle())
            found[-1].open(str(path))
            found[-1].open_extent_data_files()
        else:
            found.append(module.file())
            found[-1].open(str(path))
    for image, parent in itertools.pairwise(found):
        image.set_parent(parent)
    return found[0]


def assert_reads(link: Link, image: Any, sectors: Callable[[int], bool] = lambda _: True) -> int:
    """The other reader gives the guest what is labelled as its data, in all sectors that are asked for; how
    many bytes these were."""
    seen, size = 0, image.get_media_size()
    for start, length, guest in link.map.guest.to_numpy().tolist():
        for at in range(0, min(length, size - guest), 512):
            if sectors(start + at):
                many = min(512, size - guest - at)
                assert link.opened.image.read(start + at, many) == image.read_buffer_at_offset(
                    many, guest + at
                )
                seen += many
    return seen


def in_bitmap(link: Link) -> Callable[[int], bool]:
    """Of a VHD, whether the bitmap of its block says that a sector is in this file, not in the parent."""
    block = link.map.facts["block_size"]
    bitmap = -(-block // 512 // 8 // 512) * 512
    starts = link.map.guest["start"].to_numpy()

    def held(place: int) -> bool:
        start = int(starts[np.searchsorted(starts, place, "right") - 1])
        sector = (place - start) // 512
        return bool(link.opened.image.read(start - bitmap + sector // 8, 1)[0] & 0x80 >> sector % 8)

    return held


def test_vhds_of_other_makers(tmp_path: Path) -> None:
    for name, file in (("dfvfs.vhd", "image.vhd"), ("dfvfs-differential.vhd", "top.vhd")):
        (tmp_path / file).write_bytes(mutate.content(name))
    top, base = links_of(tmp_path / "top.vhd")
    assert Path(base.opened.name).name == "image.vhd"
    both = reader("pyvhdi", tmp_path / "top.vhd", tmp_path / "image.vhd")
    assert assert_reads(base, reader("pyvhdi", tmp_path / "image.vhd"))
    assert assert_reads(top, both, in_bitmap(top))


def test_a_chain_of_30_vhds(tmp_path: Path) -> None:
    """Each changes some sectors; the parents are named in the ways of Windows, XenServer and old hosts."""
    size, block, depth = 64 << 10, 4096, 30
    ids = [uuid.UUID(int=number + 1) for number in range(depth)]
    for number in range(depth):
        name, parent = f"{number}.vhd", f"{number - 1}.vhd" if number else ""
        content = noise(512, number) + bytes(1024) + noise(2560, number + 100)
        blocks = {(number * 7) % 16: content, (number * 5 + 3) % 16: bytes(2048) + noise(2048, number)}
        ways: list[dict[bytes, bytes] | None] = [
            None, {b"W2ku": f"C:\\vm\\{parent}".encode("utf-16-le")},
            {b"MacX": f"file://./{parent}".encode()}, {},
        ]  # fmt: skip
        raw = vm_images.vhd(
            size, blocks, block, parent, ids[number - 1], ids[number], batmap=number % 2 == 1,
            locators=ways[number % 4] if parent else None, maker=b"tap\0" if number % 2 else b"win ",
        )  # fmt: skip
        (tmp_path / name).write_bytes(raw)
    links = links_of(tmp_path / f"{depth - 1}.vhd")
    assert [Path(link.opened.name).name for link in links] == [f"{n}.vhd" for n in reversed(range(depth))]
    assert [link.front for link in links] == [None, *range(depth - 1)]
    paths = [Path(link.opened.name) for link in links]
    for number in (0, 1, depth // 2, depth - 1):
        image = reader("pyvhdi", *paths[number:])
        assert image.get_media_size() == size
        assert assert_reads(links[number], image, in_bitmap(links[number]))
    # another disk of that name: the IDs tell
    (tmp_path / "3.vhd").write_bytes((tmp_path / "7.vhd").read_bytes())
    notes = chain(opened(paths[0]), beside)[1]
    assert "has changed since" in notes[0] and "3.vhd" in notes[0]


@pytest.mark.parametrize(("format", "library"), [("qcow", "pyqcow"), ("vpc", "pyvhdi"), ("vhdx", "pyvhdi")])
def test_other_readers_agree(tmp_path: Path, format: str, library: str) -> None:
    path = tmp_path / "image"
    run("qemu-img", "convert", "-f", "raw", "-O", format, source(tmp_path / "source"), path)
    (link,) = links_of(path)
    assert assert_reads(link, reader(library, path)) > MIB


@pytest.mark.parametrize("subformat", ["monolithicSparse", "twoGbMaxExtentSparse", "monolithicFlat"])
def test_other_readers_agree_on_vmdk(tmp_path: Path, subformat: str) -> None:
    path = tmp_path / "disk.vmdk"
    options = ["-f", "raw", "-O", "vmdk", "-o", f"subformat={subformat}"]
    run("qemu-img", "convert", *options, source(tmp_path / "source"), path)
    image = reader("pyvmdk", path)
    assert sum(assert_reads(link, image) for link in links_of(path)) > MIB


def test_a_differencing_vhdx(tmp_path: Path) -> None:
    """qemu-img makes no VHDX with a parent: one of its own gets what makes it one."""
    base, path = tmp_path / "base.vhdx", tmp_path / "top.vhdx"
    run("qemu-img", "convert", "-O", "vhdx", "-o", "block_size=1M", source(tmp_path / "source"), base)
    run("qemu-img", "create", "-q", "-f", "vhdx", "-o", "block_size=1M", path, str(SIZE))
    run("qemu-io", "-f", "vhdx", "-c", "write -P 7 1M 1M", "-c", "write -P 8 5M 1M", path)
    linkage = links_of(base)[0].map.facts["id"]
    found = links_of(path)[0].map.ranges
    metadata, table = (int(found[found["kind"] == kind]["start"].iloc[0])
                       for kind in ("metadata", "block allocation table"))  # fmt: skip
    raw = vm_images.vhdx_with_parent(path.read_bytes(), metadata, {
        "parent_linkage": f"{{{linkage}}}", "relative_path": ".\\base.vhdx",
        "absolute_win32_path": "C:\\vm\\base.vhdx", "volume_path": "\\\\?\\Volume{1}\\vm\\base.vhdx",
    })  # fmt: skip
    # the block of the guest's second MiB is there in part: the bitmap has every second sector
    assert struct.unpack_from("<Q", raw, table + 8)[0] & 7 == 6
    raw[table + 8] |= 7
    at = -(-len(raw) // MIB) * MIB
    struct.pack_into("<Q", raw, table + 8 * 4096, at | 6)
    bitmap = bytes(256) + b"\x55" * 256
    path.write_bytes(bytes(raw.ljust(at, b"\0")) + bitmap.ljust(MIB, b"\0"))
    links = links_of(path)
    assert [Path(link.opened.name).name for link in links] == ["top.vhdx", "base.vhdx"]
    top = links[0].map
    assert clusters(top, "sector bitmap block") == 1 and clusters(top, "payload block") == 2
    image = reader("pyvhdi", path, base)
    part = top.guest[top.guest["guest"] == MIB]["start"].iloc[0]
    assert assert_reads(links[0], image, lambda place: not part <= place < part + MIB or place % 1024 == 0)


def clusters(found: Map, kind: str) -> int:
    rows = found.ranges[found.ranges["kind"] == kind]
    return int((rows["end"] - rows["start"]).sum()) // MIB


# ---- at capture time -------------------------------------------------------------------------------------


def images_of(trace: Trace) -> dict[str, ImageFacts]:
    """The facts of each image of a trace, by the file's name."""
    paths = [Path(os.fsdecode(path)).name for path in trace.files["path"]]
    return {paths[number]: facts for number, facts in trace.meta.images.items()}


def noted(trace: Trace) -> list[str]:
    """The notes of a trace; a file that was just written may have no place yet."""
    return [note for note in trace.meta.notes if "not written back" not in note]


def test_a_vdi_knows_its_parent_by_an_id(tmp_path: Path) -> None:
    """Its name stands in VirtualBox's registry; both were read, so they are put together."""
    base, top = bytearray(mutate.content("image.vdi")), bytearray(mutate.content("image.vdi"))
    top[0x188:0x198] = b"another VDI's ID"
    top[0x1A8:0x1B8] = base[0x188:0x198]
    struct.pack_into("<I", top, 0x4C, 4)  # the type: differencing
    (tmp_path / "base.vdi").write_bytes(base)
    (tmp_path / "top.vdi").write_bytes(top)
    trace = record(["cat", str(tmp_path / "base.vdi"), str(tmp_path / "top.vdi")], tracer="ptrace")
    found = images_of(trace)
    assert found["top.vdi"].header["type"] == "differencing" and noted(trace) == []
    assert trace.files["path"].iloc[found["base.vdi"].in_front].endswith(b"top.vdi")
    assert found["top.vdi"].in_front is None


def test_a_trace_names_the_descriptor_and_places_its_extents(tmp_path: Path) -> None:
    path, size = tmp_path / "disk.vmdk", (2 << 30) + (8 << 20)
    command = ["qemu-img", "create", "-q", "-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"]
    run(*command, path, str(size))
    run("qemu-io", "-f", "vmdk", "-c", f"write {(2 << 30) + MIB} 64k", "-c", "write 1M 1M", path)
    trace = record(["qemu-io", "-r", "-f", "vmdk", "-c", "read 1M 1M", "-c", f"read {(2 << 30) + MIB} 4k",
                    str(path)], tracer="ptrace")  # fmt: skip
    found = images_of(trace)
    assert set(found) == {"disk.vmdk", "disk-s001.vmdk", "disk-s002.vmdk"}
    assert found["disk.vmdk"].in_front is None
    assert all(
        found[name].part and found[name].in_front is not None for name in found if name != "disk.vmdk"
    )
    image = image_of(trace)
    assert image is not None and trace.files["path"].iloc[image.file] == os.fsencode(path)
    assert image.virtual == size and len(image.files) == 3
    rows = trace.structures.dropna(subset=["guest"])
    assert (rows["kind"] == "grain").all()
    assert set(rows["guest"]) == {MIB, (2 << 30) + MIB}
    assert noted(trace) == []


def test_a_parallels_disk_of_many_files(tmp_path: Path) -> None:
    """Its guest's disk is what qemu-img reads of each file, put together after the descriptor, which no
    qemu-img reads."""
    top, old = "{5fbaabe3-6958-40ff-92a7-860e329aab41}", "{11111111-0000-0000-0000-000000000000}"
    folder, half = tmp_path / "disk.hdd", SIZE // 2
    folder.mkdir()
    for name, number in (("a", 1), ("a-top", 2), ("b", 3), ("b-top", 4)):
        path = folder / f"{name}.{{x}}.hds"
        run("qemu-img", "create", "-q", "-f", "parallels", "-o", "cluster_size=64k", path, str(half))
        write = f"write -P {number} {64 * number}k 128k"
        run("qemu-io", "-f", "parallels", "-c", write, path)
    storages = [
        (first * half // 512, (first + 1) * half // 512,
         {old: ("Compressed", f"{name}.{{x}}.hds"), top: ("Compressed", f"{name}-top.{{x}}.hds")})
        for first, name in enumerate("ab")
    ]  # fmt: skip
    path = folder / "DiskDescriptor.xml"
    path.write_bytes(vm_images.disk_descriptor(SIZE, storages, {old: "", top: old}, block=128))
    links = links_of(path)
    flat = {
        Path(link.opened.name).name: as_raw(Path(link.opened.name), "-f", "parallels") for link in links[1:]
    }
    # an independent way through the descriptor: the newer file of each half where it has anything
    expected = bytearray()
    for storage in ElementTree.parse(path).getroot().iter("Storage"):
        below, above = (flat[image.findtext("File") or ""] for image in storage.iter("Image"))
        clusters = ((above[at : at + 65536], below[at : at + 65536]) for at in range(0, half, 65536))
        expected += b"".join(newer if any(newer) else older for newer, older in clusters)
    layers = [guest_disk.layer(link.opened.image, link.map) for link in links]
    disk = guest_disk.Disk(layers, SIZE, complete=True)
    assert disk.read(0, SIZE) == expected and set(expected) == {0, 1, 2, 3, 4}
    trace = record(["sha256sum", str(path), *(str(file) for file in folder.glob("*.hds"))], tracer="ptrace")
    found = images_of(trace)
    image = image_of(trace)
    assert image is not None and trace.files["path"].iloc[image.file] == os.fsencode(path)
    assert (image.virtual, image.cluster, len(image.files)) == (SIZE, 65536, 5) and noted(trace) == []
    assert found["b-top.{x}.hds"].part and not found["b.{x}.hds"].part
    assert "does not read the descriptor" in unread(trace.meta)
    with pytest.raises(ColdseekError, match=r"name the \.hds in it"):
        open_command(str(folder), "info")


def test_json_names_and_remote_ones_of_a_run(tmp_path: Path) -> None:
    base = source(tmp_path / "base")
    path, place = tmp_path / "top.qcow2", tmp_path / "socket"
    name = json.dumps({"driver": "raw", "file": {"driver": "file", "filename": str(base)}})
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", f"json:{name}", "-F", "raw", path, str(SIZE))
    trace = record(["qemu-io", "-r", "-f", "qcow2", "-c", "read 1M 8k", str(path)], tracer="ptrace")
    found = images_of(trace)
    assert set(found) == {"top.qcow2", "base"} and found["base"].format == "raw"
    assert not found["base"].part and noted(trace) == []
    server = need_tool("qemu-nbd")
    serving = subprocess.Popen([server, "-r", "-f", "raw", "-k", place, base], stdin=subprocess.DEVNULL)
    try:
        until(place.exists)
        address = f"nbd+unix:///?socket={place}"
        trace = record(["qemu-img", "info", address], tracer="ptrace")
    finally:
        serving.kill()
        serving.wait()
    (note,) = noted(trace)
    assert note.startswith(f"{address} is remote (nbd): none of its reads") and "local files" in note


def test_what_is_opened_by_a_name_of_qemus(tmp_path: Path) -> None:
    path = tmp_path / "image"
    run("qemu-img", "create", "-q", "-f", "qcow2", path, "1M")
    name = "json:" + json.dumps({"driver": "qcow2", "file": {"driver": "file", "filename": str(path)}})
    for way in WAYS:
        meant, command = open_command(name, way)
        assert meant == os.path.realpath(path) and name in command
        run(*command)
    with pytest.raises(ColdseekError, match=r"is remote \(rbd\).*coldseek record -- qemu-img info rbd:a/b"):
        open_command("rbd:a/b", "info")


# ---- images of other makers ------------------------------------------------------------------------------

FOLDER = os.environ.get("COLDSEEK_IMAGES", "")
"""A folder of disk images, of whatever maker: each is tested, on this machine only."""
READERS = {"qcow2": "pyqcow", "qcow": "pyqcow", "vpc": "pyvhdi", "vhdx": "pyvhdi", "vmdk": "pyvmdk"}
LARGEST = 64 << 30  # bytes of a guest's disk that are compared


def images_in(folder: Path) -> list[Path]:
    """The files that are images by their bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return [path for path in files if path.stat().st_size and formats.told(Disk(path)) != "raw"]


def truth(path: Path, format: str) -> str:
    """Check an image against qemu-img, or where it refuses it, against another reader; who it was, or ""."""
    links, _ = chain(opened(path), beside)
    for link in links:
        mutate.assert_sound(link.map, link.opened.image.size)
    own = [link for number, link in enumerate(links) if not number or (link.part and link.front == 0)]
    command = ["qemu-img", "map", "--force-share", "--output=json", "-f", format, path]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600)
    if done.returncode == 0:
        rows = [
            row for row in json.loads(done.stdout) if row["data"] and not row["depth"] and "offset" in row
        ]
        for row in rows:
            assert any(is_placed(link.map, row["offset"], row["start"]) for link in own), (path, row)
        if rows:
            return "qemu-img"
    if format in READERS and not links[0].map.facts.get("encryption"):
        parents = [Path(link.opened.name) for link in links if not link.part]
        try:
            image = reader(READERS[format], *parents)
        except OSError:
            return ""
        held = in_bitmap(own[0]) if own[0].map.facts.get("type") == "differencing" else lambda _: True
        plain = [one for one in own if not {"compressed cluster", "compressed grain"} & kinds(one.map)]
        if image.get_media_size() <= LARGEST and sum(assert_reads(link, image, held) for link in plain):
            return READERS[format]
    return ""


def is_placed(found: Map, offset: int, guest: int) -> bool:
    placed = found.placed
    at = int(np.searchsorted(placed.starts, offset, "right")) - 1
    within = at >= 0 and offset < placed.starts[at] + placed.lengths[at]
    return bool(within and placed.guest[at] + offset - placed.starts[at] == guest)


def test_the_images_at_hand(tmp_path: Path) -> None:
    """Those of the unit tests, each checked by somebody else where there is anybody who reads it."""
    for name in mutate.NAMES:
        (tmp_path / name).write_bytes(mutate.content(name))
    (tmp_path / "image.vhd").write_bytes(mutate.content("dfvfs.vhd"))  # the parent of dfvfs-differential.vhd
    checked = {path.name: truth(path, formats.told(Disk(path))) for path in images_in(tmp_path)}
    assert checked["dfvfs.vhd"] == checked["dfvfs-differential.vhd"] == "pyvhdi"
    expected = {"dfvfs.vmdk", "image.hdd", "image.qed", "image.vdi", "image.vmdk", "pyvhd.vhd", "v2.qcow2"}
    assert {name for name, by in checked.items() if by == "qemu-img"} >= expected
    assert checked["image.vhdx"] == "pyvhdi", checked


@pytest.mark.skipif(not FOLDER, reason="COLDSEEK_IMAGES names no folder of images")
def test_a_folder_of_images(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        for path in images_in(Path(FOLDER)):
            format = formats.told(Disk(path))
            found = formats.read(Disk(path))
            by = truth(path, format) if format in formats.READ else ""
            print(f"{path}: {format}, {by or 'nobody else reads it'}; {'; '.join(found.notes)}")
