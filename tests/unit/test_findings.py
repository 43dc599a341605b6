"""The rules: each finds its case, with its numbers, and nothing in an ordinary one."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd
import pytest
from image_cases import FACTS, PAGE, image_trace
from made import GIB, MIB, below, trace, with_meta

from profiler.analysis.advice.evidence import Finding
from profiler.analysis.advice.findings import find
from profiler.analysis.advice.image_rules import MERGE
from profiler.analysis.simulation.projection import requests
from profiler.trace import FILE_COLUMNS, Trace

Rows = list[tuple[int, int, str, int | None]]


def found(made: Trace) -> dict[str, Finding]:
    reads = made.reads()
    return {one.kind: one for one in find(made, reads, requests(made, reads))}


def tables(count: int, kind: str = "L2 table", each: int = PAGE) -> Rows:
    return [(number * 8 * each, number * 8 * each + each, kind, None) for number in range(count)]


def of_all(rows: Rows, times: int = 1) -> list[tuple[int, int, int]]:
    return [(0, start, end - start) for _ in range(times) for start, end, *_ in rows]


def test_an_ordinary_start_has_none() -> None:
    assert not found(image_trace([(0, 0, 512), (0, 20480, PAGE), (1, 0, PAGE)]))
    data: Rows = [(0, 64 * MIB, "data cluster", 0)]
    many = [(0, number * 65536, 65536) for number in range(500)]
    assert not found(image_trace(many, data, {"cluster_size": 65536}, size=64 * MIB))


def test_tables_of_small_clusters() -> None:
    rows = tables(200)
    one = found(image_trace(of_all(rows), rows, size=8 * MIB))["metadata"]
    assert one.numbers == {"reads": 200, "share": 1.0, "cluster_size": 4096}
    assert "cluster_size=64k" in one.remedy and "4 KiB" in one.words
    assert "metadata" not in found(image_trace(of_all(rows), rows, {"cluster_size": 65536}, size=8 * MIB))
    assert "metadata" not in found(image_trace(of_all(rows[:50]), rows, size=8 * MIB))


def test_a_cache_of_l2_tables_that_is_too_small() -> None:
    rows = tables(200)
    large: dict[str, Any] = {"virtual_size": 32 * GIB}  # needs 64 MiB
    one = found(image_trace(of_all(rows, 2), rows, large, size=8 * MIB))["l2-cache"]
    assert one.numbers == {"reads_again": 200, "needed_bytes": 64 * MIB, "cache_bytes": 32 * MIB}
    assert ",l2-cache-size=67108864 " in one.remedy and "cluster_size=64k" in one.remedy
    # of its usual size it would hold these, and was told to be smaller
    fitting: dict[str, Any] = {"virtual_size": 16 * GIB}
    one = found(image_trace(of_all(rows, 2), rows, fitting, size=8 * MIB))["l2-cache"]
    assert one.numbers == {"reads_again": 200, "needed_bytes": 32 * MIB, "read_bytes": 200 * PAGE}
    assert "800 KiB of L2 tables" in one.words and "l2-cache-size=33554432" in one.remedy
    once = image_trace(of_all(rows), rows, large, size=8 * MIB)
    assert "l2-cache" not in found(once)
    check = image_trace(of_all(rows, 2), rows, large, size=8 * MIB, command=("qemu-img", "check", "x"))
    assert "l2-cache" not in found(check)


def test_a_cache_of_refcounts_that_is_too_small() -> None:
    rows = tables(200, "refcount block")
    one = found(image_trace(of_all(rows, 2), rows, {"virtual_size": 2 * GIB}, size=8 * MIB))[
        "refcount-cache"
    ]
    assert one.numbers == {"reads_again": 200, "needed_bytes": MIB, "cache_bytes": 16384}
    assert one.remedy.endswith("refcount-cache-size=1048576")


def test_a_deep_chain() -> None:
    made = image_trace([(0, 0, 512), (1, 0, 512)])
    assert "backing-chain" not in found(
        with_images(made, {"0": FACTS, "1": {"format": "raw", "in_front": 0}})
    )
    files = pd.concat([made.files, made.files.iloc[1:].assign(file=2)], ignore_index=True)
    deeper = dataclasses.replace(made, files=files.astype(FILE_COLUMNS))
    chain = {"0": FACTS, "1": {"format": "qcow2", "in_front": 0}, "2": {"format": "raw", "in_front": 1}}
    one = found(with_images(deeper, chain))["backing-chain"]
    assert one.numbers == {"files": 3, "files_read": 3, "reads_behind": 1}


def test_a_chain_that_qemu_does_not_read_is_not_converted() -> None:
    """It takes a differencing VHD without its parent: what it made of one would lack most of the data."""
    made = image_trace([(0, 0, 512)], facts={"layers": 9, "format": "vpc", "parent_id": "x"})
    assert found(made)["backing-chain"].remedy == MERGE
    vmdk = image_trace([(0, 0, 512)], facts={"layers": 9, "format": "vmdk", "parent_id": "x"})
    assert found(vmdk)["backing-chain"].remedy.startswith("qemu-img convert -O qcow2 ")


def with_images(made: Trace, images: dict[str, Any]) -> Trace:
    return with_meta(made, images=images)


def test_fragments() -> None:
    rows: Rows = [(0, 4 * MIB, "data cluster", 0)]
    reads = [(0, number * PAGE, PAGE) for number in range(1024)]
    scattered = [(0, n * PAGE, (n * 7919 % 1024) * MIB, PAGE, int(n == 1023)) for n in range(1024)]
    one = found(image_trace(reads, rows, size=4 * MIB, extents=scattered))["fragmentation"]
    assert one.numbers["extents"] == 1024 and one.numbers["requests_torn"] > 900
    whole = [(0, 0, GIB, 4 * MIB, 1)]
    assert "fragmentation" not in found(image_trace(reads, rows, size=4 * MIB, extents=whole))


def test_unaligned_data() -> None:
    rows: Rows = [(0, 64 * MIB, "data cluster", 0)]
    odd = [(0, number * 65536 + 512, PAGE) for number in range(150)]
    even = [(0, number * 65536, PAGE) for number in range(150, 250)]
    one = found(image_trace(odd + even, rows, size=64 * MIB))["unaligned"]
    assert one.numbers == {"reads": 150, "share": 0.6}
    assert "unaligned" not in found(image_trace(even, rows, size=64 * MIB))


def test_where_a_format_puts_data_is_not_what_the_guest_reads() -> None:
    """VDI and VMDK put data at any sector; the guest reads whole pages of its own disk. Compressed clusters
    are read as they lie."""
    apart = [(512 + n * 65536, 512 + n * 65536 + PAGE, "data block", n * MIB) for n in range(150)]
    vdi = image_trace(of_all(apart), apart, {"format": "vdi"}, size=64 * MIB)
    assert "unaligned" not in found(vdi)
    packed: Rows = [(n * 1000, n * 1000 + 1000, "compressed cluster", n * 65536) for n in range(150)]
    assert "unaligned" not in found(
        image_trace(of_all(packed), packed, {"cluster_size": 65536}, size=64 * MIB)
    )
    grains: Rows = [(n * 1024, n * 1024 + 700, "compressed grain", n * 65536 + 100) for n in range(150)]
    assert "unaligned" not in found(image_trace(of_all(grains), grains, {"format": "vmdk"}, size=64 * MIB))


def test_a_fragmented_file_of_a_chain_is_copied_with_the_chain() -> None:
    rows: Rows = [(0, 4 * MIB, "data cluster", 0)]
    reads = [(0, number * PAGE, PAGE) for number in range(1024)]
    scattered = [(0, n * PAGE, (n * 7919 % 1024) * MIB, PAGE, int(n == 1023)) for n in range(1024)]
    made = image_trace(reads, rows, size=4 * MIB, extents=scattered)
    assert found(made)["fragmentation"].remedy.startswith("cp --sparse")
    chain = with_images(made, {"0": FACTS, "1": {"format": "raw", "in_front": 0}})
    assert found(chain)["fragmentation"].remedy.startswith("qemu-img convert")
    apart = with_images(made, {"0": FACTS | {"features": ["external data file"]}})
    assert found(apart)["fragmentation"].remedy.startswith("qemu-img convert")


# ---- any program ------------------------------------------------------------------------------------------


def test_the_things_that_cost_most_are_named() -> None:
    paths = [b"/usr/lib/libc.so.6", b"/usr/lib/python3.11/json/decoder.py", b"/etc/passwd", b"/srv/data"]
    made = trace([(0, 0, MIB), (1, 0, MIB), (2, 0, PAGE), (3, 0, 2 * MIB)], paths)
    one = found(made)["contributors"]
    assert one.words.startswith("data ") and "libc.so.6 (shared library) " in one.words
    assert "Python modules of json " in one.words and "passwd" not in one.words
    assert one.numbers == {"share": pytest.approx(1, abs=0.05), "files": 3}
    assert "contributors" not in found(trace())


def test_an_image_that_costs_most_is_no_news_nor_is_the_only_file() -> None:
    assert "contributors" not in found(image_trace([(0, 0, 512), (0, 20480, PAGE)]))
    assert "contributors" not in found(trace([(0, 0, MIB)]))
    beside = found(image_trace([(0, 0, 512), (1, 0, MIB)]))["contributors"]
    assert beside.words.startswith("a.so (shared library) ")


def test_mapped_pages() -> None:
    faults = [(1000 + n, "fault", 0, n * MIB, PAGE) for n in range(200)]
    made = below(trace([(1, 0, PAGE)]), faults)
    one = found(made)["mapped"]
    assert one.numbers["requests"] == 200 and one.numbers["share"] > 0.9
    assert "mapped" not in found(below(trace([(1, 0, PAGE)]), faults[:50]))


def host(read_ahead_kb: int) -> dict[str, Any]:
    return {"devices": {"8:1": {"disk": "sda", "read_ahead_kb": read_ahead_kb}}}


def test_read_ahead_that_is_off() -> None:
    rows: Rows = [(0, 64 * MIB, "data cluster", 0)]
    reads = [(0, number * PAGE, PAGE) for number in range(500)]
    one = found(image_trace(reads, rows, size=64 * MIB, host=host(0)))["read-ahead-off"]
    assert one.numbers == {"reads": 499, "read_ahead_kb": 0}
    assert one.remedy == "blockdev --setra 256 /dev/sda"
    assert not found(image_trace(reads, rows, size=64 * MIB, host=host(128)))


def test_read_ahead_that_hurts() -> None:
    """Some pages in a row, here and there, are taken for the beginning of a stream."""
    rows: Rows = [(0, GIB, "data cluster", 0)]
    reads = [(0, n * 64 * MIB + page * PAGE, PAGE) for n in range(16) for page in range(40)]
    facts = {"virtual_size": GIB}
    one = found(image_trace(reads, rows, facts, size=GIB, host=host(8192)))["read-ahead-hurts"]
    assert one.numbers["unused_bytes"] > 4 * MIB and one.numbers["read_ahead_kb"] == 8192


def test_snapshots() -> None:
    rows: Rows = [(0, PAGE, "header", None), (PAGE, 2 * PAGE, "snapshot table", None)]
    one = found(image_trace([(0, PAGE, 100)], rows, {"snapshots": 3}))["snapshots"]
    assert one.numbers == {"snapshots": 3, "reads": 1, "requests": 1, "bytes": 100, "share": 1.0}
    assert one.remedy == "qemu-img snapshot -d NAME /vm/disk0.qcow2"
    named = {"snapshots": 3, "snapshot_names": ["a b;$(rm)", "c"]}
    one = found(image_trace([(0, PAGE, 100)], rows, named))["snapshots"]
    assert one.remedy == "qemu-img snapshot -d 'a b;$(rm)' /vm/disk0.qcow2"


def test_bitmaps() -> None:
    rows: Rows = [(0, PAGE, "header", None), *tables(30, "bitmap table")[1:]]
    one = found(image_trace(of_all(rows), rows, {"bitmaps": 29}, size=8 * MIB))["bitmaps"]
    assert one.numbers["bitmaps"] == one.numbers["reads"] == one.numbers["requests"] == 29
    assert one.numbers["share"] == pytest.approx(29 / 30) and one.numbers["bytes"] == 29 * PAGE
    assert "backup software owns them" in one.remedy
    assert "bitmaps" not in found(image_trace(of_all(rows[:12]), rows, {"bitmaps": 11}, size=8 * MIB))
    # what a trace from a stranger says are no names
    for names in ("x", [], [3], [["x"]]):
        odd = {"bitmaps": 29, "bitmap_names": names}
        one = found(image_trace(of_all(rows), rows, odd, size=8 * MIB))["bitmaps"]
        assert "bitmap --remove /vm/disk0.qcow2 NAME " in one.remedy


def test_a_deep_chain_of_which_the_first_is_read() -> None:
    unread = found(image_trace([(0, 0, 512)], facts={"layers": 8}))["backing-chain"]
    assert unread.numbers == {"files": 8, "files_read": 1, "reads_behind": 0}
    assert unread.words.startswith("a chain of 8 files: only the first is read")
    least = found(image_trace([(0, 0, 512)], facts={"layers": 64, "layers_complete": False}))
    assert least["backing-chain"].words.startswith("a chain of at least 64 files")
    assert "backing-chain" not in found(image_trace([(0, 0, 512)], facts={"layers": 7}))


REBUILD: Rows = [
    (0, PAGE, "header", None), (PAGE, 2 * PAGE, "refcount block", None),
    (2 * PAGE, 3 * PAGE, "L2 table", None), (3 * PAGE, 4 * PAGE, "data cluster", 0),
]  # fmt: skip


def test_a_refcount_rebuild_ends_where_the_mark_leaves_the_header() -> None:
    reads = [(0, 0, 512), (0, 2 * PAGE, PAGE), (0, PAGE, PAGE), (0, 2 * PAGE, PAGE), (0, 3 * PAGE, PAGE)]
    made = image_trace(reads, REBUILD, {"dirty_before": True, "features": ["lazy refcounts"]})
    ahead = found(made)["dirty"]
    assert ahead.numbers == {"reads": 0, "bytes": 0, "tables_bytes": 2 * PAGE}
    assert ahead.remedy == (
        "qemu-img check -r all /vm/disk0.qcow2 && qemu-img amend -f qcow2 -o lazy_refcounts=off "
        "/vm/disk0.qcow2"
    )
    # the table's new place is written to the header before, which says nothing of the mark
    wrote = [(1200, "pwrite64", 0, 48, 12), (2500, "pwrite64", 0, 0, 512), (4500, "pwrite64", 0, 72, 8)]
    one = found(below(made, wrote))["dirty"]
    assert one.numbers == {"reads": 2, "bytes": 2 * PAGE, "share": 0.4}
    assert "refcount rebuild, 2 reads" in one.words
    clean = image_trace(reads, REBUILD, {"dirty_before": False})
    assert "dirty" not in found(below(clean, wrote)) and "dirty" not in found(image_trace(reads, REBUILD))


def asking(calls: int, wall_s: float | None, took_ns: Any = 10_000, op: str = "pread64") -> Trace:
    made = image_trace([(0, 0, 512)], wall_s=wall_s, op=op)
    asked = [(1000 + n, "lseek", 0, n * PAGE, 0) for n in range(calls)]
    return below(made, asked, duration_ns=took_ns)


def test_asking_where_holes_are() -> None:
    one = found(asking(1000, 0.1))["seeks"]
    assert one.numbers == {"calls": 1000, "seconds": pytest.approx(0.01), "share": pytest.approx(0.1)}
    assert "1,000 calls" in one.words and "10 ms, 10.0% of the traced run" in one.words
    assert "seeks" not in found(asking(1000, 10.0)) and "seeks" not in found(asking(99, 0.001))
    unknown = found(asking(1000, 0.1, pd.NA))["seeks"]
    assert unknown.numbers == {"calls": 1000} and "not known" in unknown.words
    # where a program reads at its position, lseek is how it goes there
    assert "seeks" not in found(asking(1000, 0.1, op="read"))
