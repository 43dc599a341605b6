"""The kernel tracer: it sees every byte that fio, the program itself and the kernel count, says what it
lost, and leaves no trace of itself."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from conftest import PATIENCE_S, ROOT, need, need_root, need_tool
from small_programs import (
    READS_OF_32_BIT,
    behind,
    no_hang,
    program_of_32_bit,
    python,
    reads_of,
    stopped_and_continued,
    until,
)

from profiler.analysis.cost.below_the_program import page_cache
from profiler.capture.kernel import observer, tracefs, tracer
from profiler.capture.kernel.buffer import drain
from profiler.capture.kernel.tracer import Kernel
from profiler.capture.ptrace.tracer import Ptrace
from profiler.capture.recording import Recording
from profiler.files.traces import load
from profiler.report import text
from profiler.report.summarise import summarise
from profiler.studies.record import record
from profiler.trace import Trace

sys.path.insert(0, str(ROOT / "tests/programs"))
import positions

MIB = 1 << 20
pytestmark = [pytest.mark.alone, pytest.mark.usefixtures(no_hang.__name__)]


@pytest.fixture(autouse=True, scope="module")
def works() -> None:
    need_root()
    found = tracer.probe()
    need(found.works, f"the kernel tracer: {found.why}")


def of(rows: pd.DataFrame, *files: Path) -> pd.DataFrame:
    names = {os.fsencode(file.resolve()) for file in files}
    chosen: pd.DataFrame = rows[[path in names for path in rows["path"]]]
    return chosen


def misses(found: Trace) -> pd.DataFrame:
    rows = found.layer("cache")
    chosen: pd.DataFrame = rows[(rows["op"] == "miss").to_numpy(bool)]
    return chosen


def device_bytes(found: Trace) -> int:
    """Of all requests; as many as /proc/PID/io counts, summed up over all tasks as they end.

    A task is asked for its count when it is about to end. What it reads for the file system after that, as
    it closes its files, is in the requests only: 4 KiB in one of some sixty runs of fio.
    """
    size = int(found.layer("device")["size"].sum())
    assert found.meta.device_read_bytes is not None
    assert 0 <= size - found.meta.device_read_bytes <= 64 << 10
    return size


# -- as many bytes as fio counts
# --------------------------------------------------------------------------------

JOBS = 4
BATCHES = "--iodepth=16 --iodepth_batch_submit=16 --iodepth_batch_complete_min=16"
ENGINES = {
    "psync": "--ioengine=psync",
    "libaio": f"--ioengine=libaio {BATCHES}",
    "io_uring": f"--ioengine=io_uring {BATCHES}",
    "mmap": "--ioengine=mmap",
}
ALL = 23_000


@pytest.fixture(scope="module")
def big(works: None, cache_directory: Path) -> Iterator[Path]:
    """A directory with data.0 of 256 MiB and data.1 to data.3 of 64 MiB."""
    directory = cache_directory / f"fio-{os.getpid()}"
    directory.mkdir()
    part = os.urandom(MIB)
    for number in range(JOBS):
        with open(directory / f"data.{number}", "wb") as target:
            for _ in range(64 if number else 256):
                target.write(part)
            os.fsync(target.fileno())
    yield directory
    shutil.rmtree(directory)


def fio(directory: Path, engine: str, direct: bool, reads: int, jobs: int) -> tuple[Trace, list[dict]]:  # type: ignore[type-arg]
    """Random reads of 4 KiB, none twice, of files that are not cached: fio drops them itself (--invalidate).

    Each job has a file of its own: fio's engine mmap maps the start of the file whatever --offset says. It
    tells the kernel that its reads are random (--fadvise_hint), so that nothing is read ahead.
    """
    program, report = need_tool("fio"), directory / "fio.json"
    command = [
        program, "--name=job", f"--directory={directory}", "--filename_format=data.$jobnum", "--rw=randread",
        "--bs=4k", f"--size={64 if jobs > 1 else 256}m", f"--number_ios={reads}", f"--numjobs={jobs}",
        "--norandommap=0", "--randrepeat=1", "--invalidate=1", "--fadvise_hint=random",
        f"--direct={int(direct)}", "--output-format=json", f"--output={report}", *ENGINES[engine].split(),
    ]  # fmt: skip
    found = Kernel().record(Recording(command, silent=True))
    need(found.meta.exit_status == 0, f"fio's engine {engine} does not work here")
    return found, [job["read"] for job in json.loads(report.read_text())["jobs"]]


@pytest.mark.parametrize(
    ("engine", "direct", "reads", "jobs"),
    [
        ("psync", False, ALL, 1),
        ("psync", True, 10_007, 1),
        ("libaio", False, 2_503, 1),  # the submission of each read that waits is a stop of its own
        ("libaio", True, 10_007, 1),
        ("io_uring", False, ALL, 1),
        ("io_uring", True, 10_007, 1),
        ("mmap", False, ALL, 1),
        ("psync", False, 1_009, JOBS),
        ("psync", True, 1_009, JOBS),
        ("libaio", True, 1_009, JOBS),
        ("io_uring", False, 1_009, JOBS),
        ("io_uring", True, 1_009, JOBS),
        ("mmap", False, 1_009, JOBS),
    ],
)
def test_every_layer_has_the_bytes_that_fio_counts(
    engine: str, direct: bool, reads: int, jobs: int, big: Path
) -> None:
    found, counted = fio(big, engine, direct, reads, jobs)
    assert found.meta.complete and not found.meta.unseen
    files = [big / f"data.{number}" for number in range(jobs)]
    total = sum(job["io_bytes"] for job in counted)
    assert total == 4096 * sum(job["total_ios"] for job in counted) == 4096 * reads * jobs

    seen = of(found.reads(), *files)
    if engine == "mmap":  # no calls, but each page is faulted in
        assert not len(seen)
        faults = found.layer("cache")
        assert len(of(faults[(faults["op"] == "fault").to_numpy(bool)], *files)) >= reads * jobs
    else:
        assert seen["size"].sum() == total
        assert len(seen[["file", "offset"]].drop_duplicates()) == len(seen) == reads * jobs
        assert (seen["direct"] == direct).all()

    brought = of(misses(found), *files)
    if direct:
        assert not len(brought)
    else:
        # each page once; where somebody empties the page cache meanwhile, a page can come in again
        assert len(brought[["file", "offset"]].drop_duplicates()) == reads * jobs
        assert total <= brought["size"].sum() <= total * 1.01

    # What else the device gave was brought into the page cache: fio itself, if it was not there yet.
    cached = page_cache(found)
    assert cached is not None
    rest = device_bytes(found) - (total if direct else 0)
    assert rest == pytest.approx(cached.bytes - cached.written_bytes, rel=0.01, abs=MIB / 4)


# -- cold runs, against the kernel's own account
# ------------------------------------------------------------------------


def test_what_the_device_gave_a_cold_image_check(seed_image: Path) -> None:
    found = record([need_tool("qemu-img"), "check", "-q", str(seed_image)], "kernel", "cold", evict="all")
    assert found.meta.complete and found.meta.cache == "cold"
    cached = page_cache(found)
    assert cached is not None
    assert device_bytes(found) > 40 * MIB
    # The image's holes are brought into the page cache as zeros, without the device.
    assert 0 <= cached.bytes - device_bytes(found) < 2 * MIB
    # Each page of the image that was read had been brought in, and hardly any twice: a machine that is told
    # to reclaim idle pages (DAMON) takes some of them even while there is room.
    of_image = of(misses(found), seed_image)
    assert of_image["offset"].duplicated().sum() < 0.03 * len(of_image)
    pages = {place for offset, size in reads_of(found, seed_image)
             for place in range(offset // 4096, (offset + size + 4095) // 4096)}  # fmt: skip
    brought = {place for offset, size in zip(of_image["offset"], of_image["size"], strict=True)
               for place in range(offset // 4096, (offset + size) // 4096)}  # fmt: skip
    assert len(pages - brought) * 4096 < MIB / 4


def test_what_each_structure_of_a_cold_image_asked_of_the_device(disk_directory: Path) -> None:
    path = disk_directory / "image"
    layout = "cluster_size=4k,preallocation=metadata"
    subprocess.run(
        [need_tool("qemu-img"), "create", "-q", "-f", "qcow2", "-o", layout, path, "64M"], check=True
    )
    with open(path, "rb") as image:
        os.fsync(image.fileno())  # what was not written back has no place
    found = record(["qemu-img", "check", "-q", str(path)], "kernel", "cold", evict="all", image=str(path))
    assert found.meta.complete and found.meta.cache == "cold"
    file = found.files["path"].tolist().index(os.fsencode(path))
    facts = found.meta.host.device(found.files["device"][file])
    extents = found.extents[found.extents["file"] == file]
    need(len(extents) and facts.disk_number, "it is not known where on its disk a file here lies")

    # the extents in their order, one after another, against each request of the disk
    rows = found.layer("device")
    rows = rows[(found.files["device"].reindex(rows["file"]) == facts.disk_number).to_numpy(bool)]
    places = [
        (facts.start_bytes + physical, facts.start_bytes + physical + length)
        for physical, length in zip(extents["physical"], extents["length"], strict=True)
    ]
    expected = sum(any(low <= offset < high for low, high in places) for offset in rows["offset"])
    read = next(one for one in summarise(found).files if one.path == os.fsencode(path))
    asked = {one.kind: one.requests for one in read.structures}
    assert sum(requests or 0 for requests in asked.values()) == expected > 0
    assert (asked["L2 table"] or 0) > 0 and (asked["refcount block"] or 0) > 0


def test_what_the_device_gave_each_process_of_a_cold_start(tmp_path: Path) -> None:
    """Against getrusage(2), which the program itself asks for its child."""
    script = (
        f"import json, os, sys\n"
        f"child = os.fork()\n"
        f"if child == 0: os.execv(sys.executable, [sys.executable, '-c', 'import asyncio, json, email'])\n"
        f"_, status, usage = os.wait4(child, 0)\n"
        f"json.dump([child, status, usage.ru_inblock], open({str(tmp_path / 'told')!r}, 'w'))\n"
    )
    found = record(python(script), "kernel", "cold", evict="all")
    child, status, blocks = json.loads((tmp_path / "told").read_text())
    assert status == 0 and found.meta.complete
    cached = page_cache(found)
    assert cached is not None
    rows = found.layer("device")
    assert rows["size"][rows["pid"] == child].sum() == blocks * 512 > MIB
    assert device_bytes(found) == pytest.approx(cached.bytes - cached.written_bytes, rel=0.01)
    assert cached.mapped_bytes > MIB  # libraries, and the program itself


def test_directories_are_metadata_of_the_file_system(disk_directory: Path) -> None:
    for number in range(300):
        (disk_directory / f"{number}" / "below").mkdir(parents=True)
    os.sync()
    found = record(["find", str(disk_directory)], "kernel", "cold", evict="all")
    kinds = found.files["kind"].reindex(misses(found)["file"]).to_numpy()
    need("metadata" in kinds or "directory" in kinds, "this file system caches its metadata elsewhere")
    cached = page_cache(found)
    assert cached is not None
    assert cached.metadata_bytes >= 300 * 4096  # an ext4 directory has a block at least


# -- nothing is lost silently
# ----------------------------------------------------------------------------------------


def test_a_million_reads_lose_none(tmp_path: Path) -> None:
    """On two processors at once, as fast as reads can be."""
    one, two = tmp_path / "one", tmp_path / "two"
    counts = {one: 400_009, two: 600_011}
    for file, count in counts.items():
        file.write_bytes(bytes(count))
    script = " & ".join(f"dd if={file} of=/dev/null bs=1 status=none" for file in counts)
    found = Kernel().record(Recording(["/bin/sh", "-c", f"{script}; wait"], silent=True))
    assert found.meta.complete and found.meta.lost_events == 0
    for file, count in counts.items():
        seen = of(found.reads(), file)
        assert (seen["size"] == 1).all()
        assert seen["offset"].to_list() == list(range(count))
        assert seen["duration_ns"].notna().all()


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buffers of next to nothing that nobody empties before the end."""
    empty = drain.Drain._run

    def late(self: drain.Drain) -> None:
        ends = select.poll()
        ends.register(self._ends, select.POLLIN)
        ends.poll()
        empty(self)

    monkeypatch.setattr(drain.Drain, "_run", late)
    monkeypatch.setattr(observer, "_buffer_kib", lambda free: 64)


