"""What devices were asked to read, from block events made by hand and by a model of the block layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiler.capture.kernel import device
from profiler.capture.kernel.device import Columns, Requests, requests

VDA, VDA1, VDA2, ZRAM, DM, MD, NVME, PATH = (
    major << 20 | minor
    for major, minor in ((254, 0), (254, 1), (254, 2), (253, 0), (252, 0), (9, 0), (259, 0), (259, 1))
)
DISKS = {VDA1: VDA, VDA2: VDA}
ME, OTHER, WORKER = 10, 20, 30
EVENTS = {
    "bios": ("time_ns", "tid", "dev", "sector", "nr_sector"),
    "issues": ("time_ns", "tid", "dev", "sector", "nr_sector"),
    "completes": ("time_ns", "dev", "sector", "nr_sector"),
    "remaps": ("time_ns", "tid", "dev", "sector", "nr_sector", "old_dev", "old_sector"),
}


def table(kind: str, rows: Sequence[Sequence[int]]) -> Columns:
    values = np.array(rows, np.int64).reshape(-1, len(EVENTS[kind]))
    return dict(zip(EVENTS[kind], values.T, strict=True))


def seen(
    bios: Sequence[Sequence[int]] = (),
    issues: Sequence[Sequence[int]] = (),
    completes: Sequence[Sequence[int]] = (),
    remaps: Sequence[Sequence[int]] = (),
) -> Requests:
    """The requests of ME."""
    queued = table("bios", bios)
    tables = [
        table(kind, rows)
        for kind, rows in (("issues", issues), ("completes", completes), ("remaps", remaps))
    ]
    return requests(queued, queued["tid"] == ME, *tables, DISKS)


def rows(found: Requests, *names: str) -> list[tuple[Any, ...]]:
    return list(zip(*(getattr(found, name).tolist() for name in names), strict=True))


def test_one_bio_one_request() -> None:
    found = seen([(100, ME, VDA1, 2048, 8)], [(110, ME, VDA, 2048, 8)], [(150, VDA, 2048, 8)])
    names = ("time_ns", "duration_ns", "tid", "dev", "offset", "size", "deferred", "queued_ns", "bio")
    assert rows(found, *names) == [(110, 40, ME, VDA, 2048 * 512, 4096, False, 100, 0)]


def test_nothing_at_all() -> None:
    assert rows(seen(), "time_ns") == []
    assert rows(seen(issues=[(5, ME, VDA, 0, 8)], completes=[(6, VDA, 0, 8)]), "time_ns") == []


def test_bios_of_several_tasks_become_one_request() -> None:
    bios = [(1, OTHER, VDA, 0, 8), (2, ME, VDA, 8, 16), (3, OTHER, VDA, 24, 8), (4, ME, VDA, 32, 8)]
    found = seen(bios, [(5, WORKER, VDA, 0, 40)], [(9, VDA, 0, 40)])
    assert rows(found, "offset", "size", "deferred", "queued_ns", "bio") == [(4096, 24 * 512, True, 2, 1)]


def test_a_large_bio_becomes_several_requests() -> None:
    issues = [(2, ME, VDA, 0, 256), (3, ME, VDA, 256, 256), (4, WORKER, VDA, 512, 88)]
    completes = [(7, VDA, 256, 256), (8, VDA, 0, 256)]
    found = seen([(1, ME, VDA, 0, 600)], issues, completes)
    assert rows(found, "size", "duration_ns", "deferred", "queued_ns") == [
        (256 * 512, 6, False, 1),
        (256 * 512, 4, False, 1),
        (88 * 512, -1, True, 1),
    ]


def test_deferred_means_that_another_task_issued_it() -> None:
    bios = [(1, ME, VDA, 0, 8), (2, OTHER, VDA, 8, 8)]
    assert rows(seen(bios, [(3, ME, VDA, 0, 16)]), "tid", "deferred") == [(ME, False)]
    assert rows(seen(bios, [(3, OTHER, VDA, 0, 16)]), "tid", "deferred") == [(OTHER, True)]


def test_the_same_sectors_are_read_again_by_another() -> None:
    bios = [(1, ME, VDA, 0, 8), (11, OTHER, VDA, 0, 8), (21, ME, VDA, 0, 8)]
    issues = [(2, ME, VDA, 0, 8), (12, OTHER, VDA, 0, 8), (22, ME, VDA, 0, 8)]
    completes = [(5, VDA, 0, 8), (15, VDA, 0, 8), (25, VDA, 0, 8)]
    found = seen(bios, issues, completes)
    assert rows(found, "time_ns", "duration_ns", "size", "queued_ns") == [(2, 3, 4096, 1), (22, 3, 4096, 21)]


def test_of_two_that_read_the_same_at_once_each_counts_once() -> None:
    bios = [(1, ME, VDA, 0, 8), (2, OTHER, VDA, 0, 8)]
    found = seen(bios, [(3, ME, VDA, 0, 8), (4, OTHER, VDA, 0, 8)], [(5, VDA, 0, 8), (6, VDA, 0, 8)])
    assert found.size.tolist() == [4096]


def test_a_request_issued_twice_counts_when_it_was_issued_last() -> None:
    found = seen([(1, ME, VDA, 0, 8)], [(2, ME, VDA, 0, 8), (6, WORKER, VDA, 0, 8)], [(9, VDA, 0, 8)])
    assert rows(found, "time_ns", "duration_ns", "size", "tid") == [(6, 3, 4096, WORKER)]


def test_bytes_count_once_even_if_a_request_grew_before_it_was_issued_again() -> None:
    bios = [(1, ME, VDA, 0, 8), (3, ME, VDA, 8, 8)]
    found = seen(bios, [(2, ME, VDA, 0, 8), (6, WORKER, VDA, 0, 16)], [(9, VDA, 0, 16)])
    assert found.size.sum() == 8192


def test_in_flight_at_the_end_and_at_the_beginning() -> None:
    found = seen([(1, ME, VDA, 0, 8)], [(2, ME, VDA, 0, 8)], [(0, VDA, 0, 8)])
    assert rows(found, "duration_ns", "size") == [(-1, 4096)]
    # queued before the trace began: not known by whom
    assert rows(seen([], [(2, ME, VDA, 0, 8)], [(3, VDA, 0, 8)]), "size") == []
    # queued and not issued when the trace ended; the device does have requests
    found = seen([(1, OTHER, VDA, 64, 8), (2, ME, VDA, 0, 8)], [(3, OTHER, VDA, 64, 8)])
    assert rows(found, "size") == []


def test_a_bio_queued_after_the_issue_is_not_in_it() -> None:
    assert rows(seen([(3, ME, VDA, 0, 8)], [(2, OTHER, VDA, 0, 8)]), "size") == []


def test_odd_sectors() -> None:
    bios = [(1, ME, VDA1, 63, 3), (2, OTHER, VDA1, 66, 1), (3, ME, VDA1, 67, 1)]
    found = seen(bios, [(4, ME, VDA, 63, 5)], [(5, VDA, 63, 5)])
    assert rows(found, "offset", "size") == [(63 * 512, 4 * 512)]


def test_disks_do_not_mix() -> None:
    bios = [(1, ME, VDA, 0, 8), (2, OTHER, NVME, 0, 8)]
    found = seen(bios, [(3, ME, NVME, 0, 8), (4, ME, VDA, 0, 8)], [(5, VDA, 0, 8), (6, NVME, 0, 8)])
    assert rows(found, "time_ns", "dev", "duration_ns") == [(4, VDA, 1)]


def test_columns_may_be_as_the_kernel_has_them() -> None:
    bios = table("bios", [(1, ME, VDA1, 2**40, 8)])
    issues, completes = table("issues", [(2, ME, VDA, 2**40, 8)]), table("completes", [])
    kinds = {"dev": np.uint32, "sector": np.uint64, "nr_sector": np.uint32, "tid": np.int32}
    bios, issues = (
        {name: column.astype(kinds.get(name, np.int64)) for name, column in columns.items()}
        for columns in (bios, issues)
    )
    found = requests(bios, np.array([True]), issues, completes, table("remaps", []), DISKS)
    assert rows(found, "dev", "offset", "size") == [(VDA, 2**49, 4096)]
    assert found.offset.dtype == found.dev.dtype == found.tid.dtype == np.int64


# ---- devices without requests -----------------------------------------------------------------------------


def test_a_device_without_requests_serves_the_bios_themselves() -> None:
    found = seen([(1, ME, ZRAM, 16, 64), (2, OTHER, ZRAM, 0, 8)])
    assert rows(
        found, "time_ns", "duration_ns", "tid", "dev", "offset", "size", "deferred", "queued_ns"
    ) == [(1, -1, ME, ZRAM, 8192, 32768, False, 1)]


def test_rows_of_both_kinds_come_in_order() -> None:
    bios = [(1, ME, VDA, 0, 8), (2, ME, ZRAM, 0, 8), (3, ME, VDA, 8, 8)]
    found = seen(bios, [(2, ME, VDA, 0, 8), (4, ME, VDA, 8, 8)])
    assert rows(found, "time_ns", "dev") == [(2, VDA), (2, ZRAM), (4, VDA)]


def test_a_partition_is_no_stacked_device() -> None:
    for new in (VDA, VDA1):  # Linux 6.18 names the disk
        found = seen(
            [(2, ME, new, 2056, 8)], [(3, ME, VDA, 2056, 8)],
            remaps=[(1, ME, new, 2056, 8, VDA1, 8)],
        )  # fmt: skip
        assert rows(found, "dev", "offset", "size") == [(VDA, 2056 * 512, 4096)]


@pytest.mark.parametrize("named", [VDA, VDA2])
@pytest.mark.parametrize("passed_on_by", [ME, WORKER])
def test_of_a_stacked_device_the_one_below_counts(passed_on_by: int, named: int) -> None:
    """A volume (dm) on a partition: dm makes a bio of its own, in a worker where it decrypts."""
    found = seen(
        [(1, ME, DM, 100, 8), (4, passed_on_by, named, 5100, 8)],
        [(5, WORKER, VDA, 5100, 8)],
        [(9, VDA, 5100, 8)],
        [(2, passed_on_by, named, 1100, 8, DM, 100), (3, passed_on_by, named, 5100, 8, VDA2, 1100)],
    )
    assert rows(found, "time_ns", "dev", "offset", "size", "queued_ns", "bio") == [
        (5, VDA, 5100 * 512, 4096, 1, 0)
    ]


def test_a_bio_that_is_passed_on_itself_is_queued_only_once() -> None:
    """NVMe multipath and md's raid0: no second event for the disk below."""
    found = seen(
        [(1, ME, NVME, 64, 16), (3, OTHER, NVME, 0, 8)],
        [(5, ME, PATH, 64, 16), (6, OTHER, PATH, 0, 8)],
        [(9, PATH, 64, 16)],
        [(2, ME, PATH, 64, 16, NVME, 64), (4, OTHER, PATH, 0, 8, NVME, 0)],
    )
    assert rows(found, "dev", "size", "duration_ns", "queued_ns", "deferred") == [(PATH, 8192, 4, 1, False)]


