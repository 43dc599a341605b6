"""Probing, chains, and images of the other formats made byte by byte."""

from __future__ import annotations

import struct
import uuid

import pytest
import vm_images

from profiler.images import extents, formats
from profiler.images.chain import MAX_DEPTH, Opened, chain
from profiler.images.map import Map
from profiler.images.names import named
from profiler.images.readers import vpc
from profiler.images.source import Held, Image

QCOW2 = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 9, 512, 0, 0, 0, 512, 1, 0, 0)


def rows(found: Map) -> list[tuple[int, int, str]]:
    return list(found.ranges.itertuples(index=False, name=None))


# ---- probing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "format"),
    [
        (b"", "raw"), (b"QFI", "raw"), (QCOW2, "qcow2"), (QCOW2[:40], "raw"), (b"QFI\xfb\0\0\0\1", "qcow"),
        (b"QFI\xfb\0\0\0\0" + bytes(100), "raw"), (b"QED\0" + bytes(64), "qed"), (b"vhdxfile", "vhdx"),
        (b"KDMV" + bytes(508), "vmdk"), (b"COWD" + bytes(508), "vmdk"),
        (b"# Disk DescriptorFile\nversion=1\nCID=0\n", "vmdk"), (b"\n  \n#\r\nversion=3\r\n", "vmdk"),
        (b"version=4\n", "raw"), (b"version=1", "raw"), (b"# a comment\n", "raw"),
        (bytes(64) + struct.pack("<I", 0xBEDA107F) + bytes(444), "vdi"), (b"conectix" + bytes(504), "vpc"),
        (b"Bochs Virtual HD Image".ljust(512, b"\0"), "bochs"),
        (b"LUKS\xba\xbe\0\1", "luks"), (b"LUKS\xba\xbe\0\2", "raw"),
    ],
)  # fmt: skip
def test_the_format_is_told_from_the_bytes(first: bytes, format: str) -> None:
    assert formats.probe(first) == format


def test_what_is_declared_counts_more_than_the_bytes() -> None:
    assert formats.read(Held(QCOW2), "raw").format == "raw"
    found = formats.read(Held(bytes(512)), "qcow2")
    assert found.format == "raw" and "declared to be of another format" in found.notes[0]
    assert formats.read(Held(b"LUKS\xba\xbe\0\1")).notes == (
        "the structures of the format luks are not read",
    )


# ---- chains ----------------------------------------------------------------------------------------------


def backed(name: str) -> Image:
    """An image of qcow2's version 2 with this backing file."""
    raw = bytearray(QCOW2 + bytes(512 - len(QCOW2)))
    struct.pack_into(">QI", raw, 8, 200, len(name))
    raw[200 : 200 + len(name)] = name.encode()
    return Held(bytes(raw))


def follow(first: str, files: dict[str, str]) -> tuple[list[str], tuple[str, ...]]:
    """The names of a chain and its notes; files: name -> name of its backing file."""

    def opener(name: str, _: str) -> Opened | str:
        return Opened(backed(files[name]), name, name) if name in files else "no such file"

    links, notes = chain(Opened(backed(files[first]), first, first), opener)
    return [link.opened.name for link in links], notes


def test_a_chain_ends_where_there_is_no_more() -> None:
    assert follow("a", {"a": "b", "b": ""}) == (["a", "b"], ())
    assert follow("a", {"a": "file:b", "b": ""}) == (["a", "b"], ())
    names, notes = follow("a", {"a": "b"})
    assert names == ["a"] and notes == ("the backing file of a, b: no such file",)


def test_a_loop_is_seen() -> None:
    names, notes = follow("a", {"a": "b", "b": "a"})
    assert names == ["a", "b"] and "a loop" in notes[0]


