"""Tracing in a PID namespace, as in most containers, where the kernel's numbers of tasks are others; and
files that have several names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE_S, ROOT, coldseek, need, need_root, need_tool, need_tracer
from test_tracers import CONTRACT, reads_of

from profiler.capture import tracer
from profiler.capture.recording import Recording
from profiler.files.traces import load
from profiler.trace import Trace

NEW = ("-p", "-f", "--mount-proc")


def unshared(options: tuple[str, ...], *command: object) -> subprocess.CompletedProcess[str]:
    """Run coldseek in namespaces of its own."""
    need_root()
    words = [need_tool("unshare"), *options, sys.executable, "-m", "profiler", *map(str, command)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    found = subprocess.run(words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                           timeout=PATIENCE_S)  # fmt: skip
    need("Operation not permitted" not in found.stderr, f"unshare: {found.stderr}")
    return found


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "a").write_bytes(os.urandom(65536))
    (tmp_path / "b").write_bytes(os.urandom(16384))
    return tmp_path


def as_listed(found: Trace, directory: Path) -> list[list[object]]:
    reads = reads_of(found, directory)
    return [
        [os.path.basename(path).decode(), int(offset), int(size)]
        for path, offset, size in zip(reads["path"], reads["offset"], reads["size"], strict=True)
    ]


@pytest.mark.parametrize("options", [NEW, (*NEW, "unshare", *NEW)], ids=["nested", "nested-twice"])
@pytest.mark.parametrize("name", tracer.NAMES)
def test_the_23_reads_in_a_pid_namespace(
    name: str, options: tuple[str, ...], files: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    need_tracer(name)
    listed = subprocess.run(
        [sys.executable, CONTRACT, str(files)], stdout=subprocess.PIPE, check=True
    ).stdout
    where = tmp_path_factory.mktemp("trace") / "contract.trace.parquet"
    done = unshared(
        options, "record", "-q", "--tracer", name, "-o", where, "--", sys.executable, CONTRACT, files
    )
    assert done.returncode == 0, done.stderr
    found = load(where)
    assert as_listed(found, files) == json.loads(listed)
    assert found.meta.complete and "missing" not in " ".join(found.meta.notes)
    reads = reads_of(found, files)
    assert len(reads["pid"].unique()) == 2 and len(reads["tid"].unique()) == 4
    assert reads["pid"].max() < 1000  # the numbers of the namespace, as the program knows itself
    if name == "kernel":
        assert found.saw("cache")


def test_a_program_that_makes_a_namespace_of_its_own(files: Path, tmp_path: Path) -> None:
    need_root()
    for name in ("kernel", "ptrace"):
        where = tmp_path / "own.trace.parquet"
        done = coldseek("record", "-q", "--tracer", name, "-o", where, "--",
                        need_tool("unshare"), *NEW, "cat", files / "a")  # fmt: skip
        assert done.returncode == 0, done.stderr
        reads = reads_of(load(where), files)
        assert int(reads["size"].sum()) == 65536
        assert reads["offset"].tolist()[0] == 0


def test_a_proc_of_another_namespace_is_refused(tmp_path: Path) -> None:
    for name in ("auto", *tracer.NAMES):
        where = tmp_path / "none.trace.parquet"
        done = unshared(("-p", "-f"), "record", "--tracer", name, "-o", where, "--", "true")
        assert done.returncode == 125
        assert "/proc is that of another PID namespace" in done.stderr
        assert "--mount-proc" in done.stderr
        assert not where.exists()


def test_attach_in_a_namespace_is_refused() -> None:
    done = unshared(NEW, "attach", "1", "--for", "0.1")
    assert done.returncode == 125
    assert "container" in done.stderr


# -- one file, several names ------------------------------------------------------------------------------


@pytest.fixture(params=tracer.NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return need_tracer(request.param)


def traced(name: str, *command: object) -> Trace:
    chosen, _ = tracer.choose(name)
    return chosen.record(Recording([str(word) for word in command]))


def test_two_hard_links_are_one_file(name: str, files: Path) -> None:
    os.link(files / "a", files / "again")
    found = traced(name, need_tool("cat"), files / "a", files / "again")
    reads = reads_of(found, files)
    assert int(reads["size"].sum()) == 2 * 65536
    if name == "strace":  # its log has names only
        return
    assert len(set(reads["file"])) == 1
    assert set(reads["path"]) == {os.fsencode(files / "a")}


def test_a_bind_mount_is_the_same_file(name: str, files: Path) -> None:
    need_root()
    (files / "mounted").write_bytes(b"")
    script = f"mount --bind {files}/a {files}/mounted && cat {files}/a {files}/mounted"
    reads = reads_of(traced(name, need_tool("unshare"), "-m", "sh", "-c", script), files)
    assert int(reads["size"].sum()) == 2 * 65536
    if name != "strace":
        assert len(set(reads["file"])) == 1


def test_a_renamed_file_stays_the_same(name: str, files: Path) -> None:
    script = f"cat {files}/b; mv {files}/b {files}/c; cat {files}/c"
    reads = reads_of(traced(name, "sh", "-c", script), files)
    assert int(reads["size"].sum()) == 2 * 16384
    if name != "strace":
        assert len(set(reads["file"])) == 1


def test_a_number_that_is_used_again_is_another_file(name: str, disk_directory: Path) -> None:
    """ext4 gives the inode of a file that is gone to the next."""
    script = f"cd {disk_directory}; for n in 1 2 3; do head -c 5000 /dev/zero > t$n; cat t$n; rm t$n; done"
    found = traced(name, "sh", "-c", script)
    reads = found.reads()
    reads = reads[[os.path.basename(path) in (b"t1", b"t2", b"t3") for path in reads["path"]]]
    assert len(set(reads["file"])) == 3
    assert int(reads["size"].sum()) == 15000
