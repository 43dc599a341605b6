"""coldseek calibrate, on real files and devices."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import PATIENCE_S, need, need_root, need_tool
from small_programs import until

from profiler.calibration import measure as measuring
from profiler.calibration import target
from profiler.calibration.aio import Queue
from profiler.calibration.measure import calibrate
from profiler.calibration.opened import Opened
from profiler.devices.loading import find
from profiler.errors import ColdseekError

pytestmark = pytest.mark.alone

COLDSEEK = [sys.executable, "-m", "profiler", "calibrate"]
MIB = 2**20


def run(*arguments: object, folder: Path, **options: object) -> subprocess.CompletedProcess[str]:
    command = [*COLDSEEK, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, **options)  # type: ignore[call-overload,no-any-return]


def fails(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """One clear line, the exit status of coldseek's own failures, and nothing left behind."""
    assert done.returncode == 125, done.stderr
    assert re.fullmatch(r"coldseek: [^\n]+\n", done.stderr), done.stderr
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr


@pytest.fixture(scope="module")
def large(cache_directory: Path) -> Iterator[Path]:
    """A file that is large enough, really written."""
    with tempfile.TemporaryDirectory(dir=cache_directory, prefix="calibrate-") as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "large.bin"
        with open(path, "wb") as file:
            for _ in range(320):
                file.write(os.urandom(MIB))
            os.fsync(file.fileno())
        yield path


def test_a_file_makes_a_device_file_that_project_takes(large: Path, disk_directory: Path) -> None:
    done = run(large, "--for", 3, "-o", "mine.toml", folder=disk_directory)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "coldseek: saved mine.toml; use it: coldseek project TRACE --device mine.toml\n"
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    assert re.search(r"^found       (flash|disk): ", done.stdout, re.MULTILINE)
    device = find(str(disk_directory / "mine.toml"))
    assert device.name == "mine"
    assert "coldseek calibrate" in device.source
    assert device.low_ratio < 1 < device.high_ratio
    assert os.listdir(disk_directory) == ["mine.toml"]

    trace = disk_directory / "t.trace.parquet"
    record = [
        sys.executable,
        "-m",
        "profiler",
        "record",
        "-q",
        "-o",
        str(trace),
        "--",
        "head",
        "-c5",
        str(large),
    ]
    subprocess.run(record, check=True, stdout=subprocess.DEVNULL)
    project = [sys.executable, "-m", "profiler", "project", str(trace), "--device", "mine.toml"]
    shown = subprocess.run(
        [*project, "--format", "json"], cwd=disk_directory, capture_output=True, text=True, check=True
    )
    (projected,) = json.loads(shown.stdout)["projections"]
    assert projected["device"] == "mine"
    assert 0 < projected["low_s"] < projected["seconds"] < projected["high_s"]