def test_stacks_upon_stacks_on_a_device_without_requests() -> None:
    """A volume on a RAID of which one part is in memory; a read of the volume is split below."""
    found = seen(
        [(1, ME, DM, 0, 16), (3, WORKER, MD, 100, 16), (5, WORKER, VDA, 500, 8)],
        [(8, WORKER, VDA, 500, 8)],
        [],
        [
            (2, WORKER, MD, 100, 16, DM, 0),
            (4, WORKER, VDA, 500, 8, MD, 100),
            (6, WORKER, ZRAM, 900, 8, MD, 108),
        ],
    )
    assert rows(found, "time_ns", "dev", "offset", "size", "queued_ns") == [
        (6, ZRAM, 900 * 512, 4096, 1),
        (8, VDA, 500 * 512, 4096, 1),
    ]


def test_a_bio_whose_way_up_is_lost_belongs_to_who_queued_it() -> None:
    remaps = [(2, ME, VDA, 500, 8, DM, 0), (12, OTHER, VDA, 508, 8, DM, 8)]
    found = seen([(3, ME, VDA, 500, 8), (13, OTHER, VDA, 508, 8)], [(14, ME, VDA, 500, 16)], remaps=remaps)
    assert rows(found, "size", "queued_ns") == [(4096, 3)]


