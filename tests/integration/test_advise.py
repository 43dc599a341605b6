"""`coldseek advise` on a real image with small clusters, and its copies."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE_S, need_root, need_tool
from small_programs import until

from profiler.files.traces import save
from profiler.studies.record import record

pytestmark = pytest.mark.alone


@pytest.fixture(autouse=True)
def qemu_img() -> None:
    need_tool("qemu-img")


MIB = 2**20
SIZE = 1024 * MIB  # so that its tables are more than what qemu-img itself and its libraries take


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of 1 GiB in clusters of 4 KiB with data here and there, and a trace of `qemu-img map`."""
    place = tmp_path_factory.mktemp("advise")
    raw = place / "raw"
    chance = random.Random(23)
    with open(raw, "wb") as file:
        file.truncate(SIZE)
        for start in range(0, SIZE, 2 * MIB):  # some data in what each L2 table maps
            file.seek(start + chance.randrange(500) * 4096)
            file.write(chance.randbytes(4096 * chance.randrange(1, 4)))
    image = str(place / "disk0.qcow2")
    # preallocated, so that the tables lie between the data, as in an image that grew
    layout = ["-o", "cluster_size=4k,preallocation=metadata"]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *layout, image, str(SIZE)], check=True)
    subprocess.run(["qemu-img", "convert", "-n", "-O", "qcow2", str(raw), image], check=True)
    raw.unlink()
    for name, command in (
        ("map", ["qemu-img", "map", "--output=json", image]),
        (
            "read",
            ["qemu-img", "convert", "-n", "--target-image-opts", image, f"driver=null-co,size={SIZE}"],
        ),
    ):
        made = record(command, "ptrace", "cold", evict="all")
        assert made.meta.exit_status == 0
        save(made, place / f"{name}.trace.parquet")
    return place


VERIFY = ("--verify", "--yes", "--device", "nvme", "--tracer", "ptrace")


def advise(folder: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "profiler", "advise", *arguments, "--format", "json"], cwd=folder,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_larger_clusters_or_raw_are_advised_first(folder: Path) -> None:
    found = advise(folder, "map.trace.parquet")
    assert found["image"]["cluster_size"] == 4096 and found["image"]["virtual_size"] == SIZE
    assert found["options"][0]["option"] in ("raw", "cluster-64k")
    assert found["options"][0]["saves"] >= 0.5


def test_copies_are_made_measured_and_removed(folder: Path) -> None:
    image = folder / "disk0.qcow2"
    before, names, bytes_before = os.stat(image), sorted(os.listdir(folder)), image.read_bytes()
    found = advise(folder, "read.trace.parquet", *VERIFY, "--runs", "1")
    results = {one["option"]: one for one in found["verified"]["results"]}
    assert {"now", "raw", "cluster-64k"} <= set(results)
    for one in results.values():
        assert one["failed"] is None
        assert len(one["cold_s"]) == len(one["warm_s"]) == 1
        assert one["projected"]["seconds"] > 0
    assert results["raw"]["copy_bytes"] > MIB // 2
    assert sorted(os.listdir(folder)) == names
    after = os.stat(image)
    assert (before.st_mtime_ns, before.st_size, before.st_ino) == (
        after.st_mtime_ns, after.st_size, after.st_ino,
    )  # fmt: skip
    assert image.read_bytes() == bytes_before


def started(folder: Path, until_it_says: str, path: str | None = None) -> subprocess.Popen[str]:
    """A verification of many runs that has come to where it says this. path: for programs, if another."""
    arguments = ["map.trace.parquet", *VERIFY, "--runs", "50"]
    child = subprocess.Popen(
        [sys.executable, "-m", "profiler", "advise", *arguments], cwd=folder, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ if path is None else {**os.environ, "PATH": path},
    )  # fmt: skip
    assert child.stderr is not None
    for line in child.stderr:
        if until_it_says in line:
            break
    return child


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_nothing(folder: Path, number: int) -> None:
    names = sorted(os.listdir(folder))
    child = started(folder, "run 1")
    child.send_signal(number)
    out, rest = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == 130, rest
    assert out == "" and "the copies were removed" in rest.splitlines()[-1]
    assert sorted(os.listdir(folder)) == names


