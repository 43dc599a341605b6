"""The same start on another layout: worked out by hand, and what holds for any start."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_cases import IMAGE, PAGE, STRUCTURES, VIRTUAL, image_trace
from made import GIB, MIB, trace, with_meta
from report_cases import kernel

from profiler import devices
from profiler.analysis.advice.layouts import LAYOUTS, Layout
from profiler.analysis.advice.options import advise, prefetched
from profiler.analysis.advice.rewriting import defragmented, on_layout
from profiler.analysis.advice.traced_image import extents_of, image_of
from profiler.analysis.simulation.projection import project, requests
from profiler.errors import ColdseekError
from profiler.facts.images import ImageFacts
from profiler.trace import EXTENT_COLUMNS, Trace, table
from profiler.validity import validate

RAW, K64, K256, M2, EXTENDED = LAYOUTS
BOOT = [(0, 0, 512), (0, 12288, 8), (0, 16384, PAGE), (0, 20480, PAGE), (0, 24576, PAGE), (0, 28672, PAGE)]
C = 65536

BEHIND = ImageFacts("raw", in_front=0)


def on(made: Trace, layout: Layout) -> list[tuple[int, int]]:
    """Offset and size of what would be read of the image."""
    image = image_of(made)
    assert image is not None
    changed = on_layout(made, image, layout)
    validate(changed)
    reads = changed.reads()
    rows = reads[reads["file"] == image.file]
    return list(zip(rows["offset"].tolist(), rows["size"].tolist(), strict=True))


def test_the_geometry_of_the_layouts() -> None:
    assert (K64.table_covers, EXTENDED.table_covers, M2.table_covers) == (512 * MIB, 256 * MIB, 512 * GIB)
    assert (K64.block_covers, K256.block_covers) == (2 * GIB, 32 * GIB)
    assert (K64.slice_bytes, M2.slice_bytes) == (C, C)
    assert [layout.convert[-1] for layout in LAYOUTS] == [
        "raw", "cluster_size=64k", "cluster_size=256k", "cluster_size=2M", "cluster_size=64k,extended_l2=on",
    ]  # fmt: skip


def test_raw_has_the_data_where_the_guest_has_it() -> None:
    assert on(image_trace(BOOT), RAW) == [(0, 512), (MIB, PAGE), (MIB + PAGE, PAGE), (4 * MIB, PAGE)]


def test_clusters_lie_in_the_order_of_the_guest_behind_their_table() -> None:
    """Header, refcount table, refcount block, L1 table, L2 table; then clusters 16 and 64 of the guest."""
    assert on(image_trace(BOOT), K64) == [
        (0, 512), (3 * C, 8), (4 * C, C), (5 * C, PAGE), (5 * C + PAGE, PAGE), (6 * C, PAGE),
    ]  # fmt: skip


def test_data_read_backwards_lies_where_the_guest_has_it() -> None:
    backwards = [(0, 28672, PAGE), (0, 20480, PAGE)]
    assert on(image_trace(backwards), K64) == [(4 * C, C), (6 * C, PAGE), (5 * C, PAGE)]


def test_tables_are_looked_up_by_what_they_cover() -> None:
    """Of 4 GiB the first and the last eighth: tables 0 and 7 of eight, as far as they are not read yet."""
    rows: list[tuple[int, int, str, int | None]]
    rows = [(PAGE * n, PAGE * (n + 1), "L2 table", None) for n in range(8)]
    rows.append((8 * PAGE, 8 * PAGE + 64 * C, "data cluster", None))
    seen = [(0, 0, PAGE), (0, 7 * PAGE, PAGE), (0, 0, PAGE)]
    made = image_trace(seen, rows, {"virtual_size": 4 * GIB}, size=8 * MIB, command=("qemu-img", "map"))
    first, last = on(made, K64)
    assert first == (4 * C, C)
    assert last[0] > first[0] and last[1] == C


def test_a_check_reads_whole_tables() -> None:
    checked = image_trace([(0, 16384, PAGE), (0, 8192, PAGE)], command=("qemu-img", "check", "x"))
    assert on(checked, M2) == [(4 * 2 * MIB, 2 * MIB), (2 * 2 * MIB, 2 * MIB)]
    mapped = image_trace([(0, 16384, PAGE), (0, 8192, PAGE)], command=("qemu-img", "map", "x"))
    assert on(mapped, M2) == [(4 * 2 * MIB, C), (2 * 2 * MIB, 2 * MIB)]


def test_what_reads_all_that_is_allocated_reads_whole_clusters() -> None:
    converted = image_trace(BOOT, command=("qemu-img", "convert", "x", "y"))
    assert on(converted, K64)[-2:] == [(5 * C, C), (6 * C, C)]
    assert on(converted, EXTENDED)[-1] == (6 * C, PAGE)
    assert on(converted, RAW)[-1] == (4 * MIB, PAGE)


def test_zeros_are_left_out_of_copies() -> None:
    """Only the tables of a preallocated image are written: a copy has neither data nor L2 tables."""
    written = [(0, 0, GIB, 20480, 0), (0, 32768, GIB + 32768, 4096, 1)]
    made = image_trace(BOOT, extents=written)
    assert on(made, K64) == [(0, 512), (3 * C, 8)]
    assert on(made, RAW) == [(0, 512)]


def test_data_of_unknown_place_is_not_guessed() -> None:
    rows = [(start, end, kind, None) for start, end, kind, _ in STRUCTURES]
    with pytest.raises(ColdseekError, match="not known of 3 reads"):
        on(image_trace(BOOT, rows), RAW)


def test_snapshots_and_bitmaps_stay_behind() -> None:
    rows = [
        (0, 4096, "header", None),
        (4096, 8192, "snapshot table", None),
        (8192, 12288, "bitmap data", None),
    ]
    assert on(image_trace([(0, 4096, 100), (0, 8192, 100)], rows), K64) == []


def test_a_chain_becomes_one_file() -> None:
    made = image_trace([*BOOT, (1, 0, PAGE)])
    behind = with_meta(made, images={**made.meta.images, 1: BEHIND})
    rows = behind.structures.iloc[:1].assign(file=1, end=MIB, kind="data", guest=0)
    rows = rows.astype(behind.structures.dtypes)
    behind = dataclasses.replace(behind, structures=pd.concat([behind.structures, rows], ignore_index=True))
    image = image_of(behind)
    assert image is not None and (image.file, image.files) == (0, (0, 1))
    assert on(behind, RAW)[-1] == (0, PAGE)
    assert not (on_layout(behind, image, RAW).reads()["file"] == 1).any()


def test_without_an_image_there_is_none() -> None:
    assert image_of(trace([(0, 0, 10)])) is None


OFFSETS = st.lists(
    st.tuples(
        st.sampled_from([0, 4096, 8192, 12288, 16384, 20480, 24576, 28672, 32768]), st.integers(1, PAGE)
    ),
    max_size=30,
)


@settings(max_examples=30)
@given(OFFSETS, st.sampled_from(LAYOUTS))
def test_no_data_is_lost_and_totals_add_up(places: list[tuple[int, int]], layout: Layout) -> None:
    made = image_trace([(0, place, size) for place, size in places] + [(1, 0, 10)])
    image = image_of(made)
    assert image is not None
    changed = on_layout(made, image, layout)
    validate(changed)
    reads = changed.reads()
    data = sum(size for place, size in places if 20480 <= place < 32768)
    of_image = reads[reads["file"] == 0]
    gone = reads[reads["file"] == 2]
    if not layout.cluster:
        head = of_image["size"] == 512  # what is left of the metadata is the head, once
        assert (of_image["offset"][~head] >= MIB).all()
        assert int(of_image["size"][of_image["offset"] >= MIB].sum()) == data
        assert int((of_image["offset"] < MIB).sum()) <= 1
    else:
        first = 5 * layout.cluster  # behind header, refcounts, L1 and L2 table
        assert int(of_image["size"][of_image["offset"] >= first].sum()) == data
    assert len(gone) + len(of_image) >= len(places)
    assert int((reads["file"] == 1).sum()) == 1
    files = changed.files
    assert files["size"].iloc[0] >= (of_image["offset"] + of_image["size"]).max() if len(of_image) else True
    assert len(reads) == len(of_image) + len(gone) + 1
    assert project(changed, devices.find("iops-120")).bytes >= 0


@settings(max_examples=30)
@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=20), st.sampled_from(LAYOUTS))
def test_hostile_traces_do_no_harm(places: list[int], layout: Layout) -> None:
    rows: list[tuple[int, int, str, int | None]] = [(0, 2**61, "data cluster", 2**60)]
    made = image_trace(
        [(0, place, min(2**61, 2**62 - place) or 1) for place in places], rows,
        {"virtual_size": 2**63, "cluster_size": 1}, size=2**62,
    )  # fmt: skip
    image = image_of(made)
    assert image is not None
    with contextlib.suppress(ColdseekError):
        project(on_layout(made, image, layout), devices.find("nvme"))


def test_the_programs_own_time_stays() -> None:
    made = image_trace(BOOT, step_ns=10_000_000, duration_ns=4_000_000)
    image = image_of(made)
    assert image is not None
    after = requests(on_layout(made, image, RAW))
    assert after.requests["issued_s"].iloc[-1] == pytest.approx(5 * 0.006)


def extents(*rows: tuple[int, int, int, int, int]) -> Trace:
    made = image_trace(BOOT)
    columns = list(EXTENT_COLUMNS)
    found = table(EXTENT_COLUMNS, [dict(zip(columns, row, strict=True)) for row in rows])
    return dataclasses.replace(made, extents=found)


def test_in_one_run() -> None:
    made = extents((0, 0, 5 * GIB, 16384, 0), (0, 16384, 3 * GIB, 8192, 0), (0, 24576, 7 * GIB, 12288, 1))
    image = image_of(made)
    assert image is not None and extents_of(made, image) == 3
    changed = defragmented(made, image)
    assert changed.extents["physical"].tolist() == [3 * GIB, 3 * GIB + 16384, 3 * GIB + 24576]
    assert extents_of(changed, image) == 1


def test_prefetch_asks_for_all_and_leaves_nothing() -> None:
    apart = [(place, place + PAGE, "data cluster", place) for place in range(0, 64 * MIB, 8 * MIB)]
    made = image_trace([(0, place, PAGE) for place, *_ in reversed(apart)], apart, size=64 * MIB)
    first, rest = prefetched(made)
    assert first.requests["offset"].tolist() == [place for place, *_ in apart]
    assert len(rest.requests) == 0
    one_by_one = project(made, devices.find("sata-ssd")).seconds
    assert project(first, devices.find("sata-ssd")).seconds < one_by_one / 4  # several at once


def test_names_and_inodes_that_were_seen_are_prefetched_in_the_order_of_the_device() -> None:
    """Root reads them from the device's own pages; else each file has to be looked up."""
    first, _ = prefetched(kernel())
    own = first.requests[first.requests["own"].to_numpy(bool)]
    assert len(own) > 100 and set(own["group"]) == {0}
    assert own["device_offset"].is_monotonic_increasing
    files = first.requests[~first.requests["own"].to_numpy(bool)]
    assert (files["group"] > 0).all()
    looked_up = dataclasses.replace(kernel(), meta=dataclasses.replace(kernel().meta, cache="warm"))
    first, _ = prefetched(looked_up)
    own = first.requests[first.requests["own"].to_numpy(bool)]
    assert own["group"].is_unique


