"""The tools whose logs are imported, run here: what they log is what a program is known to have read.

It reads 23 places of a loop device past the page cache. What this kernel does not let a tool do (blktrace
needs debugfs, biosnoop kprobes) is skipped after a try, in CI too.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import coldseek, need, need_root, need_tool
from small_programs import until

from profiler.files.traces import load

BLOCK, PLACES = 8192, tuple(8192 * (number * 37 % 101) for number in range(23))
READER = """
import ctypes, mmap, os, sys
device = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
page = mmap.mmap(-1, 8192)
for place in map(int, sys.argv[2:]):
    assert os.preadv(device, [page], place) == 8192
"""
EVENTS = ("block_rq_issue", "block_rq_complete", "block_bio_queue")
TRACEFS = Path("/sys/kernel/tracing")


@dataclass(frozen=True)
class Disk:
    """A loop device. number: as the kernel's event filters have it."""

    path: str
    number: int

    def read(self) -> None:
        places = map(str, PLACES)
        subprocess.run([sys.executable, "-c", READER, self.path, *places], check=True, capture_output=True)


@pytest.fixture
def disk(disk_directory: Path) -> Iterator[Disk]:
    need_root()
    losetup = need_tool("losetup")
    image = disk_directory / "disk"
    image.write_bytes(os.urandom(1 << 20))
    made = subprocess.run([losetup, "--find", "--show", image], capture_output=True, text=True)
    need(made.returncode == 0, f"losetup: {made.stderr.strip()}")
    path = made.stdout.strip()
    number = os.stat(path).st_rdev
    try:
        yield Disk(path, os.major(number) << 20 | os.minor(number))
    finally:
        subprocess.run([losetup, "--detach", path], check=True)


def lets(condition: object, refusal: str) -> None:
    """Go on only where the kernel lets the tool do its work."""
    if not condition:
        pytest.skip(" ".join(refusal.split())[-200:])


# -- the tools ---------------------------------------------------------------------------------------------


def ftrace(disk: Disk, folder: Path, read: str = "trace") -> Path:
    """The kernel's own text, or what trace-cmd report makes of the same buffer."""
    instance = TRACEFS / "instances" / f"coldseek-tests-{os.getpid()}"
    try:
        instance.mkdir()
    except OSError as error:
        pytest.skip(f"no instance of tracefs: {error}")
    log = folder / "start.log"
    try:
        for event in EVENTS:
            (instance / "events/block" / event / "filter").write_text(f"dev == {disk.number}")
            (instance / "events/block" / event / "enable").write_text("1")
        disk.read()
        (instance / "tracing_on").write_text("0")
        if read == "trace":
            log.write_bytes((instance / "trace").read_bytes())
        else:
            data = folder / "trace.dat"
            command = [read, "extract", "-B", instance.name, "-o", data]
            done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
            lets(done.returncode == 0 and data.exists(), f"trace-cmd extract: {done.stderr}")
            log.write_bytes(subprocess.run([read, "report", "-i", data], capture_output=True).stdout)
    finally:
        if instance.exists():  # trace-cmd removes what it has extracted
            (instance / "tracing_on").write_text("0")
            for event in EVENTS:
                (instance / "events/block" / event / "enable").write_text("0")
            instance.rmdir()
    return log


def trace_cmd(disk: Disk, folder: Path) -> Path:
    return ftrace(disk, folder, need_tool("trace-cmd"))


def perf(disk: Disk, folder: Path) -> Path:
    tool, data = shutil.which("perf") or "", folder / "perf.data"
    lets(tool, "no perf")  # it is in a package of another name on each distribution
    wanted = [
        word for event in EVENTS for word in ("-e", f"block:{event}", "--filter", f"dev == {disk.number}")
    ]
    record = [tool, "record", "-q", "-k", "mono", "-o", data, "-a", *wanted, "--"]
    tried = subprocess.run([*record, "true"], capture_output=True, text=True)
    lets(tried.returncode == 0, f"perf record: {tried.stderr}")
    places = map(str, PLACES)
    subprocess.run(
        [*record, sys.executable, "-c", READER, disk.path, *places], check=True, capture_output=True
    )
    log = folder / "start.log"
    log.write_bytes(subprocess.run([tool, "script", "-i", data], capture_output=True).stdout)
    return log


def beside(disk: Disk, command: list[str | Path], log: Path, begins: Callable[[], bool]) -> None:
    """Read while a tool logs. begins: whether it does. Skips where the tool ends by itself."""
    with log.open("wb") as out, (log.parent / "errors").open("wb") as errors:
        tool = subprocess.Popen(command, stdout=out, stderr=errors, cwd=log.parent)
    try:
        until(lambda: tool.poll() is not None or begins())
        lets(tool.poll() is None, f"{command[0]}: {(log.parent / 'errors').read_text(errors='replace')}")
        disk.read()
    finally:
        if tool.poll() is None:
            tool.send_signal(signal.SIGINT)
        tool.wait()


def blktrace(disk: Disk, folder: Path) -> Path:
    tool, parse = need_tool("blktrace"), need_tool("blkparse")
    begun = Path("/sys/block") / os.path.basename(disk.path) / "trace" / "enable"
    lets(begun.exists(), "the kernel has no blktrace")
    out = folder / "blktrace.out"
    beside(disk, [tool, "-d", disk.path, "-o", "start"], out, lambda: begun.read_text().strip() == "1")
    lets((folder / "start.blktrace.0").exists(), f"blktrace: {(folder / 'errors').read_text()}")
    log = folder / "start.log"
    subprocess.run([parse, "-i", "start", "-o", log], cwd=folder, check=True, capture_output=True)
    return log


def biosnoop(disk: Disk, folder: Path) -> Path:
    tool, log = need_tool("biosnoop-bpfcc"), folder / "start.log"
    beside(disk, [tool], log, lambda: b"LAT(ms)" in log.read_bytes())
    return log


TOOLS = {"ftrace": ftrace, "trace-cmd": trace_cmd, "perf": perf, "blktrace": blktrace, "biosnoop": biosnoop}


@pytest.mark.parametrize("name", TOOLS)
def test_what_a_tool_logs_is_what_the_program_read(name: str, disk: Disk, disk_directory: Path) -> None:
    log = TOOLS[name](disk, disk_directory)
    for words in (("import", log.name), ("import", {"trace-cmd": "ftrace"}.get(name, name), log.name)):
        done = coldseek(*words, cwd=disk_directory)
        assert done.returncode == 0, done.stderr
        trace = load(disk_directory / "start.trace.parquet")
        number = os.stat(disk.path).st_rdev
        mine = {f"{os.major(number)}:{os.minor(number)}", ""}
        files = trace.files[trace.files["device"].isin(mine)]
        files = files[files["path"].isin([disk.path.encode(), f"(disk {max(mine)})".encode()])]
        rows = trace.events[trace.events["file"].isin(files["file"])]
        rows = rows[(rows["size"] == BLOCK).to_numpy(bool)]  # others may look at the disk: udev, blkid
        assert rows["offset"].tolist() == list(PLACES)
        assert (rows["duration_ns"] > 0).all()
    said = coldseek("report", "start.trace.parquet", cwd=disk_directory).stdout
    assert said.startswith("The log is of the device layer only")
