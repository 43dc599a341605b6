"""What `test_guest.py` runs in its guest, whose PID 1 is systemd; pytest does not collect it here.

Of units of systemd one reads what `tests/programs/contract.py` reads, and tells it; another is dd.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE_S, ROOT, coldseek
from small_programs import until

from profiler.capture import tracer
from profiler.capture.kernel.observer import opened_root
from profiler.capture.kernel.probed import stand_ins
from profiler.capture.recording import Recording
from profiler.capture.watch.run import Watcher
from profiler.files.traces import load
from profiler.trace import Trace

CONTRACT = ROOT / "tests/programs/contract.py"
PAGE = 4096

PAGES_TOUCHED = (5, 17, 40)
MAPPED_READS = f"""
import mmap, os, sys
data = os.open(sys.argv[1], os.O_RDONLY)
os.posix_fadvise(data, 0, 0, os.POSIX_FADV_DONTNEED)
mapped = mmap.mmap(data, 0, prot=mmap.PROT_READ)
mapped.madvise(mmap.MADV_RANDOM)
print([mapped[{PAGE} * page] for page in {PAGES_TOUCHED}])
"""
TYPES = "/sys/kernel/btf/vmlinux"
PROBES, INSTANCES = Path("/sys/kernel/tracing/kprobe_events"), Path("/sys/kernel/tracing/instances")

HAS_EVENTS = Path("/sys/kernel/tracing/events/filemap/mm_filemap_get_pages").exists()

old_kernel = pytest.mark.skipif(HAS_EVENTS, reason="this kernel needs no probes")
new_kernel = pytest.mark.skipif(not HAS_EVENTS, reason="this kernel has nothing else")


def unit(name: str, *lines: str) -> None:
    """Make a service of systemd, which is not started. lines: of its section [Service]."""
    text = ["[Unit]", "DefaultDependencies=no", "[Service]", *lines, ""]
    Path(f"/run/systemd/system/{name}.service").write_text("\n".join(text))
    subprocess.run(["systemctl", "daemon-reload"], check=True, timeout=PATIENCE_S)


def state_of(name: str) -> str:
    words = ["systemctl", "is-active", f"{name}.service"]
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, timeout=PATIENCE_S).stdout.strip()


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """Where the contract tells what it has read; with the files for it in the same folder."""
    (tmp_path / "a").write_bytes(os.urandom(65536))
    (tmp_path / "b").write_bytes(os.urandom(16384))
    return tmp_path / "told"


def contract(told: Path) -> str:
    return f"/usr/bin/python3 {CONTRACT} {told.parent}"


def reads_of(found: Trace, folder: Path) -> list[list[object]]:
    """[file, offset, size] of the reads of the two files, in order; an offset that is not known is None."""
    reads = found.reads()
    offsets = reads["offset"].astype(object).where(reads["offset"].notna(), None)
    return [
        [os.path.basename(path).decode(), offset, size]
        for path, offset, size in zip(reads["path"], offsets, reads["size"].tolist(), strict=True)
        if path in (os.fsencode(folder / "a"), os.fsencode(folder / "b"))
    ]


def expect_contract(found: Trace, told: Path) -> None:
    """All 23 reads. The last, a sendfile whose offset lies in the program's memory, is known to have been,
    and its offset is right or unknown."""
    expected, got = json.loads(told.read_text()), reads_of(found, told.parent)
    assert len(expected) == 23
    assert got[:22] == expected[:22]
    assert got[22:] in ([expected[22]], [["b", None, expected[22][2]]])


def test_pid_1_is_systemd() -> None:
    assert Path("/proc/1/comm").read_text() == "systemd\n"


@pytest.fixture
def untyped() -> Iterator[None]:
    """A kernel that does not say how its types lie takes no probes that read them."""
    subprocess.run(["mount", "--bind", "/dev/null", TYPES], check=True)
    stand_ins._fetched.cache_clear()
    try:
        yield
    finally:
        subprocess.run(["umount", TYPES], check=True)


# -- what systemd starts -----------------------------------------------------------------------------------


def test_what_systemd_starts_for_systemctl_is_seen_without_being_asked_for(told: Path) -> None:
    """It is in the trace though it is no child of the command's."""
    unit("demo", "Type=oneshot", f"ExecStart=/bin/sh -c '{contract(told)} >{told}'")
    file = told.parent / "unasked.trace.parquet"
    done = coldseek("record", "-o", file, "--", "systemctl", "start", "demo.service")
    assert done.returncode == 0, done.stderr
    assert "unit:demo.service" in done.stderr and "INCOMPLETE" not in done.stderr
    found = load(file)
    expect_contract(found, told)
    assert found.meta.targets == ("unit:demo.service",)
    readers = found.tasks[found.tasks["program"] == b"/usr/bin/python3"]
    assert len(readers) and all(group.endswith(b"/demo.service") for group in readers["cgroup"])


