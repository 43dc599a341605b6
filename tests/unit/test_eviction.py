"""Who counts as busy, and what is dropped then: on tables made here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.errors import ColdseekError, UsageError
from profiler.machine.page_cache import cache, eviction
from profiler.machine.page_cache.eviction import CALL_BYTES, DEVICE_BYTES, Eviction, Numbers, choose, readers

IDLE = Numbers(5, 100, 100, False)


@pytest.mark.parametrize(
    ("now", "busy"),
    [
        (IDLE, False),
        (Numbers(5, 100 + CALL_BYTES - 1, 100 + DEVICE_BYTES - 1, True), False),
        (Numbers(5, 100 + CALL_BYTES, 100, False), True),
        (Numbers(5, 100, 100 + DEVICE_BYTES, False), True),
        (Numbers(6, CALL_BYTES - 1, 0, False), False),  # the number is used again
        (Numbers(6, CALL_BYTES, 0, False), True),
    ],
)
def test_who_reads_is_busy(now: Numbers, busy: bool) -> None:
    assert readers({7: IDLE}, {7: now}) == [7] * busy


def test_who_waits_for_a_device_both_times_is_busy_and_who_has_begun_counts_from_its_start() -> None:
    waits = Numbers(5, 0, 0, True)
    assert readers({7: waits}, {7: waits}) == [7]
    assert readers({}, {8: Numbers(9, 0, DEVICE_BYTES, False), 7: waits}) == [8]
    assert readers({7: waits}, {}) == []


NUMBERS = st.dictionaries(st.integers(1, 9), st.builds(Numbers, *[st.integers(0, 2**64)] * 3, st.booleans()))


@given(NUMBERS, NUMBERS)
def test_only_who_runs_is_busy(before: dict[int, Numbers], after: dict[int, Numbers]) -> None:
    assert set(readers(before, after)) <= set(after)
    assert not readers(after, {pid: one for pid, one in after.items() if not one.waits})


@pytest.mark.parametrize(
    ("asked", "able", "others", "whole", "words"),
    [
        ("auto", True, [], True, "of the whole machine"),
        ("auto", True, [1], False, "--evict all"),
        ("auto", False, [1], False, "only root"),
        ("files", True, [], False, "as asked"),
        ("files", False, [], False, "as asked"),
        ("all", True, [1], True, "of the whole machine"),
    ],
)
def test_what_is_dropped_is_said(
    asked: str, able: bool, others: list[int], whole: bool, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "can_drop_all", lambda: able)
    monkeypatch.setattr(eviction, "busy", lambda: others)
    found = choose(asked)
    assert isinstance(found, Eviction) and found.whole == whole
    assert words in found.told and found.told.isprintable()


def test_what_cannot_be_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "can_drop_all", lambda: False)
    with pytest.raises(ColdseekError, match="--evict files"):
        choose("all")
    with pytest.raises(UsageError, match="auto, files, all"):
        choose("some")
