"""Facts of the host, against the tools that know them: filefrag(8), findmnt(8), stat(1)."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from conftest import need_root, need_tool
from small_programs import until

from profiler.capture.calls.event_log import OP_CODES, Recorder
from profiler.capture.complete import complete
from profiler.facts.host import Device, to_json
from profiler.machine import extents as extents_module
from profiler.machine import host, mounts
from profiler.machine.extents import extents
from profiler.machine.host import host_facts
from profiler.machine.mounts import filesystem_of
from profiler.machine.procfs import describe, mappings
from profiler.trace import EXTENT_COLUMNS, FileFacts, Meta, Trace
from profiler.units import device_name
from profiler.validity import validate

LAST = 1


def device_of(path: str | Path) -> str:
    return device_name(os.stat(path).st_dev)


def trace_of(*paths: Path) -> Trace:
    """A trace that reads these files once each, the later ones more."""
    recorder = Recorder()
    for number, path in enumerate(paths):
        file = recorder.file(path, describe(os.fsencode(path), os.stat(path)))
        recorder.add(number, 1, 1, 1, OP_CODES["read"], file, 0, 0, 4096, 1 + number)
    return recorder.trace(Meta(notes=("first",)))


# ---- host ------------------------------------------------------------------------------------------------


def test_host_facts_are_what_the_system_says() -> None:
    facts = host_facts([device_of("/"), ""])
    json.dumps(to_json(facts), allow_nan=False)
    assert facts.kernel == os.uname().release
    assert facts.cpus == os.cpu_count()
    total = int(re.findall(r"MemTotal:\s+([0-9]+) kB", Path("/proc/meminfo").read_text())[0]) * 1024
    assert facts.memory_bytes == pytest.approx(total, rel=0.1)
    assert list(facts.devices) == [device_of("/")]


def test_a_device_on_a_disk_has_its_size_and_read_ahead(disk_directory: Path) -> None:
    device = device_of(disk_directory)
    if not Path("/sys/dev/block", device).exists():
        pytest.skip("the test directory is on no block device of its own")  # overlay, btrfs: also in CI
    facts = host_facts([device]).devices[device]
    assert facts.size_bytes > 2**20
    assert facts.size_bytes % 512 == 0
    assert facts.read_ahead_kb >= 0
    assert facts.rotational in (True, False)
    assert facts.name == Path("/sys/dev/block", device).resolve().name
    assert facts.disk and facts.name.startswith(facts.disk)
    number = Path("/sys/class/block", facts.disk.replace("/", "!"), "dev").read_text().strip()
    stacked = facts.under or facts.disk_number is None
    assert stacked or (facts.disk_number, facts.start_bytes == 0) == (number, number == device)


@pytest.mark.parametrize("device", ["0:0", "4095:9999", "nonsense", "../../x", "8:1\n"])
def test_what_is_not_known_of_a_device_is_none(device: str) -> None:
    facts = host_facts([device]).devices[device]
    assert facts == Device(filesystems=facts.filesystems)


def test_a_partition_belongs_to_its_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_path / "sda"
    for name, text in {
        "sda1/partition": "1", "sda1/size": "2048", "queue/rotational": "1", "queue/read_ahead_kb": "128",
        "queue/scheduler": "none [mq-deadline] kyber", "device/model": "A  Disk ", "dev": "8:0",
        "sda1/start": "2048", "sda1/dev": "8:1",
    }.items():  # fmt: skip
        (disk / name).parent.mkdir(parents=True, exist_ok=True)
        (disk / name).write_text(text + "\n")
    monkeypatch.setattr(host, "_sysfs", lambda device: disk / "sda1")
    facts = host_facts(["8:1"]).devices["8:1"]
    assert (facts.name, facts.disk, facts.model) == ("sda1", "sda", "A  Disk")
    assert (facts.rotational, facts.read_ahead_kb, facts.scheduler) == (True, 128, "mq-deadline")
    assert facts.size_bytes == 2**20
    assert (facts.disk_number, facts.start_bytes) == ("8:0", 2**20)
    (disk / "sda1/start").unlink()
    assert host_facts(["8:1"]).devices["8:1"].start_bytes is None


@pytest.mark.parametrize("name", ["sda", "dm-0", "nvme-subsystem/nvme-subsys0/nvme0n1"])
def test_where_requests_are_passed_on_places_are_not_known(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / name
    (disk / "slaves").mkdir(parents=True)
    (disk / "dev").write_text("8:0\n")
    if name == "dm-0":
        (disk / "slaves" / "sda").touch()
    monkeypatch.setattr(host, "_sysfs", lambda device: disk)
    facts = host_facts(["8:0"]).devices["8:0"]
    known = ("8:0", 0) if name == "sda" else (None, None)
    assert (facts.disk_number, facts.start_bytes) == known


# ---- file systems ----------------------------------------------------------------------------------------


def test_the_file_system_is_the_one_that_is_mounted(disk_directory: Path) -> None:
    findmnt = need_tool("findmnt")
    told = subprocess.run(
        [findmnt, "--noheadings", "--output", "FSTYPE", "--target", disk_directory],
        capture_output=True, text=True,
    )  # fmt: skip
    if told.returncode != 0:
        pytest.skip("no mount table that shows this directory (chroot)")  # in CI too
    assert filesystem_of(device_of(disk_directory), os.fsencode(disk_directory)) == told.stdout.strip()


def test_a_file_system_that_is_not_known_is_empty() -> None:
    assert filesystem_of("4095:77") == ""
    assert filesystem_of("4095:77", b"/") == ""  # another device by now
    assert filesystem_of("4095:77", b"/none") == filesystem_of("4095:77", b"a\0b") == ""
    assert filesystem_of("") == ""


def test_a_file_is_found_by_its_mount_where_the_device_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on btrfs, where stat gives a device that no mount shows."""
    own = mounts.mounts()
    hidden = [mounts.Mount(mount.number, "0:9999", mount.kind) for mount in own]
    monkeypatch.setattr(mounts, "mounts", lambda: hidden)
    monkeypatch.setattr(mounts, "_kinds", {})
    assert filesystem_of(device_of("/proc")) == ""
    assert filesystem_of(device_of("/proc"), b"/proc/version") == "proc"
    assert filesystem_of(device_of("/proc")) == "proc"  # and is remembered


