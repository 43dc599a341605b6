"""Programs that trace or confine themselves: where that cannot work, one line of the report says why."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest
from conftest import need_tracer
from small_programs import python

from profiler.capture import confined, tracer
from profiler.capture.strace.logs.reading import parse
from profiler.studies.record import record

STRICT = "import ctypes; raise SystemExit(10 + ctypes.CDLL(None).prctl(22, 1, 0, 0, 0))"
# a filter of its own that leaves getppid (110 on x86-64) to a tracer, and what that gives
FILTER = """
import ctypes, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)
code = b"".join(struct.pack("HBBI", *one) for one in (
    (0x20, 0, 0, 0), (0x15, 0, 1, 110), (0x06, 0, 0, 0x7FF00007), (0x06, 0, 0, 0x7FFF0000)))
held = ctypes.create_string_buffer(code, len(code))
filter = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(held)))
assert libc.prctl(22, 2, filter, 0, 0) == 0
raise SystemExit(ctypes.get_errno() if libc.syscall(110) == -1 else 0)
"""


@pytest.fixture(params=tracer.NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return need_tracer(request.param)


def test_a_tracer_as_the_command_is_said_not_to_work(name: str, tmp_path: Path) -> None:
    need_tracer("strace")
    trace = record(["strace", "-o", str(tmp_path / "log"), "true"], name)
    assert trace.meta.exit_status != 0
    (words,) = [note for note in trace.meta.notes if "asked to trace" in note]
    assert "record the program that it is to look at" in words


def test_strict_mode_that_is_refused_is_said(name: str) -> None:
    trace = record(python(STRICT), name)
    said = [note for note in trace.meta.notes if "strict mode" in note]
    # strace without a filter of its own does not stand in the way: the program is killed by its next call
    assert (trace.meta.exit_status == 9) == bool(said)
    assert said or name == "strace"


@pytest.mark.parametrize("name", ["ptrace", "kernel"])
def test_calls_that_a_filter_leaves_to_a_tracer_fail_as_without_one(name: str) -> None:
    need_tracer(name)
    trace = record(python(FILTER), name)
    assert trace.meta.exit_status == errno.ENOSYS
    assert confined.FILTER in trace.meta.notes


def test_what_was_refused_is_said_of_a_log_too() -> None:
    log = (
        b'7 1.000000 execve("/usr/bin/gdb", ["gdb"], 0x7 /* 9 vars */) = 0 <0.000100>\n'
        b"7 1.100000 ptrace(PTRACE_TRACEME) = -1 EPERM (Operation not permitted) <0.000010>\n"
        b"7 1.200000 prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) = -1 EINVAL (Invalid argument) <0.000010>\n"
        b'7 1.300000 prctl(PR_SET_NAME, "gdb") = -1 EINVAL (Invalid argument) <0.000010>\n'
        b"7 1.400000 +++ exited with 1 +++\n"
    )
    notes = parse(io.BytesIO(log)).meta.notes
    assert sum("asked to trace" in note for note in notes) == 1
    assert sum("strict mode" in note for note in notes) == 1


@pytest.mark.parametrize("name", ["ptrace", "kernel"])
def test_a_filter_that_fails_is_no_strict_mode(name: str) -> None:
    need_tracer(name)
    trace = record(python("import ctypes; ctypes.CDLL(None).prctl(22, 2, b'\\0' * 16, 0, 0)"), name)
    assert not [note for note in trace.meta.notes if "strict mode" in note]
