"""What the program in a plan does, as functions."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler import runner

STRETCHES = st.lists(
    st.tuples(
        st.integers(0, 3), st.integers(0, 2**40), st.integers(0, 3 * runner.ROUND), st.integers(0, 99)
    ),
    max_size=20,
)


@given(STRETCHES, st.integers(1, 40 * runner.ROUND))
def test_a_budget_is_never_exceeded_and_spent_on_what_is_needed_first(
    stretches: list[runner.Stretch], size: int
) -> None:
    kept = runner.chosen(stretches, size)
    assert sum(stretch[2] for stretch in kept) == min(size, sum(stretch[2] for stretch in stretches))
    if len(kept) < len(stretches):
        latest = max((stretch[3] for stretch in kept), default=-1)
        counts = sum(stretch[3] < latest for stretch in stretches)
        assert sum(stretch[3] < latest for stretch in kept) == counts
    assert runner.chosen(stretches, None) == stretches


@given(STRETCHES)
def test_rounds_hold_all_once_and_the_first_come_first(stretches: list[runner.Stretch]) -> None:
    parts = list(runner.rounds(stretches))
    assert sorted(stretch for part in parts for stretch in part) == sorted(stretches)
    ends = [(min(s[3] for s in part), max(s[3] for s in part)) for part in parts if part]
    assert all(last <= first for (_, last), (first, _) in pairwise(ends))


@given(st.lists(st.tuples(st.integers(0, 9 * runner.PIECE), st.integers(0, 5 * runner.PIECE)), max_size=6))
def test_pieces_are_the_stretches_cut(parts: list[tuple[int, int]]) -> None:
    files = [(b"/x", "regular", "8:1", 1, 1, 1, False)]
    reading = runner.Reading(files, [(0, offset, size, 0) for offset, size in parts], None)
    pieces = list(reading._work)
    assert len(pieces) == reading._left.get(0, 0)
    assert sum(size for _, _, size in pieces) == sum(size for _, size in parts)
    for _, offset, size in pieces:
        assert 0 < size <= runner.PIECE and any(first <= offset < first + whole for first, whole in parts)


@pytest.mark.parametrize("shift", [0, 4096])
def test_pieces_at_any_place_are_read_to_the_end_of_the_file_and_no_further(
    shift: int, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(2 * runner.PIECE + shift + 5))
    facts = path.stat()
    device = f"{os.major(facts.st_dev)}:{os.minor(facts.st_dev)}"
    file = (os.fsencode(path), "regular", device, facts.st_ino, facts.st_size, facts.st_mtime_ns, False)
    before = len(os.listdir("/proc/self/fd"))
    got, left_out = runner.prefetch([file], [(0, shift, 9 * runner.PIECE, 0)], None, None, False)
    assert (got, left_out) == (facts.st_size - shift, {})
    assert len(os.listdir("/proc/self/fd")) == before  # nothing stays open
    late = runner.prefetch([file], [(0, 0, 9, 0)], None, 0.0, False)
    assert late == (0, {})


def test_what_cannot_be_sent_is_read_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(runner.PIECE))

    def refused(*_: object) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "sendfile", refused)
    with open(path, "rb") as file, open(os.devnull, "wb") as nowhere:
        assert runner.bring(file.fileno(), 0, runner.PIECE, nowhere.fileno()) == runner.PIECE


@pytest.mark.parametrize("words, wanted", [
    ("20MiB", (20 * 2**20, None)), ("1.5s", (None, 1.5)), ("4KiB", (4096, None)), ("0.5GiB", (2**29, None)),
])  # fmt: skip
def test_budgets(words: str, wanted: tuple[int | None, float | None]) -> None:
    assert runner.budget(words) == wanted


@pytest.mark.parametrize("words", ["", "5", "s", "nans", "infMiB", "-1s", "0MiB", "1e9GiB", "1 e s", "5mib"])
def test_what_is_no_budget(words: str) -> None:
    with pytest.raises(ValueError):
        runner.budget(words)


def test_an_age_is_measured_from_the_begin_of_the_process() -> None:
    first = runner.age()
    assert 0 < first <= runner.age()
