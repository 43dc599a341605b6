"""qcow2 images made byte by byte: every label and every place worked out by hand."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from profiler.images import build, formats
from profiler.images.cells import PAGE as PAGE_CELLS
from profiler.images.cells import Cells
from profiler.images.map import Map
from profiler.images.readers import qcow2
from profiler.images.source import Held

CLUSTER = 512


def image(
    clusters: dict[int, bytes], count: int, *, l1: tuple[int, int] = (1, 1), table: tuple[int, int] = (2, 1),
    size: int = 1 << 20, snapshots: tuple[int, int] = (0, 0), crypt: int = 0, version: int = 3,
    incompatible: int = 0, autoclear: int = 0, order: int = 4, extensions: bytes = b"", bits: int = 9,
) -> bytes:  # fmt: skip
    """An image of `count` clusters with this content; tables are given as (cluster, entries or clusters)."""
    cluster = 1 << bits
    raw = bytearray(count * cluster)
    struct.pack_into(
        ">4sIQIIQIIQQIIQ", raw, 0, b"QFI\xfb", version, 0, 0, bits, size, crypt, l1[1], l1[0] * cluster,
        table[0] * cluster, table[1], snapshots[1], snapshots[0] * cluster,
    )  # fmt: skip
    if version == 3:
        struct.pack_into(">QQQII", raw, 72, incompatible, 0, autoclear, order, 104)
    raw[104 : 104 + len(extensions)] = extensions
    for number, content in clusters.items():
        raw[number * cluster : number * cluster + len(content)] = content
    return bytes(raw)


def words(*values: int) -> bytes:
    return struct.pack(f">{len(values)}Q", *values)


def at(number: int, bits: int = 9) -> int:
    """A table's entry for a cluster that is used once."""
    return 1 << 63 | number << bits


