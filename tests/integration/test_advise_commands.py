"""Every command that `coldseek advise` offers, run once on a copy, for every format that coldseek reads."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sys
from pathlib import Path

import mutate
import pytest
import vm_images
from conftest import ROOT, need_root, need_tool, run_patiently

from profiler import devices
from profiler.analysis.advice.options import Advice, advise
from profiler.files.traces import save
from profiler.images import formats
from profiler.images.source import Held
from profiler.report.advice.page import command
from profiler.studies.record import record
from profiler.trace import Trace

MIB = 2**20
SIZE = 16 * MIB
SECRET = ("--object", "secret,id=key,data=1234")
KINDS = ("qcow2", "qcow2-4k", "qcow2-packed", "qcow2-apart", "raw", "vdi", "vhdx", "qed", "vpc", "vpc-fixed",
         "parallels", "qcow", "luks", "vmdk-monolithicSparse", "vmdk-streamOptimized", "vmdk-monolithicFlat",
         "vmdk-twoGbMaxExtentSparse", "vmdk-twoGbMaxExtentFlat", "vmdk-esx", "chain-qcow2", "chain-qed",
         "chain-qcow", "chain-vmdk", "parent-vpc", "parent-vhdx", "parent-vdi")  # fmt: skip
IN_PIECES = ("vmdk-monolithicFlat", "vmdk-twoGbMaxExtentSparse", "vmdk-twoGbMaxExtentFlat", "vmdk-esx")
MADE_BY = {
    "qcow2-4k": ("-o", "cluster_size=4k"),
    "qcow2-packed": ("-c",),
    "vpc-fixed": ("-o", "subformat=fixed"),
    "luks": (*SECRET, "-o", "key-secret=key,iter-time=10,hash-alg=sha512"),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw disk with some data here and there."""
    need_tool("qemu-img")
    path = tmp_path_factory.mktemp("source") / "source.raw"
    chance = random.Random(7)
    with open(path, "wb") as file:
        file.truncate(SIZE)
        for start in range(0, SIZE, MIB):
            file.seek(start + chance.randrange(200) * 4096)
            file.write(chance.randbytes(4096 * chance.randrange(1, 4)))
    return path


def made(name: str, source: Path, place: Path) -> tuple[Path, str]:
    """An image of this kind, and QEMU's name of its format."""
    form, _, sub = name.partition("-")
    if form == "chain":
        return three(sub, source, place), sub
    if form == "parent":
        return with_a_parent(sub, place), sub
    if name == "vmdk-esx":
        return of_esx(source, place), "vmdk"
    if name == "qcow2-apart":
        image = place / "disk0.qcow2"
        run_patiently(
            "qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={place}/disk0.raw", image, str(SIZE)
        )
        run_patiently("qemu-img", "convert", "-n", "-O", "qcow2", source, image)
        return image, "qcow2"
    options = MADE_BY.get(name, ("-o", f"subformat={sub}") if sub else ())
    image = place / f"disk0.{form}"
    run_patiently("qemu-img", "convert", "-O", form, *options, source, image)
    return image, form


def three(form: str, source: Path, place: Path) -> Path:
    """Three images, whose names are those that copies of the first would have."""
    base, middle, front = place / "disk0.raw", place / "disk0-cluster-2m.qcow2", place / f"disk0.{form}"
    if form == "vmdk":  # has none but VMDK behind it
        run_patiently("qemu-img", "convert", "-O", form, source, base)
        run_patiently("qemu-img", "create", "-q", "-f", form, "-b", base, "-F", form, middle)
        run_patiently("qemu-img", "create", "-q", "-f", form, "-b", middle, "-F", form, front)
        return front
    shutil.copy(source, base)
    run_patiently("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", middle)
    run_patiently("qemu-img", "create", "-q", "-f", form, "-b", middle, "-F", "qcow2", front)
    return front


