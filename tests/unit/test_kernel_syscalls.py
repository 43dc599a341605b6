"""Entries and exits of calls made reads: on tables made by hand, and against one-by-one simulations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.calls import BY_NAME
from profiler.capture.calls.descriptors import Open
from profiler.capture.calls.event_log import EVENT_DTYPE, OP_CODES, UNKNOWN
from profiler.capture.calls.history import History, Journal
from profiler.capture.calls.positions import place
from profiler.capture.kernel import syscalls
from profiler.capture.kernel.syscalls import NAMES, READS, WRITES, pairs, rows

REQUESTED, OFFSET = ({name: syscalls._fields(BY_NAME[name])[index] for name in NAMES} for index in (0, 1))
Event = tuple[Any, ...]


def tables(events: Sequence[Event]) -> dict[str, dict[str, np.ndarray]]:
    """Decoded events: ("+read", time, tid, fd, requested, offset) and ("-read", time, tid, result)."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, fields in syscalls.wanted(NAMES).items():
        sign = "+" if name.startswith("sys_enter") else "-"
        call = name.split("_", 2)[2]
        mine = [event for event in events if event[0] == sign + call]
        table = {"time_ns": [event[1] for event in mine], "tid": [event[2] for event in mine]}
        for kind in fields:
            at = 3 if kind in ("fd", "ret") else 4 if kind == REQUESTED[call] else 5
            table[kind] = [event[at] for event in mine]
        found[name] = {key: np.array(values, np.int64) for key, values in table.items()}
    return found


def listed(found: syscalls.Pairs) -> list[tuple[int, ...]]:
    """(time, duration, tid, call, descriptor, requested, offset, result), in order of time."""
    columns = (
        found.time_ns, found.duration_ns, found.tid, found.call, found.descriptor, found.requested,
        found.offset, found.result,
    )  # fmt: skip
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


READ, PREAD = NAMES.index("read"), NAMES.index("pread64")


def test_an_exit_belongs_to_the_entry_of_its_thread() -> None:
    found = pairs(tables([
        ("+read", 10, 1, 3, 100, None), ("+pread64", 11, 2, 4, 50, 7), ("-pread64", 15, 2, 50),
        ("-read", 20, 1, 99),
    ]))  # fmt: skip
    assert listed(found) == [(10, 10, 1, READ, 3, 100, UNKNOWN, 99), (11, 4, 2, PREAD, 4, 50, 7, 50)]
    assert found.orphans == 0


def test_calls_without_a_beginning_or_an_end() -> None:
    found = pairs(tables([
        ("-read", 5, 1, 8),  # began before
        ("+read", 10, 1, 3, 100, None),  # its exit was lost
        ("+read", 20, 1, 3, 200, None), ("-read", 21, 1, 200),
        ("+read", 30, 1, 3, 300, None),  # the thread was killed in it
        ("-pread64", 31, 1, 9),  # of another call
    ]))  # fmt: skip
    assert listed(found) == [
        (10, UNKNOWN, 1, READ, 3, 100, UNKNOWN, UNKNOWN),
        (20, 1, 1, READ, 3, 200, UNKNOWN, 200),
        (30, UNKNOWN, 1, READ, 3, 300, UNKNOWN, UNKNOWN),
    ]
    assert found.orphans == 2


@pytest.mark.parametrize("made", [{}, tables([]), tables([("-read", 1, 1, 1)])])
def test_no_calls(made: dict[str, Any]) -> None:
    found = pairs(made)
    assert listed(found) == []
    assert len(rows(found, Journal().history(), {}, 0)) == 0


def test_numbers_that_programs_make_up() -> None:
    found = pairs(tables([
        ("+read", 1, 1, 2**32 + 3, -1, None), ("-read", 2, 1, -14),  # size_t beyond all bounds, descriptor 3
        ("+pread64", 3, 1, -1, 8, -5), ("-pread64", 4, 1, -9),
    ]))  # fmt: skip
    assert listed(found) == [
        (1, 1, 1, READ, 3, 2**63 - 1, UNKNOWN, -14),
        (3, 1, 1, PREAD, 2**32 - 1, 8, -5, -9),
    ]


threads = st.lists(
    st.lists(
        st.tuples(st.sampled_from(["+", "-"]), st.sampled_from(["read", "pread64", "lseek"])), max_size=12
    ),
    max_size=4,
)


