"""The way to wait, chosen on a made-up machine."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from profiler.capture.ptrace.patience import Patience, asleep, awake


def run(windows: int, asleep_ns: int, awake_ns: int) -> list[str]:
    """The ways chosen on a machine where a window takes so long in each way."""
    patience, now, chosen = Patience(2), 0, []
    for _ in range(windows):
        way = patience.next(now)
        chosen.append("asleep" if way is asleep else "awake")
        now += asleep_ns if way is asleep else awake_ns
    return chosen


def test_it_settles_on_the_faster_way_and_tries_the_other_now_and_then() -> None:
    assert run(100, 10, 30).count("asleep") >= 90
    assert run(100, 30, 10).count("awake") >= 90
    assert 2 <= run(100, 10, 30).count("awake") <= 10


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_the_slower_way_is_tried_every_sixteenth_window_and_no_more(asleep_ns: int, awake_ns: int) -> None:
    assume(asleep_ns != awake_ns)
    slower = "asleep" if asleep_ns > awake_ns else "awake"
    chosen = run(160, asleep_ns, awake_ns)
    assert chosen[:2].count(slower) == 1  # each way once, before anything is known
    again = [number for number in range(2, 160) if chosen[number] == slower]
    assert again == list(range(16, 160, 16))


def test_it_changes_its_mind_when_the_machine_does() -> None:
    patience, now, chosen = Patience(2), 0, []
    for window in range(200):
        way = patience.next(now)
        chosen.append(way)
        now += 10 if (way is asleep) == (window < 100) else 100
    assert chosen[50:100].count(asleep) > 40
    assert chosen[150:].count(awake) > 40
    assert (chosen[50:100].count(awake), chosen[150:].count(asleep)) != (0, 0)  # it goes on trying


def test_one_processor_has_nothing_to_choose() -> None:
    patience = Patience(1)
    assert all(patience.next(now) is asleep for now in range(50))