def test_a_chain_has_an_end() -> None:
    names, notes = follow("0", {str(number): str(number + 1) for number in range(1000)})
    assert len(names) == MAX_DEPTH and "longer than 64" in notes[0]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nbd://host/x", "remote (nbd)"), ("nbd+unix:///x?socket=y", "remote (nbd)"),
        ("ssh:x", "remote (ssh)"),
        ("rbd:pool/image", "remote (rbd)"), ("fat:rw:/", "no plain file"), ("json:{}", "no file name"),
        ("json:[", "cannot be read"), ('json:{"driver":"rbd","pool":"p"}', "remote (rbd)"),
        ('json:{"driver":"qcow2","file":{"driver":"nbd"}}', "remote (nbd)"),
        ('json:{"file.driver":"https","file.url":"u"}', "remote (https)"),
        ('json:{"driver":"raw","offset":512,"file":{"driver":"file","filename":"b"}}', "part of a file"),
        ("json:" + '{"file":' * 30 + "{}" + "}" * 30, "cannot be read"),
        ("json:" + "[" * 60_000, "cannot be read"), ('json:{"driver":"file","filename":7}', "no file name"),
        ('json:{"filename":"json:{}"}', "no file name"), (r'json:{"filename":"a\ud800"}', "no file name"),
    ],
)  # fmt: skip
def test_nothing_but_files_is_followed(name: str, reason: str) -> None:
    meant = named(name)
    said = f"remote ({meant.remote})" if meant.remote else meant.reason
    assert not meant.path and reason in said
    if len(name) < 300:
        names, notes = follow("a", {"a": name, name: ""})
        assert names == ["a"] and reason in notes[0]


@pytest.mark.parametrize(
    ("name", "path", "format"),
    [
        ('json:{"driver":"qcow2","file":{"driver":"file","filename":"b"}}', "b", "qcow2"),
        ('json:{"driver":"raw","file.driver":"file","file.filename":"/a/b"}', "/a/b", "raw"),
        ('json:{"driver":"qcow2","file.filename":"b"}', "b", "qcow2"), ('json:{"filename":"b"}', "b", ""),
        ('json:{"driver":"throttle","file":{"driver":"host_device","filename":"/dev/x"}}', "/dev/x", ""),
        ("file:b", "b", ""),
    ],
)  # fmt: skip
def test_names_of_json_are_followed_to_the_file(name: str, path: str, format: str) -> None:
    meant = named(name)
    assert (meant.path, meant.format, meant.anywhere) == (path, format, True)
    assert follow("a", {"a": name, path: ""})[0] == ["a", path]


# ---- raw -------------------------------------------------------------------------------------------------


def mbr(*partitions: tuple[int, int, int]) -> bytes:
    sector = bytearray(512)
    for number, (kind, start, count) in enumerate(partitions):
        struct.pack_into("<B3xB3xII", sector, 446 + 16 * number, 0, kind, start, count)
    sector[510:] = b"\x55\xaa"
    return bytes(sector)


def disk(sectors: int, content: dict[int, bytes]) -> Held:
    raw = bytearray(sectors * 512)
    for sector, part in content.items():
        raw[sector * 512 : sector * 512 + len(part)] = part
    return Held(bytes(raw))


def test_no_partition_table_is_data() -> None:
    assert rows(formats.read(Held(bytes(1000)))) == [(0, 1000, "data")]
    assert rows(formats.read(Held(b""))) == []
    boot_sector = bytearray(mbr((0x83, 1, 2)))
    boot_sector[446] = 0x65  # no state of a partition: text of a boot sector
    assert rows(formats.read(Held(bytes(boot_sector)))) == [(0, 512, "data")]


