"""DiskDescriptor.xml: which files make up a Parallels disk, and what a hostile one may not do."""

from __future__ import annotations

import pytest
from vm_images import SECTOR, disk_descriptor, parallels

from profiler.images import formats
from profiler.images.chain import Opened, chain
from profiler.images.guest.disk import Disk, layer
from profiler.images.map import Map
from profiler.images.readers import parallels_descriptor
from profiler.images.source import Held

MIB = 1 << 20
TOP = "{5fbaabe3-6958-40ff-92a7-860e329aab41}"
OLD, OLDER, BRANCH = (f"{{{digit * 8}-0000-0000-0000-000000000000}}" for digit in "123")


def read(raw: bytes) -> Map:
    return parallels_descriptor.read(Held(raw))


def plain(images: dict[str, tuple[str, str]], parents: dict[str, str], top: str = "") -> Map:
    return read(disk_descriptor(MIB, [(0, MIB // SECTOR, images)], parents, top))


def names(found: Map) -> list[list[str]]:
    """The files of each storage, that which is written to first."""
    lines = []
    for extent in found.extents:
        line, at = [], extent
        while at is not None:
            line.append(at.name)
            at = at.behind  # type: ignore[assignment]
        lines.append(line)
    return lines


def test_snapshots_stand_behind_each_other() -> None:
    images = {
        guid: ("Compressed", name) for guid, name in ((OLDER, "c"), (TOP, "a"), (BRANCH, "x"), (OLD, "b"))
    }
    parents = {OLDER: "", OLD: OLDER, BRANCH: OLDER, TOP: OLD}
    found = plain(images, parents)
    assert names(found) == [["a", "b", "c"]] and found.notes == ()
    assert found.facts["virtual_size"] == MIB and found.facts["cluster_size"] == MIB
    assert names(plain(images, parents, top=BRANCH.upper())) == [["x", "c"]]
    assert found.ranges.to_numpy().tolist() == [[0, found.ranges["end"].iloc[-1], "descriptor"]]


def test_one_image_needs_no_snapshots() -> None:
    assert names(plain({BRANCH: ("Plain", "a.hds")}, {})) == [["a.hds"]]
    found = plain({BRANCH: ("Plain", "a"), OLD: ("Plain", "b")}, {})
    assert names(found) == [] and "without an image of the disk" in found.notes[0]


def test_a_split_disk_is_put_together() -> None:
    """Each storage has places of its own, from where it starts."""
    half = MIB // 2
    files = {
        "a.hds": parallels(half, {1: b"1" * 4096}), "b.hds": parallels(half, {1: b"2" * 4096}),
        "b0.hds": b"0" * half,
    }  # fmt: skip
    storages = [
        (0, half // SECTOR, {TOP: ("Compressed", "a.hds")}),
        (half // SECTOR, MIB // SECTOR, {TOP: ("Compressed", "b.hds"), OLD: ("Plain", "b0.hds")}),
    ]
    raw = disk_descriptor(MIB, storages, {OLD: "", TOP: OLD}, block=8)

    def opener(name: str, _: str) -> Opened | str:
        return Opened(Held(files[name]), name, name)

    links, notes = chain(Opened(Held(raw), "DiskDescriptor.xml", "xml"), opener)
    assert notes == () and [link.opened.name for link in links] == ["DiskDescriptor.xml", *files]
    assert [(link.front, link.part) for link in links] == [(None, False), (0, True), (0, True), (2, False)]
    disk = Disk([layer(link.opened.image, link.map) for link in links], MIB, complete=True)
    whole = bytearray(half) + b"0" * half
    whole[4096:8192], whole[half + 4096 : half + 8192] = b"1" * 4096, b"2" * 4096
    assert disk.read(0, MIB) == whole


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_type_is_refused(encoding: str) -> None:
    """It can define entities that expand without end, or that are files."""
    laughs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 20}">' for n in range(1, 20))
    for inside in (f'<!ENTITY a0 "ha">{laughs}', '<!ENTITY a19 SYSTEM "file:///etc/passwd">', ""):
        text = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE x [{inside}]>'
        text += f"<Parallels_disk_image>{'&a19;' if inside else ''}</Parallels_disk_image>"
        found = read(text.encode(encoding))
        assert found.notes == ("the descriptor cannot be read: it has a document type, which is not read",)
        assert found.extents == ()


def test_what_cannot_be_becomes_a_note() -> None:
    whole = disk_descriptor(MIB, [(0, 2048, {TOP: ("Plain", "a")})], {TOP: ""})
    assert formats.probe(whole[:512]) == "parallels" and formats.read(Held(whole)).extents
    images = {TOP: ("Plain", "a")}
    many = disk_descriptor(MIB, [(n, n + 1, images) for n in range(1001)], {TOP: ""})
    cases = {
        "cannot be read": whole[:-9],
        "longer than 256 KiB": whole + b" " * parallels_descriptor.MAX_BYTES,
        "is left out": whole.replace(b"<Start>0<", b"<Start>9999<"),
        "padded": whole.replace(b"0</Pad", b"1</Pad"),
        "neither plain": whole.replace(b"Plain", b"Else"),
        "loop": disk_descriptor(MIB, [(0, 2048, images)], {TOP: OLD, OLD: TOP}),
        "more storages": many,
        "unknown encoding": whole.replace(b"UTF-8", b"moo"),
    }
    for words, raw in cases.items():
        assert any(words in note for note in read(raw).notes), words
    far = read(whole.replace(b"<End>2048<", b"<End>" + b"9" * 30 + b"<"))
    assert far.extents == ()
    assert read(b"<Parallels_disk_image>" + b"<a>" * 30_000 + b"</a>" * 30_000).extents == ()
    deep = b"<a>" * 30_000 + b"</a>" * 30_000
    assert read(b"<Parallels_disk_image>" + deep + b"</Parallels_disk_image>").extents == ()
    encrypted = whole.replace(b"<Engine>{0", b"<Engine>{1")
    assert read(encrypted).facts["encryption"] == "parallels"
