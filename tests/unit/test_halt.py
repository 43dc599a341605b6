"""One signal ends a study: raised at once, held while something is saved, known if another answered it."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from profiler.machine.processes.halt import Halt, words


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_raised_and_told(number: signal.Signals) -> None:
    former = signal.getsignal(number)
    with Halt() as halt:
        with pytest.raises(KeyboardInterrupt, match=words(number)):
            os.kill(os.getpid(), number)
        assert halt.number == number
    assert signal.getsignal(number) == former and halt.number == number


def test_while_held_the_first_waits_and_the_second_does_not() -> None:
    done = []
    with Halt() as halt:
        with pytest.raises(KeyboardInterrupt, match="SIGTERM"), halt.held():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("saved")
        with pytest.raises(KeyboardInterrupt, match="Ctrl-C"), halt.held():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            done.append("never")
        assert halt.number == signal.SIGTERM
    assert done == ["saved"]


def test_a_signal_that_a_run_has_answered_is_known() -> None:
    with Halt() as halt:
        halt.check()
        former = signal.signal(signal.SIGTERM, lambda *_: None)
        os.kill(os.getpid(), signal.SIGTERM)
        signal.signal(signal.SIGTERM, former)
        with halt.held():  # it came before: what is saved is not cut short by it
            pass
        with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
            halt.check()


def test_other_signals_end_nothing_and_ignored_ones_stay_so() -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    other = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with Halt() as halt:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGUSR1)
            halt.check()
            assert halt.number == 0
    finally:
        signal.signal(signal.SIGHUP, former)
        signal.signal(signal.SIGUSR1, other)


def test_in_a_thread_it_does_nothing() -> None:
    seen: list[int] = []

    def use() -> None:
        with Halt() as halt:
            halt.check()
            seen.append(halt.number)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert seen == [0]
