"""An image opened as a machine opens it, and what QEMU's tools say where they refuse one."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import need_root, need_tool
from test_cache import as_nobody
from test_images import create_encrypted

from profiler.cli.commands import open_image
from profiler.errors import ColdseekError
from profiler.machine.qemu_img import WAYS, open_command
from profiler.studies import verify
from profiler.studies.record import record

MIB = 2**20
F_OFD_SETLK = 37  # asm-generic/fcntl.h; Python 3.11 has no name for it


@pytest.fixture(autouse=True)
def tools() -> None:
    need_tool("qemu-img")
    need_tool("qemu-io")


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout


def images(folder: Path, count: int) -> list[Path]:
    """A chain of so many images, the last in front; the first has all the data."""
    made: list[Path] = []
    for number in range(count):
        path = folder / f"{number}.qcow2"
        behind = ("-b", made[-1], "-F", "qcow2") if made else ()
        run("qemu-img", "create", "-q", "-f", "qcow2", *behind, path, "64M")
        made.append(path)
    run("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 1M", "-c", "write -P 8 63M 1M", made[0])
    return made


def test_a_machine_reads_through_the_whole_chain_and_changes_nothing(tmp_path: Path) -> None:
    chain = images(tmp_path, 4)
    before = [hashlib.sha256(path.read_bytes()).digest() for path in chain]
    meant, command = open_command(str(chain[-1]), "vm")
    assert meant == os.path.realpath(chain[-1])
    trace = record(command, tracer="ptrace")
    assert trace.meta.exit_status == 0
    reads = trace.reads()
    read = {os.path.basename(os.fsdecode(path)): rows for path, rows in reads.groupby("path")}
    assert {path.name for path in chain} <= set(read)  # info would look at the first alone
    data = read["0.qcow2"]
    assert int(data.loc[data["size"] >= 33 * 512, "size"].sum()) >= MIB + 33 * 512
    assert [hashlib.sha256(path.read_bytes()).digest() for path in chain] == before


def test_the_report_names_the_images_of_the_chain(tmp_path: Path) -> None:
    """Of several formats, the one behind all of them raw."""
    raw, middle, front = tmp_path / "base.raw", tmp_path / "middle.qed", tmp_path / "front.qcow2"
    raw.write_bytes(os.urandom(2 * MIB))
    run("qemu-img", "create", "-q", "-f", "qed", "-b", raw, "-F", "raw", middle)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "middle.qed", "-F", "qed", front)
    out = tmp_path / "out"
    words = ["open", str(front), "--by", "vm", "--runs", "1", "--tracer", "ptrace", "-o", str(out)]
    done = subprocess.run([sys.executable, "-m", "profiler", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = " ".join((out / "report.txt").read_text().split())
    assert "a chain of 3 files, 3 of them read" in report
    assert "front.qcow2, behind it middle.qed, behind it base.raw" in report
    told = json.loads((out / "report.json").read_text())["cold"]["report"]["chain"]
    assert told["members"] == [{"path": str(path)} for path in (front, middle, raw)]
    assert told["complete"] is True


def test_the_ways_are_the_same_in_help_and_completion() -> None:
    assert open_image.WAYS == WAYS


FORMATS = {
    "qcow2": "64M", "raw": "1536", "qed": "2M", "vdi": "1M", "vhdx": "3M", "vmdk": "100M", "vpc": "5M",
    "parallels": "4M", "qcow": "1000k",
}  # fmt: skip


@pytest.mark.parametrize("format", FORMATS)
def test_images_of_every_format_and_of_odd_sizes(tmp_path: Path, format: str) -> None:
    path = tmp_path / "image"
    run("qemu-img", "create", "-q", "-f", format, path, FORMATS[format])
    _, command = open_command(str(path), "vm")
    assert run(*command) == ""  # nothing was refused, and nothing said


def test_an_image_that_a_running_machine_has_open(tmp_path: Path) -> None:
    (path,) = images(tmp_path, 1)
    machine = subprocess.Popen(
        ["qemu-io", "-f", "qcow2", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert machine.stdin is not None and machine.stdout is not None
    try:
        machine.stdin.write(b"length\n")
        machine.stdin.flush()
        machine.stdout.readline()  # it has opened the image
        _, command = open_command(str(path), "vm")
        run(*command)
    finally:
        machine.communicate(b"quit\n")


# ---- refused ---------------------------------------------------------------------------------------------


def refusal(image: Path | str, way: str) -> str:
    with pytest.raises(ColdseekError) as caught:
        open_command(str(image), way)
    text = str(caught.value)
    assert "\n" not in text and text.isprintable()
    return text


def changed(path: Path, offset: int, value: bytes) -> Path:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(value)
    return path


def test_a_backing_file_that_is_gone(tmp_path: Path) -> None:
    base, front = images(tmp_path, 2)
    base.unlink()
    text = refusal(front, "vm")
    assert "0.qcow2" in text and "No such file" in text
    assert "qemu-img rebase -u" in text


def test_a_backing_file_that_may_not_be_read(tmp_path: Path) -> None:
    base, front = images(tmp_path, 2)
    need_root()
    base.chmod(0)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    text = as_nobody(lambda: refusal(front, "vm"))
    assert "Permission denied" in text and "--as-root" in text


def test_a_version_and_a_feature_that_this_qemu_does_not_know(tmp_path: Path) -> None:
    (path,) = images(tmp_path, 1)
    assert "another QEMU" in refusal(changed(path, 72, b"\x80"), "info")
    text = refusal(changed(path, 4, b"\0\0\0\x09"), "info")
    assert "Unsupported qcow2 version 9" in text and "another QEMU" in text


def test_an_encrypted_image_without_its_key(tmp_path: Path) -> None:
    path = create_encrypted(tmp_path / "image", "encrypt.format=luks,encrypt.key-secret=key", "2M", "qcow2")
    for way in ("check", "map", "read", "vm"):
        assert re.search(r"key-secret.*it is encrypted; --by info needs no key", refusal(path, way))
    open_command(str(path), "info")


@pytest.mark.parametrize("way", ["check", "map", "read", "vm"])
def test_an_image_that_another_process_has_for_itself(tmp_path: Path, way: str) -> None:
    """As QEMU has it while it puts one together: nobody shall read what is half written."""
    (path,) = images(tmp_path, 1)
    with path.open("rb") as file:
        # at byte 200 QEMU says that consistent reads are not shared (RAW_LOCK_SHARED_BASE)
        of_one = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 200, 1, 0)
        fcntl.fcntl(file, F_OFD_SETLK, of_one)
        text = refusal(path, way)
        assert 'Failed to get "consistent read" lock Is another process using the image' in text  # all of it
        assert "stop the virtual machine" in text
        open_command(str(path), "info")
    open_command(str(path), way)


def test_files_of_data_that_are_gone(tmp_path: Path) -> None:
    apart, flat = tmp_path / "apart.qcow2", tmp_path / "flat.vmdk"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={tmp_path}/data", apart, "1M")
    run("qemu-img", "create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", flat, "1M")
    for path, name in ((apart, "data"), (flat, "flat-flat.vmdk")):
        (tmp_path / name).unlink()
        text = refusal(path, "map")
        assert f"{name}': No such file" in text and "bring back the file that it names" in text


def test_a_damaged_image_and_a_driver_that_there_is_none_of(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(os.urandom(4096))
    by_name = 'json:{"driver":"%s","file":{"driver":"file","filename":"%s"}}'
    assert "of another format than it is taken for" in refusal(by_name % ("vmdk", path), "info")
    assert "Unknown driver" in refusal(by_name % ("nothing", path), "info")


DAMAGED = {
    "qcow2": (20, b"\0\0\0\x40"), "vhdx": (1 << 16, bytes(2 << 16)), "qed": (4, b"\xff\xff"),
    "vpc": (16, b"\xff"), "vmdk": (20, b"\xff" * 8), "parallels": (28, b"\xff" * 4), "qcow": (32, b"\xff"),
    "vdi": (384, b"\xff" * 4),
}  # fmt: skip


@pytest.mark.parametrize("format", DAMAGED)
def test_a_header_that_is_damaged(tmp_path: Path, format: str) -> None:
    path = tmp_path / "image"
    run("qemu-img", "create", "-q", "-f", format, path, "8M")
    text = refusal(changed(path, *DAMAGED[format]), "info")
    assert text.startswith(f"qemu-img refuses {path}: ") and "damaged" in text


def test_a_file_that_ends_within_its_header(tmp_path: Path) -> None:
    (path,) = images(tmp_path, 1)
    os.truncate(path, 100)
    assert re.search("too short; it is damaged", refusal(path, "info"))


def test_a_copy_that_cannot_be_made_says_all_of_why(tmp_path: Path) -> None:
    (path,) = images(tmp_path, 1)
    command = ["qemu-img", "convert", "-O", "raw", str(path), "/dev/null/x"]
    assert verify._run(command, None).startswith("qemu-img refuses it: ")


def test_what_an_image_makes_qemu_say_is_escaped_and_not_endless(tmp_path: Path) -> None:
    base, front = images(tmp_path, 2)
    base.unlink()
    name = "\x1b[31m" + "x" * 900
    run("qemu-img", "rebase", "-u", "-b", name, "-F", "qcow2", front)
    text = refusal(front, "vm")
    assert "\x1b" not in text and "x" * 100 in text and len(text) < 2000


def test_a_tool_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = images(tmp_path, 1)
    folder = tmp_path / "bin"
    folder.mkdir()
    found = subprocess.run(["which", "qemu-img"], capture_output=True, text=True, check=True).stdout.strip()
    (folder / "qemu-img").symlink_to(found)
    monkeypatch.setenv("PATH", str(folder))
    assert "qemu-io: command not found" in refusal(path, "vm")