def test_what_finds_no_room_is_counted_for_each_processor_and_told_first(tiny: None, tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(bytes(100_003))
    processors = sorted(os.sched_getaffinity(0))[:2]
    script = "; ".join(
        f"taskset -c {number} dd if={file} of=/dev/null bs=1 status=none" for number in processors
    )
    need_tool("taskset")
    found = Kernel().record(Recording(["/bin/sh", "-c", script], silent=True))
    seen, lost = len(of(found.reads(), file)), found.meta.lost_events
    made = 2 * 100_004 * len(processors)  # an entry and an exit of each read, the one at the end too
    assert 0 < 2 * seen < made / 10
    assert made <= 2 * seen + lost + 100 * len(processors)
    assert lost < made + 10_000
    assert not found.meta.complete
    (note,) = [note for note in found.meta.notes if "found no room" in note]
    assert all(f"on processor {number}" in note for number in processors)
    first = text.report(summarise(found)).plain.splitlines()[0]
    assert first.startswith("INCOMPLETE") and f"{lost:,}" in first


def test_a_trace_that_cannot_be_kept_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(self: drain.Drain, pipe: int, spool: object) -> bool:
        raise OSError(28, "full")

    monkeypatch.setattr(drain.Drain, "_move", full)
    monkeypatch.setattr(observer, "_buffer_kib", lambda free: 64)
    file = tmp_path / "data"
    file.write_bytes(bytes(50_000))
    found = Kernel().record(Recording(["dd", f"if={file}", "of=/dev/null", "bs=1", "status=none"]))
    assert any(
        note.startswith("INCOMPLETE: the kernel's trace could not be read on") for note in found.meta.notes
    )
    assert not len(of(found.reads(), file))
    assert found.meta.lost_events > 0 and not found.meta.complete


# -- it leaves no trace of itself
# ------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened() -> Iterator[int]:
    root = tracefs.open_root()
    try:
        yield root
    finally:
        os.close(root)


def instances() -> list[str]:
    with opened() as root:
        listing = os.open("instances", os.O_RDONLY | os.O_DIRECTORY, dir_fd=root)
        try:
            return sorted(os.listdir(listing))
        finally:
            os.close(listing)


def instances_of(*pids: int) -> list[str]:
    """Those of coldseeks with these process ids: others may run meanwhile."""
    return [name for name in instances() if name.startswith("coldseek-") and int(name.split("-")[2]) in pids]


def abandoned() -> list[str]:
    """Those of coldseeks that are no more."""
    made = [name for name in instances() if name.startswith("coldseek-")]
    return [name for name in made if not os.path.exists(f"/proc/{name.split('-')[2]}")]


SETTINGS = (
    "set_event", "set_event_pid", "set_event_notrace_pid", "trace_clock", "current_tracer", "buffer_size_kb",
    "tracing_on", "events/enable", "events/syscalls/enable", "events/block/block_rq_issue/filter",
    "options/overwrite", "options/event-fork",
)  # fmt: skip


def settings(directory: str = ".") -> dict[str, str]:
    """The settings of an instance, or of the whole, and where tracefs is mounted."""
    with opened() as root:
        found = {name: tracefs._read(root, f"{directory}/{name}") for name in SETTINGS}
    found["mounts"] = "".join(
        line for line in Path("/proc/self/mounts").read_text().splitlines(True) if "tracefs" in line
    )
    return found


@pytest.fixture
def untouched() -> Iterator[None]:
    """What all share is after the test as it was before."""
    before = settings()
    foreign = [name for name in instances() if not name.startswith("coldseek-")]
    yield
    assert settings() == before
    assert [name for name in instances() if not name.startswith("coldseek-")] == foreign


def coldseek(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "profiler", "record", "--tracer", "kernel",
         "-o", folder / "run.trace.parquet", "--", *command],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT,
        start_new_session=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("command", "status"),
    [(["true"], 0), (["false"], 1), (["/nowhere/nothing"], 127), (["/etc/passwd"], 126)],
)
def test_nothing_is_left_of_a_run(command: list[str], status: int, untouched: None, tmp_path: Path) -> None:
    run = coldseek(tmp_path, *command)
    run.communicate(timeout=PATIENCE_S)
    assert run.returncode == status
    assert not abandoned()


