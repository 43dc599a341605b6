"""Prefetching, on real files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import PATIENCE_S, coldseek, need, need_root, need_tool

from profiler.analysis.simulation.prefetch import plan
from profiler.files.traces import load
from profiler.machine.page_cache.cache import evict, make_cold
from profiler.machine.page_cache.prefetch import changes, prefetch
from profiler.machine.page_cache.residency import residency
from profiler.plan import KnownFile, Plan, known_files, plan_of, row, save
from profiler.runner import open_known
from profiler.studies.record import data_files, record
from profiler.trace import Trace

pytestmark = pytest.mark.alone


@pytest.fixture
def recorded(disk_directory: Path) -> tuple[Path, Path]:
    """A file of 8 MiB of which every fourth 64 KiB were read, and the trace of that."""
    file = disk_directory / "data\nfile"
    file.write_bytes(os.urandom(8 << 20))
    trace = disk_directory / "x.trace.parquet"
    reads = "import os,sys\nf=os.open(sys.argv[1],os.O_RDONLY)\n[os.pread(f,65536,n<<18) for n in range(32)]"
    made = coldseek("record", "-o", trace, "--", "python3", "-c", reads, file)
    assert made.returncode == 0
    subprocess.run(["sync"], check=True)
    return file, trace


def test_what_was_read_is_there_afterwards(recorded: tuple[Path, Path]) -> None:
    file, trace = recorded
    left = evict([os.fsencode(file)])
    need(left.resident_bytes == 0, "the file system does not let go of its pages")
    done = coldseek("prefetch", trace)
    assert done.returncode == 0, done.stderr
    assert "prefetched" in done.stderr and done.stdout == ""
    assert residency([os.fsencode(file)]).resident_bytes >= 32 * 65536


def test_a_dry_run_reads_nothing(recorded: tuple[Path, Path]) -> None:
    file, trace = recorded
    evict([os.fsencode(file)])
    before = residency([os.fsencode(file)]).resident_bytes
    done = coldseek("prefetch", "--dry-run", trace)
    assert done.returncode == 0, done.stderr
    assert "data\\x0afile" in done.stdout and "pieces, of" in done.stdout
    assert residency([os.fsencode(file)]).resident_bytes == before


def test_files_that_changed_are_named(recorded: tuple[Path, Path]) -> None:
    file, trace = recorded
    found = load(trace)
    read = found.files[(found.files["path"] == os.fsencode(file)).to_numpy(bool)]

    def why() -> list[str]:
        return [one.why for one in changes(known_files(read))]

    facts = file.stat()
    assert why() == []
    whole = file.with_name("whole.trace.parquet")  # of which the file is the most
    assert coldseek("record", "-o", whole, "--", "dd", f"if={file}", "of=/dev/null").returncode == 0
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    assert why() == ["was written to"]
    done = coldseek("prefetch", whole)  # of what is left, programs and libraries, all is read
    assert done.returncode == 0 and "data\\x0afile was written to" in done.stderr
    os.truncate(file, 5000)
    assert why() == ["had 8388608 bytes and has 5000"]
    file.rename(file.with_name("old"))
    assert why() == ["is gone"]
    file.write_bytes(b"x")
    assert why() == ["is another file of that name"]
    file.unlink()
    os.mkfifo(file)
    assert why() == ["is no regular file any more"]


def test_what_a_start_writes_itself_is_no_reason_to_refuse_the_rest(disk_directory: Path) -> None:
    file, state, trace = (disk_directory / name for name in ("data", "state\n", "x.trace.parquet"))
    for one in (file, state):
        one.write_bytes(os.urandom(1 << 16))
    start = 'cat "$1"; head -c 9 "$2"; printf x 1<> "$2"'
    command = ["sh", "-c", start, "sh", file, state]
    assert coldseek("record", "-o", trace, "--", *command).returncode == 0
    subprocess.run(command, check=True)  # the next start, which changes it again
    subprocess.run(["sync"], check=True)
    need(evict([os.fsencode(file)]).resident_bytes == 0, "the file system does not let go of its pages")
    done = coldseek("prefetch", trace)
    assert done.returncode == 0, done.stderr
    assert "left out" not in done.stderr
    assert residency([os.fsencode(file), os.fsencode(state)]).resident_bytes >= 1 << 16
    plan_file = disk_directory / "x.plan"
    assert coldseek("prefetch", trace, "--save", plan_file).returncode == 0
    state.write_bytes(b"y" * 9)  # by now it is another size, too
    done = coldseek("prefetch", plan_file)
    assert done.returncode == 0 and "left out" not in done.stderr


def test_a_small_file_that_changed_is_left_out(recorded: tuple[Path, Path]) -> None:
    """Many programs keep settings that change: the rest is brought in all the same."""
    file, trace = recorded
    small = file.with_name("settings")
    small.write_text("0\n")
    script = 'cat "$1" "$2" > /dev/null'
    made = coldseek("record", "-o", trace, "--", "sh", "-c", script, "sh", file, small)
    assert made.returncode == 0, made.stderr
    small.write_text("1\n")
    os.utime(small, ns=(0, 0))
    evict([os.fsencode(file)])
    before = residency([os.fsencode(file)]).resident_bytes
    dry = coldseek("prefetch", "--dry-run", trace)
    assert dry.returncode == 0 and "/settings was written to" in dry.stderr
    assert residency([os.fsencode(file)]).resident_bytes == before
    done = coldseek("prefetch", trace)
    assert done.returncode == 0, done.stderr
    assert "left out: changed since the trace was recorded: " in done.stderr
    assert "/settings was written to" in done.stderr and "prefetched" in done.stderr
    assert residency([os.fsencode(file)]).resident_bytes >= 8 << 20


def test_bad_arguments(recorded: tuple[Path, Path]) -> None:
    done = coldseek("prefetch", "--order", "fast", recorded[1])
    assert done.returncode == 2 and "there are device, time" in done.stderr


def test_a_plan_does_what_its_trace_does_and_needs_no_heavy_library(recorded: tuple[Path, Path]) -> None:
    file, trace = recorded
    where = file.with_name("x.plan")
    done = coldseek("prefetch", trace, "--save", where)
    assert done.returncode == 0 and "coldseek prefetch" in done.stderr, done.stderr
    shown = coldseek("prefetch", trace, "--dry-run").stdout
    assert shown.startswith(coldseek("prefetch", where, "--dry-run").stdout) and "plan + start" in shown
    program = (
        "import sys\nfrom profiler.cli import main\ntry: main()\n"
        "finally: print(*{'pandas', 'numpy', 'pyarrow'} & set(sys.modules))"
    )
    evict([os.fsencode(file)])
    done = subprocess.run(
        [sys.executable, "-c", program, "prefetch", where], capture_output=True, text=True, check=True
    )
    assert done.stdout == "\n" and "prefetched" in done.stderr
    assert residency([os.fsencode(file)]).resident_bytes >= 32 * 65536
    again = coldseek("prefetch", where, "--save", file.with_name("y.plan"))
    assert again.returncode == 2 and "is a plan already" in again.stderr
    again = coldseek("prefetch", where, "--order", "time")
    assert again.returncode == 2 and "is a plan already" in again.stderr
    both = coldseek("prefetch", trace, "--dry-run", "--save", file.with_name("y.plan"))
    assert both.returncode == 0 and "pieces, of" in both.stdout
    assert file.with_name("y.plan").read_bytes() == where.read_bytes()
    os.utime(file)
    assert "was written to" in coldseek("prefetch", where).stderr


def test_what_the_file_system_reads_of_its_own_is_prefetched_too(disk_directory: Path) -> None:
    """Files in many directories on a file system of their own: nearly all to read is where they are."""
    need_root()
    disk, place = disk_directory / "disk", disk_directory / "mounted"
    place.mkdir()
    with open(disk, "wb") as made:
        made.truncate(64 << 20)
    subprocess.run([need_tool("mkfs.ext4"), "-q", "-F", disk], check=True)
    mounted = subprocess.run([need_tool("mount"), "-o", "loop", disk, place], capture_output=True)
    need(mounted.returncode == 0, "needs a loop device")
    try:
        files = [place / f"{number:03}" / "file" for number in range(200)]
        for file in files:
            file.parent.mkdir()
            file.write_text("x")
        subprocess.run(["sync"], check=True)
        command = ["cat", *map(str, files)]
        before = record(command, "kernel", "cold", evict="all")
        assert before.meta.cache == "cold", before.meta.notes
        assert make_cold(data_files(before), []).of([os.fsencode(file) for file in files]).cold
        prefetch(plan_of(plan(before), before.files))
        after = record(command, "kernel", "keep")
        assert of_its_own(after, files[0]) < 0.1 * of_its_own(before, files[0])
        assert of_its_own(before, files[0]) > 50
    finally:
        subprocess.run(["umount", place], check=True)


def of_its_own(trace: Trace, file: Path) -> int:
    """Pages of its own that the file system of this file brought in."""
    status = file.stat()
    device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    rows = trace.layer("cache")
    files = trace.files.iloc[rows["file"]]
    chosen = (files["kind"] == "metadata").to_numpy(bool) & (files["device"] == device).to_numpy(bool)
    return int((chosen & (rows["op"] == "miss").to_numpy(bool)).sum())


@pytest.mark.parametrize("kind", ["metadata", "regular"])
def test_nothing_but_files_and_disks_is_opened(kind: str, disk_directory: Path) -> None:
    """To open a pipe lets its writer go on; a terminal, or the kernel's log, would do something too."""
    pipe, file = disk_directory / "pipe", disk_directory / "file"
    os.mkfifo(pipe)
    file.write_bytes(b"x")
    facts, special = file.stat(), pipe.stat()
    device = f"{os.major(facts.st_dev)}:{os.minor(facts.st_dev)}"
    plan_ = Plan(
        (KnownFile(os.fsencode(pipe), kind, device, special.st_ino, 0, special.st_mtime_ns),
         KnownFile(os.fsencode(file), "regular", device, facts.st_ino, 1, facts.st_mtime_ns)),
        ((0, 0, 4096, 0), (1, 0, 1, 1)),
    )  # fmt: skip
    writer = subprocess.Popen([sys.executable, "-c", "import sys; open(sys.argv[1], 'wb')", pipe])
    try:
        if kind == "metadata":
            assert [one.path for one in prefetch(plan_).left_out] == [os.fsencode(pipe)]
        else:
            (left,) = prefetch(plan_).changed
            assert left.path == os.fsencode(pipe) and "no regular file" in left.why
        assert writer.poll() is None, "the pipe was opened"
        assert open_known(row(plan_.files[0]))[0] is None
        assert writer.poll() is None, "the pipe was opened"
    finally:
        writer.kill()
        writer.wait()


