"""Traces where the machine refuses: no space, no permission, a limit of file sizes or of memory."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import need, need_root
from made import trace

from profiler.errors import ColdseekError
from profiler.files.traces import EVENT_BYTES, load, save

NOBODY = 65534
SMALL = trace([(0, 4096, 512)])
LARGE = trace([(0, number**2, 512) for number in range(20_000)])


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "x.trace.parquet"
    save(SMALL, path)
    return path


def failure_of(action: Callable[[], object]) -> str:
    try:
        action()
    except ColdseekError as error:
        return str(error)
    return "no failure"


def in_child(action: Callable[[], str], as_nobody: bool = False) -> str:
    """What `action` returns in a forked child, whose limits and user are its own."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if as_nobody and os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            os.write(write_end, action().encode())
        except BaseException as error:
            os.write(write_end, repr(error).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as answer:
        text = answer.read().decode()
    os.waitpid(child, 0)
    return text


def test_no_space_keeps_the_former_trace_and_leaves_nothing_behind(tmp_path: Path) -> None:
    need_root()
    mounted = tmp_path / "full"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "coldseek-test", mounted]
    need(subprocess.run(mount, capture_output=True).returncode == 0, "may not mount here")
    try:
        path = mounted / "x.trace.parquet"
        save(SMALL, path)
        former = path.read_bytes()
        (mounted / "filler").write_bytes(b"x" * (os.statvfs(mounted).f_bavail * 4096 - 4096))
        text = failure_of(lambda: save(LARGE, path))
        assert str(path) in text and "No space left" in text and "\n" not in text
        assert path.read_bytes() == former
        assert sorted(entry.name for entry in mounted.iterdir()) == ["filler", "x.trace.parquet"]
    finally:
        subprocess.run(["umount", mounted], check=True)


def test_a_file_size_limit_is_one_line_too(saved: Path) -> None:
    former = saved.read_bytes()

    def limited() -> str:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        return failure_of(lambda: save(LARGE, saved))

    text = in_child(limited)
    assert os.strerror(errno.EFBIG) in text
    assert str(saved) in text
    assert saved.read_bytes() == former
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_no_permission_to_read_or_write(saved: Path) -> None:
    if os.geteuid() == 0:
        saved.chmod(0o600)
    else:
        saved.chmod(0)
        saved.parent.chmod(0o500)
    for action in (lambda: load(saved), lambda: save(SMALL, saved)):
        text = in_child(lambda action=action: failure_of(action), as_nobody=True)
        assert "Permission denied" in text
        assert str(saved) in text
    saved.parent.chmod(0o700)


def test_an_event_takes_no_more_memory_than_is_reckoned_with(tmp_path: Path) -> None:
    path, rows = tmp_path / "x.trace.parquet", 2_000_000
    save(SMALL, path)
    event = pq.read_table(path)
    pq.write_table(event.take(pa.array([0] * rows, pa.int64())), path, compression="zstd")
    load(path)  # whatever is taken once

    def peak() -> str:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        load(path)
        return str((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)

    assert int(in_child(peak)) <= (EVENT_BYTES + 20) * rows  # and what a batch takes


def test_no_memory_is_one_line(saved: Path) -> None:
    def limited() -> str:
        resource.setrlimit(resource.RLIMIT_AS, (200 << 20, resource.RLIM_INFINITY))
        return failure_of(lambda: load(saved))

    text = in_child(limited)
    assert str(saved) in text and "memory" in text


def test_a_small_file_of_huge_reads_is_one_line_that_names_it(tmp_path: Path) -> None:
    size = 2**31 - 4096
    path = tmp_path / "huge.trace.parquet"
    save(trace([(0, number * size, size) for number in range(1000)]), path)

    def limited() -> str:
        from profiler.cli import app  # what a command imports needs memory too
        from profiler.cli.commands import report  # noqa: F401  # what a command imports needs memory too
        from profiler.report import text  # noqa: F401

        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20), resource.RLIM_INFINITY))
        try:
            app(["report", str(path)], standalone_mode=False)
        except ColdseekError as error:
            return str(error)
        return "no failure"

    said = in_child(limited)
    assert said.startswith(f"{path}: with nothing cached this start asks for more than") and "\n" not in said
