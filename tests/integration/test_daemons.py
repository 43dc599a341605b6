"""Docker and libvirt, real ones: what they start for their clients is recorded, and they are left alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import daemons
import pytest
from conftest import PATIENCE_S, ROOT, need_root, need_tool, need_tracer
from daemons import DATA_BYTES, GUEST_READ_BYTES, GUEST_READS, GUEST_STRIDE, READY, Docker, Domain, Libvirt
from small_programs import lives, until

from profiler.files.traces import load
from profiler.trace import Trace

pytestmark = [pytest.mark.full, pytest.mark.alone]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """With a short name, on a disk."""
    need_root()
    need_tracer("kernel")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        yield Path(name)


def coldseek(*words: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "profiler", *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, timeout=2 * PATIENCE_S, check=False,
    )  # fmt: skip


def covered(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Offset and size of each read, joined where they touch: (start, end)."""
    joined: list[tuple[int, int]] = []
    for start, size in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], start + size))
        else:
            joined.append((start, start + size))
    return joined


def reads_of(trace: Trace, path: bytes) -> list[tuple[int, int]]:
    """Offset and size of each read of what has this name."""
    reads = trace.reads()
    mine = reads[reads["path"] == path]
    return [(int(offset), int(size)) for offset, size in zip(mine["offset"], mine["size"], strict=True)]


# ---- they leave nothing ----------------------------------------------------------------------------------


def state(folder: Path) -> tuple[object, ...]:
    return daemons.processes_of(folder), daemons.mounts_of(folder), daemons.control_groups()


@pytest.mark.parametrize("name", ["dockerd", "libvirtd"])
def test_a_daemon_leaves_nothing(folder: Path, name: str) -> None:
    """Not even after a failure with something running."""
    need_tool(name)
    where = folder / f"{name}-left"
    before = state(where)
    with pytest.raises(ZeroDivisionError):
        if name == "dockerd":
            with daemons.dockerd(where) as docker:
                started = docker.run("run", "--detach", daemons.IMAGE, "sleep", "1000")
                assert started.returncode == 0, started.stderr
                assert len(state(where)[0]) >= 3  # type: ignore[arg-type]
                raise ZeroDivisionError
        else:
            with daemons.libvirtd(where) as libvirt:
                daemons.define(libvirt)
                assert libvirt.run("start", "vm1").returncode == 0
                raise ZeroDivisionError
    assert state(where) == before


# ---- Docker ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["overlay2", "vfs"])
def docker(request: pytest.FixtureRequest, folder: Path) -> Iterator[Docker]:
    for name in ("dockerd", "docker", "busybox"):
        need_tool(name)
    with daemons.dockerd(folder / request.param, request.param) as running:
        yield running


CAT = ("docker", "run", "--rm", daemons.IMAGE, "cat", "/data.bin")


def test_a_containers_reads_are_those_of_docker_run(docker: Docker, tmp_path: Path) -> None:
    """Nobody has to name the daemon; all of the file is there, as the container names it."""
    where = tmp_path / "t.trace.parquet"
    done = coldseek("record", "-o", where, "--", *CAT, DOCKER_HOST=docker.host)
    assert done.returncode == 0 and len(done.stdout) == DATA_BYTES, done.stderr
    assert b"dockerd" in done.stderr  # one line says what is watched
    trace = load(where)
    reads = reads_of(trace, b"/data.bin")
    assert covered(reads) == [(0, DATA_BYTES)] and sum(size for _, size in reads) == DATA_BYTES
    assert trace.meta.lost_events == 0
    files = trace.files[trace.files["path"] == b"/data.bin"]
    host = [os.fsdecode(path) for path in files["host_path"]]
    assert len(host) == 1 and host[0].startswith(f"{docker.data_root}/"), host
    readers = set(trace.reads().loc[lambda table: table["path"] == b"/data.bin", "tid"])
    tasks = trace.tasks[trace.tasks["tid"].isin(readers)]
    assert b"cat" in set(tasks["name"])
    assert any(re.search(rb"[0-9a-f]{64}", group) for group in tasks["cgroup"])


def test_what_docker_reads_itself_is_called_as_on_the_host(docker: Docker, tmp_path: Path) -> None:
    where = tmp_path / "t.trace.parquet"
    done = coldseek("record", "-o", where, "--", *CAT, DOCKER_HOST=docker.host)
    assert done.returncode == 0, done.stderr
    below = os.fsencode(f"{docker.data_root}/image/")
    assert any(path.startswith(below) for path in load(where).reads()["path"])


def test_the_daemon_can_be_left_out(docker: Docker, tmp_path: Path) -> None:
    where = tmp_path / "t.trace.parquet"
    done = coldseek("record", "--with", "none", "-o", where, "--", *CAT, DOCKER_HOST=docker.host)
    assert done.returncode == 0 and len(done.stdout) == DATA_BYTES, done.stderr
    assert not reads_of(load(where), b"/data.bin")


@pytest.mark.parametrize("evict", ["all", "files"])
def test_a_cold_start_is_one_of_the_container(docker: Docker, tmp_path: Path, evict: str) -> None:
    """What the container reads is looked at, or seen to come in. Unwatched, nothing is proved."""
    where = tmp_path / "t.trace.parquet"
    words = ("record", "--cache", "cold", "--evict", evict, "-o", where)
    done = coldseek(*words, "--", *CAT, DOCKER_HOST=docker.host)
    assert done.returncode == 0, done.stderr
    trace = load(where)
    assert trace.meta.cache == "cold", trace.meta.notes
    done = coldseek(*words, "--with", "none", "--", *CAT, DOCKER_HOST=docker.host)
    assert done.returncode == 0, done.stderr
    meta = load(where).meta
    assert (meta.cache, meta.cache_asked) == ("unknown", "cold")
    assert any(note.startswith("NOT PROVED COLD: another process") for note in meta.notes)