def test_logical_partitions() -> None:
    image = disk(100, {
        0: mbr((0x83, 10, 10), (0x0F, 20, 80)), 20: mbr((0x83, 1, 9), (0x05, 30, 20)),
        50: mbr((0x83, 2, 8)), 10: b"XFSB",
    })  # fmt: skip
    found = formats.read(image)
    assert [(start // 512, end // 512, kind) for start, end, kind in rows(found)] == [
        (0, 1, "partition table"), (1, 10, "outside partitions"), (10, 11, "xfs superblock"),
        (11, 20, "xfs file system"), (20, 21, "partition table"), (21, 30, "partition"),
        (30, 50, "outside partitions"), (50, 51, "partition table"), (51, 52, "outside partitions"),
        (52, 60, "partition"), (60, 100, "outside partitions"),
    ]  # fmt: skip
    assert found.notes == () and found.facts["partitions"] == 3


def test_a_chain_of_partitions_that_loops() -> None:
    found = formats.read(disk(100, {0: mbr((0x05, 20, 80)), 20: mbr((0x83, 1, 9), (0x05, 20, 5)),
                                    40: mbr((0x83, 1, 1), (0x05, 20, 5))}))  # fmt: skip
    assert found.notes == ("the chain of extended partitions does not end as it should",)


@pytest.mark.parametrize("sector", [512, 4096])
def test_a_gpt(sector: int) -> None:
    def header(at: int, other: int, entries: int) -> bytes:
        return struct.pack("<8s16xQQQQ16xQII", b"EFI PART", at, other, 34, 60, entries, 4, 128)

    raw = bytearray(64 * sector)
    raw[:512] = mbr((0xEE, 1, 63))
    raw[sector : sector + 88] = header(1, 63, 2)
    raw[63 * sector : 63 * sector + 88] = header(63, 1, 62)
    raw[2 * sector : 2 * sector + 48] = b"T" * 16 + b"U" * 16 + struct.pack("<QQ", 40, 49)
    superblock = bytearray(1024)
    superblock[56:58] = b"\x53\xef"
    superblock[96] = 0x40
    raw[40 * sector + 1024 : 40 * sector + 2048] = superblock
    found = formats.read(Held(bytes(raw)))
    assert found.notes == () and found.facts["file_systems"] == ["ext4"]
    places = {kind: (start, end) for start, end, kind in rows(found)}
    assert places["ext4 superblock"] == (40 * sector + 1024, 40 * sector + 2048)
    tables = [row for row in rows(found) if row[2] == "partition table"]
    assert any(start <= 62 * sector < end for start, end, _ in tables)
    assert sum(end - start for start, end, _ in tables) == 512 + 2 * sector + 2 * 512


# ---- what this machine's qemu-img does not make ----------------------------------------------------------


def test_a_stream_with_its_directory_at_the_end() -> None:
    """As VMware's own tools write streamOptimized: markers before each table, a footer, an end marker."""

    def header(directory: int) -> bytes:
        raw = struct.pack(
            "<4sIIQQQQIQQQ?4sH", b"KDMV", 3, 1 << 16 | 1 << 17 | 1, 16 * 128, 128, 1, 1, 512, 0, directory,
            128, False, b"\n \r\n", 1,
        )  # fmt: skip
        return raw + bytes(512 - len(raw))

    def marker(count: int, kind: int) -> bytes:
        return struct.pack("<QII", count, 0, kind) + bytes(496)

    grains = {2: (0, 700), 4: (3, 100)}  # sector: (number, bytes)
    raw = bytearray(17 * 512)
    raw[:512] = header(0xFFFFFFFFFFFFFFFF)
    raw[512:1024] = b'# Disk DescriptorFile\nversion=1\nparentFileNameHint="below.vmdk"\n'.ljust(512, b"\0")
    for sector, (number, length) in grains.items():
        struct.pack_into("<QI", raw, sector * 512, number * 128, length)
    raw[5 * 512 : 6 * 512] = marker(4, 1)  # grain table
    struct.pack_into("<IIII", raw, 6 * 512, 2, 0, 0, 4)
    raw[10 * 512 : 11 * 512] = marker(1, 2)  # grain directory
    struct.pack_into("<I", raw, 11 * 512, 6)
    raw[14 * 512 : 15 * 512] = marker(1, 3)  # footer
    raw[15 * 512 : 16 * 512] = header(11)
    found = formats.read(Held(bytes(raw)))
    assert [(start / 512, end / 512, kind) for start, end, kind in rows(found)] == [
        (0, 1, "header"), (1, 2, "descriptor"), (2, 5, "compressed grain"), (5, 6, "marker"),
        (6, 10, "grain table"), (10, 11, "marker"), (11, 11 + 4 / 512, "grain directory"),
        (11 + 4 / 512, 14, "unallocated"), (14, 15, "marker"), (15, 16, "footer"), (16, 17, "marker"),
    ]  # fmt: skip
    assert found.guest.to_numpy().tolist() == [[1024, 1024, 0], [2048, 512, 3 * 65536]]
    assert found.backing == "below.vmdk" and found.notes == ()


def test_a_sparse_extent_of_esx() -> None:
    raw = bytearray(64 * 512)
    struct.pack_into("<4sIIIIII", raw, 0, b"COWD", 1, 3, 64, 8, 4, 1)
    struct.pack_into("<I", raw, 4 * 512, 8)
    struct.pack_into("<II", raw, 8 * 512, 0, 56)
    found = formats.read(Held(bytes(raw)))
    kinds = {kind: (start, end) for start, end, kind in rows(found)}
    assert kinds["grain directory"] == (2048, 2052)
    assert kinds["grain table"] == (4096, 4096 + 4096 * 4)
    assert kinds["grain"] == (56 * 512, 64 * 512)
    assert found.guest.to_numpy().tolist() == [[56 * 512, 4096, 4096]]


def test_a_differencing_vhdx_has_blocks_of_sector_bitmaps() -> None:
    mib, kib = 1 << 20, 1 << 10

    def name_of(text: str) -> bytes:
        return uuid.UUID(text).bytes_le

    raw = bytearray(8 * mib)
    raw[:8] = b"vhdxfile"
    raw[64 * kib : 64 * kib + 80] = struct.pack("<4s4xQ48xHHIQ", b"head", 5, 0, 1, mib, mib)
    region = struct.pack("<4s4xII", b"regi", 2, 0)
    region += struct.pack("<16sQII", name_of("2dc27766-f623-4200-9d64-115e9bfd4a08"), 3 * mib, mib, 1)
    region += struct.pack("<16sQII", name_of("8b7ca206-4790-4b9a-b8fe-575f050f886e"), 2 * mib, mib, 1)
    raw[192 * kib : 192 * kib + len(region)] = region
    items = [
        ("caa16737-fa36-4d43-b3b6-33f0aa44e76b", struct.pack("<II", mib, 2)),
        ("2fa54224-cd1b-4876-b211-5dbed83bf4b8", struct.pack("<Q", 3 * mib)),
        ("8141bf1d-a96f-4709-ba47-f233a8faab5f", struct.pack("<I", 512)),
        ("a8d35f2d-b30b-454d-abf7-d3d84834ab0c", vm_images.parent_locator({
            "parent_linkage": "{83ED0EC3-24C8-49A6-A959-5E4BD1288015}",
            "absolute_win32_path": "C:\\vm\\sub\\base.vhdx", "relative_path": "sub\\base.vhdx",
        })),
    ]  # fmt: skip
    table = b"metadata" + struct.pack("<2xH20x", len(items))
    for number, (name, value) in enumerate(items):
        place = 64 * kib + 16 * number
        table += struct.pack("<16sIII4x", name_of(name), place, len(value), 0)
        raw[2 * mib + place : 2 * mib + place + len(value)] = value
    raw[2 * mib : 2 * mib + len(table)] = table
    # 4,096 payload blocks for each bitmap: entries 0 to 2 are blocks, entry 4,096 is the bitmap of them
    struct.pack_into("<QQQ", raw, 3 * mib, 5 * mib | 7, 0, 4 * mib | 6)
    struct.pack_into("<Q", raw, 3 * mib + 4096 * 8, 6 * mib | 6)
    found = formats.read(Held(bytes(raw)))
    assert [(start / mib, end / mib, kind) for start, end, kind in rows(found)][-6:] == [
        (1, 2, "log"), (2, 3, "metadata"), (3, 4, "block allocation table"), (4, 6, "payload block"),
        (6, 7, "sector bitmap block"), (7, 8, "unallocated"),
    ]  # fmt: skip
    assert found.guest.to_numpy().tolist() == [[4 * mib, mib, 2 * mib], [5 * mib, mib, 0]]
    assert found.notes == () and (found.backing, found.backing_format) == ("sub/base.vhdx", "vhdx")
    assert found.facts["parent_id"] == "83ed0ec3-24c8-49a6-a959-5e4bd1288015"


# ---- images of VM hosts ----------------------------------------------------------------------------------


def kinds(found: Map) -> dict[str, tuple[int, int]]:
    """The first place of each kind."""
    return {kind: (start, end) for start, end, kind in reversed(rows(found))}


def test_a_fixed_vhd_is_told_by_its_footer() -> None:
    disk = b"x" * 4096
    found = formats.read(Held(disk + vm_images.vhd_footer(4096, 2)))
    assert found.format == "vpc" and rows(found) == [(0, 4096, "data"), (4096, 4608, "footer")]
    assert found.guest.to_numpy().tolist() == [[0, 4096, 0]] and found.notes == ()
    # what only looks like one: of another size, with a wrong checksum, or declared to be raw
    assert formats.read(Held(disk + vm_images.vhd_footer(8192, 2))).format == "raw"
    wrong = vm_images.vhd_footer(4096, 2)[:-1] + b"\1"
    assert formats.read(Held(disk + wrong)).format == "raw"
    assert formats.read(Held(disk + vm_images.vhd_footer(4096, 2)), "raw").format == "raw"


@pytest.mark.parametrize(
    ("locators", "name"),
    [
        (None, "./base.vhd"),
        ({b"W2ku": "C:\\vm\\base.vhd".encode("utf-16-le")}, "base.vhd"),
        ({b"W2ku": "\\\\server\\share\\base.vhd".encode("utf-16-le")}, "base.vhd"),
        ({b"W2ru": "..\\a b\\base.vhd".encode("utf-16-le")}, "../a b/base.vhd"),
        ({b"MacX": b"file://./base%20b.vhd"}, "./base b.vhd"),
        ({b"MacX": b"file:///srv/base.vhd"}, "/srv/base.vhd"),
        ({b"MacX": b"file://localhost/srv/base.vhd"}, "/srv/base.vhd"),
        ({b"MacX": b"file:///a", b"W2ru": "b.vhd".encode("utf-16-le")}, "b.vhd"),
        ({}, "base.vhd"),
    ],
)
def test_the_parent_of_a_vhd_is_named_in_many_ways(locators: dict[bytes, bytes] | None, name: str) -> None:
    raw = vm_images.vhd(1 << 20, {1: b"1" * 4096}, 4096, "base.vhd", locators=locators)
    found = formats.read(Held(raw))
    assert (found.backing, found.backing_format, found.notes) == (name, "vpc", (vpc.NO_PARENT,))
    assert found.facts["type"] == "differencing" and found.facts["parent_id"] == str(vm_images.VHD_ID)
    assert ("parent locator" in kinds(found)) == (locators != {})


def test_a_vhd_that_lost_its_end_is_read_by_the_copy() -> None:
    raw = vm_images.vhd(1 << 20, {1: b"1" * 4096}, 4096)
    found = formats.read(Held(raw[:-512]))
    assert "footer" not in kinds(found) and "the copy" not in found.notes
    assert found.notes == ("the footer at the end of the file is missing; its copy at the start is used",)
    assert found.guest.to_numpy().tolist()[0][1:] == [4096, 4096]


@pytest.mark.parametrize("old", [True, False])
def test_a_parallels_disk_with_a_bitmap(old: bool) -> None:
    raw = vm_images.parallels(1 << 20, {5: b"5" * 4096, 100: b"6" * 4096}, old, bitmap=True)
    found = formats.read(Held(raw))
    assert found.format == "parallels" and found.notes == () and found.facts["bitmaps"] == 1
    for start, length, guest in found.guest.to_numpy().tolist():
        assert raw[start : start + length] == {5: b"5", 100: b"6"}[guest // 4096] * length
    assert {"header", "block allocation table", "format extension", "dirty bitmap"} <= set(kinds(found))


def test_a_journal_of_sesparse_that_is_to_be_replayed() -> None:
    found = formats.read(Held(vm_images.sesparse(1 << 20, {3: b"3" * 4096}, replay=True)))
    assert found.facts["dirty"] and "the journal is to be replayed" in found.notes[0]
    assert len(found.guest) == 1


def test_a_descriptor_in_a_sparse_extent_without_a_disk() -> None:
    text = vm_images.descriptor(
        'RW 16 FLAT "a b.vmdk" 8\nRW 8 ZERO\nRW 4 NONSENSE "x"\nRW 8 FLAT "a b.vmdk"'
    )
    head = struct.pack("<4sIIQQQQ", b"KDMV", 1, 3, 0, 128, 1, 2).ljust(512, b"\0")
    found = formats.read(Held(head + text.ljust(1024, b"\0")))
    assert rows(found) == [(0, 512, "header"), (512, 1536, "descriptor")]
    (part,) = found.extents
    assert (part.name, part.kind) == ("a b.vmdk", "FLAT")
    assert part.pieces == ((0, 4096, 8192), (28 * 512, 0, 4096))
    assert found.facts["virtual_size"] == 36 * 512
    assert found.notes == ("an extent that is neither flat, sparse nor zeros is left out",)
    data = extents.read(Held(bytes(12288)), "vmdk", part)
    assert data.guest.to_numpy().tolist() == [[0, 4096, 28 * 512], [4096, 8192, 0]]
    assert rows(data) == [(0, 12288, "data")]


def test_the_parent_of_an_extent_of_esx() -> None:
    found = formats.read(Held(vm_images.cowd(1 << 20, {7: b"7" * 512}, parent="base.vmdk")))
    assert (found.backing, found.backing_format) == ("base.vmdk", "vmdk")
    assert found.guest.to_numpy().tolist()[0][1:] == [512, 7 * 512]


def test_a_dmg_and_a_cloop_are_named() -> None:
    koly = b"koly" + struct.pack(">II", 4, 512)
    assert formats.read(Held(bytes(4096) + koly.ljust(512, b"\0"))).format == "dmg"
    assert formats.read(Held(bytes(4096) + b"koly".ljust(512, b"\0"))).format == "raw"
    script = b"#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n"
    found = formats.read(Held(script.ljust(1024, b"\0")))
    assert found.format == "cloop" and found.notes == ("the structures of the format cloop are not read",)


def test_an_image_made_on_another_one_than_that_of_the_name() -> None:
    other = uuid.UUID(int=7)
    files = {
        "top": vm_images.vhd(1 << 20, {1: b"1" * 4096}, 4096, "base"),
        "base": vm_images.vhd(1 << 20, {2: b"2" * 4096}, 4096, name=other),
    }

    def opener(name: str, _: str) -> Opened | str:
        name = name.removeprefix("./")
        return Opened(Held(files[name]), name, name)

    links, notes = chain(opener("top", ""), opener)  # type: ignore[arg-type]
    assert [link.front for link in links] == [None, 0]
    assert notes == (
        f"base is not what top was made on, or has changed since: its ID is {other}, "
        f"and {vm_images.VHD_ID} is expected",
    )