def rows(found: Map) -> list[tuple[int, int, str]]:
    """First cluster, end, kind."""
    return [
        (start // CLUSTER, -(-end // CLUSTER), kind)
        for start, end, kind in found.ranges.itertuples(index=False)
    ]


def guest(found: Map) -> list[tuple[int, ...]]:
    return [tuple(row) for row in found.guest.to_numpy().tolist()]


def read(raw: bytes) -> Map:
    found = formats.read(Held(raw))
    assert found.format == "qcow2"
    return found


ONES = struct.pack(">16H", *[1] * 16)


def test_a_small_image() -> None:
    l2 = words(at(5), at(6), 0, at(8))
    raw = image({1: words(at(4)), 2: words(3 << 9), 3: ONES[:14] + bytes(2) + ONES[:2], 4: l2}, 9)
    found = read(raw)
    assert rows(found) == [
        (0, 1, "header"), (1, 2, "L1 table"), (2, 3, "refcount table"), (3, 4, "refcount block"),
        (4, 5, "L2 table"), (5, 7, "data cluster"), (7, 8, "unallocated"), (8, 9, "data cluster"),
    ]  # fmt: skip
    assert guest(found) == [(5 * 512, 1024, 0), (8 * 512, 512, 3 * 512)]
    assert found.notes == ()
    assert found.facts["cluster_size"] == 512 and found.facts["refcount_bits"] == 16
    places, cut = found.places()
    assert cut
    assert places["guest"].dropna().tolist() == [0, 1536]


def test_places_are_cut_where_the_guest_jumps_unless_that_is_too_many() -> None:
    l2 = words(at(6), at(5))
    found = read(image({1: words(at(4)), 2: words(3 << 9), 3: ONES, 4: l2}, 7))
    assert rows(found)[-1] == (5, 7, "data cluster")
    places, cut = found.places()
    assert cut
    assert places[["start", "end", "guest"]].iloc[-2:].to_numpy().tolist() == [
        [5 * 512, 6 * 512, 512], [6 * 512, 7 * 512, 0],
    ]  # fmt: skip
    places, cut = found.places(limit=7)
    assert not cut and places["guest"].isna().all() and len(places) == 6


def test_only_the_wanted_places_of_the_guest() -> None:
    l2 = words(at(5), 0, at(6), 0, at(7))
    raw = image({1: words(at(4)), 2: words(3 << 9), 3: ONES, 4: l2}, 8)
    wanted = (np.array([0, 6 * 512 + 100]), np.array([100, 6 * 512 + 101]))
    found = formats.read(Held(raw), wanted=wanted)
    assert guest(found) == [(6 * 512, 512, 2 * 512)]
    assert rows(found)[-1] == (5, 8, "data cluster")


@pytest.mark.parametrize("order", range(7))
def test_refcounts_of_every_width(order: int) -> None:
    """Clusters 0 to 4 are used and counted; 6 is counted and nobody's; 5 is neither."""
    width = 1 << order
    counts = sum(1 << number * width for number in (0, 1, 2, 3, 4, 6))
    block = counts.to_bytes(64, "little")
    if width > 8:  # words are big-endian
        block = np.frombuffer(block, f"<u{width // 8}").astype(f">u{width // 8}").tobytes()
    raw = image({1: words(at(4)), 2: words(3 << 9), 3: block, 4: b""}, 7, order=order)
    found = read(raw)
    assert rows(found)[5:] == [(5, 6, "unallocated"), (6, 7, "leaked cluster")]
    assert found.notes == ("clusters that are counted as used but nobody points to: 1",)


def test_used_but_counted_as_free() -> None:
    raw = image({1: words(at(4)), 2: words(3 << 9), 3: ONES[:10], 4: words(at(5))}, 6)
    assert read(raw).notes == ("clusters that are used but counted as free: 1",)


def test_compressed_clusters_share_clusters() -> None:
    # 2^9: the offset has 61 bits, then 1 bit for one further sector
    first, second = 1 << 62 | (5 << 9), 1 << 62 | 1 << 61 | ((5 << 9) + 100)
    raw = image({1: words(at(4)), 2: words(3 << 9), 3: ONES, 4: words(first, second)}, 8)
    found = read(raw)
    assert rows(found)[-2:] == [(5, 7, "compressed cluster"), (7, 8, "leaked cluster")]
    assert guest(found) == [(5 * 512, 100, 0), (5 * 512 + 100, 924, 512)]
    assert found.facts["compressed_clusters"] == 2


def test_subclusters() -> None:
    """Entries of 16 bytes; the bitmap behind each offset is no offset."""
    bits = 14
    l2 = words(at(5, bits), 0xFFFFFFFF, 0, 1 << 32, at(6, bits), 1)
    raw = image({1: words(at(4, bits)), 2: words(3 << bits), 3: ONES, 4: l2}, 7, incompatible=16, bits=bits)
    found = read(raw)
    assert guest(found) == [(5 << bits, 1 << bits, 0), (6 << bits, 1 << bits, 2 << bits)]
    assert found.facts["extended_l2"] and found.facts["allocated_clusters"] == 2


def test_version_2_has_no_more_than_its_header() -> None:
    raw = image({1: words(at(4)), 2: words(3 << 9), 3: ONES, 4: words(at(5))}, 6, version=2)
    found = read(raw)
    assert found.facts["version"] == 2 and found.facts["refcount_bits"] == 16
    assert rows(found)[-1] == (5, 6, "data cluster")


def snapshot(l1: tuple[int, int], name: bytes = b"s") -> bytes:
    entry = (
        struct.pack(">QIHHIIQII", l1[0] << 9, l1[1], 1, len(name), 0, 0, 0, 0, 16) + bytes(16) + b"1" + name
    )
    return entry + bytes(-len(entry) % 8)


def test_snapshots_and_their_own_clusters() -> None:
    table = snapshot((6, 2)) + snapshot((7, 1), b"longer name")
    clusters = {
        1: words(at(4)), 2: words(3 << 9), 3: ONES, 4: words(9 << 9), 5: table,
        6: words(4 << 9, 8 << 9), 7: words(4 << 9), 8: words(10 << 9),
    }  # fmt: skip
    found = read(image(clusters, 11, snapshots=(5, 2)))
    assert rows(found)[4:] == [
        (4, 5, "L2 table"), (5, 6, "snapshot table"), (6, 8, "snapshot L1 table"), (8, 9, "L2 table"),
        (9, 11, "data cluster"),
    ]  # fmt: skip
    # the second table of the first snapshot maps what lies 64 clusters on
    assert guest(found) == [(9 * 512, 512, 0), (10 * 512, 512, 64 * 512)]
    assert found.notes == () and found.facts["snapshots"] == 2


def test_bitmaps_and_the_encryption_header() -> None:
    extensions = struct.pack(">IIIIQQ", 0x23852875, 24, 1, 0, 32, 5 << 9)
    extensions += struct.pack(">IIQQ", 0x0537BE77, 16, 8 << 9, 1000)
    entry = struct.pack(">QIIBBHI", 6 << 9, 3, 0, 1, 9, 1, 0) + b"b" + bytes(7)
    clusters = {
        1: words(at(4)), 2: words(3 << 9), 3: ONES, 5: entry, 6: words(0, 1, 7 << 9),
    }  # fmt: skip
    found = read(image(clusters, 10, autoclear=1, crypt=2, extensions=extensions))
    assert rows(found)[5:] == [
        (5, 6, "bitmap directory"), (6, 7, "bitmap table"), (7, 8, "bitmap data"),
        (8, 10, "encryption header"),
    ]  # fmt: skip
    assert found.facts["encryption"] == "luks" and found.facts["bitmaps"] == 1
    stale = read(image(clusters, 10, crypt=2, extensions=extensions))
    assert "the bitmaps are not consistent any more and left out" in stale.notes


# ---- what is wrong becomes a note ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "note"),
    [
        (image({}, 1)[:71], "the file ends within its header"),
        (image({}, 4, version=4), "qcow2 version 4 is not known; there are 2 and 3"),
        (image({}, 4, bits=9)[:20] + struct.pack(">I", 40) + bytes(2000), "clusters of 2^40 bytes"),
        (image({}, 4, order=9), "refcounts of 2^9 bits are not possible"),
        (image({}, 4, l1=(1, 2**31)), "are too long; the first 32 MiB of each are used"),
        (image({}, 4, l1=(2**54, 1)), "lies past the end of the file"),
        (image({1: words(at(1))}, 4), "claimed more than once, as L1 table and as L2 table"),
        (image({1: words(at(2**46))}, 4), "1 L2 table lies past the end of the file"),
        (image({1: words(1 << 63 | 512)}, 4, bits=10), "1 L2 table does not start where a unit of"),
        (image({}, 4, snapshots=(3, 2**32 - 1)), "4,294,967,295 snapshots are not possible"),
        (image({}, 4, snapshots=(9, 1)), "there is no snapshot table at offset 4,608"),
        (image({}, 4, incompatible=1), "marked dirty"),
        (image({}, 4, incompatible=1 << 40), "features that are not known here"),
        (image({}, 4, crypt=2), "there is no pointer to its encryption header"),
        (image({}, 4, extensions=struct.pack(">II", 7, 2**31)), "runs past the end of the first cluster"),
    ],
)
def test_what_is_wrong_is_said(raw: bytes, note: str) -> None:
    found = read(raw) if len(raw) >= 72 else qcow2.read(Held(raw))
    assert any(note in one for one in found.notes), found.notes
    assert rows(found)[0][2] == "header"
    assert found.ranges["end"].iloc[-1] == len(raw)


