"""The kernel's numbers of tasks made ours: on forks made by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from profiler.capture.kernel.numbers import matched, translated


def events(*forks: tuple[int, int]) -> dict[str, np.ndarray]:
    rows = np.array(forks, np.int64).reshape(-1, 2)
    return {"parent_pid": rows[:, 0], "child_pid": rows[:, 1]}


def test_each_fork_of_a_task_is_the_next_of_the_kernel_s() -> None:
    ours, unknown = matched(1, 100, [(1, 2), (2, 5), (1, 3)], events((100, 110), (100, 130), (110, 150)))
    assert ours == {100: 1, 110: 2, 130: 3, 150: 5}
    assert unknown == 0


def test_where_forks_were_lost_their_children_are_not_known() -> None:
    ours, unknown = matched(1, 100, [(1, 2), (1, 3), (3, 4)], events((100, 110), (110, 111)))
    assert ours == {100: 1}
    assert unknown == 2


def test_no_forks() -> None:
    assert matched(7, 100, [], None) == ({100: 7}, 0)


def test_tasks_that_are_not_ours_cannot_be_taken_for_ours() -> None:
    tables = {"block_bio_queue": {
        "time_ns": np.array([1, 2, 3, 4]), "tid": np.array([100, 7, 110, 7], np.int32),
        "comm": np.array([b"cat", b"iou-wrk-110", b"x", b"iou-sqp-8"], "S16"),
    }}  # fmt: skip
    table = translated(tables, {100: 7, 110: 8})["block_bio_queue"]
    assert table["tid"].tolist() == [7, -7, 8, -7]
    assert table["comm"].tolist() == [b"cat", b"iou-wrk-8", b"x", b"iou-sqp-0"]


@given(st.data())
def test_any_tree_of_forks_is_found_again(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 30))
    parents = [data.draw(st.integers(0, child - 1)) for child in range(1, count)]
    theirs = data.draw(st.permutations(range(1000, 1000 + count)))
    forks = list(zip(parents, range(1, count), strict=True))
    told = events(*((theirs[parent], theirs[child]) for parent, child in forks))
    ours, unknown = matched(0, theirs[0], forks, told)
    assert ours == {theirs[task]: task for task in range(count)}
    assert unknown == 0