def with_a_parent(form: str, place: Path) -> Path:
    """An image as hypervisors have snapshots, of which QEMU reads no parent."""
    image = place / f"disk0.{form}"
    if form == "vpc":
        raw = vm_images.vhd(SIZE, {1: b"\7" * (2 * MIB)}, parent="base.vpc")
    elif form == "vdi":
        found = bytearray(mutate.content("image.vdi"))
        found[0x1A8:0x1B8] = b"ID of the parent"
        raw = bytes(found)
    else:
        plain = mutate.content("image.vhdx")
        ranges = formats.read(Held(plain)).ranges
        metadata = int(ranges[ranges["kind"] == "metadata"]["start"].iloc[0])
        said = {"parent_linkage": "{b04aefb7-d19e-4a81-b789-25b8e9445913}", "relative_path": ".\\base.vhdx"}
        raw = bytes(vm_images.vhdx_with_parent(plain, metadata, said))
    image.write_bytes(raw)
    return image


def of_esx(source: Path, place: Path) -> Path:
    """A descriptor with extents of two kinds."""
    content, half, grains = source.read_bytes(), SIZE // 2, {0: {}, 1: {}}  # type: ignore[var-annotated]
    for at in range(0, SIZE, 4096):
        if any(content[at : at + 4096]):
            grains[at // half][at % half // 4096] = content[at : at + 4096]
    (place / "disk0-delta.vmdk").write_bytes(vm_images.cowd(half, grains[0], 8))
    (place / "disk0-sesparse.vmdk").write_bytes(vm_images.sesparse(half, grains[1]))
    image, sectors = place / "disk0.vmdk", half // 512
    lines = f'RW {sectors} VMFSSPARSE "disk0-delta.vmdk"\nRW {sectors} SESPARSE "disk0-sesparse.vmdk"'
    image.write_bytes(vm_images.descriptor(lines, "twoGbMaxExtentFlat"))
    return image


def reading(image: Path, form: str) -> list[str]:
    """A command that reads all of an image. Some formats round a disk up."""
    if formats.read(Held(image.read_bytes())).facts.get("parent_id") and form in ("vhdx", "vdi"):
        return ["sha256sum", str(image)]  # no qemu-img opens it
    away = ["--target-image-opts", f"driver=null-co,size={2 * SIZE}"]
    if form == "luks":
        options = f"driver=luks,key-secret=key,file.filename={image}"
        return ["qemu-img", "convert", "-n", *SECRET, "--image-opts", options, *away]
    return ["qemu-img", "convert", "-n", "-f", form, str(image), *away]


def advised(found: Trace) -> Advice:
    return advise(found, [devices.find("hdd-7200")], devices.presets(), all_of_them=True)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder whose name a shell takes for two, and programs of its own that its commands find."""
    folder = tmp_path / "a b"
    folder.mkdir()
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, words in (
        ("coldseek", f'exec {sys.executable} -m profiler "$@"'),
        ("blockdev", f'test -b "$3" && echo "$@" > "{tmp_path}/set"'),  # the machine stays as it is
    ):
        (programs / name).write_text(f"#!/bin/sh\n{words}\n")
        (programs / name).chmod(0o755)
    return folder


def offered(found: Trace, trace: Path, advice: Advice) -> dict[str, str]:
    """The command of each option that has one."""
    image = advice.image
    path = b"" if image is None else found.files["path"].iloc[image.file]
    words = {one.key: command(one, advice, path, str(trace), found.meta) for one in advice.options}
    return {key: " ".join(parts) for key, parts in words.items() if parts}


def shell(line: str, place: Path) -> None:
    paths = f"{place.parent / 'programs'}:{os.environ['PATH']}"
    run_patiently("sh", "-c", line, cwd=place, env={**os.environ, "PATH": paths, "PYTHONPATH": str(ROOT)})


@pytest.mark.parametrize("name", KINDS)
def test_each_command_does_what_it_says(name: str, source: Path, place: Path) -> None:
    image, form = made(name, source, place)
    found = record(reading(image, form), "ptrace", image=str(image))
    assert found.meta.exit_status == 0
    trace = place / "cold start.trace.parquet"
    save(found, trace)
    advice = advised(found)
    commands = offered(found, trace, advice)
    copies = {one.key for one in advice.options if one.convert or one.key == "defragmented"}
    assert copies <= set(commands)
    assert advice.image is not None or form == "luks"
    assert advice.image is None or found.files["path"].iloc[advice.image.file] == os.fsencode(image)
    if name.startswith("parent-"):
        assert copies <= {"defragmented"}
        assert any("does not read what is behind" in note for note in advice.notes)
    elif form not in formats.READ and name != "vpc-fixed":  # which is raw but for its last 512 bytes
        assert not copies & {"raw", "cluster-64k"}, copies
        assert any("other layouts" in note for note in advice.notes)
    elif name not in IN_PIECES:
        assert {"cluster-256k", "cluster-2m"} <= copies
        assert ("defragmented" in copies) == (not name.startswith("chain-") and name != "qcow2-apart")
    for key, line in commands.items():
        before = contents(place)
        shell(line, place)
        after = contents(place)
        assert {path: after.get(path) for path in before} == before  # nothing is written over
        new = set(after) - set(before)
        if key == "prefetch":
            (plan,) = new
            assert plan.name == "cold start.plan" and os.access(plan, os.X_OK)
            plan.unlink()
            continue
        if key not in copies:
            assert not new
            continue
        (copy,) = new
        if key == "defragmented":
            assert copy.read_bytes() == image.read_bytes()
        else:
            target = "raw" if key == "raw" else "qcow2"
            run_patiently("qemu-img", "compare", "-f", advice.image.format, "-F", target, image, copy)  # type: ignore[union-attr]
        copy.unlink()


def contents(place: Path) -> dict[Path, bytes]:
    return {path: hashlib.sha256(path.read_bytes()).digest() for path in place.iterdir()}


def test_a_setting_is_of_a_disk_that_is_there(source: Path, place: Path) -> None:
    need_root()
    image, form = made("qcow2", source, place)
    found = record(reading(image, form), "ptrace", image=str(image))
    commands = offered(found, place / "t", advised(found))
    settings = [line for key, line in commands.items() if key.startswith("read-ahead")]
    if not settings:
        pytest.skip("no block device is below the test's files")
    for line in settings:
        shell(line, place)
        assert (place.parent / "set").read_text().split() == line.split()[1:]


def test_a_run_that_failed_is_no_reason_for_a_copy(source: Path, place: Path) -> None:
    image, form = made("qcow2", source, place)
    words = reading(image, form)
    words[-1] = f"driver=null-co,size={SIZE // 2}"
    found = record(words, "ptrace", image=str(image))
    assert found.meta.exit_status == 1
    advice = advised(found)
    assert not any(one.convert or one.key == "defragmented" for one in advice.options)
    assert any("exit status 1" in note for note in advice.notes)


def copies_of(found: Trace, place: Path) -> dict[str, str]:
    advice = advised(found)
    commands = offered(found, place / "t", advice)
    return {one.key: commands[one.key] for one in advice.options if one.convert or one.key == "defragmented"}


def test_a_name_behind_an_image_that_was_not_read_is_no_copys(source: Path, place: Path) -> None:
    base, front = place / "disk0.raw", place / "disk0.qcow2"
    shutil.copy(source, base)
    run_patiently("qemu-img", "create", "-q", "-f", "qcow2", "-b", "disk0.raw", "-F", "raw", front)
    found = record(["qemu-img", "info", str(front)], "ptrace", image=str(front))
    assert os.fsencode(base) not in set(found.reads()["path"])
    assert copies_of(found, place)["raw"].endswith("/disk0-2.raw'")


def test_a_file_without_its_data_is_no_copy(source: Path, place: Path) -> None:
    """Two images would write to one external data file."""
    for name, alone in (("qcow2-apart", False), ("qcow2", True)):
        image, _ = made(name, source, place)
        found = record(["qemu-img", "info", str(image)], "ptrace", image=str(image))
        assert ("defragmented" in copies_of(found, place)) == alone
        image.unlink()


def test_an_extent_without_its_descriptor_is_no_disk(source: Path, place: Path) -> None:
    made("vmdk-twoGbMaxExtentSparse", source, place)
    extent = place / "disk0-s001.vmdk"
    found = record(["sha256sum", str(extent)], "ptrace", image=str(extent))
    advice = advised(found)
    assert not any(one.convert or one.key == "defragmented" for one in advice.options)
    assert any("without its descriptor" in note for note in advice.notes)
