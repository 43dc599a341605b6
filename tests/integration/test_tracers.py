"""What every tracer has to do alike: the same program under each of them gives the same reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT, need_tool, need_tracer

from profiler.capture import tracer
from profiler.capture.recording import Recording
from profiler.files.traces import load, save
from profiler.trace import Trace

pytestmark = pytest.mark.alone

CONTRACT = str(ROOT / "tests/programs/contract.py")


@pytest.fixture(params=tracer.NAMES)
def name(request: pytest.FixtureRequest) -> str:
    """The name of a tracer that works here."""
    return need_tracer(request.param)


def trace(name: str, *command: str) -> Trace:
    made, _ = tracer.choose(name)
    return made.record(Recording(list(command)))


def reads_of(found: Trace, directory: Path) -> pd.DataFrame:
    reads = found.reads()
    inside = [path.startswith(os.fsencode(directory) + b"/") for path in reads["path"]]
    return reads[inside].reset_index(drop=True)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "a").write_bytes(os.urandom(65536))
    (tmp_path / "b").write_bytes(os.urandom(16384))
    return tmp_path


def test_every_tracer_sees_the_same_23_reads(
    name: str, files: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    expected = json.loads(
        subprocess.run([sys.executable, CONTRACT, str(files)], stdout=subprocess.PIPE, check=True).stdout
    )
    assert len(expected) == 23
    found = trace(name, sys.executable, CONTRACT, str(files))
    reads = reads_of(found, files)
    got = [
        [os.path.basename(path).decode(), int(offset), int(size)]
        for path, offset, size in zip(reads["path"], reads["offset"], reads["size"], strict=True)
    ]
    assert got == expected
    assert len(reads["pid"].unique()) == 2
    assert len(reads["tid"].unique()) == 4
    assert found.meta.exit_status == 0
    assert found.meta.complete
    assert found.meta.command == (sys.executable, CONTRACT, str(files))
    assert ({"mmap", "exec"} <= set(found.meta.unseen)) == (name == "strace")
    assert {"mmap", "exec"}.isdisjoint(found.meta.unseen) or name == "strace"
    where = tmp_path_factory.mktemp("saved") / "contract.trace.parquet"
    save(found, where)
    pd.testing.assert_frame_equal(load(where).reads(), found.reads())


def test_the_facts_of_a_file_are_those_of_stat(name: str, files: Path) -> None:
    found = trace(name, sys.executable, CONTRACT, str(files))
    rows = found.files.set_index("path")
    for file in (files / "a", files / "b"):
        row, status = rows.loc[os.fsencode(file)], file.stat()
        assert row["kind"] == "regular"
        assert row["inode"] == status.st_ino
        assert row["size"] == status.st_size
        assert row["mtime_ns"] == status.st_mtime_ns
        assert row["device"] == f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"


@pytest.fixture(scope="module")
def counted(seed_image: Path) -> int:
    """The reads of the image in a check of it, as strace alone counts them."""
    strace = need_tool("strace")
    log = subprocess.run(
        [strace, "-f", "--seccomp-bpf", "-y", "-e", "trace=read,pread64,preadv,preadv2,readv",
         "-o", "/dev/stdout", *_check(seed_image)],
        stdout=subprocess.PIPE, check=True,
    ).stdout  # fmt: skip
    image = b"<" + os.fsencode(seed_image.resolve()) + b">"
    whole = sum(
        image in line and not line.rstrip().endswith((b"= 0", b"<unfinished ...>"))
        for line in log.splitlines()
    )
    return whole + _resumed(log, image)


@pytest.mark.full
def test_as_many_reads_of_an_image_as_strace_counts(name: str, seed_image: Path, counted: int) -> None:
    reads = trace(name, *_check(seed_image)).reads()
    seen = sum(path == os.fsencode(seed_image.resolve()) for path in reads["path"])
    assert seen == counted > 20_000


def _check(image: Path) -> list[str]:
    return [need_tool("qemu-img"), "check", "-q", str(image)]


def _resumed(log: bytes, image: bytes) -> int:
    """Split calls, counted where they end, by the thread that had begun one on the image."""
    begun: set[bytes] = set()
    count = 0
    for line in log.splitlines():
        thread = line.split(None, 1)[0]
        if line.endswith(b"<unfinished ...>") and image in line:
            begun.add(thread)
        elif b"resumed>" in line and thread in begun:
            begun.discard(thread)
            count += not line.rstrip().endswith(b"= 0")
    return count


@pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -9 $$", 137), ("true", 0)])
def test_the_exit_status_is_the_program_s(name: str, script: str, status: int) -> None:
    assert trace(name, "/bin/sh", "-c", script).meta.exit_status == status


def test_a_silent_run_hears_and_says_nothing(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its three streams are /dev/null, also for its children, and its exit status is kept."""
    told = tmp_path / "told"
    script = (
        "import os, sys; names = [os.readlink(f'/proc/self/fd/{number}') for number in range(3)];"
        f"open({str(told)!r}, 'w').write(' '.join(names)); sys.stdin.read(); print('out');"
        "os.system('echo out; echo err >&2'); sys.exit('err')"
    )
    made, _ = tracer.choose(name)
    found = made.record(Recording([sys.executable, "-S", "-c", script], silent=True))
    assert capfd.readouterr() == ("", "")
    assert told.read_text().split() == ["/dev/null"] * 3
    assert found.meta.exit_status == 1  # of sys.exit with a text
    assert found.meta.complete
    assert os.fsencode(told) in set(found.files["path"])
