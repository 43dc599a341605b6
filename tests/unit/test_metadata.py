"""What file systems read of their own: taken from a cold run, or worked out from where files lie."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import below, trace, with_meta

from profiler.analysis.simulation.lookups import lookups
from profiler.analysis.simulation.metadata import COLUMNS, NEVER, metadata
from profiler.analysis.simulation.projection import project, requests
from profiler.devices import find
from profiler.devices.flash import Flash
from profiler.devices.model import Device
from profiler.trace import FileFacts, Trace

BLOCK = 4096
ROOT, USR, BIN, PROGRAM, OTHER, DISK, DEVICE = range(7)
FILES = [
    FileFacts(b"/", "8:1", 2, kind="directory", filesystem="ext4"),
    FileFacts(b"/usr", "8:1", 100, kind="directory", filesystem="ext4"),
    FileFacts(b"/usr/bin", "8:1", 101, kind="directory", filesystem="ext4"),
    FileFacts(b"/usr/bin/program", "8:1", 1000, size=1 << 30, kind="regular", filesystem="ext4"),
    FileFacts(b"/usr/bin/other", "8:1", 9000, size=1 << 30, kind="regular", filesystem="ext4"),
    FileFacts(b"/dev/sda1", "8:1", kind="metadata"),
    FileFacts(b"/dev/sda", "8:0", kind="block"),
]
INODES = {
    "source": "file system", "block_size": BLOCK, "inode_size": 256, "blocks_per_group": 32768,
    "inodes_per_group": 8192, "read_ahead_blocks": 32, "inode_tables": {"0": 1059, "1": 32770},
}  # fmt: skip
EXTENTS = [
    (ROOT, 0, 5000 * BLOCK, BLOCK, 1),
    (USR, 0, 5001 * BLOCK, BLOCK, 1),
    (BIN, 0, 5002 * BLOCK, BLOCK, 0),
    (BIN, BLOCK, 7000 * BLOCK, 2 * BLOCK, 1),
    (PROGRAM, 0, 1 << 30, 1 << 30, 1),
]


def start(*reads: int, inodes: Any = None, **more: Any) -> Trace:
    """A run that reads a page of each of these files."""
    facts = {"8:1": {"inodes": INODES if inodes is None else inodes}}
    made = trace([(file, 0, BLOCK) for file in reads], files=FILES, extents=EXTENTS, **more)
    return with_meta(made, host={"devices": facts})


def blocks(made: Trace) -> list[tuple[int, int, bool]]:
    """First block, blocks, and whether the program waits for them."""
    found = lookups(made)
    assert found is not None
    return [
        (offset // BLOCK, size // BLOCK, needed < NEVER)
        for offset, size, needed in found[["device_offset", "size", "needed_ns"]].itertuples(index=False)
    ]


# ---- worked out -------------------------------------------------------------------------------------------


def test_each_component_of_a_path_is_looked_up_once() -> None:
    # inode 100 lies in block 1059 + 99 // 16; the window of 32 blocks around it begins at the table
    assert blocks(start(PROGRAM, PROGRAM)) == [
        (5000, 1, True),  # /: the entry "usr"; its inode is in memory
        (1059, 6, False), (1065, 1, True), (1066, 26, False),  # the inode of /usr, and that of /usr/bin
        (5001, 1, True),
        (5002, 1, True), (7000, 1, True),  # /usr/bin: the root of its tree, and a leaf
        (1120, 1, False), (1121, 1, True), (1122, 31, False),
    ]  # fmt: skip


def test_a_second_file_beside_it_costs_what_is_not_there_yet() -> None:
    alone, both = blocks(start(PROGRAM)), blocks(start(PROGRAM, OTHER))
    assert both[: len(alone)] == alone
    assert {block for block, _, _ in both[len(alone) :]} <= {
        7000,
        7001,
        32770 + 32,
        32768 + 32,
        32820,
        32821,
    }
    assert len(both) > len(alone)


def test_a_file_of_many_extents_has_a_map_outside_of_its_inode() -> None:
    made = start(PROGRAM)

    def more(extents: int, *reads: tuple[int, int]) -> int:
        """The blocks that it takes with so many extents, one a block, than in one piece."""
        many = [
            (PROGRAM, n * BLOCK, (100_000 + 2 * n) * BLOCK, BLOCK, int(n == extents - 1))
            for n in range(extents)
        ]
        torn = trace(
            [(PROGRAM, first * BLOCK, count * BLOCK) for first, count in reads],
            files=FILES,
            extents=[*EXTENTS[:-1], *many],
        )
        return len(blocks(dataclasses.replace(torn, meta=made.meta))) - len(blocks(made))

    assert more(4, (0, 1)) == 0
    assert more(400, (0, 1)) == more(400, (399, 1), (398, 1)) == 1  # 340 of them in a block
    assert more(400, (0, 400)) == more(400, (0, 1), (399, 1), (1, 1)) == more(400, (300, 41)) == 2
    assert more(5 * 340, (0, 1)) == 1 + 1  # the inode has room for four such blocks
    assert more(5 * 340, (0, 1), (0, 5 * 340)) == 1 + 5


def test_mapped_pages_that_no_fault_tells_of_are_missing_unless_someone_looked() -> None:
    """A page that was in memory is mapped beside another one; only the page tables tell."""
    missing = "what was in memory and mapped without a page fault"
    mapped = [(1, "mmap", PROGRAM, 0, 10 * BLOCK), (2, "fault", PROGRAM, 0, BLOCK)]
    looked = [(1, "present", PROGRAM, 0, 5 * BLOCK)]
    for rows, cache, said in (
        (mapped, "warm", True),
        (mapped, "cold", False),
        ([*mapped, *looked], "warm", False),
    ):
        made = below(start(PROGRAM), rows)
        made = dataclasses.replace(made, meta=dataclasses.replace(made.meta, tracer="kernel", cache=cache))
        assert (missing in requests(made).missing) == said
    of_another = below(below(start(PROGRAM), mapped, pid=7), looked, pid=8)
    assert missing in requests(of_another).missing


@pytest.mark.parametrize(
    "facts",
    [{}, [], {"inode_tables": 1}, {**INODES, "block_size": 0}, {**INODES, "inodes_per_group": -1},
     {**INODES, "inode_size": 2**70}, {**INODES, "block_size": "4096"}],
)  # fmt: skip
def test_what_cannot_be_is_not_believed(facts: Any) -> None:
    assert lookups(start(PROGRAM, inodes=facts)) is None
    assert metadata(start(PROGRAM, inodes=facts)).source == "none"


@given(
    st.fixed_dictionaries({
        "block_size": st.integers(-1, 70_000), "inode_size": st.integers(-1, 70_000),
        "blocks_per_group": st.integers(-1, 2**40), "inodes_per_group": st.integers(-1, 2**40),
        "read_ahead_blocks": st.integers(-1, 2**40),
        "inode_tables": st.dictionaries(st.sampled_from("01xé²"), st.integers(-5, 2**70)),
    }),
    st.lists(st.sampled_from([ROOT, USR, BIN, PROGRAM, OTHER]), min_size=1, max_size=5),
)  # fmt: skip
def test_no_block_is_read_twice_whatever_a_trace_says(facts: dict[str, Any], reads: list[int]) -> None:
    found = lookups(start(*reads, inodes=facts))
    if found is None:
        return
    assert (found["size"] > 0).all() and (found["device_offset"] >= 0).all()
    ends = (found["device_offset"] + found["size"]).to_numpy()
    order = np.argsort(found["device_offset"].to_numpy())
    assert (found["device_offset"].to_numpy()[order][1:] >= ends[order][:-1]).all()


@pytest.mark.parametrize(("filesystem", "requests"), [("xfs", 2), ("nfs", 3), ("tmpfs", None)])
def test_of_other_file_systems_a_rule_says_how_much(filesystem: str, requests: int | None) -> None:
    """The inodes of /usr and of /usr/bin are in one cluster of xfs; each name is a round trip of nfs."""
    made = start(PROGRAM, inodes={"source": ""})
    files = made.files.assign(filesystem=[filesystem] * len(made.files), size=20)
    made = dataclasses.replace(made, files=files)
    found = metadata(made)
    if requests is None:
        assert found.source == "none"
        return
    assert (found.source, len(found.requests)) == ("modelled", requests)
    assert found.spread > metadata(start(PROGRAM)).spread > 0


def test_numbers_that_no_device_has_stay_on_it() -> None:
    made = start(PROGRAM, inodes={**INODES, "block_size": 65536, "inode_tables": {"0": 2**48 - 1}})
    xfs = dataclasses.replace(made, files=made.files.assign(inode=2**62, filesystem="xfs"))
    for huge in (made, xfs):
        found = lookups(huge)
        assert found is not None and (found["device_offset"] >= 0).all()


# ---- observed ---------------------------------------------------------------------------------------------


def cold(*misses: tuple[Any, ...], **more: Any) -> Trace:
    made = start(PROGRAM, tracer="kernel", cache="cold", evicted="all", **more)
    return below(made, list(misses))


def seen(made: Trace) -> list[tuple[int, int, bool]]:
    found = metadata(made)
    assert found.source == "observed" and list(found.requests) == list(COLUMNS)
    return [
        (offset // BLOCK, size // BLOCK, needed < NEVER)
        for offset, size, needed in found.requests[["device_offset", "size", "needed_ns"]]
        .to_numpy()
        .tolist()
    ]


def miss(time: int, block: int) -> tuple[Any, ...]:
    return time, "miss", DISK, block * BLOCK, BLOCK


def test_the_page_that_was_wanted_is_a_request_of_its_own() -> None:
    window = [miss(10, 105), *(miss(11 + n, block) for n, block in enumerate([103, 104, 106, 107, 108]))]
    made = cold(*window, (30, "request", DEVICE, 105 * BLOCK, BLOCK), miss(40, 109))
    assert seen(made) == [(105, 1, True), (103, 2, False), (106, 3, False), (109, 1, True)]


def test_what_lies_elsewhere_was_wanted_for_itself() -> None:
    assert seen(cold(miss(10, 105), miss(11, 5000), miss(12, 5001))) == [
        (105, 1, True), (5000, 1, True), (5001, 1, True)
    ]  # fmt: skip


def test_a_warm_run_shows_nothing_of_it() -> None:
    made = start(PROGRAM, tracer="kernel", cache="warm")
    assert metadata(made).source == "modelled"


def test_a_cold_run_on_a_file_system_with_pages_of_its_own_is_worked_out() -> None:
    made = cold(miss(10, 105))
    files = made.files.assign(filesystem=["xfs"] * len(made.files))
    assert metadata(dataclasses.replace(made, files=files)).source == "modelled"


# ---- in a projection --------------------------------------------------------------------------------------


def test_a_projection_says_where_they_come_from_and_what_is_missing() -> None:
    made = project(cold(miss(10, 105), unseen=()), find("hdd-7200"))
    assert (made.metadata_requests, made.metadata_source, made.missing) == (1, "observed", ())
    assert made.requests == 1 + project(start(PROGRAM, inodes={}), find("hdd-7200")).requests
    left_out = project(start(PROGRAM, inodes={}, unseen=("mmap",)), find("hdd-7200"))
    assert (left_out.metadata_requests, left_out.metadata_source) == (None, "none")
    assert left_out.missing == (
        "reads through memory mappings (page faults)", "what file systems read of their own"
    )  # fmt: skip


def test_names_and_inodes_that_stayed_in_memory_are_said_to_be_missing() -> None:
    made = cold(miss(10, 105))
    made = dataclasses.replace(made, meta=dataclasses.replace(made.meta, evicted="files", unseen=()))
    assert project(made, find("nvme")).missing == ("names and inodes, which stayed in memory",)


@pytest.mark.parametrize(("counts", "seconds"), [("requests", 3 / 20), ("bios", 6 / 20)])
def test_a_control_group_counts_the_blocks_of_metadata(counts: str, seconds: float) -> None:
    made = cold(*(miss(0, block) for block in (105, 103, 104, 106, 107, 108)))
    device = Device("held", "held", "", "flash", Flash(((4096.0, 1.0),), 1e6, iops=20), counts=counts)
    asked = requests(made)
    found = project(asked, device)
    assert found.requests == 4 and len(found.times) == len(asked.requests)
    # four requests or seven blocks: each but the last holds up the next by 1 / 20 s
    assert found.seconds == pytest.approx(seconds, rel=0.01)