def test_nothing_is_left_of_a_failure_of_ours(untouched: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("a mistake of ours")

    # if one of them left a stopped child, that held its buffer, and the next could make none
    for where, name in (
        (Ptrace, "run"), (observer.Observer, "follow"), (Ptrace, "_loop"), (tracer, "assemble")
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(where, name, fails)
            with pytest.raises(RuntimeError, match="a mistake of ours"):
                Kernel().record(Recording(["true"]))
        assert not instances_of(os.getpid())


class Running:
    """`coldseek record` of a program that reads one file over and over, 8 bytes at the next place."""

    def __init__(self, folder: Path, pause_s: float = 0.001) -> None:
        folder.mkdir(exist_ok=True)
        self.data, self.trace, ready = folder / "data", folder / "run.trace.parquet", folder / "ready"
        self.data.write_bytes(bytes(8 * 4096))
        script = (
            f"import os, time\n"
            f"fd = os.open({str(self.data)!r}, 0); number = 0; end = time.time() + 600\n"
            f"while time.time() < end:\n"
            f"    os.pread(fd, 8, number % 4096 * 8); number += 1; time.sleep({pause_s})\n"
            f"    if number == 100: open({str(ready)!r}, 'w').write(str(os.getpid()))\n"
        )
        self.process = coldseek(folder, *python(script))
        assert until(lambda: ready.exists() and bool(ready.read_text()))
        self.program = int(ready.read_text())
        # who traces, behind the one that is waited for
        self.tracer = behind(self.process.pid)

    def end(self) -> str:
        _, words = self.process.communicate(timeout=PATIENCE_S)
        return words.decode()

    def guards(self) -> list[int]:
        """The processes that are to clear up: they look like coldseek and are nobody's children."""
        mine = Path(f"/proc/{self.process.pid}/cmdline").read_bytes()
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                ours = int(name) in (self.process.pid, self.tracer)
                if not ours and Path(f"/proc/{name}/cmdline").read_bytes() == mine:
                    found.append(int(name))
        return found

    def ended(self) -> bool:
        """Whether the traced program is no more."""
        try:
            return Path(f"/proc/{self.program}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
        except OSError:
            return True


@pytest.fixture
def run(tmp_path: Path, own_temporary: None) -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def start(name: str = "run", **options: float) -> Running:
        made.append(Running(tmp_path / name, **options))
        return made[-1]

    yield start
    for one in made:
        if one.process.poll() is None:
            os.kill(one.process.pid, signal.SIGKILL)
            one.process.communicate()


def in_order(found: Trace, file: Path) -> bool:
    """Whether no read is missing from the first on."""
    places = [offset // 8 for offset, _ in reads_of(found, file)]
    return len(places) >= 100 and places == [number % 4096 for number in range(len(places))]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_program_that_runs_for_ever_is_ended_and_its_trace_kept(
    number: signal.Signals, run: Callable[..., Running], untouched: None
) -> None:
    one = run()
    assert len(instances_of(one.tracer)) == 2
    os.kill(one.process.pid, number)
    words = one.end()
    assert "PARTIAL" in words and one.ended()
    assert not instances_of(one.tracer)
    found = load(one.trace)
    assert found.meta.partial and found.meta.lost_events == 0
    assert in_order(found, one.data)


def test_a_killed_coldseek_is_cleared_up_after(run: Callable[..., Running], untouched: None) -> None:
    one = run()
    guards = one.guards()
    assert len(guards) == 1 and len(instances_of(one.tracer)) == 2
    os.kill(one.process.pid, signal.SIGKILL)
    one.process.wait()
    assert until(lambda: not instances_of(one.tracer))
    assert until(one.ended)
    assert until(lambda: not os.path.exists(f"/proc/{guards[0]}"))


def test_what_a_killed_guard_leaves_the_next_start_removes(
    run: Callable[..., Running], untouched: None, tmp_path: Path
) -> None:
    one = run()
    for pid in [*one.guards(), one.tracer]:
        os.kill(pid, signal.SIGKILL)
    one.process.wait()
    assert until(one.ended)
    assert len(instances_of(one.tracer)) == 2
    next_ = coldseek(tmp_path, "true")
    next_.communicate(timeout=PATIENCE_S)
    assert next_.returncode == 0
    assert not instances_of(one.tracer) and not abandoned()


def test_a_number_that_is_used_again_and_another_container_are_told_apart(untouched: None) -> None:
    me, mine = os.getpid(), tracefs._namespace()
    began = tracefs._started(me)
    stale = f"coldseek-{mine}-{me}-{began - 1}-mine"  # of an earlier process of this number
    living = f"coldseek-{mine}-{me}-{began}-mine"
    elsewhere = f"coldseek-{mine + 1}-{2**22 + 1}-1-mine"
    with opened() as root:
        try:
            for name in (stale, living, elsewhere):
                os.mkdir(f"instances/{name}", dir_fd=root)
            tracefs.remove_stale(root)
            assert {stale, living, elsewhere}.intersection(instances()) == {living, elsewhere}
        finally:
            for name in (stale, living, elsewhere):
                with contextlib.suppress(FileNotFoundError):
                    os.rmdir(f"instances/{name}", dir_fd=root)


def test_two_at_once_do_not_disturb_each_other(run: Callable[..., Running], untouched: None) -> None:
    one, two = run("one"), run("two")
    assert len(instances_of(one.tracer, two.tracer)) == 4
    os.kill(two.process.pid, signal.SIGINT)
    two.end()
    time.sleep(0.3)
    assert len(instances_of(one.tracer, two.tracer)) == 2
    os.kill(one.process.pid, signal.SIGINT)
    one.end()
    assert not instances_of(one.tracer, two.tracer)
    for this, other in ((one, two), (two, one)):
        found = load(this.trace)
        assert found.meta.lost_events == 0
        assert in_order(found, this.data) and not reads_of(found, other.data)
        assert {this.program} == set(of(found.reads(), this.data)["pid"])


def test_an_instance_of_somebody_else_stays_as_it_is(untouched: None, tmp_path: Path) -> None:
    with opened() as root:
        theirs = f"instances/theirs-{os.getpid()}"
        os.mkdir(theirs, dir_fd=root)
        try:
            for name, value in (
                ("trace_clock", "boot"), ("buffer_size_kb", "100"), ("set_event_pid", "1"),
                ("events/block/block_rq_issue/filter", "nr_sector > 9"),
                ("events/block/block_rq_issue/enable", "1"),
                ("events/syscalls/sys_enter_read/enable", "1"),
            ):  # fmt: skip
                tracefs._write(root, f"{theirs}/{name}", value)
            before = settings(theirs)
            for command in ("true", "/nowhere/nothing"):
                coldseek(tmp_path, command).communicate(timeout=PATIENCE_S)
            assert settings(theirs) == before
            assert "sys_enter_read" in before["set_event"]
        finally:
            os.rmdir(theirs, dir_fd=root)


# -- stopped, and going on
# -------------------------------------------------------------------------------------------


def test_a_stopped_coldseek_loses_nothing_or_says_what(run: Callable[..., Running]) -> None:
    one = run(pause_s=0)
    os.kill(one.tracer, signal.SIGSTOP)
    time.sleep(0.7)  # the program reads on: nothing stops it
    os.kill(one.tracer, signal.SIGCONT)
    os.kill(one.process.pid, signal.SIGINT)
    one.end()
    found = load(one.trace)
    assert found.meta.lost_events > 0 or in_order(found, one.data)


def test_a_stopped_program_goes_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(bytes(4096))
    found = Kernel().record(Recording(stopped_and_continued(data)))
    assert found.meta.exit_status == 0
    assert reads_of(found, data) == [(0, 10), (10, 20)]


def test_reads_up_to_a_kill_are_there(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(bytes(100_000))
    script = (
        f"import os, signal\nfd = os.open({str(data)!r}, 0)\n"
        f"for _ in range(10_000): os.read(fd, 10)\n"
        f"os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    found = Kernel().record(Recording(python(script)))
    assert found.meta.exit_status == 137 and found.meta.complete
    assert reads_of(found, data) == [(10 * number, 10) for number in range(10_000)]


# -- descriptors, against what the program itself knows
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [Kernel, Ptrace])
@pytest.mark.parametrize("scenario", positions.SCENARIOS)
def test_reads_are_where_the_program_found_them(
    scenario: str,
    made: Callable[[], Kernel | Ptrace],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    data, log = tmp_path / positions.NAME, tmp_path / "log"
    data.write_bytes(positions.words(0, positions.SIZE))
    program = str(ROOT / "tests/programs/positions.py")
    found = made().record(Recording([sys.executable, "-S", program, scenario, str(tmp_path)]))
    assert found.meta.exit_status == 0 and found.meta.complete
    expected = Counter(map(tuple, json.loads(capfd.readouterr().out)))
    seen = Counter(
        (file.name, offset, size) for file in (data, log) for offset, size in reads_of(found, file)
    )
    assert seen == expected
    assert sum(expected.values()) >= 6


def test_a_32_bit_program(tmp_path: Path) -> None:
    """The kernel has no events of its calls under their names: they stop, as under ptrace."""
    program, data = program_of_32_bit(tmp_path)
    found = Kernel().record(Recording([program]))
    assert reads_of(found, data) == READS_OF_32_BIT
    assert "abi" not in found.meta.unseen


def test_what_starts_a_program_and_what_is_said_of_mappings(tmp_path: Path) -> None:
    """Where the kernel maps a program and its loader, and advice of madvise(2) that is about files."""
    data = tmp_path / "data"
    data.write_bytes(bytes(1 << 16))
    script = f"""
import mmap, os
held = mmap.mmap(os.open({os.fspath(data)!r}, os.O_RDONLY), 0, prot=mmap.PROT_READ)
held.madvise(mmap.MADV_RANDOM, 4096, 8192)
held.madvise(mmap.MADV_DONTNEED)
mmap.mmap(-1, 4096).madvise(mmap.MADV_SEQUENTIAL)
"""
    found = Kernel().record(Recording(python(script)))
    rows = found.layer("syscall")
    advised = rows[rows["op"].str.startswith("madvise_").to_numpy(bool)]
    assert advised[["op", "path", "offset", "requested"]].values.tolist() == [
        ["madvise_random", os.fsencode(data), 4096, 8192]
    ]
    program = os.fsencode(os.path.realpath(sys.executable))
    heads = rows[(rows["op"] == "exec").to_numpy(bool)]
    assert heads["path"].iloc[0] == program
    assert len(heads) == 2 and b"ld" in heads["path"].iloc[1]  # and its loader
    assert heads[["time_ns", "offset", "requested"]].values.tolist() == [[0, 0, 256], [0, 0, 256]]
    code = rows[(rows["op"] == "mmap_exec").to_numpy(bool)]
    assert {program, heads["path"].iloc[1]} <= set(code[code["time_ns"] == 0]["path"])
    assert (code["requested"] > 0).all()
    for _, head in heads.iterrows():  # one open for all that the kernel maps of it
        of_head = rows[(rows["path"] == head["path"]) & (rows["time_ns"] == 0)]
        assert set(of_head["handle"]) == {head["handle"]}