@given(threads, st.randoms(use_true_random=False))
def test_pairs_are_what_a_loop_finds(plan: list[list[tuple[str, str]]], chance: Any) -> None:
    events: list[Event] = []
    order = [tid for tid, steps in enumerate(plan) for _ in steps]
    chance.shuffle(order)
    left = [list(steps) for steps in plan]
    for time, tid in enumerate(order):
        sign, name = left[tid].pop(0)
        events.append((sign + name, time, tid, time, 10 * time, 100 * time))
    open_now: dict[int, list[int]] = {}
    expected, orphans = [], 0
    for kind, time, tid, value, requested, offset in events:
        name = kind[1:]
        if kind[0] == "+":
            one = [time, UNKNOWN, tid, NAMES.index(name), value, requested if REQUESTED[name] else 0,
                   offset if OFFSET[name] else UNKNOWN, UNKNOWN]  # fmt: skip
            expected.append(one)
            open_now[tid] = one
            continue
        begun = open_now.pop(tid, None)
        if begun is not None and NAMES[begun[3]] == name:
            begun[1], begun[7] = time - begun[0], value
        else:
            orphans += 1
    found = pairs(tables(events))
    assert listed(found) == sorted(map(tuple, expected))
    assert found.orphans == orphans


# -- whose file it was
# -------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


def made_history(changes: Sequence[tuple[int, str, Sequence[Any]]]) -> History:
    clock = Clock()
    journal = Journal(clock)
    for clock.now, name, arguments in changes:
        getattr(journal, name)(*arguments)
    return journal.history()


def test_rows_are_of_the_file_that_the_descriptor_meant_then() -> None:
    history = made_history([
        (5, "table", (1,)),
        (10, "open", (1, 3, Open(70, 0, 0))),
        (20, "share", (1, 2)),
        (30, "close", (1, 3)),
        (40, "open", (1, 3, Open(71, 1, 0, direct=True))),
        (50, "fork", (1, 9)),
        (60, "open", (9, 3, Open(72, 2, 0))),
        (70, "open", (1, 4, Open(73, 3, None, data=False))),
    ])  # fmt: skip
    events = []
    for number, (time, tid, fd) in enumerate(
        [(9, 1, 3), (15, 1, 3), (25, 2, 3), (35, 2, 3), (45, 2, 3), (55, 9, 3), (65, 9, 3), (66, 1, 3),
         (75, 1, 4), (76, 8, 3)]
    ):  # fmt: skip
        events += [("+pread64", time, tid, fd, 100, number), ("-pread64", time + 1, tid, 8)]
    found = rows(pairs(tables(events)), history, {1: 1, 2: 1, 9: 9}, 2)
    names = ["time_ns", "pid", "tid", "file", "handle", "offset", "direct"]
    got = sorted(zip(*(found[name].tolist() for name in names), strict=True))
    assert got == [
        (13, 1, 1, 70, 0, 1, 0),
        (23, 1, 2, 70, 0, 2, 0),
        (43, 1, 2, 71, 1, 4, 1),
        (53, 9, 9, 71, 1, 5, 1),
        (63, 9, 9, 72, 2, 6, 0),
        (64, 1, 1, 71, 1, 7, 1),
    ]
    assert set(found["size"].tolist()) == {8} and set(found["requested"].tolist()) == {100}
    assert set(found["duration_ns"].tolist()) == {1}


@pytest.mark.parametrize(
    ("result", "kept"), [(-512, 0), (-516, 0), (-9, 0), (-14, 1), (0, 1), (5, 1), (UNKNOWN, 1)]
)
def test_which_results_count(result: int, kept: int) -> None:
    history = made_history([(0, "table", (1,)), (1, "open", (1, 3, Open(7, 0, 0)))])
    events: list[Event] = [("+read", 10, 1, 3, 100, None)]
    if result != UNKNOWN:
        events.append(("-read", 20, 1, result))
    found = rows(pairs(tables(events)), history, {1: 1}, 0)
    assert len(found) == kept
    if kept:
        assert found["size"][0] == (result if result >= 0 else UNKNOWN)
        assert found["errno"][0] == (-result if -4096 < result < 0 else 0)


def test_what_began_before_the_program_is_left_out() -> None:
    history = made_history([(0, "table", (1,)), (1, "open", (1, 3, Open(7, 0, 0)))])
    events = [("+read", 9, 1, 3, 1, None), ("-read", 12, 1, 1), ("+read", 13, 1, 3, 1, None)]
    assert rows(pairs(tables(events)), history, {1: 1}, 10)["time_ns"].tolist() == [3]


