"""Nothing stays behind, whenever coldseek is killed: no process, no file, no trace buffer.

Who is killed cannot clear up: so what a kill -9 leaves is looked for by the environment that all processes
of a run have, guards and daemons too, and by the files in folders that only the run uses.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import PATIENCE_S, ROOT, need, need_tool, need_tracer
from small_programs import behind, lives, until

from profiler.capture import tracer
from profiler.capture.kernel import tracefs
from profiler.files.traces import load, save
from profiler.studies.record import record

pytestmark = pytest.mark.alone

MARK = "COLDSEEK_TEST_RUN"
MIB = 2**20


@dataclass(frozen=True)
class Place:
    """Where a coldseek runs: its working directory, its TMPDIR, and the word that marks its processes."""

    folder: Path
    temporary: Path
    mark: str

    def start(self, *arguments: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "profiler", *map(str, arguments)], cwd=self.folder,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, MARK: self.mark, "TMPDIR": str(self.temporary), "PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def processes(self) -> list[int]:
        """Those of the run that live."""
        wanted, found = f"{MARK}={self.mark}".encode(), []
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if wanted in Path(f"/proc/{name}/environ").read_bytes().split(b"\0") and lives(int(name)):
                    found.append(int(name))
        return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "work", tmp_path / "temporary", os.urandom(8).hex())
    made.folder.mkdir()
    made.temporary.mkdir()
    yield made
    for pid in made.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def abandoned() -> list[str]:
    """The trace buffers of coldseeks that are no more: others may run meanwhile."""
    try:
        root = tracefs.open_root()
    except Exception:
        return []
    try:
        pids = ((name, int(name.split("-")[2])) for name in tracefs._names(root))
        return [name for name, pid in pids if not lives(pid)]
    finally:
        os.close(root)


def mounted(place: Place) -> list[str]:
    """Mounts, loop devices and groups of processes that tell of the run."""
    words = Path("/proc/self/mountinfo").read_text().splitlines()
    words += [path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    words += [str(path) for path in Path("/sys/fs/cgroup").glob("*coldseek*")]
    return [line for line in words if str(place.folder) in line or "coldseek-" in line]


# ---- what is run untraced --------------------------------------------------------------------------------

FOURTH = (
    "echo $$ >> log; if test $(wc -l < log) -ge 4; then (setsid sleep 900 & echo $! >> left); "
    "exec sleep 900; fi"
)
"""A program whose first untraced run, after three traced ones, does not end; nor does what it starts."""


@pytest.mark.parametrize("who", ["front", "group", "worker"])
def test_an_untraced_program_ends_with_coldseek(who: str, place: Place) -> None:
    """Its daemons, too: what it has left when it ends by itself would be ended as well."""
    need_tracer("ptrace")
    ours = place.start("compare", "--tracer", "ptrace", "--runs", 1, "--", "sh", "-c", FOURTH)
    assert until((place.folder / "left").exists)
    if who == "group":  # as a supervisor does, or a shell
        os.killpg(ours.pid, signal.SIGKILL)
    else:
        os.kill({"front": ours.pid, "worker": behind(ours.pid)}[who], signal.SIGKILL)
    assert ours.wait(PATIENCE_S) == (128 + signal.SIGKILL if who == "worker" else -signal.SIGKILL)
    assert until(lambda: not place.processes())


def test_a_command_before_a_run_ends_with_coldseek_and_what_it_had_started_goes_on(place: Place) -> None:
    """It has done that: a service that is to be there for the run."""
    script = (
        "echo >> log; if test $(wc -l < log) -ge 2; then echo > hangs; exec sleep 900; fi; "
        "setsid sleep 900 & echo $! > service"
    )
    (place.folder / "before").write_text(script)
    ours = place.start("compare", "--tracer", "ptrace", "--before", "sh before", "--", "true")
    assert until((place.folder / "hangs").exists)
    ours.kill()
    ours.wait(PATIENCE_S)
    service = int((place.folder / "service").read_text())
    assert until(lambda: place.processes() == [service])


def test_a_warden_that_is_killed_ends_coldseek(place: Place) -> None:
    ours = place.start("compare", "--tracer", "ptrace", "--", "sleep", "900")
    assert until(lambda: behind(ours.pid) and len(place.processes()) > 3)
    worker = behind(ours.pid)
    warden = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(warden, signal.SIGKILL)
    assert ours.wait(PATIENCE_S) == 128 + signal.SIGKILL
    assert until(lambda: not place.processes())


def test_a_killed_coldseek_leaves_no_log_of_strace(place: Place) -> None:
    need_tracer("strace")
    ours = place.start("record", "--tracer", "strace", "--", "sh", "-c", "echo > begun; exec sleep 900")
    assert until((place.folder / "begun").exists)
    assert not list(place.temporary.iterdir())
    ours.kill()
    ours.wait(PATIENCE_S)
    assert until(lambda: not place.processes())
    assert not list(place.temporary.iterdir())


# ---- at any moment ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small image in clusters of 4 KiB, and beside it a trace of it, a log of strace, and a file that is
    large enough to calibrate on."""
    need_tool("qemu-img")
    folder = tmp_path_factory.mktemp("killed")
    made = folder / "disk0.qcow2"
    layout = ["-o", "cluster_size=4k,preallocation=metadata"]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *layout, made, str(64 * MIB)], check=True)
    found = record(["qemu-img", "map", str(made)], "ptrace", "cold", evict="all")
    save(found, folder / "map.trace.parquet")
    (folder / "log").write_text(
        "".join(f'1 {n}.0 openat(AT_FDCWD, "/f", O_RDONLY) = 3</f> <0.1>\n' for n in range(1, 20000))
    )
    with open(folder / "large", "wb") as large:
        for _ in range(256):
            large.write(os.urandom(MIB))
    return folder


