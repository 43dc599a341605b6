"""What a cold start has to fetch: read ahead as Linux does, and first touches."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import below, trace

from profiler.analysis.simulation.kernel.readahead import FileCache, Window
from profiler.analysis.simulation.page_cache import NEVER, REQUEST_COLUMNS, first_touches, simulate
from profiler.analysis.simulation.placement import place
from profiler.errors import NoMemoryError
from profiler.facts import values
from profiler.facts.host import Host
from profiler.trace import FileFacts, Trace

PAGE, MIB = 4096, 2**20


def touches(made: Trace) -> list[list[int]]:
    table = first_touches(made.reads(), made.files)
    return table[["read", "file", "offset", "size"]].values.tolist()


def test_whole_pages_once() -> None:
    made = trace([(0, 10, 20), (0, 4000, 200), (0, 0, 8192), (1, 0, 1)])
    assert touches(made) == [[0, 0, 0, 4096], [1, 0, 4096, 4096], [3, 1, 0, 4096]]


def test_a_read_around_what_is_there_gives_two_requests() -> None:
    assert touches(trace([(0, 8192, 4096), (0, 0, 20480)])) == [
        [0, 0, 8192, 4096],
        [1, 0, 0, 8192],
        [1, 0, 12288, 8192],
    ]


def test_direct_reads_always_count_and_leave_nothing_behind() -> None:
    made = trace([(0, 512, 512), (0, 512, 512), (0, 0, 100), (0, 0, 512)], direct=[0, 1, 3])
    assert touches(made) == [[0, 0, 512, 512], [1, 0, 512, 512], [2, 0, 0, 4096], [3, 0, 0, 512]]


def test_memory_file_systems_and_unknown_offsets_cost_nothing() -> None:
    files = [
        FileFacts(b"/dev/shm/x", kind="regular", filesystem="tmpfs"),
        FileFacts(b"/proc/cpuinfo", kind="regular", filesystem="proc"),
        FileFacts(b"/x", kind="regular", filesystem=""),
    ]
    assert touches(trace([(0, 0, 10), (1, 0, 10), (2, None, 10), (2, 4096, 10)], files)) == [
        [3, 2, 4096, 4096]
    ]


def test_times_are_those_of_the_reads() -> None:
    made = trace([(0, 0, 10), (0, 0, 10), (0, 4096, 10)], step_ns=7)
    assert first_touches(made.reads(), made.files)["time_ns"].tolist() == [0, 14]


def test_hostile_size() -> None:
    assert touches(trace([(0, 0, 2**60), (0, 2**62, 2**62)]))[0] == [0, 0, 0, 2**60]


def test_empty() -> None:
    assert touches(trace()) == []
    assert touches(trace([], files=[])) == []


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 90_000), st.integers(1, 30_000)), max_size=25))
def test_requests_cover_exactly_the_union_of_pages(rows: list[tuple[int, int, int]]) -> None:
    made = trace(rows)
    table = first_touches(made.reads(), made.files)
    asked = [
        (row.file, page)
        for row in table.itertuples()
        for page in range(row.offset // 4096, (row.offset + row.size) // 4096)
    ]
    assert len(asked) == len(set(asked))
    assert set(asked) == {
        (file, page)
        for file, offset, size in rows
        for page in range(offset // 4096, -(-(offset + size) // 4096))
    }
    assert np.all(np.diff(table["read"]) >= 0)
    assert (table["size"] > 0).all()


# ---- simulated --------------------------------------------------------------------------------------------


def asked(made: Trace, **more: Any) -> list[tuple[int, int, int, int]]:
    """What is asked for: read, file, first page, pages."""
    table = simulate(made, **more)
    assert dict(table.dtypes.astype(str)) == REQUEST_COLUMNS
    rows = table[["read", "file", "offset", "size"]].values.tolist()
    return [(read, file, offset // PAGE, size // PAGE) for read, file, offset, size in rows]


def pages(*reads: tuple[int, int], file: int = 0, **more: Any) -> Trace:
    """Reads of (first page, pages)."""
    return trace([(file, index * PAGE, count * PAGE) for index, count in reads], **more)


def test_a_stream_is_read_ahead() -> None:
    made = pages(*[(page, 1) for page in range(5)])
    assert asked(made) == [(0, 0, 0, 4), (1, 0, 4, 8), (4, 0, 12, 4)]
    assert asked(made, read_ahead_kb=0) == [(page, 0, page, 1) for page in range(5)]
    assert asked(pages((0, 1), (1, 1), host=disk(read_ahead_kb=4096))) == [(0, 0, 0, 4), (1, 0, 4, 16)]
    assert asked(pages((0, 1), (1, 1), host=disk(read_ahead_kb=-1)))[1] == (1, 0, 4, 8)


def disk(**facts: int) -> dict[str, Any]:
    return {"kernel": "6.18.1", "devices": {"8:1": facts}}


def test_when_it_is_needed() -> None:
    table = simulate(pages((0, 1), (1, 1), (2, 1), (4, 1)))
    assert table["time_ns"].tolist() == [0, 1000, 3000]
    assert table["needed_ns"].tolist() == [0, 3000, NEVER]  # read ahead by the second, needed by the fourth
    advised = below(pages((10, 1)), [(0, "fadvise_willneed", 0, 0, 4 * PAGE)], errno=0)
    assert simulate(advised)["needed_ns"].tolist() == [0, NEVER]


def test_opens_have_windows_of_their_own_and_files_caches() -> None:
    made = pages((0, 1), (100, 1), (1, 1), (101, 1))
    made.events["handle"] = np.array([0, 1, 0, 1], np.int32)
    assert asked(made) == [(0, 0, 0, 4), (1, 0, 100, 1), (2, 0, 4, 8), (3, 0, 101, 4)]
    two = trace([(0, 0, 1), (1, 0, 1), (0, 1, 1)])
    assert asked(two) == [(0, 0, 0, 4), (1, 1, 0, 4)]


def test_direct_reads_pass_by() -> None:
    made = trace([(0, 512, 512), (0, 512, 512), (0, 0, 100)], direct=[0, 1])
    table = simulate(made)
    assert table[["read", "offset", "size"]].values.tolist() == [
        [0, 512, 512],
        [1, 512, 512],
        [2, 0, 4 * PAGE],
    ]


def test_advice_on_an_open() -> None:
    reads = pages((0, 1), (1, 1), (40, 3))
    random = below(reads, [(0, "fadvise_random", 0, 0, 0)], handle=0)
    random.events["time_ns"] += (random.events["op"] != "fadvise_random").astype("int64")
    assert asked(random.__class__(random.meta, random.events.sort_values("time_ns", ignore_index=True),
                                  random.files)) == [(0, 0, 0, 1), (1, 0, 1, 1), (2, 0, 40, 3)]  # fmt: skip
    dropped = below(pages((7, 1), (7, 1), (7, 1)), [(500, "fadvise_dontneed", 0, 0, 0)], handle=0)
    assert asked(dropped) == [(0, 0, 7, 1), (1, 0, 7, 1)]


def test_what_was_written_or_left_is_there() -> None:
    written = below(pages((0, 1), (9, 1)), [(0, "pwrite64", 0, 8 * PAGE, 4 * PAGE)])
    assert asked(written) == [(0, 0, 0, 4)]
    left = pd.DataFrame({"file": [0], "offset": [0], "size": [2 * PAGE]})
    assert asked(pages((0, 1), (1, 1), (2, 1)), resident=left) == [(2, 0, 2, 4)]


def test_faults_of_mappings() -> None:
    mapped = [
        (0, "exec", 0, 0, 256),
        (1, "mmap", 0, 0, 600 * PAGE),
        (2, "mmap_exec", 0, 200 * PAGE, 100 * PAGE),
    ]
    faults = [
        (time, "fault", 0, page * PAGE, PAGE) for time, page in ((10, 250), (11, 250), (12, 400), (13, 295))
    ]
    made = below(trace(), [*mapped, *faults], handle=[0, 0, 0, -1, -1, -1, -1])
    # the head of the program; code from the fault on to where it ends; else around the fault
    assert asked(made) == [(-1, 0, 0, 4), (-1, 0, 250, 32), (-1, 0, 384, 32), (-1, 0, 295, 5)]
    said = [(3, "madvise_random", 0, 300 * PAGE, 300 * PAGE)]
    made = below(trace(), [*mapped, *said, *faults], handle=[0, 0, 0, -1, -1, -1, -1, -1])
    assert (-1, 0, 400, 1) in asked(made)
    assert asked(below(trace(), faults)) == [(-1, 0, 234, 32), (-1, 0, 384, 32), (-1, 0, 279, 32)]


def test_pages_found_mapped_stand_for_faults_in_their_middle() -> None:
    mapped = [(1, "mmap", 0, 0, 600 * PAGE), (2, "mmap_exec", 0, 200 * PAGE, 100 * PAGE)]
    found = [
        (3, "present", 0, page * PAGE, count * PAGE) for page, count in ((400, 16), (250, 16), (440, 1))
    ]
    made = below(trace(), [*mapped, *found], handle=[0, 0, 0, 0, 0])
    # around the fault; of code from it on, and then what was touched before it; what is there costs nothing
    assert asked(made) == [(-1, 0, 392, 32), (-1, 0, 258, 32), (-1, 0, 250, 8), (-1, 0, 424, 32)]
    table = simulate(made)
    assert table["time_ns"].tolist() == [3, 4, 4, 5]  # one after the other, though nobody knows when
    assert table["needed_ns"].tolist() == [3, 4, 4, 5]
    random = below(made, [(2, "madvise_random", 0, 300 * PAGE, 300 * PAGE)])
    assert asked(random)[:3] == [(-1, 0, 408, 1), (-1, 0, 400, 1), (-1, 0, 401, 1)]
    assert len(asked(random)) == 16 + 2 + 1
    assert asked(random, read_ahead_kb=0)[:2] == [(-1, 0, 408, 1), (-1, 0, 400, 1)]


def test_the_faults_of_a_cold_run_go_before_what_was_found_mapped() -> None:
    """They tell where it read; what else is mapped had been in memory."""
    rows = [
        (1, "mmap", 0, 0, 600 * PAGE),
        (2, "present", 0, 200 * PAGE, 16 * PAGE),
        (2, "present", 0, 400 * PAGE, 16 * PAGE),
        (10, "fault", 0, 203 * PAGE, PAGE),
    ]
    made = below(trace(), rows, handle=[0] * 4, duration_ns=[0, 100, 100, 0])
    warm = dataclasses.replace(made, meta=dataclasses.replace(made.meta, cache="warm"))
    cold = dataclasses.replace(made, meta=dataclasses.replace(made.meta, cache="cold"))
    assert asked(warm) == [(-1, 0, 192, 32), (-1, 0, 392, 32)]
    assert asked(cold) == [(-1, 0, 187, 32), (-1, 0, 392, 32)]
    assert simulate(cold)["time_ns"].tolist() == [10, 103]
    alone = dataclasses.replace(
        cold, events=made.events[made.events["op"] != "fault"].reset_index(drop=True)
    )
    assert asked(alone) == asked(warm)


def test_what_was_mapped_without_a_gap_was_read_through() -> None:
    """A program that goes through a mapped file from start to end: page by page, by its faults, and by what
    they leave."""
    mapped = [(0, "mmap", 0, 0, 4096 * PAGE)]
    faults = [(1 + page, "fault", 0, page * PAGE, PAGE) for page in range(4096)]
    found = [(1, "present", 0, page * PAGE, 16 * PAGE) for page in range(0, 4096, 16)]
    known = asked(below(trace(), [*mapped, *faults], handle=[0] * 4097))
    guessed = asked(below(trace(), [*mapped, *found], handle=[0] * 257))
    assert all(4096 <= sum(count for *_, count in one) <= 4096 + 64 for one in (known, guessed))
    assert len(known) in (128, 129)
    assert len(guessed) <= 1.1 * len(known)


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 16)), max_size=20),
    st.sampled_from(["mmap", "mmap_exec"]),
    st.sampled_from([0, 16, 128, 4096]),
    st.sampled_from(["", "madvise_random", "madvise_sequential"]),
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 40)), max_size=5),
)
def test_what_was_found_mapped_is_fetched_once(
    found: list[tuple[int, int]], how: str, ahead: int, advice: str, reads: list[tuple[int, int]]
) -> None:
    rows = [(10, how, 0, 0, 400 * PAGE), *([(11, advice, 0, 0, 200 * PAGE)] if advice else [])]
    rows += [(20, "present", 0, page * PAGE, count * PAGE) for page, count in found]
    made = below(pages(*reads), rows, handle=0)
    parts = asked(made, read_ahead_kb=ahead)
    fetched = [page for _, _, start, count in parts for page in range(start, start + count)]
    assert len(fetched) == len(set(fetched))
    assert {page for start, count in found for page in range(start, start + count)} <= set(fetched)


def test_calls_that_the_kernel_makes_in_pieces() -> None:
    made = trace([(0, 0, 200_000)], op="sendfile")
    # by 16 pages: the first open a window of 32, its second half ahead; the others reach a mark each
    assert asked(made) == [(0, 0, 0, 32), (0, 0, 32, 32), (0, 0, 64, 32)]


def test_the_end_of_the_file() -> None:
    files = [FileFacts(b"/a", "8:1", 1, 6 * PAGE + 1, kind="regular"), FileFacts(b"/b", kind="regular")]
    assert asked(trace([(0, 0, 1)], files)) == [(0, 0, 0, 4)]
    assert asked(trace([(0, 5 * PAGE, 1), (0, 6 * PAGE, 1)], files)) == [(0, 0, 5, 1), (1, 0, 6, 1)]
    assert asked(trace([(1, 0, PAGE), (1, PAGE, 10)], files)) == [
        (0, 1, 0, 2)
    ]  # of unknown size: as far as seen
    assert asked(trace([(0, 20 * PAGE, 1)], files)) == [(0, 0, 20, 1)]  # it has grown


def test_what_costs_nothing_and_what_is_not_known() -> None:
    files = [FileFacts(b"/proc/x", kind="regular", filesystem="proc"), FileFacts(b"/x", kind="regular")]
    assert asked(trace([(0, 0, 10), (1, None, 10), (1, PAGE, 10)], files)) == [(2, 1, 1, 1)]
    assert asked(trace()) == [] == asked(trace([], files=[]))


def test_hostile_traces() -> None:
    assert asked(trace([(0, 0, 2**60), (0, 2**62, 2**62)]))[0] == (0, 0, 0, 2**48)
    many = trace([(number, 2**40 * number, 10) for number in range(2000)], [b"/x"] * 2000)
    assert len(asked(many)) == 2000
    odd = {"devices": {"8:1": {"read_ahead_kb": 2**62, "max_sectors_kb": "all", "max_segments": None}}}
    assert sum(count for *_, count in asked(pages((0, 1), (1, 1), host=odd))) < 2**15
    assert trace(host={"devices": [1]}).meta.host == Host() == trace(host={"devices": {"a": 1}}).meta.host
    assert values.number({"a": 7}, "a", 5) == 5 and values.number({"a": "7"}, "a", 5) is None


def test_placed_as_the_device_takes_it() -> None:
    extents = [(0, 0, 40 * PAGE, 10 * PAGE, 0), (0, 20 * PAGE, 50 * PAGE, 1000 * PAGE, 1)]
    made = pages((0, 200), extents=extents, host=disk(max_sectors_kb=64, max_segments=8))
    table = simulate(made)
    placed = place(table, made.files, made.extents, made.meta.host)
    assert placed.known == "all" and set(REQUEST_COLUMNS) <= set(placed.requests)
    # of 32 pages 10 lie before the hole and 12 behind it, together on the device: cut after 64 KiB
    first = placed.requests[placed.requests["time_ns"] == 0]
    assert first["device_offset"].tolist()[:3] == [40 * PAGE, 56 * PAGE, 62 * PAGE]
    assert first["size"].tolist()[:2] == [16 * PAGE, 6 * PAGE]
    apart = place(table, made.files, made.extents, made.meta.host, scattered=1.0).requests
    assert apart["size"].tolist()[:3] == [8 * PAGE, 8 * PAGE, 6 * PAGE]
    assert apart["size"].sum() == placed.requests["size"].sum()
    whole = place(table, made.files, made.extents).requests
    assert whole["size"].sum() == placed.requests["size"].sum()


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 900), st.integers(1, 40)), max_size=40))
def test_each_page_once_and_all_that_is_read_in_time(reads: list[tuple[int, int, int]]) -> None:
    made = trace([(file, index * PAGE, count * PAGE) for file, index, count in reads])
    table = simulate(made)
    assert table["time_ns"].is_monotonic_increasing
    assert (table["needed_ns"] >= table["time_ns"]).all()
    there: set[tuple[int, int]] = set()
    rows = table[["file", "offset", "size", "time_ns"]].values.tolist()
    seen = 0
    for number, (file, index, count) in enumerate(reads):
        while seen < len(rows) and rows[seen][3] <= 1000 * number:
            came, offset, size, _ = rows[seen]
            new = {(came, page) for page in range(offset // PAGE, (offset + size) // PAGE)}
            assert not new & there
            there |= new
            seen += 1
        assert {(file, page) for page in range(index, index + count)} <= there
    nothing_ahead = simulate(made, read_ahead_kb=0)
    assert nothing_ahead["size"].sum() == first_touches(made.reads(), made.files)["size"].sum()


READS = st.lists(
    st.tuples(
        st.integers(0, 1), st.integers(0, 1), st.integers(0, 600), st.integers(1, 40), st.integers(1, 3)
    ),
    max_size=12,
)  # a file, an open, and so many reads of so many pages from a page on


@given(READS, st.sampled_from([PAGE, PAGE // 2]), st.booleans())
def test_what_is_gone_over_in_one_step_is_what_each_read_alone_asks_for(
    streams: list[tuple[int, int, int, int, int]], unit: int, pieces: bool
) -> None:
    rows = [
        (file, (index + number * pages) * unit, pages * unit, handle)
        for file, handle, index, count, pages in streams
        for number in range(count)
    ]
    made = trace([row[:3] for row in rows])
    made.events["handle"] = np.array([handle for *_, handle in rows], np.int32)
    with pytest.MonkeyPatch.context() as patch:
        if pieces:  # that are cut anywhere
            patch.setattr("profiler.analysis.simulation.kernel.pieces._AT_ONCE", 7)
            patch.setattr("profiler.analysis.simulation.page_cache._SOUGHT_AT_ONCE", 5)
        got = simulate(made)
    caches: dict[int, FileCache] = {}
    windows: dict[tuple[int, int], Window] = {}
    asked = []
    for number, (file, offset, size, handle) in enumerate(rows):
        cache = caches.setdefault(file, FileCache(end=2**22, largest=320))
        window = windows.setdefault((file, handle), Window(32))
        before, stop = len(cache.asked), -(-(offset + size) // PAGE)
        cache.read(window, offset // PAGE, stop, stop, number)
        window.previous = (offset + size) // PAGE
        new = cache.asked[before:].tolist()
        asked += [
            [number, file, start * PAGE, (end - start) * PAGE]
            for start, end in zip(new[1::4], new[2::4], strict=True)
        ]
    assert got[["read", "file", "offset", "size"]].values.tolist() == asked
    assert got["needed_ns"].tolist() == simulate(made)["needed_ns"].tolist()


def test_more_requests_than_there_is_memory_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {"bytes": 2**20}
    monkeypatch.setattr("profiler.analysis.simulation.kernel.run.available_bytes", lambda: free["bytes"])
    size = 2**31 - PAGE
    kinds = {"read": "pread64", "spliced": "sendfile", "written": "pwrite64"}
    rows = [(0, number * size, size) for number in range(3)]
    for op in kinds.values():
        with pytest.raises(NoMemoryError, match="asks for more than 1,497 pieces"):
            simulate(trace(rows, op=op))
    overlapping = trace(rows, step_ns=10, duration_ns=100)
    overlapping.events["tid"] = np.array([1, 2, 3], np.int32)
    with pytest.raises(NoMemoryError):
        simulate(overlapping)
    free["bytes"] = 2**30
    assert len(simulate(trace(rows))) > 1_497
    simulate(trace([(0, number * 8 * MIB, PAGE) for number in range(1000)]))


def test_a_long_read_behind_the_end_that_is_known_is_not_followed_page_by_page() -> None:
    short = FileFacts(b"/a", device="8:1", size=PAGE, kind="regular", filesystem="ext4")
    made = trace([(0, 0, 2**31 - PAGE)], files=[short])
    made.events["requested"] = np.array([PAGE])
    assert len(simulate(made)) < 20_000
