"""The disk and the kernels of the guest of `guest.py`, made from Debian's packages: the recipe of it.

The disk holds Debian 12's own python3, strace and qemu-utils, systemd, and the Python packages of this
environment, copied file by file. The kernels are Debian 12's own (6.1) and the newer one that its backports
have; both read an NVMe disk without a module, so that neither an initrd nor modules are needed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from conftest import need, need_root, need_tool
from packaging.requirements import Requirement

ROOT_DISK = "636f6c64-01"
"""PARTUUID of the guest's root: which disk a kernel finds first differs from boot to boot."""
IN_SERIAL, OUT_SERIAL = "coldseek-in", "coldseek-out"
"""Serials of the disks on which a job, a tar archive, comes in, and on which its results go out."""

_BUILD_S = 1800.0
_SUITES = ("bookworm", "bookworm-backports")
_PACKAGES = ("systemd-sysv", "python3", "strace", "qemu-utils")
_DISTRIBUTIONS = ("coldseek", "pytest", "hypothesis")
_DISK_BYTES, _ROOT_AT, _SECTOR = 3 << 30, 1 << 20, 512
# Of each kernel only its image is taken out of its package; $1 is the guest's root.
_KERNELS = r"""
set -eu
cd "$1/tmp"
for suite in %s; do
    name=$(chroot "$1" apt-cache -t "$suite" depends linux-image-cloud-amd64 | sed -n 's/.*Depends: //p')
    chroot "$1" sh -c 'cd /tmp && apt-get -q download "$1"' sh "$name"
    dpkg-deb --fsys-tarfile "$name"_*.deb | tar -x -C "$1" --wildcards './boot/vmlinuz-*'
    rm "$name"_*.deb
done
"""
# The job alone is started, not what a machine is otherwise made of; PID 1 is systemd all the same.
_UNIT = """
[Unit]
DefaultDependencies=no
Wants=sys-kernel-tracing.mount
After=sys-kernel-tracing.mount
SuccessAction=poweroff-immediate
FailureAction=poweroff-immediate
[Service]
Type=oneshot
TTYPath=/dev/ttyS0
StandardOutput=tty
StandardError=tty
Environment=HOME=/root LC_ALL=C.UTF-8 PYTHONPATH=/job
ExecStart=/bin/sh /etc/job begin
ExecStopPost=/bin/sh /etc/job end
"""
_JOB = f"""
set -eu
disk() {{
    for each in /sys/class/block/nvme*n1; do
        read -r serial <"$each/device/serial"
        if [ "$serial" = "$1" ]; then echo "/dev/${{each##*/}}"; fi
    done
}}
case $1 in
    begin)
        mkdir -p /job /out
        tar -xf "$(disk {IN_SERIAL})" -C /job
        cd /job
        exec sh ./job ;;
    end)
        tar -cf "$(disk {OUT_SERIAL})" -C /out .
        sync ;;
esac
"""


def guest_image(cache: Path) -> Path:
    """The folder with the disk `root.raw` and the kernels `vmlinuz-RELEASE`. Not to be changed.

    Where `cache` holds none that was made of the same it is built, which takes three minutes or so.
    """
    need_root()
    need(sys.version_info[:2] == (3, 11), "needs Python 3.11, which is what Debian 12 has")
    for tool in ("mmdebstrap", "mke2fs", "dpkg-deb"):
        need_tool(tool)
    need(os.path.exists("/usr/share/keyrings/debian-archive-keyring.gpg"), "needs debian-archive-keyring")
    packages = _distributions()
    folder = cache / f"guest-{_fingerprint(packages)}"
    if not folder.exists():
        _build(folder, packages)
    return folder