def test_a_device_is_read_only_for_the_files_on_it(disk_directory: Path) -> None:
    file = disk_directory / "file"
    file.write_bytes(b"x")
    facts = file.stat()
    device = f"{os.major(facts.st_dev)}:{os.minor(facts.st_dev)}"
    regular = KnownFile(os.fsencode(file), "regular", device, facts.st_ino, 1, facts.st_mtime_ns)
    forged = KnownFile(b"/dev/null", "metadata", "1:3", 1, 0, 0)
    (left,) = prefetch(Plan((forged, regular), ((0, 0, 4096, 0), (1, 0, 1, 1)))).left_out
    assert left.path == b"/dev/null" and "no file system of the files" in left.why


def run_by_itself(plan: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The plan as a program, with no coldseek in reach."""
    return subprocess.run([plan, *words], capture_output=True, text=True, env={}, cwd="/", timeout=60)


def test_a_plan_runs_by_itself(recorded: tuple[Path, Path]) -> None:
    file, trace = recorded
    plan_file = file.with_name("x.plan")
    assert coldseek("prefetch", trace, "--save", plan_file).returncode == 0
    need(evict([os.fsencode(file)]).resident_bytes == 0, "the file system does not let go of its pages")
    done = run_by_itself(plan_file)
    assert done.returncode == 0 and "MiB" in done.stderr and done.stdout == "", done.stderr
    assert residency([os.fsencode(file)]).resident_bytes >= 32 * 65536
    again = run_by_itself(plan_file)
    assert ", 0.0 MiB from the disk" in again.stderr  # nothing of it is read a second time
    file.unlink()
    done = run_by_itself(plan_file)
    assert done.returncode == 0 and "left out: " in done.stderr and "data\\nfile' is gone" in done.stderr
    assert run_by_itself(plan_file, "--quiet").stderr == ""
    assert run_by_itself(plan_file, "--what").returncode == 2


def test_a_plan_loads_no_module_from_the_disk_but_what_python_needs_itself(
    recorded: tuple[Path, Path],
) -> None:
    need_tool("strace")
    file, trace = recorded
    plan_file, bare, log = (file.with_name(name) for name in ("x.plan", "bare", "log"))
    assert coldseek("prefetch", trace, "--save", plan_file).returncode == 0
    bare.write_text("#!/usr/bin/python3 -IS\nimport os\n")

    def modules(program: Path) -> set[str]:
        command = ["strace", "-f", "-e", "trace=open,openat", "-o", log, "/usr/bin/python3", "-IS", program]
        subprocess.run([*command, "--help"], check=True, capture_output=True)
        return {
            line.split('"')[1]
            for line in log.read_text().splitlines()
            if "ENOENT" not in line and '"' in line
        }

    assert modules(plan_file) - modules(bare) <= {str(plan_file)}


def test_what_is_left_of_nothing_is_an_error(disk_directory: Path) -> None:
    where = disk_directory / "x.plan"
    save(Plan((KnownFile(b"/nowhere/\x1b[2J", "regular", "8:1", 1, 1, 1),), ((0, 0, 1, 0),)), str(where))
    done = run_by_itself(where)
    assert done.returncode == 1 and "record it again" in done.stderr and "\x1b" not in done.stderr
    again = coldseek("prefetch", where)
    assert again.returncode == 125 and len(again.stderr.splitlines()) == 1 and "is gone" in again.stderr


@pytest.mark.parametrize("size", [2**50, 2**62])
def test_more_than_fits_is_refused(size: int, disk_directory: Path) -> None:
    where = disk_directory / "x.plan"
    save(Plan((KnownFile(b"/bin/sh", "regular", "8:1", 1, 1, 1),), ((0, 0, size, 0),)), str(where))
    assert "do not fit in memory" in run_by_itself(where).stderr
    assert "do not fit in memory" in coldseek("prefetch", where).stderr


def test_a_plan_of_what_most_starts_read(disk_directory: Path) -> None:
    """Each start reads two files, and one of its own that is there once."""
    for name in ("a", "b", "start.1", "start.2", "start.3"):
        (disk_directory / name).write_bytes(os.urandom(65536))
    script = 'cd "$1"; cat a b; n=$(cat n 2>/dev/null || echo 1); cat start.$n; echo $((n + 1)) > n'
    out = disk_directory / "x.trace.parquet"
    made = coldseek("record", "--repeat", "3", "-o", out, "--", "sh", "-c", script, "sh", disk_directory)
    assert made.returncode == 0, made.stderr
    runs = [disk_directory / f"x.{number}.trace.parquet" for number in (1, 2, 3)]
    assert not out.exists() and all(run.exists() for run in runs)
    for least, own in (("2", False), ("1", True)):
        done = coldseek("prefetch", *runs, "--in", least, "--dry-run")
        assert done.returncode == 0 and "Jaccard" in done.stderr and "recall" in done.stderr, done.stderr
        assert "/b\n" in done.stdout and ("/start.2\n" in done.stdout) == own
    assert "there are 3 traces" in coldseek("prefetch", *runs, "--in", "4", "--dry-run").stderr
    assert coldseek("prefetch", runs[0], "--in", "2").returncode == 2


def test_runs_that_go_on_are_not_repeated(disk_directory: Path) -> None:
    done = coldseek("record", "--repeat", "2", "--for", "1", "--", "sleep", "9")
    assert done.returncode == 2 and "end each run with --stop" in done.stderr


def test_what_is_needed_first_is_read_within_a_budget(recorded: tuple[Path, Path]) -> None:
    file, trace = recorded
    plan_file = file.with_name("x.plan")
    assert coldseek("prefetch", trace, "--save", plan_file).returncode == 0
    for run in (run_by_itself, lambda *words: coldseek("prefetch", *words)):
        need(evict([os.fsencode(file)]).resident_bytes == 0, "the file system does not let go of its pages")
        assert run(plan_file, "--budget", "64KiB").returncode == 0
        assert residency([os.fsencode(file)]).resident_bytes <= 65536
        assert run(plan_file, "--budget", "20s").returncode == 0
        assert residency([os.fsencode(file)]).resident_bytes >= 32 * 65536
        for wrong in ("5", "-1s", "nans", "1e99MiB", "MiB", ""):
            if wrong or run is run_by_itself:
                assert run(plan_file, "--budget", wrong).returncode == 2


def test_beside_a_start_it_returns_at_once_and_holds_nothing_open(recorded: tuple[Path, Path]) -> None:
    file, trace = recorded
    plan_file = file.with_name("x.plan")
    assert coldseek("prefetch", trace, "--save", plan_file).returncode == 0
    need(evict([os.fsencode(file)]).resident_bytes == 0, "the file system does not let go of its pages")
    done = run_by_itself(plan_file, "--beside")  # which waits for the ends of its pipes
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    deadline = time.monotonic() + PATIENCE_S
    while residency([os.fsencode(file)]).resident_bytes < 32 * 65536:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_ranges_are_the_pages_of_a_mapped_file_that_were_touched(disk_directory: Path) -> None:
    """Against the program's own list: pages at random, each once, with no read-ahead and none mapped
    beside."""
    need_root()
    file, log, trace = (disk_directory / name for name in ("model", "log", "x.trace.parquet"))
    file.write_bytes(os.urandom(16 << 20))
    subprocess.run(["sync"], check=True)
    need(evict([os.fsencode(file)]).resident_bytes == 0, "the file system does not let go of its pages")
    touch = (
        "import mmap,random,sys\nf=open(sys.argv[1],'rb')\nm=mmap.mmap(f.fileno(),0,prot=mmap.PROT_READ)\n"
        "m.madvise(mmap.MADV_RANDOM)\npages=random.Random(7).sample(range(4096),700)\n"
        "[m[page*4096] for page in pages]\nopen(sys.argv[2],'w').write(' '.join(map(str,pages)))"
    )
    made = coldseek("record", "--tracer", "kernel", "-o", trace, "--", "python3", "-c", touch, file, log)
    need(made.returncode == 0, made.stderr)
    done = coldseek("prefetch", trace, "--format", "ranges")
    content = json.loads(done.stdout)
    assert content["schema"] == "coldseek.ranges/1" and content["mapped_by"] == "faults"
    mine = [entry for entry in content["ranges"] if entry["file"] == str(file)]
    spans = [(entry["offset"] // 4096, entry["length"] // 4096) for entry in mine]
    got = [page for first, pages in spans for page in range(first, first + pages)]
    touched = list(map(int, log.read_text().split()))
    both = len(set(got) & set(touched))
    assert both >= 0.99 * len(touched) and both >= 0.95 * len(got)
    times = [entry["first_touch_ns"] for entry in content["ranges"]]
    assert times == sorted(times)
    if set(got) == set(touched):
        assert got == touched


def test_a_unit_and_a_hook_beside_the_plan(recorded: tuple[Path, Path]) -> None:
    file, trace = recorded
    plan_file = file.with_name("x.plan")
    done = coldseek("prefetch", trace, "--save", plan_file, "--unit", "db.service", "--hook", "libvirt")
    assert done.returncode == 0 and "install -D" in done.stderr, done.stderr
    assert str(plan_file) in Path(f"{plan_file}-db.service").read_text()
    assert "After=x.plan-db.service" in Path(f"{plan_file}-db.conf").read_text()
    assert os.access(f"{plan_file}-libvirt", os.X_OK)
    assert coldseek("prefetch", trace, "--unit", "db.service").returncode == 2