def test_a_directory_is_left_as_it_was(disk_directory: Path, tmp_path: Path) -> None:
    done = run(disk_directory, "--for", 2, "-q", "-o", tmp_path / "d.toml", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")
    assert os.listdir(disk_directory) == []
    assert "a new file of" in find(str(tmp_path / "d.toml")).source


def test_the_files_of_a_directory_are_measured_as_they_are(large: Path, tmp_path: Path) -> None:
    folder = large.parent
    (folder / "below").mkdir(exist_ok=True)
    for name in ("small", "below/other"):
        (folder / name).write_bytes(os.urandom(300 * 1024 if name == "small" else MIB))
    os.sync()  # what is not written back has no place on the disk
    (folder / "link").unlink(missing_ok=True)
    (folder / "link").symlink_to("/usr")
    before = sorted(str(path) for path in folder.rglob("*"))
    done = run("--existing", folder, "--for", 2, "-q", "-o", tmp_path / "old.toml", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(str(path) for path in folder.rglob("*")) == before
    with target.open_target(str(folder), 0, lambda *_: None, existing=True) as opened:
        names = [os.readlink(f"/proc/self/fd/{number}") for number in opened.buffered.descriptors]
        assert names == [str(folder / name) for name in ("large.bin", "below/other", "small")]
        assert opened.size == sum(os.path.getsize(name) for name in names)
    device = find(str(tmp_path / "old.toml"))
    assert "coldseek calibrate --existing" in device.source and "files of 321 MiB" in device.source


def test_what_has_no_files_to_measure_is_refused(large: Path, tmp_path: Path, disk_directory: Path) -> None:
    fails(run("--existing", large, folder=tmp_path), "is no directory")
    fails(run("--existing", disk_directory, "-o", "x.toml", folder=tmp_path), "only 0 B of files", "256 MiB")


def test_when_the_time_is_over_it_reads_no_more_than_it_has_to(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock by which each read takes a second."""
    reads = itertools.count()
    clock = SimpleNamespace(monotonic=time.monotonic, perf_counter=lambda: time.perf_counter() + next(reads))
    monkeypatch.setattr(measuring, "time", clock)
    found = calibrate(str(large), 4)
    alone = found.reads[found.reads["series"].isin(["random", "buffered"])]
    assert alone.groupby("round").size().tolist() == [12] * found.rounds
    assert found.rounds == 5
    assert not found.interrupted


def written(pid: int) -> int:
    """Bytes that the process has written."""
    facts = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(facts["wchar"])


def holds(pid: int, folder: Path) -> list[int]:
    """The sizes of the files in the folder that the process has open, with a name or without."""
    sizes = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed since
            if os.readlink(link).startswith(f"{folder}/"):
                sizes.append(link.stat().st_size)
    return sizes


@pytest.mark.parametrize("signal_sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_where_it_is_ended(disk_directory: Path, signal_sent: signal.Signals) -> None:
    with subprocess.Popen(
        [*COLDSEEK, ".", "--for", "60", "-o", "d.toml"], cwd=disk_directory, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as running:  # fmt: skip
        assert until(lambda: written(running.pid) > 64 * MIB)  # it writes its file, or has done it
        assert max(holds(running.pid, disk_directory)) >= 64 * MIB  # there is something that could be left
        running.send_signal(signal_sent)
        _, errors = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == (130 if signal_sent == signal.SIGINT else -signal_sent)
    saved = signal_sent == signal.SIGINT and "saved d.toml" in errors  # of the rounds that were complete
    assert os.listdir(disk_directory) == (["d.toml"] if saved else [])
    assert ("interrupted" in errors) == (signal_sent == signal.SIGINT)


def test_interrupted_it_gives_the_rounds_that_were_complete(large: Path) -> None:
    def progress(share: float, _words: str) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    found = calibrate(str(large), 4, progress)
    assert found.interrupted
    assert 0 < found.rounds < 5
    assert set(found.reads["round"]) == set(range(found.rounds))
    assert {"random", "buffered", "distance", "next"} <= set(found.reads["series"])


def test_interrupted_before_a_round_is_complete_there_is_nothing(large: Path) -> None:
    def progress(_share: float, _words: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate(str(large), 4, progress)


def test_bad_targets(tmp_path: Path, disk_directory: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (disk_directory / "small").write_bytes(bytes(10 * MIB))
    with open(disk_directory / "sparse", "wb") as file:
        file.truncate(4 * 2**30)
        file.write(os.urandom(MIB))
    fails(run("missing", folder=tmp_path), "missing", "No such file")
    fails(run("fifo", folder=tmp_path), "no file, directory or block device")
    fails(run("/dev/zero", folder=tmp_path), "no file, directory or block device")
    fails(run("small", folder=disk_directory), "too small: 10 MiB", "256 MiB")
    fails(run("sparse", folder=disk_directory), "only 1 MiB", "holes", "256 MiB")
    fails(run("x\ny", folder=tmp_path), r"x\x0ay")
    assert sorted(os.listdir(tmp_path)) == ["fifo"]


def test_unwritten_extents_are_not_read(disk_directory: Path) -> None:
    with open(disk_directory / "unwritten", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 300 * MIB)
    done = run("unwritten", folder=disk_directory)
    need("too small" not in done.stderr, "a file system with preallocation")
    fails(done, "never written")


def test_what_lies_in_memory_is_refused(tmp_path: Path) -> None:
    need(os.path.isdir("/dev/shm") and os.access("/dev/shm", os.W_OK), "needs /dev/shm")
    fails(run("/dev/shm", folder=tmp_path), "lies in memory (tmpfs)", "name a place on a disk")


def test_a_bad_output_is_said_before_measuring(large: Path, tmp_path: Path) -> None:
    longer = ("--for", 10 * PATIENCE_S)  # than `run` waits
    fails(run(large, *longer, "-o", "no/such/d.toml", folder=tmp_path), "no directory")
    fails(run(large, *longer, "-o", "d.txt", folder=tmp_path), ".toml")
    fails(run(large, *longer, "-o", tmp_path, folder=tmp_path))


def test_a_full_disk(disk_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = os.statvfs(disk_directory)
    nearly = os.statvfs_result((*facts[:3], 1000, 1000, *facts[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _path: nearly)
    with pytest.raises(ColdseekError, match="free, 512 MiB are needed; make room"):
        calibrate(str(disk_directory), 1)
    monkeypatch.undo()

    def full(_descriptor: int, _data: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(target.os, "write", full)
    with pytest.raises(ColdseekError, match="No space left on device; make room"):
        calibrate(str(disk_directory), 1)
    assert os.listdir(disk_directory) == []


def test_a_limit_on_file_sizes(disk_directory: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 1024; exec {' '.join(COLDSEEK)} . --for 1"],
        cwd=disk_directory, capture_output=True, text=True,
    )  # fmt: skip
    fails(done, "File too large")
    assert os.listdir(disk_directory) == []


def test_what_may_not_be_read(large: Path, tmp_path: Path) -> None:
    need_root()
    setpriv = need_tool("setpriv")
    secret = large.with_name("secret.bin")
    os.link(large, secret)
    os.chmod(secret, 0o600)
    try:
        os.chmod(tmp_path, 0o777)
        drop = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups"]
        need(subprocess.run([*drop, *COLDSEEK, "--help"], capture_output=True).returncode == 0, "as nobody")
        done = subprocess.run([*drop, *COLDSEEK, "/dev/loop0"], cwd="/", capture_output=True, text=True)
        need("No such" not in done.stderr, "needs /dev/loop0")
        fails(done, "Permission denied", "sudo coldseek calibrate", "a directory on it")
        done = subprocess.run([*drop, *COLDSEEK, str(secret)], cwd="/", capture_output=True, text=True)
        fails(done, "Permission denied")
    finally:
        secret.unlink()
        os.chmod(large, 0o644)


def test_a_block_device(large: Path, tmp_path: Path) -> None:
    need_root()
    losetup = need_tool("losetup")
    made = subprocess.run(
        [losetup, "--find", "--show", "--read-only", large], capture_output=True, text=True
    )
    need(made.returncode == 0, "needs a loop device")
    loop = made.stdout.strip()
    try:
        done = run(loop, "--for", 2, "-o", "loop.toml", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "a block device of 320 MiB" in find(str(tmp_path / "loop.toml")).source
    finally:
        subprocess.run([losetup, "--detach", loop], check=True)


def test_several_reads_under_way_read_what_is_there(large: Path) -> None:
    descriptor = os.open(large, os.O_RDONLY | os.O_DIRECT)
    try:
        try:
            queue = Queue(Opened((descriptor,)), 8, 4096)
        except OSError as error:
            need(False, f"needs asynchronous I/O: {error}")
        with queue:
            offsets = (np.arange(100) * 7 * 4096).tolist()
            done, seconds = queue.read(offsets, time.perf_counter() + PATIENCE_S)
            assert done == 100
            assert seconds > 0
            whole = large.read_bytes()[: 700 * 4096]
            for slot in range(8):
                got = queue._memory[slot * 4096 : slot * 4096 + 4096]
                assert whole.index(got) in offsets
            assert queue.read(offsets, 0.0)[0] == 8  # no time: those that were begun
            with pytest.raises(OSError, match="Input/output"):
                queue.read([2**40], time.perf_counter() + PATIENCE_S)  # behind the end
    finally:
        os.close(descriptor)