def test_what_applies_most_first() -> None:
    rows = [(n * 4096, (n + 1) * 4096, "L2 table" if n % 2 else "data cluster", n * MIB) for n in range(64)]
    rows = [(a, b, kind, None if kind == "L2 table" else guest) for a, b, kind, guest in rows]
    places = [(0, n * 4096, PAGE) for n in range(63, -1, -1)]
    made = image_trace(places, rows, size=MIB, command=("vm",))
    image = image_of(made)
    assert image is not None
    found = advise(made, [devices.find("iops-120")], devices.presets())
    *own, bought = found.options
    assert bought.key == "device"
    assert [one.saves for one in own] == sorted((one.saves for one in own), reverse=True)
    assert found.now[0].requests == 64
    raw = next(one for one in found.options if one.key == "raw")
    assert raw.costs[0].seconds == pytest.approx(32 / 120 + 1 / 120, rel=0.05)  # data, and the head
    assert all(one.costs[0].seconds <= 0.95 * found.now[0].seconds for one in found.options)
    same = image_trace(places, rows, {"cluster_size": 65536}, size=MIB)
    of_it = image_of(same)
    assert of_it is not None
    names = {one.key for one in advise(same, [devices.find("nvme")], [], all_of_them=True).options}
    assert "cluster-64k" not in names and {"raw", "cluster-2m", "prefetch"} <= names