def test_a_running_container_is_a_target(docker: Docker, tmp_path: Path) -> None:
    """By its name; what it reads later is all there."""
    where = tmp_path / "t.trace.parquet"
    script = "while true; do busybox cat /data.bin; busybox sleep 0.2; done >/dev/null"
    loop = ["--name", "reader", daemons.IMAGE, "busybox", "sh", "-c", script]
    begun = docker.run("run", "--detach", "--rm", *loop)
    assert begun.returncode == 0, begun.stderr
    try:
        target = "container:reader"
        done = coldseek("attach", target, "--for", 3, "-o", where, DOCKER_HOST=docker.host)
        assert done.returncode == 0, done.stderr
        assert docker.run("inspect", "-f", "{{.State.Running}}", "reader").stdout.strip() == b"true"
    finally:
        docker.run("rm", "--force", "reader")
    assert (0, DATA_BYTES) in covered(reads_of(load(where), b"/data.bin"))


# ---- libvirt ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def libvirt(folder: Path) -> Iterator[Libvirt]:
    for name in ("libvirtd", "virsh", "qemu-system-x86_64", "qemu-img"):
        need_tool(name)
    with daemons.libvirtd(folder / "v") as running:
        yield running


@pytest.fixture(scope="module", params=["writeback", "none"])
def guest(request: pytest.FixtureRequest, libvirt: Libvirt) -> Domain:
    """Its cache: the host's, or none and libaio."""
    return daemons.define(libvirt, f"vm-{request.param}", cache=request.param)


def places(image: Path) -> set[tuple[int, int]]:
    """Where in the image lies what the guest reads: offset and size."""
    told = subprocess.run(
        [need_tool("qemu-img"), "map", "--output=json", str(image)],
        capture_output=True, check=True, timeout=PATIENCE_S,
    )  # fmt: skip
    found = set()
    for number in range(1, GUEST_READS + 1):
        at = number * GUEST_STRIDE
        for part in json.loads(told.stdout):
            if part["start"] <= at < part["start"] + part["length"]:
                found.add((part["offset"] + at - part["start"], GUEST_READ_BYTES))
    assert len(found) == GUEST_READS
    return found


def said(guest: Domain) -> bool:
    return guest.serial.exists() and READY in guest.serial.read_text(errors="replace")


def test_the_guest_reads_and_says_so(libvirt: Libvirt, guest: Domain) -> None:
    """Unrecorded: else no test here would mean anything."""
    assert libvirt.run("start", guest.name).returncode == 0
    try:
        assert until(lambda: said(guest), 60)
    finally:
        assert libvirt.run("destroy", guest.name).returncode == 0


def test_a_guests_start_cold_and_warm_until_it_is_ready(
    libvirt: Libvirt, guest: Domain, tmp_path: Path
) -> None:
    when = ["--until", f"file:{guest.serial}~{READY}", "--after", f"virsh destroy {guest.name}"]
    words = ["compare", "--runs", 3, *when, "-o", tmp_path, "--format", "json"]
    done = coldseek(*words, "--", "virsh", "start", guest.name, LIBVIRT_DEFAULT_URI=libvirt.uri)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    for state in ("cold", "warm"):
        assert len(told[state]["wall_s"]) == 3 and 0 < told[state]["median_s"] < PATIENCE_S
        trace = load(tmp_path / f"{state}.trace.parquet")
        reads = reads_of(trace, os.fsencode(guest.image))
        assert places(guest.image) <= set(reads)
        kinds = set(trace.structures["kind"])
        assert {"L1 table", "L2 table", "data cluster"} <= kinds, kinds
        assert trace.meta.ready_s is not None and trace.meta.ready_s > 0
        names = [name for name in trace.tasks["name"] if name.startswith(b"qemu-system")]
        assert names
    assert libvirt.run("list", "--name").stdout.split() == []


def test_a_running_guest_is_attached_to(libvirt: Libvirt, guest: Domain, tmp_path: Path) -> None:
    """It starts again meanwhile: every read of the guest is there, and the guest goes on."""
    where = tmp_path / "t.trace.parquet"
    assert libvirt.run("start", guest.name).returncode == 0
    try:
        assert until(lambda: said(guest), 60)
        [pid] = [
            pid for pid in daemons.processes_of(libvirt.folder)
            if os.fsencode(f"guest={guest.name},") in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]  # fmt: skip
        words = [sys.executable, "-m", "profiler", "attach", f"pid:{pid}", "--for", "8", "-o", str(where)]
        with subprocess.Popen(
            words, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
        ) as it:
            assert it.stderr is not None and b"observing" in it.stderr.readline()
            time.sleep(1)
            assert libvirt.run("reset", guest.name).returncode == 0
            assert it.wait(PATIENCE_S) == 0
        assert lives(pid)
        assert guest.serial.read_text(errors="replace").count(READY) == 2
    finally:
        assert libvirt.run("destroy", guest.name).returncode == 0
    assert places(guest.image) <= set(reads_of(load(where), os.fsencode(guest.image)))
