"""A Debian 12 guest under emulation: the kernels of others, to run tests of this checkout in.

A job goes in and its results come out as tar archives, each a disk of its own; what the job writes elsewhere
is forgotten. /dev/kvm is not used: the guest is emulated, on any machine alike. `guest_image.py` makes it.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT, need, need_tool
from guest_image import IN_SERIAL, OUT_SERIAL, ROOT_DISK, guest_image

BOOT_S = 3600.0
"""How long a guest may take: some minutes of two processors, several times that where others work too."""
_OUT_BYTES = 16 << 20
_LINES = 100  # of the console, where something went wrong
# Numpy's wheels need what x86-64-v2 has: SSE 4.2 and cmpxchg16b. Linux allocates with the latter, too, and
# with QEMU 7.2's it panics here or there while it boots: of the kernel it is kept (feature 13 of word 4 of
# asm/cpufeatures.h), which its programs do not notice.
_CPU, _CX16 = "Nehalem", 4 * 32 + 13
_KERNEL_WORDS = (
    f"console=ttyS0 quiet panic=-1 mitigations=off clearcpuid={_CX16} root=PARTUUID={ROOT_DISK} rootwait rw "
    "systemd.unit=guest.service systemd.show_status=no"
)


@dataclass(frozen=True)
class Done:
    """What a job left behind. outputs: its files, by name; console: the guest's last lines."""

    outputs: dict[str, bytes]
    console: str


@dataclass(frozen=True)
class Guest:
    """folder: its disk `root.raw` and its kernels `vmlinuz-RELEASE`. Not to be changed."""

    folder: Path

    def kernel(self, release: str) -> Path:
        """The kernel whose release begins so; "": the newest."""
        found = [path for path in self.folder.glob("vmlinuz-*") if _release(path).startswith(release)]
        need(found, f"the guest has no kernel {release}")
        return max(found, key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)])

    def run(self, release: str, job: str) -> Done:
        """Boot a kernel, run `job` with sh in a copy of this checkout, and give what it put into /out."""
        with tempfile.TemporaryDirectory(dir=self.folder.parent) as name:
            scratch = Path(name)
            _pack(scratch / "in", job)
            with open(scratch / "out", "wb") as target:
                target.truncate(_OUT_BYTES)
            console = scratch / "console"
            command = [
                need_tool("qemu-system-x86_64"), "-accel", "tcg", "-cpu", _CPU,
                "-smp", "2", "-m", "2048", "-display", "none",
                "-nic", "none", "-no-reboot", "-serial", f"file:{console}",
                "-kernel", str(self.kernel(release)), "-append", _KERNEL_WORDS,
                *_disk("coldseek-root", self.folder / "root.raw", "snapshot=on"),
                *_disk(IN_SERIAL, scratch / "in", "readonly=on"),
                *_disk(OUT_SERIAL, scratch / "out"),
            ]  # fmt: skip
            wrong = ""
            try:
                subprocess.run(
                    command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True, timeout=BOOT_S,
                    env={**os.environ, "TMPDIR": name}, text=True,
                )  # fmt: skip
            except subprocess.TimeoutExpired:  # what there is tells how far it came
                wrong = f"\nthe guest was still running after {BOOT_S:.0f} s"
            except subprocess.CalledProcessError as error:
                wrong = f"\nqemu failed: {error.stderr}"
            said = console.read_text(errors="backslashreplace") if console.exists() else ""
            return Done(_unpack(scratch / "out"), "\n".join(said.splitlines()[-_LINES:]) + wrong)


def guest(cache: Path) -> Guest:
    """The guest, built where `cache` has none. Skips the test where it cannot be had."""
    need_tool("qemu-system-x86_64")
    return Guest(guest_image(cache))


def _release(kernel: Path) -> str:
    return kernel.name.removeprefix("vmlinuz-")


def _disk(serial: str, path: Path, *options: str) -> list[str]:
    """QEMU's words for a disk that is known by its serial, on a controller of its own."""
    drive = ",".join([f"file={path}", "format=raw", "if=none", f"id={serial}", *options])
    return ["-drive", drive, "-device", f"nvme,drive={serial},serial={serial}"]


def _pack(archive: Path, job: str) -> None:
    """The files of this checkout, and the job, as they are now."""
    with tarfile.open(archive, "w") as target:
        for name in ("profiler", "tests", "scripts", "pyproject.toml"):
            target.add(ROOT / name, name, filter=_no_caches)
    with tempfile.TemporaryDirectory() as name, tarfile.open(archive, "a") as target:
        (Path(name) / "job").write_text(job)
        target.add(Path(name) / "job", "job")


def _no_caches(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if os.path.basename(member.name) in (".hypothesis", ".pytest_cache") else member


def _unpack(archive: Path) -> dict[str, bytes]:
    outputs = {}
    with contextlib.suppress(tarfile.ReadError), tarfile.open(archive) as source:  # nothing came out
        for member in source:
            content = source.extractfile(member)
            if content is not None:
                outputs[os.path.normpath(member.name)] = content.read()
    return outputs