def test_what_cannot_be_said_is_left_out() -> None:
    checked = image_trace(BOOT, command=("qemu-img", "check", os_path()))
    found = advise(checked, [devices.find("nvme")], [], all_of_them=True)
    assert "raw" not in {one.key for one in found.options} and "nothing to check" in found.notes[0]
    locked = image_trace(BOOT, facts={"encryption": "luks"})
    keys = {one.key for one in advise(locked, [devices.find("nvme")], [], all_of_them=True).options}
    assert keys == {"prefetch", "read-ahead-512k", "read-ahead-4096k"}


def os_path() -> str:
    return IMAGE.decode()


def test_spread_over_what_is_not_known() -> None:
    """Half of the guest's disk is written, none of it read but one page: it lies behind half of what is
    before it."""
    rows: list[tuple[int, int, str, int | None]] = [
        (0, PAGE, "data cluster", 32 * MIB), (PAGE, 32 * MIB, "data cluster", None),
    ]  # fmt: skip
    made = image_trace([(0, 0, PAGE)], rows, size=32 * MIB)
    (_, data) = on(made, K64)
    assert data[0] == pytest.approx(4 * C + C + 16 * MIB, abs=2 * C)
    assert VIRTUAL == 64 * MIB and np.isfinite(data[0])


# ---- what has to be known of all reads --------------------------------------------------------------------