# ---- a model of the block layer ---------------------------------------------------------------------------


@dataclass
class Model:
    """A disk with a queue. Of each sector the pending bios, the latest last; requests take from there."""

    draw: Any
    now: int = 0
    bios: list[tuple[int, ...]] = field(default_factory=list)
    issues: list[tuple[int, ...]] = field(default_factory=list)
    completes: list[tuple[int, ...]] = field(default_factory=list)
    pending: dict[int, list[int]] = field(default_factory=dict)
    flying: list[tuple[int, int, int]] = field(default_factory=list)  # sector, count, row of `expected`
    expected: list[list[int]] = field(default_factory=list)
    must_end: set[tuple[int, int]] = field(default_factory=set)

    def pick(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def tick(self) -> int:
        self.now += 1
        return self.now

    def queue(self) -> None:
        tid, sector, count = self.pick(1, 3), self.pick(0, 12), self.pick(1, 8)
        self.bios.append((self.tick(), tid, VDA1, sector, count))
        for at in range(sector, sector + count):
            self.pending.setdefault(at, []).append(len(self.bios) - 1)

    def issue(self) -> None:
        waiting = sorted(at for at, stack in self.pending.items() if stack)
        if not waiting:
            return
        sector = waiting[self.pick(0, len(waiting) - 1)]
        run = 1
        while sector + run in waiting:
            run += 1
        count = self.pick(1, run)
        unlike = (sector, count) not in [one[:2] for one in self.flying]
        times = self.pick(1, 3) if unlike else 1  # now and then it goes back into the queue
        for _ in range(times):
            tid = self.pick(1, 3)
            self.issues.append((self.tick(), tid, VDA, sector, count))
        taken = [(at, self.pending[at].pop()) for at in range(sector, sector + count)]
        mine = [(at, bio) for at, bio in taken if self.bios[bio][1] == 1]
        if mine:
            bio = min(bio for _, bio in mine)
            deferred = all(self.bios[bio][1] != tid for _, bio in mine)
            size = len(mine) * 512
            self.expected.append(
                [self.now, -1, tid, VDA, mine[0][0] * 512, size, deferred, self.bios[bio][0], bio]
            )
        self.flying.append((sector, count, len(self.expected) - 1 if mine else -1))
        if times > 1:
            self.must_end.add((sector, count))

    def complete(self, span: tuple[int, int] | None = None) -> None:
        if not self.flying:
            return
        sector, count = span or self.flying[self.pick(0, len(self.flying) - 1)][:2]
        number = max(n for n, one in enumerate(self.flying) if one[:2] == (sector, count))
        row = self.flying.pop(number)[2]
        self.completes.append((self.tick(), VDA, sector, count))
        if row >= 0:
            self.expected[row][1] = self.now - self.expected[row][0]

    def finish(self) -> None:
        """Some stay in flight, but not where other issues of the same sectors make it a guess which."""
        while any(self.pending.values()):
            self.issue()
        ends = self.must_end | {(sector, count) for _, _, sector, count in self.completes}
        spans = [one[:2] for one in self.flying]
        for span in spans:
            if span in ends or spans.count(span) > 1:
                self.complete(span)


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from([1, 7, 1 << 20]))
def test_requests_are_those_of_a_model(data: st.DataObject, at_once: int) -> None:
    model = Model(data.draw)
    for _ in range(model.pick(0, 24)):
        (model.queue, model.issue, model.complete)[model.pick(0, 2)]()
    model.finish()
    bios = table("bios", model.bios)
    owned = bios["tid"] == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "_PIECES_AT_ONCE", at_once)
        found = requests(
            bios, owned, table("issues", model.issues), table("completes", model.completes),
            table("remaps", []), DISKS,
        )  # fmt: skip
    names = ("time_ns", "duration_ns", "tid", "dev", "offset", "size", "deferred", "queued_ns", "bio")
    assert rows(found, *names) == [tuple(row) for row in model.expected]
    assert found.size.sum() == (bios["nr_sector"][owned] * 512).sum() * bool(model.issues)
