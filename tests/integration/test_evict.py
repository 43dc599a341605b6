"""What a cold start drops: all of the page cache, or only what the program reads, and others keep theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import coldseek, need, need_root
from small_programs import until

from profiler.files.traces import load
from profiler.machine.page_cache import cache, eviction, residency
from profiler.studies.cold_warm import study
from profiler.studies.record import record

pytestmark = pytest.mark.alone

SIZE = 256 * 2**10


@pytest.fixture
def files(disk_directory: Path) -> tuple[Path, Path]:
    """Two cached files: one for the program, one of somebody else."""
    for name in ("own", "foreign"):
        with open(disk_directory / name, "wb") as target:
            target.write(os.urandom(SIZE))
            os.fsync(target.fileno())
    return disk_directory / "own", disk_directory / "foreign"


def cached(path: Path) -> int:
    return residency.residency([os.fsencode(path)]).resident_bytes


def test_files_of_others_stay_cached(files: tuple[Path, Path]) -> None:
    said: list[str] = []
    own, foreign = files
    found = record(["cat", str(own)], "ptrace", "cold", evict="files", say=said.append)
    assert found.meta.cache == "cold" and found.meta.resident_before_bytes is not None
    assert cached(foreign) == SIZE
    told = [line for line in said if line.startswith("dropped before a cold start: the files that")]
    assert len(told) == 1 and told[0] in found.meta.notes


def test_all_is_dropped_where_that_is_asked_for(files: tuple[Path, Path]) -> None:
    need_root()
    need(cache.can_drop_all(), "needs a writable drop_caches")
    own, foreign = files
    found = record(["cat", str(own)], "ptrace", "cold", evict="all")
    assert found.meta.cache == "cold" and cached(foreign) == 0
    assert any("of the whole machine" in note for note in found.meta.notes)


def test_a_comparison_drops_the_same_each_time(files: tuple[Path, Path]) -> None:
    own, foreign = files
    cold, warm = study(["cat", str(own)], 1, "ptrace", evict="files")
    assert cold.meta.cache == "cold" and warm.meta.cache == "warm"
    assert cached(foreign) == SIZE
    assert any(note.startswith("dropped before") for note in cold.meta.notes)
    assert not any(note.startswith("dropped before") for note in warm.meta.notes)


def test_who_reads_is_found_and_our_own_children_are_not_others(files: tuple[Path, Path]) -> None:
    need_root()
    reads = f"while True: open({str(files[0])!r}, 'rb').read()"
    line = [
        sys.executable,
        "-c",
        f"import os\nif os.fork(): os._exit(0)\nprint(os.getpid(), flush=True)\n{reads}",
    ]
    with subprocess.Popen(line, stdout=subprocess.PIPE, start_new_session=True) as outer:
        assert outer.stdout is not None
        other = int(outer.stdout.readline())
        try:
            outer.wait()
            assert until(lambda: other in eviction.busy())
            if cache.can_drop_all():
                assert not eviction.choose().whole and str(other) in eviction.choose().told
        finally:
            os.kill(other, 9)
    with subprocess.Popen([sys.executable, "-c", reads]) as child:
        try:
            assert child.pid not in eviction.busy()
        finally:
            child.kill()


def test_the_option_of_the_commands(files: tuple[Path, Path], tmp_path: Path) -> None:
    own, foreign = files
    trace = tmp_path / "x.trace.parquet"
    done = coldseek("record", "--cache", "cold", "--evict", "files", "-o", trace, "--", "cat", own)
    assert done.returncode == 0, done.stderr
    assert "dropped before a cold start: the files that the command reads" in done.stderr
    assert any(note.startswith("dropped before") for note in load(trace).meta.notes)
    done = coldseek("compare", "--runs", "1", "--evict", "files", "--", "cat", own)
    assert done.returncode == 0, done.stderr
    assert "dropped before a cold start" in done.stderr
    assert cached(foreign) == SIZE
    for wrong in (("--evict", "files"), ("--cache", "cold", "--evict", "some")):
        done = coldseek("record", *wrong, "--", "cat", own)
        assert done.returncode == 2 and "evict" in done.stderr
