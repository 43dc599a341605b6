"""Which process strace's log begins with, while that runs."""

from __future__ import annotations

import io
import subprocess

import pytest

from profiler.capture.strace.log import Log
from profiler.capture.strace.tracer import _first_task

CALL = b' execve("/bin/true", ["true"], 0x7ffe /* 3 vars */) = 0 <0.000123>\n'


@pytest.mark.parametrize("task", [b"4321 1700000000.000001", b"4321<true> 1700000000.000001"])
@pytest.mark.parametrize("rest", [b"", b"4321 1700000000"])
def test_it_is_known_from_the_first_line_with_or_without_a_name(task: bytes, rest: bytes) -> None:
    with subprocess.Popen(["sleep", "600"]) as tracer:
        try:
            assert _first_task(tracer, io.BytesIO(task + CALL + rest), Log()) == 4321
        finally:
            tracer.kill()


@pytest.mark.parametrize("log", [b"", b"4321", b"4321<true> 1700000000.000001 exec"])
def test_without_a_whole_line_it_is_the_end_of_strace_that_is_waited_for(log: bytes) -> None:
    with subprocess.Popen(["sleep", "0.2"]) as tracer:
        assert _first_task(tracer, io.BytesIO(log), Log()) is None