def test_mountinfo_with_escapes_tags_and_rubbish() -> None:
    text = (
        b"36 35 98:0 /mnt1 /a\\040b rw,noatime master:1 shared:2 - ext3 /dev/a\\040b rw\n"
        b"37 35 0:33 / /c rw - fuse.a\\040b\\134 src rw\n\n"
        b"rubbish\n38 35 8:1 / /no-dash rw ext4\nx y - z\n"
    )
    found = mounts.mounts(text)
    assert [(mount.number, mount.device, mount.kind) for mount in found] == [
        (36, "98:0", "ext3"),
        (37, "0:33", "fuse.a b\\"),
    ]


# ---- extents ---------------------------------------------------------------------------------------------


def scattered(path: Path, parts: int) -> Path:
    """A file of that many separate parts, holes between them."""
    with open(path, "wb") as target:
        for number in range(parts):
            os.pwrite(target.fileno(), b"x" * 4096, number * 65536)
        os.fsync(target.fileno())
    return path


def filefrag(path: Path) -> list[tuple[int, int, int]]:
    """Logical, physical, length of each extent, in bytes, as filefrag(8) has it."""
    tool = need_tool("filefrag")
    told = subprocess.run([tool, "-v", "-b1", path], capture_output=True, text=True)
    if told.returncode != 0 or "FIBMAP" in told.stdout:
        pytest.skip(f"no FIEMAP on this file system: {told.stdout}{told.stderr}")  # also in CI
    rows = re.findall(
        r"^\s*[0-9]+:\s*([0-9]+)\.\.\s*[0-9]+:\s*([0-9]+)\.\.\s*[0-9]+:\s*([0-9]+):", told.stdout, re.M
    )
    return [(int(logical), int(physical), int(length)) for logical, physical, length in rows]


def test_filefrag_says_the_same(disk_directory: Path) -> None:
    paths = [scattered(disk_directory / "scattered", 50), scattered(disk_directory / "whole", 1)]
    expected = [row for path in paths for row in filefrag(path)]
    trace = trace_of(*paths)
    found, notes = extents(trace.files)
    assert {name: str(dtype) for name, dtype in found.dtypes.items()} == EXTENT_COLUMNS
    assert [tuple(row) for row in found[["logical", "physical", "length"]].to_numpy()] == expected
    assert found["file"].tolist() == [0] * (len(expected) - 1) + [1]
    assert found["flags"].iloc[-1] & LAST
    assert notes == ()


