"""coldseek replay, by the real fio: on files, a read-only block device, a disk that is held; killed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE_S, ROOT, need_root, need_tool
from made import MIB, trace
from small_programs import until

from profiler.files.traces import save
from profiler.trace import FileFacts

sys.path.insert(0, str(ROOT / "scripts"))
import throttle

STEP = 65536


def coldseek(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "profiler", "replay", *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}  # type: ignore[dict-item]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_S, env=env, check=False, **options
    )  # type: ignore[call-overload,no-any-return]


def scattered(path: Path, reads: int, size: int = 4096) -> Path:
    """The trace of so many reads of one file, STEP apart."""
    file = FileFacts(b"/disk", device="8:1", size=reads * STEP, kind="regular", filesystem="ext4")
    save(
        trace([(0, number * STEP, size) for number in range(reads)], files=[file], step_ns=10**6), str(path)
    )
    return path


@pytest.fixture
def place(disk_directory: Path) -> Path:
    need_tool("fio")
    folder = disk_directory / "on"
    folder.mkdir()
    return folder


def numbers(done: subprocess.CompletedProcess[str]) -> dict:  # type: ignore[type-arg]
    assert done.returncode == 0, done.stderr
    found: dict = json.loads(done.stdout)  # type: ignore[type-arg]
    return found


@pytest.mark.parametrize("layer", ["device", "syscall"])
def test_as_many_reads_as_recorded_are_made_and_nothing_stays(
    layer: str, place: Path, disk_directory: Path
) -> None:
    recorded = scattered(disk_directory / "a.trace.parquet", 23)
    found = numbers(coldseek(recorded, "--on", place, "--layer", layer, "--runs", 2, "--format", "json"))
    assert [run["reads"] for run in found["runs"]] == [found["requests"]] * 2
    assert [run["bytes"] for run in found["runs"]] == [found["bytes"]] * 2
    if layer == "syscall":
        assert (found["requests"], found["bytes"]) == (23, 23 * 4096)
    assert all(run["seconds"] > 0 for run in found["runs"])
    assert found["scratch_bytes"] >= 23 * STEP - STEP + 4096
    assert list(place.iterdir()) == []


def test_pauses_are_kept(place: Path, disk_directory: Path) -> None:
    file = FileFacts(b"/disk", device="8:1", size=MIB, kind="regular", filesystem="ext4")
    recorded = disk_directory / "a.trace.parquet"
    save(
        trace([(0, number * STEP, 4096) for number in range(6)], files=[file], step_ns=10**8), str(recorded)
    )
    arguments = (recorded, "--on", place, "--runs", 1, "--layer", "syscall", "--format", "json")
    assert numbers(coldseek(*arguments, "--pauses"))["median_s"] >= 0.45  # five gaps of 0.1 s


@pytest.fixture
def read_only_device(disk_directory: Path) -> Iterator[tuple[str, Path]]:
    """A loop device that cannot be written to, and the file that it is of."""
    need_root()
    need_tool("losetup")
    file = disk_directory / "disk.img"
    file.write_bytes(os.urandom(8 * MIB))
    made = subprocess.run(
        ["losetup", "--find", "--show", "--read-only", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"no loop device: {made.stderr.strip()}")
    yield made.stdout.strip(), file
    subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True)


def test_a_device_is_only_read(read_only_device: tuple[str, Path], disk_directory: Path) -> None:
    """It may be one that refuses writes; who opens it is seen to open it for reads alone."""
    need_tool("fio")
    need_tool("strace")
    device, file = read_only_device
    before = hashlib.sha256(file.read_bytes()).digest()
    recorded = scattered(disk_directory / "a.trace.parquet", 23)
    log = disk_directory / "opens"
    done = subprocess.run(
        ["strace", "-f", "-y", "-e", "trace=open,openat,openat2,write,pwrite64,ioctl", "-o", str(log),
         sys.executable, "-m", "profiler", "replay", str(recorded), "--on", device, "--format", "json"],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert numbers(done)["kind"] == "block device"
    lines = log.read_text(errors="replace").splitlines()
    opens = [line for line in lines if f"<{device}>" in line and "open" in line]
    assert opens and all("O_RDONLY" in line and "O_RDWR" not in line for line in opens)
    assert any("O_DIRECT" in line for line in opens)
    assert not [line for line in lines if f"<{device}>" in line and "write" in line.split("(")[0]]
    assert hashlib.sha256(file.read_bytes()).digest() == before


def test_places_behind_the_end_of_a_device_are_told(
    read_only_device: tuple[str, Path], disk_directory: Path
) -> None:
    need_tool("fio")
    recorded = scattered(disk_directory / "a.trace.parquet", 400)  # 25 MiB
    found = numbers(coldseek(recorded, "--on", read_only_device[0], "--runs", 1, "--format", "json"))
    assert found["folded"] > 0 and found["runs"][0]["reads"] == found["requests"]


def test_without_fio_the_package_is_named(disk_directory: Path) -> None:
    recorded = scattered(disk_directory / "a.trace.parquet", 2)
    done = coldseek(recorded, "--on", disk_directory, env={"PATH": str(disk_directory)})
    assert done.returncode == 125 and "apt install fio" in done.stderr and done.stderr.count("\n") == 1


def test_too_little_space_is_told_before_anything_is_written(place: Path, disk_directory: Path) -> None:
    file = FileFacts(b"/disk", device="8:1", size=2**60, kind="regular", filesystem="ext4")
    recorded = disk_directory / "a.trace.parquet"
    save(trace([(0, 0, 4096)], files=[file]), str(recorded))
    done = coldseek(recorded, "--on", place)
    assert done.returncode == 125 and "make room" in done.stderr and done.stderr.count("\n") == 1
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("name", ["missing", "file", "\x1b[31m"])
def test_what_is_no_place_is_refused_in_one_line(name: str, place: Path, disk_directory: Path) -> None:
    recorded = scattered(disk_directory / "a.trace.parquet", 2)
    (disk_directory / "file").touch()
    done = coldseek(recorded, "--on", disk_directory / name)
    assert done.returncode == 125 and done.stderr.count("\n") == 1 and "\x1b" not in done.stderr


def test_after_a_kill_nothing_is_left(place: Path, disk_directory: Path) -> None:
    file = FileFacts(b"/disk", device="8:1", size=MIB, kind="regular", filesystem="ext4")
    recorded = disk_directory / "a.trace.parquet"
    save(
        trace([(0, number * STEP, 4096) for number in range(10)], files=[file], step_ns=10**11),
        str(recorded),
    )
    mark = f"replay-{os.getpid()}-{time.monotonic_ns()}"
    running = subprocess.Popen(
        [sys.executable, "-m", "profiler", "replay", str(recorded), "--on", str(place), "--pauses"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLDSEEK_TEST_RUN": mark},
    )  # fmt: skip
    try:
        assert until(lambda: b"fio" in names_of(mark))  # it reads, and waits for 100 s
        running.send_signal(signal.SIGKILL)
        assert running.wait(PATIENCE_S) == -signal.SIGKILL
        assert until(lambda: not list(place.iterdir()))
        assert until(lambda: not names_of(mark))
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.kill()


def names_of(mark: str) -> list[bytes]:
    """Names of the processes that have this word in their environment."""
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if mark.encode() in Path(f"/proc/{number}/environ").read_bytes():
                found.append(Path(f"/proc/{number}/comm").read_bytes().strip())
    return found


@pytest.mark.alone
@pytest.mark.full
@pytest.mark.parametrize("rate", [120, 700])
def test_a_held_disk_takes_the_arithmetic_of_its_limit(rate: int, place: Path, disk_directory: Path) -> None:
    """Four seconds and more of reads: the group gives leave in slices of 0.1 s, the first of which is not
    waited for."""
    need_root()
    reads = 4 * rate
    recorded = scattered(disk_directory / "a.trace.parquet", reads)
    try:
        with throttle.held(throttle.disk_of(place), rate):
            found = numbers(coldseek(recorded, "--on", place, "--layer", "device", "--format", "json"))
    except throttle.NotHeldError as error:
        pytest.skip(str(error))
    assert found["median_s"] == pytest.approx(found["requests"] / rate, rel=0.05)
