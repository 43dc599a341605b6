"""The kernel's numbers of tasks made ours: on forks made by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from profiler.capture.kernel.numbers import Births, matched, translated


def events(*forks: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """When, by which task, which task was made: in the kernel's numbers."""
    rows = np.array(forks, np.int64).reshape(-1, 3)
    return {"time_ns": rows[:, 0], "parent_pid": rows[:, 1], "child_pid": rows[:, 2]}


def listed(births: Births) -> list[tuple[int, ...]]:
    return list(zip(births.time_ns.tolist(), births.kernel.tolist(), births.ours.tolist(), strict=True))


def test_each_fork_is_the_latest_of_the_task_when_it_was_stopped() -> None:
    told = events((10, 100, 110), (20, 110, 150), (30, 100, 130))
    births = matched(1, 100, [(12, 1, 2), (22, 2, 5), (35, 1, 3)], told)
    assert listed(births) == [(0, 100, 1), (10, 110, 2), (20, 150, 5), (30, 130, 3)]


def test_of_a_fork_whose_event_was_lost_the_children_are_not_known_and_all_others_are() -> None:
    told = events((10, 100, 110), (30, 100, 130), (40, 120, 121))
    births = matched(1, 100, [(12, 1, 2), (22, 1, 3), (35, 1, 4), (42, 3, 5)], told)
    assert listed(births) == [(0, 100, 1), (10, 110, 2), (30, 130, 4)]


def test_a_child_for_which_nobody_stopped_is_passed_over() -> None:
    """Its maker asked that it be not traced."""
    births = matched(1, 100, [(25, 1, 2)], events((10, 100, 110), (20, 100, 120)))
    assert listed(births) == [(0, 100, 1), (20, 120, 2)]


def test_numbers_are_used_again() -> None:
    told = events((10, 100, 110), (20, 100, 120), (30, 120, 110), (40, 110, 111))
    births = matched(1, 100, [(11, 1, 2), (21, 1, 3), (31, 3, 2), (41, 2, 4)], told)
    assert listed(births) == [(0, 100, 1), (10, 110, 2), (20, 120, 3), (30, 110, 2), (40, 111, 4)]
    # the kernel gives 110 to another task than we know by 2
    told = events((10, 100, 110), (20, 100, 120), (30, 100, 110))
    births = matched(1, 100, [(11, 1, 2), (21, 1, 3), (31, 1, 4)], told)
    table = {"time_ns": np.array([15, 29, 31]), "tid": np.array([110, 110, 110], np.int32)}
    assert translated({"sys_enter_read": table}, births)["sys_enter_read"]["tid"].tolist() == [2, 2, 4]


def test_no_forks() -> None:
    assert listed(matched(7, 100, [], None)) == [(0, 100, 7)]


def test_tasks_that_are_not_ours_cannot_be_taken_for_ours() -> None:
    tables = {
        "block_bio_queue": {
            "time_ns": np.array([1, 2, 3, 4, 5]),
            "tid": np.array([100, 7, 110, 7, 110], np.int32),
            "comm": np.array([b"cat", b"iou-wrk-110", b"x", b"iou-sqp-8", b"iou-wrk-110"], "S16"),
        },
        "sys_exit_read": {"time_ns": np.zeros(0, np.int64), "tid": np.zeros(0, np.int32)},
    }
    made = translated(tables, Births(*np.array([(0, 100, 7), (3, 110, 8)], np.int64).T))
    table = made["block_bio_queue"]
    assert table["tid"].tolist() == [7, -7, 8, -7, 8]
    assert table["comm"].tolist() == [b"cat", b"iou-wrk-0", b"x", b"iou-sqp-0", b"iou-wrk-8"]
    assert table["tid"].dtype == np.int32
    assert len(made["sys_exit_read"]["tid"]) == 0


@given(st.data())
def test_any_tree_of_forks_is_found_again(data: st.DataObject) -> None:
    """Some events are lost: then nobody is taken for another."""
    count = data.draw(st.integers(1, 30))
    parents = [data.draw(st.integers(0, child - 1)) for child in range(1, count)]
    theirs = data.draw(st.permutations(range(1000, 1000 + count)))
    kept = [data.draw(st.integers(0, 9)) > 0 for _ in parents]
    forks = [(10 * child + 5, parent, child) for child, parent in enumerate(parents, 1)]
    told = events(
        *((10 * child, theirs[parent], theirs[child])
          for child, (parent, keep) in enumerate(zip(parents, kept, strict=True), 1) if keep)
    )  # fmt: skip
    known = {0}
    for child, (parent, keep) in enumerate(zip(parents, kept, strict=True), 1):
        if keep and parent in known:
            known.add(child)
    births = matched(0, theirs[0], forks, told)
    assert dict(zip(births.kernel.tolist(), births.ours.tolist(), strict=True)) == {
        theirs[task]: task for task in known
    }