def test_many_extents_take_several_calls(disk_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = scattered(disk_directory / "file", 30)
    expected = filefrag(path)
    monkeypatch.setattr(extents_module, "_EXTENTS_AT_ONCE", 7)
    found, _ = extents(trace_of(path).files)
    assert [tuple(row) for row in found[["logical", "physical", "length"]].to_numpy()] == expected


def test_too_many_extents_are_cut_and_that_is_noted(disk_directory: Path) -> None:
    first, second = scattered(disk_directory / "a\n", 20), scattered(disk_directory / "b", 20)
    count = len(filefrag(first))
    trace = trace_of(first, second)
    found, notes = extents(trace.files, per_file=5)
    assert found["file"].tolist() == [0] * 5 + [1] * 5
    assert len(notes) == 2
    assert "first 5 extents" in notes[0]
    assert notes[0].isprintable()
    found, notes = extents(trace.files, in_all=count)
    assert found["file"].unique().tolist() == [0]
    assert notes == (f"places on the device are known for the first {count} extents only",)


def test_a_file_that_is_another_by_now_has_none(disk_directory: Path) -> None:
    path = scattered(disk_directory / "file", 3)
    files = trace_of(path).files
    os.rename(scattered(disk_directory / "other", 3), path)
    assert len(extents(files)[0]) == 0
    path.unlink()
    os.mkfifo(path)  # opening it would block
    assert len(extents(files)[0]) == 0
    path.unlink()
    assert len(extents(files)[0]) == 0


def test_files_without_a_place_have_none(tmp_path: Path) -> None:
    facts = [
        FileFacts(b"/proc/version", device_of("/proc"), os.stat("/proc/version").st_ino, kind="regular"),
        FileFacts(b"pipe:[1]", kind="pipe"),
        FileFacts(b"/etc/passwd", kind="regular"),  # of an imported log: no inode
        FileFacts(b"a\0b", "8:1", 1, kind="regular"),
    ]
    recorder = Recorder()
    for number, fact in enumerate(facts):
        recorder.file(number, fact)
    found, notes = extents(recorder.trace(Meta()).files)
    assert len(found) == 0
    assert notes == ()
    assert {name: str(dtype) for name, dtype in found.dtypes.items()} == EXTENT_COLUMNS


def test_complete_fills_in_the_surroundings(disk_directory: Path) -> None:
    paths = [scattered(disk_directory / name, 3) for name in ("a", "b")]
    trace = trace_of(*paths)
    whole = complete(trace)
    validate(whole)
    placed = whole.extents["file"].unique().tolist()
    assert placed[:2] == [1, 0]  # more was read of the second
    assert set(whole.files["kind"][placed[2:]]) == {"directory"}  # those above
    assert list(whole.meta.host.devices) == [device_of(disk_directory)]
    assert set(whole.files["filesystem"]) == {filesystem_of(device_of(disk_directory))}
    assert whole.meta.notes == ("first",)
    pd.testing.assert_frame_equal(whole.events, trace.events)


def test_complete_takes_an_empty_trace() -> None:
    whole = complete(Trace())
    validate(whole)
    assert whole.meta.host.devices == {}


def test_the_program_of_a_chroot_is_named_as_it_is_outside(tmp_path: Path) -> None:
    need_root()
    sleep = need_tool("sleep")
    libraries = subprocess.run([need_tool("ldd"), sleep], capture_output=True, text=True, check=True).stdout
    for file in {sleep, *re.findall(r"/[^ ]+", libraries)}:
        (tmp_path / file[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / file[1:])
    running = subprocess.Popen([need_tool("chroot"), tmp_path, sleep, "600"])
    inside = tmp_path / sleep[1:]
    try:

        def inodes() -> list[int | None]:
            return [
                one.facts.inode for one in mappings(running.pid) if one.facts.path == os.fsencode(inside)
            ]

        assert until(inodes)
        assert set(inodes()) == {inside.stat().st_ino}
    finally:
        running.kill()
        running.wait()