def test_a_failed_lseek_is_no_event_and_a_vector_asks_for_what_it_got() -> None:
    history = made_history([(0, "table", (1,)), (1, "open", (1, 3, Open(7, 0, 0)))])
    events = [("+lseek", 10, 1, 3), ("-lseek", 11, 1, -22), ("+lseek", 12, 1, 3), ("-lseek", 13, 1, 40),
              ("+readv", 14, 1, 3), ("-readv", 15, 1, 8)]  # fmt: skip
    found = np.sort(rows(pairs(tables(events)), history, {1: 1}, 0), order="time_ns")
    names = ("time_ns", "op", "offset", "requested", "size")
    assert [tuple(row) for row in found[list(names)].tolist()] == [
        (12, OP_CODES["lseek"], 40, 0, UNKNOWN),
        (14, OP_CODES["readv"], UNKNOWN, 8, 8),
    ]


# -- where in the file it was
# ------------------------------------------------------------------------------------------

AT_POSITION = ("read", "readv", "preadv2", "write", "writev")
steps = st.lists(
    st.tuples(
        st.integers(0, 2),  # handle
        st.sampled_from([*AT_POSITION, "pread64", "pwrite64", "lseek", "append", "no append", "sendfile"]),
        st.integers(-1, 50),  # size or new position; -1: failed, or its end was not seen
    ),
    max_size=40,
)


@given(
    steps, st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=3, max_size=3), st.integers(0, 99),
    st.randoms(use_true_random=False),
)  # fmt: skip
@settings(max_examples=300)
def test_places_are_what_one_step_after_the_other_gives(
    plan: list[tuple[int, str, int]], begin: list[int | None], start_ns: int, chance: Any
) -> None:
    clock = Clock()
    journal = Journal(clock)
    opens = [Open(7, handle, position) for handle, position in enumerate(begin)]
    for opened in opens:
        journal.open(1, opened.handle, opened)
    position, appending = list(begin), [False] * 3
    log, expected = [], []
    for number, (handle, what, amount) in enumerate(plan):
        time = start_ns + 100 * number + 1
        if what in ("append", "no append"):
            clock.now = time
            appending[handle] = what == "append"
            journal.set_flags(opens[handle], appending[handle], False)
            continue
        offset, size = UNKNOWN, UNKNOWN if amount < 0 else amount
        if what == "lseek":
            if amount < 0:
                continue
            offset, size, position[handle] = amount, UNKNOWN, amount
            wanted = amount
        elif what in AT_POSITION or what == "sendfile":
            if what.startswith("write") and appending[handle]:
                position[handle], wanted = None, UNKNOWN
            else:
                here = position[handle]
                wanted = UNKNOWN if here is None else here
                position[handle] = None if here is None else here + max(0, amount)
        else:
            offset = wanted = 1000 + number
        # of calls that overlap, the one that ends first was first: some begin before those that end earlier
        begins = chance.randint(0, 500) if what not in ("write", "writev") else 0
        time_ns = max(0, time - start_ns - begins)
        log.append((time_ns, time - start_ns - time_ns, offset, size, handle, OP_CODES[what]))
        expected.append(wanted)
    made = np.zeros(len(log), EVENT_DTYPE)
    for at, row in enumerate(log):
        for name, value in zip(
            ("time_ns", "duration_ns", "offset", "size", "handle", "op"), row, strict=True
        ):
            made[name][at] = value
    shuffled = np.array(chance.sample(range(len(log)), len(log)), np.int64)
    found = place(made[shuffled], journal.history(), start_ns)
    assert found["offset"].tolist() == [expected[at] for at in shuffled]
    found["offset"] = made["offset"][shuffled]
    assert (found == made[shuffled]).all()  # and nothing else was changed


def test_events_of_no_open_and_other_ops_stay_as_they_are() -> None:
    history = made_history([(0, "table", (1,)), (1, "open", (1, 3, Open(7, 0, 0)))])
    made = np.zeros(4, EVENT_DTYPE)
    made["op"] = [OP_CODES[name] for name in ("open", "read", "mmap", "aio_pread")]
    made["handle"] = [0, -1, 0, 0]
    made["offset"] = [UNKNOWN, UNKNOWN, 4096, 512]
    made["size"] = 100
    assert (place(made, history, 0) == made).all()
    assert len(place(made[:0], history, 0)) == 0


def test_which_fields_are_decoded() -> None:
    found = syscalls.wanted(["pread64", "lseek"])
    assert found["sys_enter_pread64"] == ["fd", "count", "pos"]
    assert found["sys_enter_lseek"] == ["fd"] and found["sys_exit_lseek"] == ["ret"]
    assert set(READS) | set(WRITES) == set(NAMES)
