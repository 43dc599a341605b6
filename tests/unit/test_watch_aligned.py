"""Opens put to what fanotify tells: the right file or none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from profiler.capture.watch.aligned import MARGIN_NS, files_by_order
from profiler.capture.watch.replay import Opened

MS = 1_000_000


def test_one_by_one() -> None:
    opened = {0: Opened(0, 10, 5), 1: Opened(20, 30, 5), 2: Opened(5, 15, 6)}
    told = [(40, 5, 70), (40, 6, 80), (40, 5, 71)]
    assert files_by_order(opened, told) == {0: 70, 1: 71, 2: 80}


def test_what_is_merged_is_left_alone_and_disturbs_no_other() -> None:
    opened = {0: Opened(0, 10, 5), 1: Opened(20, 30, 5), 2: Opened(100 * MS, 100 * MS + 10, 5)}
    told = [(50 * MS, 5, 70), (150 * MS, 5, 71)]
    assert files_by_order(opened, told) == {2: 71}


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[int, Opened], list[tuple[int, int, int]], dict[int, int]]:
    """Opens of a thread, what fanotify tells of them with merging and unmarked file systems, and the
    truth."""
    opened, truth, told = {}, {}, []
    queue: list[int] = []
    now = 10 * MS
    for handle in range(draw(st.integers(0, 12))):
        began = now = now + draw(st.integers(1, 3 * MS))
        ended = now = now + draw(st.integers(1, 2 * MS))
        opened[handle] = Opened(began, ended, 5)
        truth[handle] = file = draw(st.integers(0, 3))
        if draw(st.integers(0, 9)) and file not in queue:  # else: unmarked, or merged
            queue.append(file)
        if draw(st.booleans()):
            # read now, or within the time that a reading takes
            told += [(now + draw(st.integers(0, MARGIN_NS - 1)), 5, file) for file in queue]
            queue = []
            now += MARGIN_NS
    told += [(now + MS, 5, file) for file in queue]
    return opened, told, truth


@given(histories())
def test_all_that_is_told_apart_by_readings_is_right(
    case: tuple[dict[int, Opened], list[tuple[int, int, int]], dict[int, int]],
) -> None:
    opened, told, truth = case
    found = files_by_order(opened, told)
    if len(told) == len(opened):
        assert found == truth
    assert set(found) <= set(truth)
