"""The rules of disk images, on images of qemu-img: what each finds, and that its remedy helps."""

from __future__ import annotations

import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import need_root, need_tool, run_patiently

from profiler import devices
from profiler.analysis.advice import image_rules
from profiler.analysis.advice.evidence import Finding
from profiler.analysis.advice.findings import find
from profiler.analysis.advice.options import advise
from profiler.analysis.simulation.projection import requests
from profiler.capture.complete import complete
from profiler.capture.images.heads import Layers, layers
from profiler.capture.tracer import choose
from profiler.files.owner import Owner
from profiler.studies.record import discover
from profiler.trace import Trace

MIB, GIB = 2**20, 2**30


@pytest.fixture(autouse=True)
def qemu() -> None:
    need_tool("qemu-img")
    need_tool("qemu-io")


def run(*command: str, text: str = "") -> None:
    run_patiently(*command, input=text.encode())


def create(image: Path, size: str, options: str = "cluster_size=64k") -> str:
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, str(image), size)
    return str(image)


def trace(*command: str) -> Trace:
    made = complete(discover(command, lambda: choose("ptrace")))
    assert made.meta.exit_status == 0
    return made


def found(*command: str) -> dict[str, Finding]:
    made = trace(*command)
    reads = made.reads()
    return {one.kind: one for one in find(made, reads, requests(made, reads))}


def do(remedy: str) -> None:
    subprocess.run(["sh", "-ec", remedy], check=True, capture_output=True)


def test_bitmaps_cost_every_open(tmp_path: Path) -> None:
    image = create(tmp_path / "a b.qcow2", "1G")
    for number in range(60):
        run("qemu-img", "bitmap", "--add", image, f"backup {number}")
    one = found("qemu-img", "info", image)["bitmaps"]
    assert one.numbers["bitmaps"] == 60 and one.numbers["reads"] >= 60
    assert one.numbers["requests"] > 30 and one.numbers["share"] > 0.8
    while one := found("qemu-img", "info", image).get("bitmaps"):
        do(one.remedy)
    left = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", image]))
    assert len(left["format-specific"]["data"]["bitmaps"]) < 20


def unclean(image: Path) -> str:
    """An image whose writer died, so that its refcounts are not up to date."""
    create(image, "4G", "lazy_refcounts=on")
    write = ["-c", "write 0 64k", "-c", "write 1G 64k", "-c", "write 2G 1M", "-c", "flush", "-c", "abort"]
    died = subprocess.run(["qemu-io", *write, str(image)], check=False, capture_output=True)
    assert died.returncode < 0
    return str(image)


def test_a_dirty_image_is_repaired_before_all_else(tmp_path: Path) -> None:
    image = unclean(tmp_path / "a.qcow2")
    whole = Path(image).read_bytes()
    ahead = found("qemu-img", "info", image)["dirty"]
    assert ahead.numbers["reads"] == 0 and ahead.numbers["tables_bytes"] >= 3 * 65536
    read = ("qemu-io", "-c", "read 0 4k", image)
    one = found(*read)["dirty"]
    assert one.numbers["reads"] >= 6 and one.numbers["share"] > 0.4
    assert "refcount rebuild" in one.words
    assert "dirty" not in found(*read)
    Path(image).write_bytes(whole)
    do(one.remedy)
    assert "dirty" not in found(*read)
    left = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", image]))
    assert left["format-specific"]["data"]["lazy-refcounts"] is False