@pytest.mark.parametrize("words", ["making a copy", "run 1"])
def test_killed_it_leaves_nothing(folder: Path, words: str) -> None:
    child = started(folder, words)
    assert copies(folder)
    child.kill()
    child.communicate(timeout=PATIENCE_S)
    assert until(lambda: not copies(folder))


def copies(folder: Path) -> list[Path]:
    return list(folder.glob(".coldseek-verify-*"))


def test_what_still_writes_a_copy_is_ended_when_coldseek_is_killed(folder: Path, tmp_path: Path) -> None:
    """It would fill the disk with a file that has no name any more."""
    real, told = shutil.which("qemu-img"), tmp_path / "told"
    fake = tmp_path / "qemu-img"
    fake.write_text(
        f"#!{sys.executable} -S\n"
        f"import os, sys, time\n"
        f"if sys.argv[1] != 'convert': os.execv({real!r}, sys.argv)\n"
        f"copy = open(sys.argv[-1], 'wb'); open({str(told)!r}, 'w').write(str(os.getpid()))\n"
        f"end = time.monotonic() + 600\n"
        f"while time.monotonic() < end: copy.write(bytes(4096)); time.sleep(0.01)\n"
    )
    fake.chmod(0o755)
    child = started(folder, "making a copy", f"{tmp_path}:{os.environ['PATH']}")
    assert until(lambda: told.exists() and bool(told.read_text()))
    writer = os.pidfd_open(int(told.read_text()))
    try:
        child.kill()
        child.wait()
        assert select.select([writer], [], [], PATIENCE_S)[0]
        assert until(lambda: not copies(folder))
    finally:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(writer, signal.SIGKILL)
        os.close(writer)
        child.communicate()


def test_a_changed_image_is_refused(folder: Path, tmp_path: Path) -> None:
    image = tmp_path / "disk0.qcow2"
    shutil.copy(folder / "disk0.qcow2", image)
    save(record(["qemu-img", "map", str(image)], "ptrace"), tmp_path / "t.trace.parquet")
    os.utime(image)
    done = subprocess.run(
        [sys.executable, "-m", "profiler", "advise", "t.trace.parquet", *VERIFY], cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 125 and "was written to; record it again" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["disk0.qcow2", "t.trace.parquet"]


def asked(folder: Path, *arguments: str, answer: str | None = None) -> tuple[int, str]:
    """Exit status and stderr of advise --verify; with an answer on a terminal."""
    command = [sys.executable, "-m", "profiler", "advise", "map.trace.parquet", "--verify", "--runs", "1",
               "--device", "nvme", "--tracer", "ptrace", *arguments]  # fmt: skip
    if answer is None:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        return done.returncode, done.stderr
    ours, terminal = pty.openpty()
    child = subprocess.Popen(command, cwd=folder, stdin=terminal, stdout=subprocess.DEVNULL, stderr=terminal)
    os.close(terminal)
    os.write(ours, answer.encode())
    said = b""
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while more := os.read(ours, 4096):
            said += more
    os.close(ours)
    return child.wait(PATIENCE_S), said.decode()


def test_the_command_of_a_trace_is_run_only_if_that_is_wanted(folder: Path) -> None:
    status, words = asked(folder)
    assert status == 2 and "qemu-img map" in words and "--yes" in words
    status, words = asked(folder, answer="\n")
    assert status == 125 and "qemu-img map" in words and "not run" in words
    status, words = asked(folder, answer="y\n")
    assert status == 0, words


@pytest.mark.parametrize(("mode", "user", "group"), [(0o646, 0, 0), (0o664, 0, 4242), (0o644, 65534, 0)])
def test_a_trace_that_others_wrote_or_can_write_runs_nothing(
    mode: int, user: int, group: int, folder: Path, tmp_path: Path
) -> None:
    need_root()
    forged = tmp_path / "map.trace.parquet"
    shutil.copy(folder / "map.trace.parquet", forged)
    os.chown(forged, user, group)
    forged.chmod(mode)
    status, words = asked(tmp_path, "--yes")
    assert status == 125 and words.count("\n") == 1
    assert ("belongs to another user" if user else "others may write") in words