PROGRAM = ("sh", "-c", "(sleep 0.3 &); cat /etc/passwd /etc/group; sleep 0.2")
COMMANDS: dict[str, tuple[object, ...]] = {
    "record-kernel": ("record", "--tracer", "kernel", "-o", "out.trace.parquet", "--", *PROGRAM),
    "record-ptrace": ("record", "--tracer", "ptrace", "-o", "out.trace.parquet", "--", *PROGRAM),
    "record-strace": ("record", "--tracer", "strace", "-o", "out.trace.parquet", "--", *PROGRAM),
    "record-cold": ("record", "--cache", "cold", "-o", "out.trace.parquet", "--", *PROGRAM),
    "record-warm": ("record", "--cache", "warm", "-o", "out.trace.parquet", "--", *PROGRAM),
    "compare": ("compare", "--runs", "2", "-o", "out", "--", *PROGRAM),
    "open": ("open", "--runs", "1", "-o", "out", "{image}/disk0.qcow2"),
    "advise": ("advise", "{image}/map.trace.parquet", "--verify", "--yes", "--device", "nvme", "--runs", "1",
               "--scratch", "."),
    "calibrate": ("calibrate", "{image}/large", "--for", "1", "-o", "out.toml"),
    "prefetch": ("prefetch", "{image}/map.trace.parquet"),
    "plan": ("prefetch", "{image}/map.trace.parquet", "--save", "out.plan"),
    "import": ("import", "strace", "{image}/log", "-o", "out.trace.parquet"),
    "report": ("report", "{image}/map.trace.parquet", "-o", "out.txt"),
    "plot": ("plot", "{image}/map.trace.parquet", "-o", "out.png"),
}  # fmt: skip
WHOLE = {"out", "out.trace.parquet", "out.toml", "out.plan", "out.txt", "out.png"}
IN_A_FOLDER = {
    "cold.trace.parquet", "warm.trace.parquet", "report.txt", "report.json", "structures.png", "offsets.png",
    "gaps.png", "cost.png", "report.html",
}  # fmt: skip


def arguments(name: str, image: Path) -> list[str]:
    return [str(word).replace("{image}", str(image)) for word in COMMANDS[name]]


def check(place: Place) -> None:
    """Nothing of a run that was killed is there but results, each of them whole."""
    assert until(lambda: not place.processes()), [
        Path(f"/proc/{pid}/cmdline").read_bytes() for pid in place.processes()
    ]
    assert not list(place.temporary.iterdir())
    assert until(lambda: not abandoned())
    assert not mounted(place)
    assert {path.name for path in place.folder.iterdir()} <= WHOLE
    out = place.folder / "out"
    if out.exists():
        assert {path.name for path in out.iterdir()} <= IN_A_FOLDER
    for path in place.folder.rglob("*"):
        assert path.is_dir() or path.stat().st_size
        if path.name.endswith(".trace.parquet"):
            load(path)


def killed_at(moments: Sequence[float], words: Sequence[str], place: Place) -> None:
    for moment in moments:
        ours = place.start(*words)
        with contextlib.suppress(subprocess.TimeoutExpired):
            ours.wait(moment)
        ours.kill()
        ours.wait(PATIENCE_S)
        check(place)


def undisturbed(words: Sequence[str], place: Place) -> float:
    """The seconds that it takes."""
    began = time.monotonic()
    assert place.start(*words).wait(PATIENCE_S) == 0
    took = time.monotonic() - began
    check(place)
    return took


def needed(name: str) -> None:
    if name.startswith("record-") and name.removeprefix("record-") in tracer.NAMES:
        need_tracer(name.removeprefix("record-"))


@pytest.mark.parametrize("name", ["record-kernel", "record-strace", "compare", "advise", "report"])
def test_killed_at_some_moments_it_leaves_nothing(name: str, image: Path, place: Place) -> None:
    needed(name)
    killed_at([0.4, 1.2], arguments(name, image), place)


@pytest.mark.full
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_any_moment_it_leaves_nothing(name: str, image: Path, place: Place) -> None:
    """A hundred moments, of all commands together; some come when the results are there already."""
    needed(name)
    words = arguments(name, image)
    took = undisturbed(words, place)
    chance = random.Random(name)
    each = -(-100 // len(COMMANDS))
    killed_at([took * (number + chance.random()) / each for number in range(each)], words, place)


@pytest.mark.full
def test_an_attach_that_is_killed_at_any_moment_harms_nothing(place: Place) -> None:
    need(os.geteuid() == 0 and tracer.probe("kernel").works, "needs tracer kernel")
    script = "import time\nwhile True: open('/etc/passwd').read(); time.sleep(0.01)"
    with subprocess.Popen([sys.executable, "-S", "-c", script]) as observed:
        try:
            words = ["attach", str(observed.pid), "--for", "1", "-o", "out.trace.parquet"]
            took = undisturbed(words, place)
            chance = random.Random("attach")
            killed_at([took * (number + chance.random()) / 8 for number in range(8)], words, place)
            assert observed.poll() is None
        finally:
            observed.kill()
