"""Ctrl-C and its like while a program is traced: who gets which signal, and what is said of it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest

from profiler.machine.processes import interrupts
from profiler.machine.processes.interrupts import Interrupts

PROGRAM = 2**22 + 1  # no process has this number (proc(5): pid_max)


class Clock:
    """In place of `threading.Timer`: what is to be done later is done when the test says so."""

    def __init__(self, _seconds: float, work: Callable[[], None]) -> None:
        self.work, self.runs, self.daemon = work, False, False
        Clock.newest = self

    newest: Clock

    def start(self) -> None:
        self.runs = True

    def cancel(self) -> None:
        self.runs = False


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Which process was sent which signal; none gets it. No terminal, and no time between two signals."""
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.append((pid, number)))
    monkeypatch.setattr(interrupts, "_from_terminal", lambda: False)
    monkeypatch.setattr(interrupts, "SAME_S", 0.0)
    monkeypatch.setattr(threading, "Timer", Clock)
    return signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_program_is_asked_to_end_and_ended_only_later(
    number: signal.Signals, sent: list[tuple[int, int]]
) -> None:
    ended = []
    with Interrupts(PROGRAM, lambda: ended.append(1)) as run:
        signal.raise_signal(number)
        assert sent == [(PROGRAM, signal.SIGTERM), (PROGRAM, signal.SIGCONT)]
        assert Clock.newest.runs and not ended
        Clock.newest.work()
        assert ended == [1]
    assert (run.partial, run.number) == (f"ended by {number.name}", number)
    assert not Clock.newest.runs


def test_a_program_of_another_user_cannot_be_signalled_and_is_waited_for(
    sent: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(pid: int, number: int) -> None:
        sent.append((pid, number))
        raise PermissionError

    ended = []
    with Interrupts(PROGRAM, lambda: ended.append(1)) as run:
        monkeypatch.setattr(os, "kill", refuses)
        signal.raise_signal(signal.SIGTERM)
    assert sent == [(PROGRAM, signal.SIGTERM)]
    assert run.partial == "ended by SIGTERM"
    assert not ended


def test_one_ctrl_c_is_passed_on_and_a_second_asks_to_end(sent: list[tuple[int, int]]) -> None:
    ended = []
    with Interrupts(PROGRAM, lambda: ended.append(1)) as run:
        signal.raise_signal(signal.SIGINT)
        assert sent == [(PROGRAM, signal.SIGINT), (PROGRAM, signal.SIGCONT)]
        assert run.partial == "interrupted by Ctrl-C"
        signal.raise_signal(signal.SIGINT)
        assert sent[2:] == [(PROGRAM, signal.SIGTERM), (PROGRAM, signal.SIGCONT)]
    assert run.partial == "ended by a second Ctrl-C"
    assert not ended


def test_what_a_terminal_has_sent_is_not_passed_on(
    sent: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupts, "_from_terminal", lambda: True)
    with Interrupts(PROGRAM, lambda: None) as run:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGQUIT)
    assert sent == []
    assert run.partial == "interrupted by Ctrl-C"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("leaves", [False, True])
def test_what_runs_on_in_the_background_is_ended_or_left_at_once(
    number: signal.Signals, leaves: bool, sent: list[tuple[int, int]]
) -> None:
    ended = []
    with Interrupts(PROGRAM, lambda: ended.append(1), leaves=leaves) as run:
        run.main_ended(3)
        signal.raise_signal(number)
    assert ended == [1]
    assert sent == []  # the program itself is gone, and its number may be another's
    assert (run.partial == "") == leaves


def test_a_signal_that_did_not_end_a_call_is_heard_all_the_same() -> None:
    """As one that comes right before the main thread waits: who takes it here wakes up nobody."""
    reads, writes = os.pipe()
    others = threading.Event()
    beside = threading.Thread(target=others.wait)
    beside.start()
    assert beside.ident is not None
    with Interrupts(PROGRAM, lambda: os.close(writes), leaves=True) as interrupts:
        interrupts.main_ended(1)
        threading.Timer(0.2, signal.pthread_kill, (beside.ident, signal.SIGTERM)).start()
        assert os.read(reads, 1) == b""  # until the handler has closed the other end
    assert interrupts.number == signal.SIGTERM
    others.set()
    beside.join()
    os.close(reads)


def test_what_others_are_woken_up_by_stays() -> None:
    reads, writes = os.pipe()
    os.set_blocking(writes, False)
    former = signal.set_wakeup_fd(writes)
    try:
        with Interrupts(PROGRAM, lambda: None):
            pass
        assert signal.set_wakeup_fd(writes) == writes
    finally:
        signal.set_wakeup_fd(former)
        os.close(reads)
        os.close(writes)
    with Interrupts(PROGRAM, lambda: None):
        assert signal.set_wakeup_fd(-1) != -1
    assert signal.set_wakeup_fd(-1) == -1


def test_a_child_that_has_the_pipe_too_keeps_nobody() -> None:
    """As what goes on beside when a recording is left: it holds all of our descriptors."""
    with Interrupts(PROGRAM, lambda: None) as interrupts:
        assert interrupts._told is not None
        held = os.dup(interrupts._told[1])
    os.close(held)
