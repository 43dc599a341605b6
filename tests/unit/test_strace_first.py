"""Which process strace's log begins with, while that runs."""

from __future__ import annotations

import io

import pytest

from profiler.capture.strace import tracer as strace
from profiler.capture.strace.log import Log

CALL = b' execve("/bin/true", ["true"], 0x7ffe /* 3 vars */) = 0 <0.000123>\n'


class Tracer:
    """In place of an strace that runs on and on; it has ended when it was looked at so often."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def wait(self, timeout: float | None = None) -> int:
        assert timeout is not None
        if self.looks:
            self.looks -= 1
            raise strace.subprocess.TimeoutExpired("strace", timeout)
        return 0


@pytest.mark.parametrize("task", [b"4321 1700000000.000001", b"4321<true> 1700000000.000001"])
@pytest.mark.parametrize("rest", [b"", b"4321 1700000000"])
def test_it_is_known_from_the_first_line_with_or_without_a_name(task: bytes, rest: bytes) -> None:
    tracer = Tracer(looks=100)
    assert strace._first_task(tracer, io.BytesIO(task + CALL + rest), Log()) == 4321
    assert tracer.looks > 0


@pytest.mark.parametrize("log", [b"", b"4321", b"4321<true> 1700000000.000001 exec"])
def test_without_a_whole_line_it_is_the_end_of_strace_that_is_waited_for(log: bytes) -> None:
    tracer = Tracer(looks=20)
    assert strace._first_task(tracer, io.BytesIO(log), Log()) is None
    assert tracer.looks == 0
