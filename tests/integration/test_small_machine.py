"""Little memory, little room for temporary files: what was recorded is saved all the same."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import need, need_root
from expected_reads import build
from small_programs import until

from profiler.capture.tracer import probe
from profiler.files.traces import load
from profiler.trace import Trace

PATIENCE_S = 900
LIMIT = 200 << 20
pytestmark = pytest.mark.alone


@contextlib.contextmanager
def group(limit: int) -> Iterator[Path]:
    """A control group that may use so many bytes of memory."""
    name = f"coldseek-test-{os.getpid()}"
    places = (
        (Path("/sys/fs/cgroup", name), "memory.max"),
        (Path("/sys/fs/cgroup/memory", name), "memory.limit_in_bytes"),
    )
    for folder, bound in places:
        with contextlib.suppress(OSError):
            folder.mkdir()
            if (folder / bound).exists():  # the controller is here
                (folder / bound).write_text(str(limit))
                break
            folder.rmdir()
    else:
        pytest.skip("this kernel lets nobody bound the memory of a control group")
    try:
        yield folder
    finally:
        assert until(lambda: not (folder / "cgroup.procs").read_text())
        folder.rmdir()


def within(folder: Path, command: Sequence[str | Path], **more: object) -> subprocess.CompletedProcess[str]:
    enter = f'echo $$ > {folder}/cgroup.procs && exec "$@"'
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        ["sh", "-c", enter, "sh", *command], capture_output=True, text=True, timeout=PATIENCE_S, **more
    )


def record(tracer: str, where: Path, program: Path, file: Path, count: int) -> list[str | Path]:
    words = [sys.executable, "-m", "profiler", "record", "--tracer", tracer, "-o", where, "--"]
    return [*words, program, file, str(count)]


@pytest.fixture
def kernel() -> None:
    need_root()
    found = probe("kernel")
    need(found.works, f"tracer kernel: {found.why}")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return build("many", tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(512_000))
    return path


def reads_of(found: Trace, path: Path) -> int:
    return int((found.reads()["path"] == os.fsencode(path)).sum())


@pytest.mark.usefixtures("kernel")
@pytest.mark.full
def test_a_million_and_a_half_reads_in_a_group_of_200_mb(program: Path, file: Path, tmp_path: Path) -> None:
    where, count = tmp_path / "t.trace.parquet", 1_500_000
    for _ in range(3):
        with group(LIMIT) as folder:
            done = within(folder, record("kernel", where, program, file, count))
        assert done.returncode == 0, done.stderr
        found = load(where)
        if not found.meta.lost_events:
            break
    reads = found.reads()
    offsets = reads["offset"][(reads["path"] == os.fsencode(file)).to_numpy(bool)].to_numpy("int64")
    if found.meta.lost_events:  # the machine stood still three times: what is missing is told
        assert not found.meta.complete and "lost" in done.stderr
        assert count - len(offsets) <= found.meta.lost_events
        assert (np.isin(np.diff(offsets), (512, -999 * 512)).sum()) >= len(
            offsets
        ) - found.meta.lost_events - 1
    else:
        assert found.meta.complete
        assert np.array_equal(offsets, np.arange(count) % 1000 * 512)


@pytest.mark.usefixtures("kernel")
def test_what_does_not_fit_into_tmpdir_is_counted_and_the_rest_is_saved(
    program: Path, file: Path, tmp_path: Path
) -> None:
    small, count = tmp_path / "small", 1_500_000
    small.mkdir()
    where = tmp_path / "t.trace.parquet"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", small], check=True)
    try:
        with group(LIMIT) as folder:
            done = within(
                folder,
                record("kernel", where, program, file, count),
                env={**os.environ, "TMPDIR": str(small)},
            )
        assert done.returncode == 0, done.stderr
        assert "INCOMPLETE" in done.stderr and f"{small} (No space left on device)" in done.stderr
        assert "set TMPDIR" in done.stderr
        assert os.listdir(small) == []
    finally:
        subprocess.run(["umount", "-l", small], check=True)
    found = load(where)
    got = reads_of(found, file)
    assert 50_000 < got < count and not found.meta.complete
    assert found.meta.exit_status == 0
    # each of the others is a lost event at least, and its entry and its exit are two at most
    assert count - got <= found.meta.lost_events <= 2 * (count - got) + 1000