def test_what_the_first_run_repaired_is_said(tmp_path: Path) -> None:
    """`compare` runs a command several times: only the first finds the image as it was."""
    read = ["qemu-io", "-c", "read 0 4k", unclean(tmp_path / "a.qcow2")]
    done = subprocess.run(
        [sys.executable, "-m", "profiler", "compare", "--runs", "1", "--format", "json", "--", *read],
        check=False, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    sides = json.loads(done.stdout)
    for side in ("cold", "warm"):
        notes = sides[side]["report"]["trace"]["notes"]
        assert sum("the first run repaired it" in note for note in notes) == 1


def test_an_l2_cache_that_was_told_to_be_small(tmp_path: Path) -> None:
    """Clusters of 4 KiB: a table maps 2 MiB, and QEMU holds four of them at least."""
    image = create(tmp_path / "a.qcow2", "1G", "cluster_size=4k,preallocation=metadata")
    chance = random.Random(23)
    reads = "".join(f"read {chance.randrange(GIB // MIB) * MIB} 512\n" for _ in range(2000))
    (tmp_path / "reads").write_text(reads)
    start = f"exec qemu-io -r --image-opts {{}} < {shlex.quote(str(tmp_path / 'reads'))}"
    options = f"driver=qcow2,file.driver=file,file.filename={image}"
    one = found("sh", "-c", start.format(f"{options},l2-cache-size=64k"))["l2-cache"]
    assert one.numbers["reads_again"] > 500 and one.numbers["needed_bytes"] == 2 * MIB
    option, _, larger = one.remedy.partition("  # or larger clusters: ")
    assert larger.startswith("qemu-img convert -O qcow2 -o cluster_size=64k ")
    size = option.rpartition(",")[2]
    assert size == f"l2-cache-size={2 * MIB}"
    assert "l2-cache" not in found("sh", "-c", start.format(f"{options},{size}"))


def test_snapshots_cost_every_open(tmp_path: Path) -> None:
    image = create(tmp_path / "a.qcow2", "1G")
    for number in range(5):
        run("qemu-img", "snapshot", "-c", f"before update {number}", image)
    info = ("qemu-img", "info", image)
    one = found(*info)["snapshots"]
    assert one.numbers["snapshots"] == 5 and one.numbers["reads"] >= 5
    assert one.numbers["requests"] >= 1 and one.numbers["bytes"] > 5 * 40
    for left in (4, 3, 2, 1, 0):
        do(one.remedy)
        again = found(*info)
        assert ("snapshots" in again) == (left > 0)
        one = again.get("snapshots", one)
        assert not left or one.numbers["snapshots"] == left


def with_holes(image: Path) -> Path:
    """A disk of 512 MiB with 4 KiB of data every 128."""
    with open(image, "wb") as file:
        file.truncate(512 * MIB)
        for start in range(0, 512 * MIB, 128 << 10):
            file.seek(start)
            file.write(bytes([1]) * 4096)
    if 2 * os.stat(image).st_blocks * 512 > 512 * MIB:
        pytest.skip("a file system without holes")
    return image


def test_asking_for_holes_takes_time(tmp_path: Path) -> None:
    image = with_holes(tmp_path / "a.raw")
    one = found("qemu-img", "map", "--output=json", "-f", "raw", str(image))["seeks"]
    assert one.numbers["calls"] > 4000 and one.numbers["seconds"] > 0
    assert 0.05 <= one.numbers["share"] <= 1
    do(one.remedy.replace(" NEW", f" {shlex.quote(str(tmp_path / 'new'))}"))
    assert "seeks" not in found("qemu-img", "map", "--output=json", "-f", "raw", str(tmp_path / "new"))


def test_an_image_with_preallocated_tables_asks_for_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QEMU takes what such an image has allocated for data only where its file has some, too."""
    monkeypatch.setattr(image_rules, "SEEKS_SHARE", 0.0)  # how long it takes is not what is tested
    image = create(tmp_path / "a.qcow2", "64M", "preallocation=metadata")
    run("qemu-io", image, text="".join(f"write {start} 4k\n" for start in range(0, 64 * MIB, 128 << 10)))
    one = found("qemu-img", "map", "--output=json", image)["seeks"]
    assert one.numbers["calls"] > 500
    new = str(tmp_path / "new")
    do(one.remedy.replace(" NEW", f" {shlex.quote(new)}"))
    assert "seeks" not in found("qemu-img", "map", "--output=json", new)


def test_of_an_encrypted_disk_no_layout_is_known(tmp_path: Path) -> None:
    """LUKS is told by its bytes, and not read: nobody knows what its data is of."""
    image = str(tmp_path / "a.luks")
    secret = ["--object", "secret,id=s,data=x"]
    run("qemu-img", "create", "-q", "-f", "luks", *secret, "-o", "key-secret=s,iter-time=10", image, "8M")
    made = trace("qemu-io", "-r", *secret, "-c", "read 1M 64k", "--image-opts",
                 f"driver=luks,key-secret=s,file.filename={image}")  # fmt: skip
    advice = advise(made, [devices.find("hdd-7200")], [], all_of_them=True)
    assert not any(option.convert for option in advice.options)
    assert any("of the image (luks), so another layout cannot be projected" in note for note in advice.notes)


def test_holes_of_an_extent_are_those_of_its_disk(tmp_path: Path) -> None:
    """The data of a VMDK lies in a file of its own; what is converted is the descriptor that names it."""
    image = tmp_path / "disk.vmdk"
    run("qemu-img", "create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", str(image), "512M")
    with_holes(tmp_path / "disk-flat.vmdk")
    one = found("qemu-img", "map", "--output=json", str(image))["seeks"]
    assert shlex.split(one.remedy)[-2:] == [str(image), "NEW"]
    do(one.remedy.replace(" NEW", f" {shlex.quote(str(tmp_path / 'new'))}"))
    run("qemu-img", "compare", str(image), str(tmp_path / "new"))


def chained(folder: Path, count: int) -> str:
    image = create(folder / "0.qcow2", "64M")
    for number in range(1, count):
        back = ["-b", f"{number - 1}.qcow2", "-F", "qcow2"]
        image = str(folder / f"{number}.qcow2")
        run("qemu-img", "create", "-q", "-f", "qcow2", *back, image)
    return image


def test_a_chain_is_seen_from_its_headers(tmp_path: Path) -> None:
    image = chained(tmp_path, 12)
    assert layers(image) == Layers(12, True)
    done = subprocess.run(
        [sys.executable, "-m", "profiler", "open", image, "--runs", "1", "-o", str(tmp_path / "out")],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "a chain of 12 files: only the first" in " ".join(done.stdout.split())
    text = (tmp_path / "out" / "report.txt").read_text()
    assert "a chain of 12 files, 1 of them read" in " ".join(text.split())
    made = json.loads((tmp_path / "out" / "report.json").read_text())["cold"]["report"]
    members = [{"path": image}]
    assert made["chain"] == {"files": 12, "read": 1, "complete": True, "members": members}
    (one,) = [one for one in made["findings"] if one["kind"] == "backing-chain"]
    assert one["numbers"] == {"files": 12, "files_read": 1, "reads_behind": 0}
    do(one["remedy"].replace(" NEW ", f" {shlex.quote(str(tmp_path / 'new.qcow2'))} "))
    assert layers(str(tmp_path / "new.qcow2")) == Layers(1, True)
    read = found("qemu-io", "-r", "-c", "read 0 4k", image)["backing-chain"]
    assert read.numbers["files"] == read.numbers["files_read"] == 12
    assert read.numbers["reads_behind"] >= 11 * 4


def test_a_chain_of_names_that_are_no_files(tmp_path: Path) -> None:
    """A header may name anything: a pipe is not opened, nor a device, and a loop ends."""
    os.mkfifo(tmp_path / "pipe")
    for name, count in (("pipe", 1), ("/dev/null", 1), ("missing", 1), ("top.qcow2", 1), ("nbd://h/x", 1)):
        image = str(tmp_path / "top.qcow2")
        size = ["-u", "-b", name, "-F", "raw", image, "1M"]
        run("qemu-img", "create", "-q", "-f", "qcow2", *size)
        assert layers(image) == Layers(count, False), name
    assert layers(str(tmp_path / "pipe")) == Layers(1, False)


def test_a_chain_is_followed_with_the_users_rights() -> None:
    """What the user may not read, who is to run the program, is not read for them."""
    need_root()
    user = Owner(65534, 65534, "nobody", "/", (65534,))
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        image = chained(Path(folder), 3)
        assert layers(image, user) == Layers(3, True)
        os.chmod(Path(folder) / "1.qcow2", 0o600)
        assert layers(image, user) == Layers(1, False) and layers(image) == Layers(3, True)
    assert os.geteuid() == 0