def layouts_of(made: Trace) -> tuple[set[str], str]:
    """The copies that are advised, and what is said of what is left out."""
    found = advise(made, [devices.find("hdd-7200")], [], all_of_them=True)
    options = {one.key for one in found.options if one.convert or one.key == "defragmented"}
    return options, "; ".join(found.notes)


def test_one_read_of_nobody_knows_what_leaves_layouts_out() -> None:
    known, _ = layouts_of(image_trace(BOOT))
    assert "raw" in known
    beyond = [(start, end, kind, guest) for start, end, kind, guest in STRUCTURES if start < 28672]
    for made in (
        image_trace(BOOT, beyond),  # no structure names the last of them
        image_trace(BOOT, [*beyond, (28672, 36864, "unallocated", None)]),
        image_trace([*BOOT, (0, None, PAGE)]),  # of an unknown offset
        image_trace(BOOT, [], {"format": "vpc"}),  # a format that is not read
    ):
        options, notes = layouts_of(made)
        assert not options, options
        assert "not known of" in notes and "another layout cannot be projected" in notes


def test_reads_of_holes_need_no_structure() -> None:
    """They are zeros, whatever they are of."""
    rows = [(start, end, kind, guest) for start, end, kind, guest in STRUCTURES if start < 28672]
    hole = image_trace(BOOT, rows, extents=[(0, 0, GIB, 28672, 1)])
    assert "raw" in layouts_of(hole)[0]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"exit_status": 1}, "exit status 1"),
        ({"lost_events": 7}, "7 events"),
        ({"exit_status": 3, "command": ("qemu-img", "check", "x")}, ""),
        ({"exit_status": 2, "command": ("qemu-img", "check", "x")}, "exit status 2"),
        ({"exit_status": 1, "command": ("qemu-img", "compare", "x", "y")}, ""),
        ({"exit_status": 143, "partial": "ended by SIGTERM"}, ""),
        (
            {"partial": "not ready within 5 s (--timeout): still waiting for tcp:127.0.0.1:80"},
            "not ready within",
        ),
    ],
)
def test_a_run_that_failed_tells_nothing_of_layouts(more: dict[str, Any], words: str) -> None:
    options, notes = layouts_of(image_trace(BOOT, **more))
    assert bool(options) == (not words) and words in notes


def test_an_image_in_several_files_is_not_projected() -> None:
    """Of a VMDK image that is a descriptor by itself the data lies elsewhere."""
    options, notes = layouts_of(image_trace(BOOT, facts={"format": "vmdk", "extents": 2}))
    assert not options and "several files" in notes


def test_what_lies_behind_an_image_has_to_be_known() -> None:
    """A remote file behind it, say: none of its reads are in the trace."""
    facts = {"backing_file": "nbd://h/x"}
    options, notes = layouts_of(image_trace(BOOT, facts=facts))
    assert not options and "nothing is known of what lies behind the image, in nbd://h/x" in notes
    header = [(0, 0, PAGE), (0, 12288, 512)]  # and the L1 table: that needs nothing behind it
    assert layouts_of(image_trace(header, facts=facts))[0]
    both = image_trace(BOOT, facts=facts)
    assert layouts_of(with_meta(both, images={**both.meta.images, 1: BEHIND}))[0]


@pytest.mark.parametrize("format", ["luks", "dmg", "bochs", "cloop"])
def test_of_a_format_that_is_not_read_no_layout_is_known(format: str) -> None:
    """A single read of data leaves layouts out, with the reason."""
    one = image_trace([(0, 20480, PAGE)], [], {"format": format, "cluster_size": 0})
    options, notes = layouts_of(one)
    assert not options and f"of 1 read of the image ({format})" in notes


def test_one_file_of_a_chain_is_not_the_chain() -> None:
    whole = [(0, 0, GIB, 20480, 0), (0, 20480, 3 * GIB, 16384, 1)]
    alone = image_trace(BOOT, extents=whole)
    assert "defragmented" in layouts_of(alone)[0]
    chain = with_meta(alone, images={**alone.meta.images, 1: BEHIND})
    assert "defragmented" not in layouts_of(chain)[0]
