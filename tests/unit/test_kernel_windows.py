"""A trace decoded window by window is the trace decoded at once, wherever it is cut."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_kernel_device import DISKS, Model, table
from test_kernel_pages import FORMATS, LAYOUT, SAMPLES, comparable, sample
from test_kernel_syscalls import AT_POSITION, Event, listed, tables

from profiler.capture.calls.descriptors import Open
from profiler.capture.calls.event_log import EVENT_DTYPE, OP_CODES, UNKNOWN
from profiler.capture.calls.history import Journal
from profiler.capture.calls.positions import Positions, place
from profiler.capture.kernel.buffer.drain import Spool
from profiler.capture.kernel.buffer.pages import LAST_NS, Decoder
from profiler.capture.kernel.device import Following, Requests, requests
from profiler.capture.kernel.syscalls import Pairing, pairs
from profiler.capture.kernel.windows import cuts

UNSEEN = -1
Stretch = tuple[int, int]


def stretches(times: Sequence[int]) -> list[Stretch]:
    return list(pairwise([0, *sorted(set(times) - {0}), LAST_NS]))


def within(columns: dict[str, np.ndarray], stretch: Stretch) -> dict[str, np.ndarray]:
    chosen = (columns["time_ns"] >= stretch[0]) & (columns["time_ns"] < stretch[1])
    return {name: column[chosen] for name, column in columns.items()}


# ---- pages ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("pages", [1, 2, 5, 10**6])
@pytest.mark.parametrize("limit", [0, 10**6])
def test_windows_hold_all_events_in_their_order(name: str, pages: int, limit: int) -> None:
    data, page_bytes, _ = sample(name)
    wanted = {format_.name: comparable(format_) for format_ in FORMATS}
    whole, decoder, spools = Decoder(LAYOUT, FORMATS, wanted), Decoder(LAYOUT, FORMATS, wanted), []
    for processor in data:
        whole.feed(processor, page_bytes)
        spools.append(Spool(page_bytes, limit))
        for start in range(0, len(processor), page_bytes):
            spools[-1].append(processor[start : start + page_bytes])
    windows = []
    for start_ns, end_ns in cuts([spool.begins for spool in spools], pages):
        for spool in spools:
            for some in spool.between(start_ns, end_ns):
                decoder.feed(some, page_bytes)
        windows.append(decoder.take(end_ns))
        assert all((table["time_ns"] >= start_ns).all() for table in windows[-1].values())
        assert all((table["time_ns"] < end_ns).all() for table in windows[-1].values())
    assert (decoder.damaged, decoder.gaps, decoder.lost) == (whole.damaged, whole.gaps, whole.lost)
    assert len(windows) > 1 or pages >= 5
    for event, columns in whole.take().items():
        for column, values in columns.items():
            assert np.concatenate([window[event][column] for window in windows]).tolist() == values.tolist()


def test_nothing_is_one_window() -> None:
    assert cuts([], 5) == cuts([np.zeros(0, np.int64)], 0) == [(0, LAST_NS)]
    assert cuts([np.array([7, 7, 7]), np.array([7])], 1) == [(0, 7), (7, LAST_NS)]


# ---- calls ------------------------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from("+-"), st.sampled_from(["read", "pread64", "lseek"])),
    max_size=40,
)


@given(steps, st.lists(st.integers(0, 45), max_size=6))
def test_calls_are_paired_across_windows(plan: list[tuple[int, str, str]], at: list[int]) -> None:
    events: list[Event] = [
        (sign + name, time, task, time, 10 * time, 100 * time)
        for time, (task, sign, name) in enumerate(plan)
    ]
    whole, pairing, found, orphans = pairs(tables(events)), Pairing(), [], 0
    for stretch in stretches(at):
        some = {name: within(columns, stretch) for name, columns in tables(events).items()}
        calls = pairing.feed(some, stretch[1] == LAST_NS)
        assert all(begun < stretch[1] for begun in pairing.begun.values())
        found += listed(calls)
        orphans += calls.orphans
    assert sorted(found) == listed(whole) and orphans == whole.orphans


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2), st.sampled_from([*AT_POSITION, "pread64", "lseek"]), st.integers(-1, 50)
        ),
        max_size=40,
    ),
    st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=3, max_size=3),
    st.lists(st.integers(0, 45), max_size=6),
)
def test_positions_go_on_from_window_to_window(
    plan: list[tuple[int, str, int]], begin: list[int | None], at: list[int]
) -> None:
    journal = Journal(lambda: 0)
    for handle, position in enumerate(begin):
        journal.open(1, handle, Open(7, handle, position))
    journal.set_flags(Open(7, 2, 0), True, False)  # it appends
    log = np.zeros(len(plan), EVENT_DTYPE)
    for time, (handle, op, amount) in enumerate(plan):
        amount = max(amount, 0) if op == "lseek" else amount
        fixed = {"lseek": amount, "pread64": 1000}.get(op, UNKNOWN)
        size = UNKNOWN if amount < 0 or op == "lseek" else amount
        log[time] = (time, 0, fixed, 0, size, 1, 1, 7, handle, OP_CODES[op], 0, 0)
    placing = Positions(journal.history(), 0)
    pieces = [
        placing.place(log[(log["time_ns"] >= start) & (log["time_ns"] < end)])
        for start, end in stretches(at)
    ]
    assert (np.concatenate(pieces) == place(log, journal.history(), 0)).all()


# ---- requests ---------------------------------------------------------------------------------------------


def rows(found: Requests, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(getattr(found, name).tolist() for name in names), strict=True))


def followed(
    events: dict[str, dict[str, np.ndarray]], at: Sequence[int], *names: str
) -> list[tuple[Any, ...]]:
    following, found = Following(), []
    for stretch in stretches(at):
        some = {kind: within(columns, stretch) for kind, columns in events.items()}
        some["bios"]["owned"] = some["bios"]["tid"] == 1
        found += rows(following.feed(some, DISKS, stretch[0], stretch[1] == LAST_NS), *names)
    return found


@settings(max_examples=100, deadline=None)
@given(st.data(), st.lists(st.integers(0, 80), max_size=5))
def test_requests_are_the_same_wherever_the_trace_is_cut(data: st.DataObject, at: list[int]) -> None:
    model = Model(data.draw)
    for _ in range(model.pick(0, 24)):
        (model.queue, model.issue, model.complete)[model.pick(0, 2)]()
    model.finish()
    assume(len({row[3:] for row in model.issues}) == len(model.issues))  # else it is a guess which is which
    events: dict[str, Any] = {
        kind: table(kind, getattr(model, kind)) for kind in ("bios", "issues", "completes")
    }
    events["remaps"] = table("remaps", [])
    bios = events["bios"]
    whole = requests(
        bios, bios["tid"] == 1, *(events[kind] for kind in ("issues", "completes", "remaps")), DISKS
    )
    names = ("time_ns", "tid", "dev", "offset", "size", "deferred", "queued_ns")
    expected = [
        # of a request that takes longer than a whole window it is not known how long it took
        (
            *row,
            UNSEEN if any(row[0] < start and end <= row[0] + took for start, end in stretches(at)) else took,
        )
        for row, took in zip(rows(whole, *names), whole.duration_ns.tolist(), strict=True)
    ]
    assert sorted(followed(events, at, *names, "duration_ns")) == sorted(expected)


def test_a_request_issued_twice_counts_once_across_windows() -> None:
    events: dict[str, Any] = {
        "bios": table("bios", [(1, 1, 7, 0, 8)]),
        "issues": table("issues", [(2, 1, 7, 0, 8), (6, 3, 7, 0, 8)]),
        "completes": table("completes", [(9, 7, 0, 8)]),
        "remaps": table("remaps", []),
    }
    for cut in range(10):
        assert followed(events, [cut], "time_ns", "size", "tid", "duration_ns") == [(6, 4096, 3, 3)]


def test_a_device_without_requests_serves_each_bio_once() -> None:
    events: dict[str, Any] = {
        "bios": table("bios", [(time, 1, 7, time * 8, 8) for time in (1, 4, 5, 9)]),
        **{kind: table(kind, []) for kind in ("issues", "completes", "remaps")},
    }
    for at in ([], [4], [3, 5], [1, 4, 5, 9], [20, 30]):
        assert [row[0] for row in followed(events, at, "time_ns")] == [1, 4, 5, 9]
