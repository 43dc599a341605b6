"""Which file a call read, by the inodes that the kernel names meanwhile."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.capture.calls.event_log import EVENT_DTYPE, OP_CODES, UNKNOWN, Recorder
from profiler.capture.calls.history import History
from profiler.capture.kernel import syscalls
from profiler.capture.kernel.buffer.pages import LAST_NS
from profiler.capture.kernel.windows import Window
from profiler.capture.watch.evidence import DIRECT, LOOKED_UP, Reads, touched
from profiler.capture.watch.looks import Task
from profiler.capture.watch.naming import Inodes, Naming
from profiler.capture.watch.plane import WatchPlane, members
from profiler.capture.watch.replay import Opened
from profiler.capture.watch.transfers import Transfers
from profiler.trace import FileFacts

DISK = 254 << 20
PREAD, READ = syscalls.NAMES.index("pread64"), syscalls.NAMES.index("read")
PAGE = 4096


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def pages(*rows: tuple[int, int, int, int, int]) -> dict[str, dict[str, np.ndarray]]:
    """mm_filemap_get_pages: (time, task, inode, first page, last page) each."""
    columns = np.array(rows, np.int64).reshape(-1, 5).T
    return {LOOKED_UP: {
        "time_ns": columns[0], "tid": columns[1].astype(np.int32), "s_dev": np.full(len(columns[0]), DISK),
        "i_ino": columns[2], "index": columns[3], "last_index": columns[4],
    }}  # fmt: skip


def calls(*rows: tuple[int, int, int, int, int]) -> syscalls.Pairs:
    """read at the position: (time, duration, task, descriptor, result) each."""
    time, duration, task, descriptor, result = np.array(rows, np.int64).reshape(-1, 5).T
    count = len(time)
    return syscalls.Pairs(
        time, duration, task, np.full(count, READ), descriptor, np.full(count, 100),
        np.full(count, UNKNOWN), result, 0,
    )  # fmt: skip


def window(mine: dict[str, dict[str, np.ndarray]], start: int = 0, end: int = LAST_NS) -> Window:
    return Window(start, end, mine, {})


def test_a_read_is_of_the_inode_that_was_looked_up_within_it() -> None:
    made = calls((100, 50, 7, 3, 10), (200, 50, 7, 3, 10), (210, 5, 8, 3, 10))
    found = Reads().feed(window(pages((110, 7, 50, 0, 0), (212, 8, 51, 4, 5), (300, 7, 52, 0, 0))), made, {})
    assert found.inode.tolist() == [50, -1, 51]
    assert found.device.tolist() == [DISK, -1, DISK]
    assert found.others.inode.tolist() == [52]
    assert found.others.start.tolist() == [0] and found.others.end.tolist() == [PAGE]


def test_what_a_call_read_in_the_window_before_its_end_is_kept_for_it() -> None:
    reads = Reads()
    none = calls()
    assert len(reads.feed(window(pages((110, 7, 50, 0, 0)), 0, 120), none, {7: 100}).others) == 0
    found = reads.feed(window(pages(), 120), calls((100, 50, 7, 3, 10)), {})
    assert found.inode.tolist() == [50]


PLACES = st.integers(0, 1 << 44) | st.integers(0, 3 * PAGE)
COUNTS = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3 * PAGE)


@given(st.lists(st.tuples(PLACES, COUNTS, PLACES)))
def test_what_a_probe_tells_of_reads_is_the_pages_that_hold_them(rows: list[tuple[int, int, int]]) -> None:
    """(place, how much was asked for, the file's size) each: where the kernel has no event of the pages."""
    pos, count, size = np.array(rows, np.int64).reshape(-1, 3).T
    number = np.arange(len(rows))
    found = touched({LOOKED_UP: {
        "time_ns": number, "tid": number.astype(np.int32), "s_dev": np.full(len(rows), DISK),
        "i_ino": number + 50, "pos": pos, "count": count, "isize": size,
    }})  # fmt: skip
    expected = [
        (at, 50 + at, place // PAGE * PAGE, -(-min(place + min(asked, 1 << 31), end) // PAGE) * PAGE)
        for at, (place, asked, end) in enumerate(rows)
        if asked > 0 and place < end
    ]
    columns = (found.time_ns, found.inode, found.start, found.end)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected
    assert not found.direct.any() and (found.device == DISK).all()


def test_reads_past_the_cache_are_told_too_and_end_with_the_file() -> None:
    table = {
        "time_ns": ints(110, 120), "tid": np.array([7, 7], np.int32), "dev": ints(DISK, DISK),
        "ino": ints(50, 50), "isize": ints(5000, 5000), "pos": ints(4096, 0), "count": ints(4096, 512),
        "ki_flags": ints(1 << 17, 1 << 18),
    }  # fmt: skip
    found = touched({DIRECT: table})
    assert found.direct.tolist() == [True]  # the other one writes
    assert (found.start.tolist(), found.end.tolist()) == ([4096], [5000])


def history(opens: int = 1) -> History:
    """Task 7 with table 0, in which descriptor 3 is open number 0, and so on."""
    none = ints()
    count = ints(*range(opens))
    return History(
        ints(0), ints(7), ints(0), np.zeros(opens, np.int64), np.zeros(opens, np.int64), count + 3, count,
        np.zeros(opens, np.int64), count, np.zeros(opens, np.int64), np.zeros(opens, np.int64),
        np.full(opens, -1), np.zeros(opens, np.int64), np.ones(opens, np.int64),
    ) if opens else History(ints(0), ints(7), ints(0), *([none] * 11))  # fmt: skip


def named(
    recorder: Recorder, of: History, made: syscalls.Pairs, mine: dict
) -> tuple[Naming, History, np.ndarray]:
    naming = Naming(of, {0: Opened(1, 2, 7)}, Inodes(recorder, {(DISK, 50): [(5, 0)]}))
    naming.feed(made, Reads().feed(window(mine), made, {}))
    return naming, *naming.named()


def recorder() -> Recorder:
    made = Recorder()
    made.file("a", FileFacts(b"/a", "254:0", 50, kind="regular"))
    made.file("b", FileFacts(b"/b", "254:0", 51, kind="regular"))
    return made


def test_an_open_is_of_the_file_that_was_read_through_it() -> None:
    made = calls((100, 50, 7, 3, 10))
    _, found, paged = named(recorder(), history(), made, pages((110, 7, 50, 0, 0)))
    assert (found.file.tolist(), found.data.tolist(), paged.tolist()) == ([0], [1], [True])


def test_a_descriptor_that_no_event_has_made_means_what_is_read_through_it() -> None:
    made = calls((100, 50, 7, 9, 10))
    _, found, _ = named(recorder(), history(), made, pages((110, 7, 51, 0, 0)))
    assert syscalls.handles(made, found).tolist() == [1]
    assert found.file.tolist() == [-1, 1]
    assert found.position[1] == UNKNOWN


def test_an_inode_without_a_name_has_its_number() -> None:
    made, files = calls((100, 50, 7, 3, 10)), recorder()
    _, found, _ = named(files, history(), made, pages((110, 7, 999, 0, 0)))
    facts = files.files[found.file[0]]
    assert (facts.path, facts.kind) == (b"(inode 999 of 254:0)", "regular")


def test_a_number_of_an_inode_that_was_used_again_is_told_by_time() -> None:
    inodes = Inodes(Recorder(), {(DISK, 50): [(100, 4), (200, 5)]})
    assert [inodes.named(DISK, 50, time_ns) for time_ns in (90, 100, 150, 300, None)] == [4, 4, 5, 5, 5]


def plane(found: History, paged: np.ndarray, files: Recorder) -> WatchPlane:
    everyone = members([Task(0, 7, 7, True)], False)
    return WatchPlane(
        found, {7: 7}, 0, Inodes(files, {}), everyone, paged, np.zeros(len(paged), bool), set()
    )


def test_a_read_that_should_have_shown_in_the_cache_and_did_not_is_left_out_and_counted() -> None:
    made, files = calls((100, 50, 7, 3, 10), (200, 50, 7, 3, 10), (300, 10, 7, 3, 0)), recorder()
    mine = pages((110, 7, 50, 0, 0))
    _, found, paged = named(files, history(), made, mine)
    watching = plane(found, paged, files)
    rows = watching.rows(window(mine), made, {})
    assert rows["time_ns"].tolist() == [100, 300]  # the end of a file shows nowhere
    assert watching.doubtful == 1


def test_the_row_s_own_evidence_wins() -> None:
    """Where a descriptor meant another file than was thought, the read is of what was read."""
    made, files = calls((100, 50, 7, 3, 10), (200, 50, 7, 3, 10), (300, 50, 7, 3, 10)), recorder()
    mine = pages((110, 7, 50, 0, 0), (210, 7, 51, 0, 0), (310, 7, 50, 0, 0))
    _, found, paged = named(files, history(), made, mine)
    assert plane(found, paged, files).rows(window(mine), made, {})["file"].tolist() == [0, 1, 0]


def test_requests_of_libaio_are_what_was_read_within_io_submit() -> None:
    files = recorder()
    mine = pages((110, 7, 50, 2, 3), (900, 7, 50, 9, 9))
    mine["sys_enter_io_submit"] = {"time_ns": ints(100), "tid": np.array([7], np.int32)}
    mine["sys_exit_io_submit"] = {"time_ns": ints(150), "tid": np.array([7], np.int32), "ret": ints(1)}
    watching = plane(history(0), np.zeros(0, bool), files)
    rows = watching.rows(window(mine), calls(), {})
    assert [(row["op"], row["offset"], row["size"], row["file"]) for row in rows] == [
        (OP_CODES["aio_pread"], 2 * PAGE, 2 * PAGE, 0)
    ]
    assert watching.rounded == 1


def test_those_who_are_only_followed_do_not_count() -> None:
    whom = members(
        [Task(0, 1, 1, False), Task(10, 2, 2, True), Task(50, 3, 3, False), Task(60, 3, 3, True)], False
    )
    table = {"time_ns": ints(5, 20, 55, 70, 80), "tid": np.array([1, 2, 3, 3, 99], np.int32)}
    assert whom.among(window({"x": table})).mine["x"]["time_ns"].tolist() == [20, 70]
    everybody = members([Task(0, 1, 1, False)], True)
    assert everybody.among(window({"x": table})).mine["x"]["tid"].tolist() == [2, 3, 3, 99]


@given(st.integers(0, 3 * PAGE), st.integers(1, 3 * PAGE), st.integers(0, 2 * PAGE), st.booleans())
def test_a_transfer_is_placed_where_it_was_or_nowhere(
    offset: int, size: int, behind: int, known: bool
) -> None:
    log = np.zeros(1, EVENT_DTYPE)
    log["tid"], log["time_ns"], log["duration_ns"], log["size"] = 7, 100, 50, size
    log["op"] = OP_CODES["sendfile"]
    transfers = Transfers(log, 0)
    first, last = offset // PAGE, (offset + size - 1) // PAGE
    transfers.feed(touched(pages(*((110 + page, 7, 50, page, page) for page in range(first, last + 1)))))
    (found,) = transfers.offsets(ints(offset + size + behind if known else -1)).tolist()
    assert found in (offset, UNKNOWN)
    whole = offset % PAGE == 0 and size % PAGE == 0
    assert found == offset or not (whole or (known and behind == 0 and first == last and offset == 0))


@pytest.mark.parametrize("sizes", [ints(-1), ints(0)])
def test_a_transfer_of_which_nothing_was_seen_is_nowhere(sizes: np.ndarray) -> None:
    log = np.zeros(1, EVENT_DTYPE)
    log["size"], log["op"] = 10, OP_CODES["sendfile"]
    assert Transfers(log, 0).offsets(sizes).tolist() == [UNKNOWN]
