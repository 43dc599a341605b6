"""Images as VM hosts have them that no qemu-img makes, byte by byte after their specifications.

Data is given as {number of the block: its content}.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterable, Mapping

SECTOR = 512
VHD_ID = uuid.UUID("d49c5c80-350a-4a89-898a-5ad6d10f6578")


def _checked(raw: bytearray, at: int) -> bytes:
    raw[at : at + 4] = struct.pack(">I", ~sum(raw) & 0xFFFF_FFFF)
    return bytes(raw)


def vhd_footer(size: int, type: int, maker: bytes = b"win ", name: uuid.UUID = VHD_ID) -> bytes:
    """type: 2 fixed, 3 dynamic, 4 differencing."""
    raw = bytearray(SECTOR)
    struct.pack_into(
        ">8sIIQI4sHH4sQQHBBII16sB", raw, 0, b"conectix", 2, 0x10000, (1 << 64) - 1 if type == 2 else 512, 0,
        maker, 5, 3, b"Wi2k", size, size, 0xFFFF, 16, 255, type, 0, name.bytes, 0,
    )  # fmt: skip
    return _checked(raw, 64)


def vhd(
    size: int,
    blocks: Mapping[int, bytes],
    block: int = 2 << 20,
    parent: str = "",
    parent_id: uuid.UUID = VHD_ID,
    name: uuid.UUID = VHD_ID,
    maker: bytes = b"win ",
    locators: Mapping[bytes, bytes] | None = None,
    batmap: bool = False,
) -> bytes:
    """A dynamic disk, or with a parent a differencing one: its blocks in the order given. locators: platform
    code -> its data, in place of one with the relative path. batmap: that of XenServer behind the table."""
    footer = vhd_footer(size, 4 if parent else 3, maker, name)
    entries = -(-size // block)
    if locators is None:
        locators = {b"W2ru": f".\\{parent}".encode("utf-16-le")} if parent else {}
    head = bytearray(1024)
    table = 512 + 1024 + 512 * len(locators)
    struct.pack_into(
        ">8sQQIIII16sI4x512s", head, 0, b"cxsparse", (1 << 64) - 1, table, 0x10000, entries, block, 0,
        parent_id.bytes if parent else bytes(16), 0, parent.encode("utf-16-be"),
    )  # fmt: skip
    texts = b""
    for number, (code, data) in enumerate(locators.items()):
        struct.pack_into(">4sIIIQ", head, 576 + 24 * number, code, 512, len(data), 0, 1536 + 512 * number)
        texts += data.ljust(512, b"\0")
    at = table + -(-4 * entries // SECTOR) * SECTOR
    extra = b""
    if batmap:
        extra = struct.pack(">8sQI", b"tdbatmap", at + SECTOR, 1).ljust(2 * SECTOR, b"\0")
        at += len(extra)
    bitmap = -(-block // SECTOR // 8 // SECTOR) * SECTOR
    places, body = [0xFFFF_FFFF] * entries, b""
    for number, content in blocks.items():
        places[number] = (at + len(body)) // SECTOR
        # the bitmap says of each sector whether it is here or in the parent
        bits = "".join(
            "1" if any(content[start : start + SECTOR]) else "0" for start in range(0, len(content), SECTOR)
        )
        body += int(bits, 2).to_bytes(-(-len(bits) // 8), "big").ljust(bitmap, b"\0") + content
    raw_table = struct.pack(f">{entries}I", *places)
    raw_table += b"\xff" * (-len(raw_table) % SECTOR)
    return footer + _checked(head, 36) + texts + raw_table + extra + body + footer


def cowd(size: int, grains: Mapping[int, bytes], grain: int = 1, parent: str = "") -> bytes:
    """A sparse extent of ESX with grains of so many sectors; tables of 4,096 entries."""
    sectors = size // SECTOR
    count = -(-sectors // (4096 * grain))
    directory = 4 + -(-4 * count // SECTOR)
    head = struct.pack("<4sIIIIII", b"COWD", 1, 2 if parent else 3, sectors, grain, 4, count)
    head += struct.pack("<I1024s", 0, parent.encode()) if parent else b""
    entries: dict[int, list[int]] = {}
    used = sorted({number // 4096 for number in grains})
    at = directory + 32 * len(used)
    body = b""
    for number, content in grains.items():
        entries.setdefault(number // 4096, [0] * 4096)[number % 4096] = at + len(body) // SECTOR
        body += content
    tables = [0] * count
    for place, number in enumerate(used):
        tables[number] = directory + 32 * place
    raw = head.ljust(4 * SECTOR, b"\0") + struct.pack(f"<{count}I", *tables)
    raw = raw.ljust(directory * SECTOR, b"\0")
    return raw + b"".join(struct.pack("<4096I", *entries[number]) for number in used) + body


def sesparse(size: int, grains: Mapping[int, bytes], replay: bool = False) -> bytes:
    """A SESPARSE extent: grains of 8 sectors, tables of 64 sectors. A grain b"" is one of zeros."""
    sectors, grain, table = size // SECTOR, 8, 64
    span = table * SECTOR // 8  # grains of a table
    count = -(-sectors // (grain * span))
    used = sorted({number // span for number in grains})
    directory, tables = 4, 4 + max(1, -(-8 * count // SECTOR))
    tables = -(-tables // 8) * 8
    bitmap = tables + table * max(1, len(used))
    data = -(-(bitmap + 4) // 8) * 8
    head = [
        0xCAFEBABE, 0x200000001, sectors, grain, table, 0, 0, 0, 0, 0,
        1, 1, 2, 1, 3, 1, directory, tables - directory, tables, table * max(1, len(used)),
        bitmap, 2, bitmap + 2, 2, data, sectors,
    ]  # fmt: skip
    raw = struct.pack("<26Q", *head).ljust(SECTOR, b"\0")
    raw += struct.pack("<QQQQ", 0xCAFECAFE, 0, 0, int(replay)).ljust(SECTOR, b"\0")
    raw = raw.ljust(directory * SECTOR, b"\0")
    raw += b"".join(
        struct.pack("<Q", 0x1000_0000_0000_0000 | used.index(number) if number in used else 0)
        for number in range(count)
    )
    raw = raw.ljust(tables * SECTOR, b"\0")
    entries, body = [0] * (span * max(1, len(used))), b""
    for number, content in grains.items():
        place = used.index(number // span) * span + number % span
        if content:
            cell = len(body) // (grain * SECTOR)
            entries[place] = 3 << 60 | (cell & 0xFFF) << 48 | cell >> 12
            body += content
        else:
            entries[place] = 2 << 60
    raw += struct.pack(f"<{len(entries)}Q", *entries)
    return raw.ljust(data * SECTOR, b"\0") + body


def descriptor(extents: str, kind: str = "custom", parent: str = "", parent_id: str = "ffffffff") -> bytes:
    """The text that makes files one VMDK; extents: its lines."""
    hint = f'parentFileNameHint="{parent}"\n' if parent else ""
    return (
        f"# Disk DescriptorFile\nversion=1\nCID=0000cafe\nparentCID={parent_id}\n"
        f"createType=\"{kind}\"\n{hint}"
        f"\n# Extent description\n{extents}\n\n#DDB\n\nddb.adapterType = \"lsilogic\"\n"
    ).encode()  # fmt: skip


def parent_locator(said: Mapping[str, str]) -> bytes:
    """The metadata item of a differencing VHDX."""
    raw, texts, at = b"", b"", 20 + 12 * len(said)
    for key, value in said.items():
        one, other = key.encode("utf-16-le"), value.encode("utf-16-le")
        raw += struct.pack("<IIHH", at, at + len(one), len(one), len(other))
        texts, at = texts + one + other, at + len(one) + len(other)
    kind = uuid.UUID("b04aefb7-d19e-4a81-b789-25b8e9445913").bytes_le
    return kind + struct.pack("<HH", 0, len(said)) + raw + texts


def vhdx_with_parent(raw: bytes, metadata: int, said: Mapping[str, str]) -> bytearray:
    """A VHDX without one, whose metadata starts at `metadata`, with a parent locator of this."""
    made, locator = bytearray(raw), parent_locator(said)
    item = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le
    (count,) = struct.unpack_from("<H", made, metadata + 10)
    struct.pack_into("<H", made, metadata + 10, count + 1)
    struct.pack_into("<16sIII", made, metadata + 32 + 32 * count, item, 96 << 10, len(locator), 4)
    made[metadata + (96 << 10) : metadata + (96 << 10) + len(locator)] = locator
    for number in range(count):
        name, place, _ = struct.unpack_from("<16sII", made, metadata + 32 + 32 * number)
        if name == uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b").bytes_le:
            made[metadata + place + 4] |= 2  # it has a parent
    return made


def parallels(size: int, clusters: Mapping[int, bytes], old: bool = False, bitmap: bool = False) -> bytes:
    """A disk with clusters of 8 sectors. old: its table counts in sectors, and the clusters start right
    behind it. bitmap: an extension holds one of a cluster."""
    count, cluster = -(-size // 4096), 4096
    start = -(-(64 + 4 * count) // (SECTOR if old else cluster)) * (SECTOR if old else cluster)
    places, body = [0] * count, b""
    for number, content in clusters.items():
        at = start + len(body)
        places[number] = at // (SECTOR if old else cluster)
        body += content.ljust(cluster, b"\0")
    extension = (start + len(body)) // SECTOR if bitmap else 0
    if bitmap:
        feature = struct.pack("<Q16sII2Q", size, b"bitmap's id.....", 8, 2, 1, extension + 8)
        raw = struct.pack("<Q16x", 0xAB234CEF23DCEA87)
        raw += struct.pack("<QQI4x", 0x20385FAE252CB34A, 0, len(feature)) + feature
        body += raw.ljust(cluster, b"\0") + b"\x55" * cluster
    head = struct.pack(
        "<16sIIIIIQIIIQ", b"WithoutFreeSpace" if old else b"WithouFreSpacExt", 2, 16, 1, cluster // SECTOR,
        count, size // SECTOR, 0, start // SECTOR, 0, extension,
    )  # fmt: skip
    return (head + struct.pack(f"<{count}I", *places)).ljust(start, b"\0") + body


def disk_descriptor(
    size: int,
    storages: Iterable[tuple[int, int, Mapping[str, tuple[str, str]]]],
    parents: Mapping[str, str],
    top: str = "",
    block: int = 2048,
) -> bytes:
    """DiskDescriptor.xml. storages: start and end (sectors), and GUID -> (type, file). parents: those of the
    snapshots, "" for none."""
    zero = "{00000000-0000-0000-0000-000000000000}"
    parts = "".join(
        f"<Storage><Start>{start}</Start><End>{end}</End><Blocksize>{block}</Blocksize>"
        + "".join(
            f"<Image><GUID>{guid}</GUID><Type>{type}</Type><File>{file}</File></Image>"
            for guid, (type, file) in images.items()
        )
        + "</Storage>"
        for start, end, images in storages
    )
    shots = "".join(
        f"<Shot><GUID>{guid}</GUID><ParentGUID>{parent or zero}</ParentGUID></Shot>"
        for guid, parent in parents.items()
    )
    first = f"<TopGUID>{top}</TopGUID>" if top else ""
    return (
        "<?xml version='1.0' encoding='UTF-8'?>\n"
        '<Parallels_disk_image Version="1.0">\n    <Disk_Parameters>\n'
        f"        <Disk_size>{size // SECTOR}</Disk_size><Padding>0</Padding>\n"
        f"        <Encryption><Engine>{zero}</Engine><Data></Data></Encryption>\n    </Disk_Parameters>\n"
        f"    <StorageData>{parts}</StorageData>\n    <Snapshots>{first}{shots}</Snapshots>\n"
        "</Parallels_disk_image>\n"
    ).encode()