def test_a_unit_that_is_named_is_watched_until_it_is_ready(told: Path) -> None:
    ready = told.parent / "ready"
    unit("demo", f"ExecStart=/bin/sh -c '{contract(told)} >{told} && >{ready} && exec sleep 1000'")
    file = told.parent / "asked.trace.parquet"
    done = coldseek(
        "record", "--with", "unit:demo.service", "--until", f"file:{ready}", "--timeout", PATIENCE_S,
        "-o", file, "--", "systemctl", "start", "demo.service",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = load(file)
    expect_contract(found, told)
    assert found.meta.ready_s is not None
    assert state_of("demo") == "active"
    subprocess.run(["systemctl", "stop", "demo.service"], check=True, timeout=PATIENCE_S)


def test_of_a_unit_s_cold_reads_what_the_disk_was_asked_for_is_seen_too(tmp_path: Path) -> None:
    """20 blocks of a file on a disk, by dd."""
    data, file = tmp_path / "data", tmp_path / "dd.trace.parquet"
    data.write_bytes(os.urandom(1 << 20))
    words = f"dd if={data} of=/dev/null bs={PAGE} skip=5 count=20 status=none"
    unit("blocks", "Type=oneshot", f"ExecStart=/usr/bin/{words}")
    done = coldseek(
        "record", "--cache", "cold", "--evict", "all", "-o", file, "--", "systemctl", "start", "blocks",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = load(file)
    assert found.meta.cache == "cold", found.meta.notes
    reads = found.reads()
    mine = reads[reads["path"] == os.fsencode(data)]
    assert mine["offset"].tolist() == [PAGE * number for number in range(5, 25)]
    assert mine["size"].tolist() == [PAGE] * 20
    events = found.events
    number = found.files.index[found.files["path"] == os.fsencode(data)]
    brought = events[(events["layer"] == "cache") & events["file"].isin(number)]
    assert brought["size"].sum() >= 20 * PAGE
    assert (events["layer"] == "device").any()


def test_a_mapped_file_s_page_faults_are_seen(tmp_path: Path) -> None:
    faults = faults_of(tmp_path)
    assert set(faults) == {PAGE * page for page in PAGES_TOUCHED}


def faults_of(folder: Path, unseen: Collection[str] = ()) -> list[int]:
    """Where in a file of 64 pages a program has made page faults."""
    data = folder / "mapped"
    data.write_bytes(os.urandom(64 * PAGE))
    os.sync()
    made, _ = tracer.choose("kernel")
    found = made.record(Recording(["/usr/bin/python3", "-c", MAPPED_READS, str(data)], silent=True))
    assert found.meta.exit_status == 0 and set(found.meta.unseen) == set(unseen)
    events = found.events[found.events["op"] == "fault"]
    number = found.files.index[found.files["path"] == os.fsencode(data)]
    offsets: list[int] = events["offset"][events["file"].isin(number)].tolist()
    return offsets


def test_requests_of_libaio_past_the_page_cache_are_exact(tmp_path: Path) -> None:
    """Nothing but what the kernel reads for them tells where they are."""
    data = tmp_path / "data"
    data.write_bytes(os.urandom(1 << 20))
    os.sync()
    words = f"bench -f raw -n -t none -c 20 -d 4 -o {PAGE} -s {PAGE} -S {3 * PAGE} {data}"
    found = Watcher(None).record(Recording(["/usr/bin/qemu-img", *words.split()], silent=True))
    assert found.meta.exit_status == 0
    reads = found.reads()
    mine = reads[(reads["path"] == os.fsencode(data)) & (reads["op"] == "aio_pread")]
    assert sorted(mine["offset"]) == [PAGE + 3 * PAGE * number for number in range(20)]
    assert set(mine["size"]) == {PAGE} and mine["direct"].all()


@new_kernel
def test_probes_tell_what_the_events_do(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the functions of Linux 6.3 to 6.9, which newer ones have, too."""
    monkeypatch.setattr(stand_ins, "_lacking", lambda root, events: list(events))
    with opened_root() as root:
        functions = [words.split()[0] for probes in stand_ins.for_reads(root).values() for words in probes]
    assert functions == ["filemap_read", "filemap_splice_read", "__iomap_dio_rw"]
    found = Watcher(None).record(Recording(["/bin/sh", "-c", f"{contract(told)} >{told}"], silent=True))
    expect_contract(found, told)
    assert set(faults_of(told.parent)) == {PAGE * page for page in PAGES_TOUCHED}
    test_requests_of_libaio_past_the_page_cache_are_exact(told.parent)


# -- where the kernel has not all that this needs -----------------------------------------------------------


@old_kernel
def test_the_probes_of_a_coldseek_that_is_killed_are_removed(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "profiler", "attach", "1", "-o", str(tmp_path / "t.trace.parquet")]
    running = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL)
    try:  # what is only tried is no instance's
        assert until(lambda: len(os.listdir(INSTANCES)) == 2)
        assert "mm_filemap_get_pages" in PROBES.read_text()
    finally:
        running.kill()
        running.wait()
    assert until(lambda: PROBES.read_text() == "" and not os.listdir(INSTANCES))


@old_kernel
def test_without_probes_page_faults_are_said_to_be_unseen(untyped: None, tmp_path: Path) -> None:
    assert faults_of(tmp_path, {"mmap"}) == []


@old_kernel
def test_without_probes_doctor_says_that_others_cannot_be_watched(untyped: None) -> None:
    line = next(line for line in coldseek("doctor").stdout.splitlines() if line.startswith("  others "))
    assert "DOES NOT WORK: this kernel has no event mm_filemap_get_pages" in line


@old_kernel
@pytest.mark.parametrize("words", [
    ["record", "--with", "unit:demo.service", "--", "systemctl", "start", "demo.service"],
    ["attach", "unit:demo.service", "--for", "1"],
])  # fmt: skip
def test_without_probes_watching_is_refused(words: list[str], untyped: None, tmp_path: Path) -> None:
    """In one line that says what it has not, before anything is done."""
    unit("demo", "Type=oneshot", "RemainAfterExit=yes", "ExecStart=/bin/true")
    done = coldseek(*words, cwd=tmp_path)
    assert done.returncode == 125
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and "mm_filemap_get_pages" in lines[0], done.stderr
    assert state_of("demo") == "inactive"
    assert not list(tmp_path.iterdir())


@old_kernel
def test_without_probes_the_trace_of_a_client_says_whose_reads_are_missing(
    untyped: None, told: Path
) -> None:
    unit("demo", "Type=oneshot", f"ExecStart=/bin/sh -c '{contract(told)} >{told}'")
    file = told.parent / "client.trace.parquet"
    done = coldseek("record", "-o", file, "--", "systemctl", "start", "demo.service")
    assert done.returncode == 0, done.stderr
    found = load(file)
    assert len(json.loads(told.read_text())) == 23  # it ran
    assert reads_of(found, told.parent) == []
    assert found.meta.targets == ()
    note = found.meta.notes[0]
    assert note.startswith("INCOMPLETE: not watched: unit:demo.service")
    assert "mm_filemap_get_pages" in note and "record the program itself" in note
    report = coldseek("report", file)
    assert "not watched: unit:demo.service" in " ".join(report.stdout.split())


def test_recorded_itself_the_program_of_a_unit_has_all_its_reads(told: Path) -> None:
    """What the refusal says: by the tracer that stops it for its opens, under systemd."""
    file = told.parent / "itself.trace.parquet"
    record = f"/usr/bin/python3 -m profiler record -o {file} -- {contract(told)}"
    unit("demo", "Type=oneshot", f"WorkingDirectory={ROOT}", "Environment=PYTHONPATH=/job HOME=/root",
         f"ExecStart=/bin/sh -c '{record} >{told}'")  # fmt: skip
    subprocess.run(["systemctl", "start", "demo.service"], check=True, timeout=PATIENCE_S)
    found = load(file)
    assert found.meta.tracer == "kernel" and found.meta.complete
    assert reads_of(found, told.parent) == json.loads(told.read_text())