def test_a_table_that_is_its_own_data_is_labelled_once() -> None:
    l2 = words(at(4), at(1), at(0), at(5))
    found = read(image({1: words(at(4)), 2: words(3 << 9), 3: ONES, 4: l2}, 6))
    assert rows(found)[4:] == [(4, 5, "L2 table"), (5, 6, "data cluster")]
    assert guest(found) == [(5 * 512, 512, 3 * 512)]
    assert "1 cluster is claimed more than once, as L2 table and as data cluster" in found.notes


def test_a_file_too_large_for_a_cell_of_each_cluster() -> None:
    """Sparse, of 4 EiB: what is pointed to is labelled, the rest takes no memory."""

    class Sparse(Held):
        size = 1 << 62

        def read(self, offset: int, length: int) -> bytes:
            part = super().read(offset, length)
            return part + bytes(length - len(part))

    far = 1 << 46
    l2 = words(1 << 63 | far, 1 << 63 | (far + 512))
    found = formats.read(Sparse(image({1: words(at(4)), 2: words(3 << 9), 3: ONES, 4: l2}, 9)))
    assert (far, far + 1024, "data cluster") in set(found.ranges.itertuples(index=False, name=None))
    assert guest(found) == [(far, 1024, 0)]
    assert found.ranges["end"].iloc[-1] == 1 << 62


def test_a_map_that_is_too_long_is_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "MAX_RANGES", 8)
    monkeypatch.setattr(build, "_MAX_RAW", 16)
    l2 = words(*(at(number) for number in range(6, 64, 2)))
    found = read(image({1: words(at(4)), 2: words(3 << 9), 3: ONES, 4: l2}, 64))
    assert rows(found)[4:] == [(4, 5, "L2 table"), (5, 64, "data cluster")]
    assert any("is shown with the free space between them as one" in note for note in found.notes)


def test_what_a_map_lacks_is_said_however_much_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of faults there may be as many as an image has structures: here the L1 tables of its snapshots."""
    monkeypatch.setattr(build, "MAX_RANGES", 4)
    monkeypatch.setattr(build, "_MAX_RAW", 8)
    crooked = b"".join(struct.pack(">QIHHIIQII", n + 1, 1, 0, 0, 0, 0, 0, 0, 0) for n in range(100))
    content = {1: words(at(4)), 2: words(3 << 9), 3: ONES, 4: words(at(30)), 20: crooked}
    found = read(image(content, 64, snapshots=(20, 100)))
    faults = [note for note in found.notes if "does not start where a cluster does" in note]
    assert len(faults) == build.MAX_NOTES
    assert any(note.startswith("the map ends after 4 ranges") for note in found.notes)
    assert (
        f"more than {build.MAX_NOTES} things are wrong with the image; the rest is not told" in found.notes
    )
    few = read(image(content, 64, snapshots=(20, 20)))
    assert not any("the rest is not told" in note for note in few.notes)


def test_cells_in_pages_do_what_cells_do() -> None:
    numbers = np.random.default_rng(7)
    whole, paged = Cells(40_000), Cells(40_000, limit=39_999)
    for code in (1, 2, 3):
        cells = numbers.integers(0, 36_000, 300)
        assert (whole.put(cells, code) == paged.put(cells, code)).all()
        first = int(numbers.integers(0, 35_000))
        assert (whole.fill(first, first + 900, code) == paged.fill(first, first + 900, code)).all()
    everything = np.arange(40_000)
    assert (whole.get(everything) == paged.get(everything)).all()
    assert whole.claimed() == paged.claimed() and paged.dropped == 0
    small = Cells(40_000, limit=PAGE_CELLS)
    small.put(everything, 1)
    assert small.claimed() == PAGE_CELLS and small.dropped == 40_000 - PAGE_CELLS