def _fingerprint(packages: Sequence[importlib.metadata.Distribution]) -> str:
    """Of all that decides what is in the guest: this file, and the versions of the Python packages."""
    parts = [Path(__file__).read_text(), sys.version, *(f"{each.name}={each.version}" for each in packages)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _distributions() -> list[importlib.metadata.Distribution]:
    """What the tests import here that is installed, by name."""
    found: dict[str, importlib.metadata.Distribution] = {}
    todo = list(_DISTRIBUTIONS)
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in found:
            continue
        found[name] = importlib.metadata.distribution(name)
        needed = map(Requirement, found[name].requires or [])
        todo += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    found.pop("coldseek")  # it is in the checkout
    return [found[name] for name in sorted(found)]


def _build(folder: Path, packages: Sequence[importlib.metadata.Distribution]) -> None:
    with _scratch(folder.parent) as scratch:
        root, made = scratch / "root", scratch / "made"
        made.mkdir(mode=0o700)
        _bootstrap(root, scratch)
        for kernel in (root / "boot").glob("vmlinuz-*"):
            shutil.move(kernel, made)
        need(len(list(made.glob("vmlinuz-*"))) == len(_SUITES), "not all kernels came with the guest")
        for package in packages:
            _install(package, root / "usr/local/lib/python3.11/dist-packages")
        (root / "etc/hostname").write_text("guest\n")
        (root / "etc/machine-id").write_text("636f6c647365656b636f6c647365656b\n")  # or each boot makes one
        (root / "etc/systemd/system/guest.service").write_text(_UNIT)
        (root / "etc/job").write_text(_JOB)
        _make_disk(root, made / "root.raw")
        with contextlib.suppress(OSError):  # somebody else has just built it
            made.rename(folder)


@contextlib.contextmanager
def _scratch(where: Path) -> Iterator[Path]:
    scratch = Path(tempfile.mkdtemp(prefix="guest-", suffix=".tmp", dir=where))
    try:
        yield scratch
    finally:
        subprocess.run(["rm", "-rf", "--one-file-system", scratch], check=True)


def _make_disk(root: Path, disk: Path) -> None:
    """A disk with one partition that can be named, ROOT_DISK, and an ext4 file system with `root` in it."""
    with open(disk, "wb") as target:
        target.truncate(_DISK_BYTES)
        target.write(_partition_table())
    words = [need_tool("mke2fs"), "-q", "-t", "ext4", "-E", f"offset={_ROOT_AT}", "-d", root, disk]
    subprocess.run([*words, f"{(_DISK_BYTES - _ROOT_AT) >> 10}k"], check=True, stderr=subprocess.DEVNULL)


def _partition_table() -> bytes:
    """An MBR: 440 bytes of code that nobody runs, the disk's signature, four partitions, 55 AA."""
    signature = int(ROOT_DISK.partition("-")[0], 16)
    first, sectors = _ROOT_AT // _SECTOR, (_DISK_BYTES - _ROOT_AT) // _SECTOR
    linux, nowhere = 0x83, bytes.fromhex("feffff")  # no cylinder, head and sector: the sectors count
    entry = struct.pack("<B3sB3sII", 0, nowhere, linux, nowhere, first, sectors)
    return bytes(440) + struct.pack("<IH", signature, 0) + entry + bytes(48) + b"\x55\xaa"


def _bootstrap(root: Path, scratch: Path) -> None:
    """A Debian 12 in the directory, from where this machine's apt has it, else from Debian itself."""
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI)"]
    words += ["Created-By: Packages", "Codename: bookworm", "Component: main"]
    known = subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()
    mirror = known[0] if known else "http://deb.debian.org/debian"
    sources = scratch / "sources"
    sources.write_text("".join(f"deb {mirror} {suite} main\n" for suite in _SUITES))
    hook = scratch / "kernels"
    hook.write_text(_KERNELS % " ".join(_SUITES))
    words = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={','.join(_PACKAGES)}"]
    words += [
        "--aptopt=APT::Sandbox::User \"root\"",  # which may go where the guest is built
        f'--customize-hook=sh {hook} "$1"', "bookworm", str(root), str(sources),
    ]  # fmt: skip
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_BUILD_S, check=False
    )
    need(done.returncode == 0, f"the guest could not be built: {done.stderr.strip()[-500:]}")


def _install(package: importlib.metadata.Distribution, target: Path) -> None:
    """Copy the files of a package, but for its commands. Times are kept, so that compiled modules fit."""
    for file in package.files or []:
        source = file.locate()
        if ".." not in file.parts and os.path.isfile(source):
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(os.fspath(source), target / file)
