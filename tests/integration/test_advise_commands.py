"""Every command that `coldseek advise` offers, run once on a copy, for every format that qemu-img makes."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, need_root, need_tool

from profiler import devices
from profiler.analysis.advice.options import Advice, advise
from profiler.files.traces import save
from profiler.images import formats
from profiler.report.advice import command
from profiler.studies.record import record
from profiler.trace import Trace

MIB = 2**20
SIZE = 16 * MIB
SECRET = ("--object", "secret,id=key,data=1234")
KINDS = ("qcow2", "qcow2-4k", "qcow2-packed", "chain", "raw", "vdi", "vhdx", "qed", "vpc", "vpc-fixed",
         "parallels", "qcow", "luks", "vmdk-monolithicSparse", "vmdk-streamOptimized", "vmdk-monolithicFlat",
         "vmdk-twoGbMaxExtentSparse", "vmdk-twoGbMaxExtentFlat")  # fmt: skip
IN_PIECES = ("vmdk-monolithicFlat", "vmdk-twoGbMaxExtentSparse", "vmdk-twoGbMaxExtentFlat")
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
    if name == "chain":
        base = place / "base.raw"
        shutil.copy(source, base)
        front = place / "front.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", front)
        return front, "qcow2"
    options = MADE_BY.get(name, ("-o", f"subformat={sub}") if sub else ())
    image = place / f"disk0.{form}"
    run("qemu-img", "convert", "-O", form, *options, source, image)
    return image, form


def reading(image: Path, form: str) -> list[str]:
    """A command that reads all of an image. Some formats round a disk up."""
    away = ["--target-image-opts", f"driver=null-co,size={2 * SIZE}"]
    if form == "luks":
        options = f"driver=luks,key-secret=key,file.filename={image}"
        return ["qemu-img", "convert", "-n", *SECRET, "--image-opts", options, *away]
    return ["qemu-img", "convert", "-n", "-f", form, str(image), *away]


def run(*words: str | Path, **more: object) -> None:
    for _ in range(200):  # to make a LUKS image, qemu-img measures the processor, and fails where it is busy
        done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]
        if "Unable to get accurate CPU usage" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr


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
    form = "" if image is None else image.format
    words = {one.key: command(one, path, form, str(trace), found.meta) for one in advice.options}
    return {key: " ".join(parts) for key, parts in words.items() if parts}


def shell(line: str, place: Path) -> None:
    paths = f"{place.parent / 'programs'}:{os.environ['PATH']}"
    run("sh", "-c", line, cwd=place, env={**os.environ, "PATH": paths, "PYTHONPATH": str(ROOT)})


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
    if form not in formats.READ and name != "vpc-fixed":  # which is raw but for its last 512 bytes
        assert not copies & {"raw", "cluster-64k"}, copies
        assert any("other layouts" in note for note in advice.notes)
    elif name not in IN_PIECES:
        assert {"cluster-256k", "cluster-2m"} <= copies
        assert ("defragmented" in copies) == (name != "chain")
    for key, line in commands.items():
        before = set(place.iterdir())
        shell(line, place)
        new = set(place.iterdir()) - before
        if key not in copies:
            assert not new
            continue
        (copy,) = new
        if key == "defragmented":
            assert copy.read_bytes() == image.read_bytes()
        else:
            target = "raw" if key == "raw" else "qcow2"
            run("qemu-img", "compare", "-f", advice.image.format, "-F", target, image, copy)  # type: ignore[union-attr]
        copy.unlink()


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
