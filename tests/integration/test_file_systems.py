"""Cold starts on file systems of several kinds: what traces project, held against what the disk itself
counts."""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import need, need_root, need_tool, need_tracer

from profiler.analysis.simulation.projection import requests
from profiler.capture.complete import complete
from profiler.machine.page_cache import cache
from profiler.studies.record import record
from profiler.units import device_name

pytestmark = [pytest.mark.full, pytest.mark.alone]

FILES = 300
WITHIN = {
    ("ext4", "cold"): 0.1, ("ext4", "warm"): 0.1, ("ext4", "ptrace"): 0.1,
    ("xfs", "ptrace"): 0.25, ("btrfs", "ptrace"): 0.25,
}  # fmt: skip
"""By file system and trace - cold or warm by the kernel tracer, warm by ptrace - the error that is allowed.
Of ext4 the real geometry is known, a rule stands for the others."""

PROGRAM = """
import mmap, sys
for number, name in enumerate(sys.stdin.read().splitlines()):
    with open(name, "rb", buffering=0) as file:
        if number % 3:
            file.read(4096)
        else:
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)[-1]
"""


@pytest.fixture
def tree(request: pytest.FixtureRequest, disk_directory: Path) -> Iterator[tuple[str, Path]]:
    """A new file system of a kind, and where it is mounted; it holds Python's own modules."""
    need_root()
    kind: str = request.param
    supported = kind in Path("/proc/filesystems").read_text().split()
    if not supported and subprocess.run(["modprobe", kind], capture_output=True).returncode:
        pytest.skip(f"this kernel has no {kind}")  # in CI too
    image, place = disk_directory / f"{kind}.img", disk_directory / "mounted"
    place.mkdir()
    with open(image, "wb") as file:
        file.truncate(600 << 20)
    subprocess.run([need_tool(f"mkfs.{kind}"), "-q", image], check=True)
    mount = [need_tool("mount"), "-o", "loop", image, place]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no loop devices in this container: {done.stderr.strip()}")  # in CI too
    try:
        shutil.copytree(
            os.path.dirname(os.__file__), place / "tree", symlinks=True,
            ignore=shutil.ignore_patterns("site-packages", "dist-packages"),
        )  # fmt: skip
        subprocess.run(["umount", place], check=True)
        subprocess.run(mount, check=True)
        yield kind, place
    finally:
        subprocess.run(["umount", place], check=True)


def requests_of(place: Path) -> int:
    """Read requests that the disk under a mounted file system has completed (linux:
    Documentation/block/stat.rst)."""
    devices = Path("/proc/self/mountinfo").read_text().splitlines()
    (source,) = {line.split(" - ")[1].split()[1] for line in devices if f" {place} " in line}
    return int(Path(f"/sys/class/block/{os.path.basename(source)}/stat").read_text().split()[0])


def cool() -> None:
    for _ in range(2):  # what was on its way into the lists of the page cache escapes the first
        cache.drop_all()


@pytest.mark.parametrize(("tree", "way"), list(WITHIN), indirect=["tree"])
def test_requests_are_projected_as_the_disk_counts_them(
    tree: tuple[str, Path], way: str, tmp_path: Path
) -> None:
    kind, place = tree
    need_tracer("ptrace" if way == "ptrace" else "kernel")
    names = sorted(path for path in place.rglob("*") if path.is_file() and path.stat().st_size)
    need(len(names) >= FILES, "needs Python's standard library in files")
    listed = tmp_path / "names"
    listed.write_text("".join(f"{name}\n" for name in random.Random(1).sample(names, FILES)))
    command = ["/bin/sh", "-c", 'exec "$1" -ISc "$2" < "$3"', "sh", sys.executable, PROGRAM, str(listed)]
    if way == "cold":
        cool()
    else:
        subprocess.run(command, check=True)
    found = complete(record(command, tracer="ptrace" if way == "ptrace" else "kernel"))
    known = dataclasses.replace(
        found.meta, cache="cold" if way == "cold" else "warm", evicted="all" if way == "cold" else ""
    )
    counts = []
    for _ in range(3):
        cool()
        before = requests_of(place)
        subprocess.run(command, check=True)
        counts.append(requests_of(place) - before)
    seen = min(counts)  # whoever else empties the page cache meanwhile makes them more
    device = device_name(os.stat(place).st_dev)
    asked = requests(dataclasses.replace(found, meta=known)).requests
    projected = int((asked["device"] == device).sum())
    assert abs(projected - seen) <= WITHIN[kind, way] * seen, (projected, seen)
    assert seen > FILES, "what the file system reads of its own is among them"
