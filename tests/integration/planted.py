"""Programs whose time is planted, and what they need: a disk held to a known speed, servers, locks.

The disk is a file on a loop device with a file system of its own, so that it is cold when it is mounted
anew, whatever else the machine does; a control group holds what the program reads from it (see
scripts/throttle.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT, need, need_root, need_tool

sys.path.insert(0, str(ROOT / "scripts"))
import throttle

from profiler.capture.kernel.observer import opened_root
from profiler.capture.kernel.tracefs import Instance

PLANTED_S = 1.5
MIB = 1 << 20


@dataclass(frozen=True)
class Disk:
    """A file system of its own. device: "major:minor"."""

    folder: Path
    device: str
    image: Path
    loop: str

    def forget(self) -> None:
        """Nothing of it is in memory after this, metadata neither."""
        subprocess.run(["umount", self.folder], check=True)
        subprocess.run(["blockdev", "--flushbufs", self.loop], check=True)
        subprocess.run(["mount", "-o", "noatime", self.loop, self.folder], check=True)


@contextlib.contextmanager
def disk(place: Path) -> Iterator[Disk]:
    """A file system of 96 MiB with 24 MiB of `data`, 200 small files and 300 folders."""
    need_root()
    for tool in ("losetup", "mkfs.ext4", "mount", "umount", "blockdev"):
        need_tool(tool)
    image, folder = place / "image", place / "mounted"
    folder.mkdir()
    with open(image, "wb") as file:
        file.truncate(96 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-g", "1024", "-N", "4096", image], check=True)
    done = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True)
    need(done.returncode == 0, f"a loop device: {done.stderr.strip()}")
    loop = done.stdout.strip()
    try:
        subprocess.run(["mount", "-o", "noatime", loop, folder], check=True)
        try:
            _fill(folder)
            number = os.stat(loop).st_rdev
            yield Disk(folder, f"{os.major(number)}:{os.minor(number)}", image, loop)
        finally:
            subprocess.run(["umount", folder], check=True)
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)


def _fill(folder: Path) -> None:
    (folder / "data").write_bytes(os.urandom(MIB) * 20)
    for number in range(200):
        (folder / f"f{number:04}").write_bytes(b"x" * 4096)
    for number in range(300):
        place = folder / f"d{number:03}"
        place.mkdir()
        (place / "x").write_bytes(b"")
    os.sync()


@contextlib.contextmanager
def group(kind: str, **settings: str) -> Iterator[str]:
    """A control group of version 1 with these settings (dots as __); what puts a shell into it."""
    top = Path(f"/sys/fs/cgroup/{kind}")
    need((top / "cgroup.procs").exists(), f"needs control groups of version 1 ({kind})")
    place = top / f"{throttle.PREFIX}{os.getpid()}-{threading.get_ident()}"
    place.mkdir()
    try:
        for name, value in settings.items():
            (place / name.replace("__", ".")).write_text(value)
        yield f"echo $$ > {place}/cgroup.procs"
    finally:
        for _ in range(100):
            with contextlib.suppress(OSError):
                place.rmdir()
                break
            time.sleep(0.05)


@contextlib.contextmanager
def serving(place: Path) -> Iterator[int]:
    """A slow server: it answers what it is asked on TCP (its port) and on the socket `daemon` after
    PLANTED_S. A process of its own, as a daemon is."""
    code = (
        "import socket, sys, threading, time\n"
        "def serve(there):\n"
        "    while True:\n"
        "        here = there.accept()[0]; here.recv(1); time.sleep(float(sys.argv[2])); here.send(b'x')\n"
        "near, far = socket.socket(socket.AF_UNIX), socket.socket()\n"
        "near.bind(sys.argv[1]); near.listen(); far.bind(('127.0.0.1', 0)); far.listen()\n"
        "threading.Thread(target=serve, args=(near,), daemon=True).start()\n"
        "print(far.getsockname()[1], flush=True); serve(far)\n"
    )
    command = [sys.executable, "-c", code, str(place / "daemon"), str(PLANTED_S)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline())
        finally:
            server.kill()


@contextlib.contextmanager
def locked(place: Path) -> Iterator[None]:
    """The file `lock` is locked by this process until somebody has waited for it for PLANTED_S."""
    with open(place / "lock", "w") as file:
        inode = os.fstat(file.fileno()).st_ino
        fcntl.flock(file, fcntl.LOCK_EX)

        def release() -> None:
            while not over.wait(0.01):
                lines = Path("/proc/locks").read_text().splitlines()
                if any("->" in line and f":{inode} " in line for line in lines):
                    over.wait(PLANTED_S)
                    fcntl.flock(file, fcntl.LOCK_UN)
                    return

        over = threading.Event()
        thread = threading.Thread(target=release)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@dataclass(frozen=True)
class Planted:
    """Where the time of the program's phase went, as it measured it itself, in seconds."""

    wall: float
    ran: float
    ready: float
    waited: float


def told(text: str) -> Planted:
    found = json.loads(text.strip().splitlines()[-1])
    return Planted(**{name: value / 1e9 for name, value in found.items()})


RECORD = [sys.executable, "-m", "profiler", "record", "--tracer", "kernel"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}


@contextlib.contextmanager
def folder_in(place: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="coldseek-", dir=place) as folder:
        yield folder


def idle_is_told() -> bool:
    """Whether this kernel tells, without any filter, of the switches from the idle task of each processor to
    a program: on some virtual machines it does not on some of them."""
    with opened_root() as root, contextlib.closing(Instance(root, "idle")) as instance:
        instance.enable("sched/sched_switch")
        for processor in os.sched_getaffinity(0):
            code = "import time\nfor _ in range(20): time.sleep(0.005)"
            subprocess.run(["taskset", "-c", str(processor), sys.executable, "-Sc", code], check=True)
        lines = instance.read("trace").splitlines()
    gone, back = ([line for line in lines if f"{side}_comm=swapper/" in line] for side in ("next", "prev"))
    processors = [f"[{processor:03}]" for processor in os.sched_getaffinity(0)]
    return all(
        any(processor in line for line in back) or not any(processor in line for line in gone)
        for processor in processors
    )
