"""Daemons that start programs for their clients, real ones, each in a folder of its own.

    dockerd(folder)   Docker's, with an image made here of busybox and /data.bin
    libvirtd(folder)  libvirt's, with what `define` makes of a disk image

They listen on sockets in the folder, use no network, change no firewall, and leave nothing: no process, no
mount, no control group, whatever happens in between. They need root. The examples use them too:

    python tests/integration/daemons.py dockerd FOLDER COMMAND ...      with DOCKER_HOST
    python tests/integration/daemons.py libvirtd FOLDER COMMAND ...     with LIBVIRT_DEFAULT_URI, a guest vm1

Only the standard library is needed. FOLDER has to lie on a disk and to have a short name: those of sockets
have 107 bytes at most.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 120.0
"""How long to wait for a daemon that answers within seconds on an idle machine."""

DATA_BYTES = 20 * 2**20  # of /data.bin in the image
IMAGE = "image"


# ---- Docker ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Docker:
    """A running dockerd. host: for DOCKER_HOST. data_root: where the layers are. pid: of dockerd."""

    host: str
    data_root: Path
    pid: int

    def run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """docker WORDS."""
        return finished([tool("docker"), *words], DOCKER_HOST=self.host)


@contextlib.contextmanager
def dockerd(folder: Path, driver: str = "overlay2") -> Iterator[Docker]:
    """Docker in `folder`, with the image IMAGE: /bin/busybox, /bin/cat, /bin/sleep and /data.bin."""
    folder.mkdir(parents=True, exist_ok=True)
    socket, data_root = folder / "docker.sock", folder / "data"
    command = [
        tool("dockerd"), "--iptables=false", "--ip6tables=false", "--ip-masq=false", "--bridge=none",
        f"--storage-driver={driver}", f"--host=unix://{socket}", f"--data-root={data_root}",
        f"--exec-root={folder / 'exec'}", f"--pidfile={folder / 'docker.pid'}",
    ]  # fmt: skip
    with left_as_it_was(folder), started(command, folder / "dockerd.log") as daemon:
        docker = Docker(f"unix://{socket}", data_root, daemon.pid)
        wait_for(lambda: docker.run("version").returncode == 0, daemon, folder / "dockerd.log")
        made = finished([tool("docker"), "import", "-", IMAGE], image_of_docker(), DOCKER_HOST=docker.host)
        assert made.returncode == 0, made.stderr
        try:
            yield docker
        finally:
            running = docker.run("ps", "--all", "--quiet").stdout.split()
            docker.run("rm", "--force", "--volumes", *map(os.fsdecode, running))


def image_of_docker() -> bytes:
    """A tar file of the whole container: no layer below, no network needed."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        add(archive, "bin/busybox", Path(tool("busybox")).read_bytes(), 0o755)
        for name in ("cat", "sleep"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        add(archive, "data.bin", os.urandom(DATA_BYTES), 0o644)
    return target.getvalue()


def add(archive: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), mode
    archive.addfile(member, io.BytesIO(data))


# ---- libvirt ---------------------------------------------------------------------------------------------

GUEST_READS = 23
GUEST_STRIDE = 64 * 2**10  # bytes: a cluster of qcow2 each
GUEST_READ_BYTES = 4096
GUEST_DISK_BYTES = 32 * 2**20
READY = "READY"  # what the guest says on its serial line once it has read all


@dataclass(frozen=True)
class Libvirt:
    """A running libvirtd. uri: for LIBVIRT_DEFAULT_URI. pid: of libvirtd. folder: for images and logs."""

    uri: str
    pid: int
    folder: Path

    def run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """virsh WORDS."""
        return finished([tool("virsh"), *words], LIBVIRT_DEFAULT_URI=self.uri)


@dataclass(frozen=True)
class Domain:
    """A guest that is defined, and not running. serial: the file with what it says."""

    name: str
    image: Path
    serial: Path


@contextlib.contextmanager
def libvirtd(folder: Path) -> Iterator[Libvirt]:
    """libvirt in `folder`: in a mount namespace of its own, where its folders of the machine lie there."""
    folder.mkdir(parents=True, exist_ok=True)
    own = {name: folder / name for name in ("etc", "run", "lib", "cache", "log")}
    for path in (*own.values(), folder / "sock", own["etc"] / "qemu"):
        path.mkdir(exist_ok=True)
    (own["etc"] / "libvirtd.conf").write_text(
        f'unix_sock_dir = "{folder}/sock"\nauth_unix_ro = "none"\nauth_unix_rw = "none"\n'
    )
    (own["etc"] / "qemu.conf").write_text(
        'user = "root"\ngroup = "root"\nsecurity_driver = "none"\nstdio_handler = "file"\n'
        "namespaces = [ ]\nremember_owner = 0\n"
    )
    script = (
        'mount --bind "$1/run" /run && for each in lib cache log; do '
        'mount --bind "$1/$each" "/var/$each/libvirt" || exit 1; done; '
        'mount --bind "$1/etc" /etc/libvirt && exec "$2" -p "$1/libvirtd.pid"'
    )
    command = [tool("unshare"), "--mount", "--propagation", "private", tool("sh"), "-c", script]
    log = folder / "libvirtd.log"
    with (
        left_as_it_was(folder),
        started([*command, "sh", str(folder), tool("libvirtd")], log) as daemon,
    ):
        libvirt = Libvirt(f"qemu+unix:///system?socket={folder}/sock/libvirt-sock", daemon.pid, folder)
        wait_for(lambda: (folder / "sock" / "libvirt-sock").exists(), daemon, log)
        wait_for(lambda: libvirt.run("version").returncode == 0, daemon, log)  # seconds: it asks every qemu
        try:
            yield libvirt
        finally:
            for name in libvirt.run("list", "--name").stdout.split():
                libvirt.run("destroy", os.fsdecode(name))


def define(libvirt: Libvirt, name: str = "vm1", format_: str = "qcow2", cache: str = "writeback") -> Domain:
    """A guest that reads GUEST_READS places of its disk and says READY; emulated, so it runs anywhere.

    cache: as libvirt has it; with "none" QEMU reads by libaio, past the page cache.
    """
    image, serial = libvirt.folder / f"{name}.{format_}", libvirt.folder / f"{name}.log"
    raw = libvirt.folder / f"{name}.made"
    raw.write_bytes(boot_sector() + os.urandom(GUEST_DISK_BYTES - 512))
    done = finished([tool("qemu-img"), "convert", "-O", format_, str(raw), str(image)])
    assert done.returncode == 0, done.stderr
    raw.unlink()
    with open(image, "rb") as made:
        os.fsync(made.fileno())  # what is still to be written would be no part of a start
    how = 'io="native"' if cache == "none" else 'io="threads"'
    xml = libvirt.folder / f"{name}.xml"
    xml.write_text(
        f'<domain type="qemu"><name>{name}</name><memory unit="MiB">64</memory><vcpu>1</vcpu>'
        '<os><type arch="x86_64" machine="pc">hvm</type><boot dev="hd"/></os>'
        f"<devices><emulator>{tool('qemu-system-x86_64')}</emulator>"
        f'<disk type="file" device="disk"><driver name="qemu" type="{format_}" cache="{cache}" {how}/>'
        f'<source file="{image}"/><target dev="vda" bus="virtio"/></disk>'
        f'<serial type="file"><source path="{serial}"/></serial>'
        '<controller type="usb" model="none"/><memballoon model="none"/></devices></domain>'
    )
    defined = libvirt.run("define", str(xml))
    assert defined.returncode == 0, defined.stderr
    return Domain(name, image, serial)


def boot_sector() -> bytes:
    """512 bytes that a PC starts with: read, 4 KiB at every 64 KiB of the disk from 64 KiB on, say, halt.

    By int 13h, function 42h (EDD: a packet of size, sectors, address, first sector), and the port of COM1.
    """
    base, sectors = 0x7C00, GUEST_READ_BYTES // 512
    drive, packet, ready, failed = base + 0x100, base + 0x110, base + 0x120, base + 0x130

    def word(value: int) -> bytes:
        return value.to_bytes(2, "little")

    begin = b"\xfa\x31\xc0\x8e\xd8\x8e\xc0\x8e\xd0\xbc\x00\x7c\xfb"  # cli; ds = es = ss = 0; sp = 7C00h; sti
    begin += b"\x88\x16" + word(drive) + b"\xb9" + word(GUEST_READS)  # mov [drive], dl; mov cx, 23
    ask = b"\x51\xbe" + word(packet) + b"\x8a\x16" + word(drive)  # push cx; mov si, packet; mov dl, [drive]
    ask += b"\xb4\x42\xcd\x13\x72"  # mov ah, 42h; int 13h; jc (to where it says that it failed)
    next_ = b"\x81\x06" + word(packet + 8) + word(GUEST_STRIDE // 512)  # add [packet+8], 128
    next_ += b"\x59"  # pop cx
    again = b"\xe2" + (256 - len(ask) - 1 - len(next_) - 2).to_bytes()  # loop to push
    end = b"\xbe" + word(ready) + b"\xeb\x03"  # mov si, ready; jmp over the next
    fail = b"\xbe" + word(failed)  # mov si, failed
    say = b"\xac\x84\xc0\x74\x06\xba\xf8\x03\xee\xeb\xf5\xf4\xeb\xfd"  # lodsb ... out dx, al; hlt for ever
    code = begin + ask + (len(next_) + len(again) + len(end)).to_bytes() + next_ + again + end + fail + say
    first = GUEST_STRIDE // 512
    parts = {
        0: code,
        packet - base: b"\x10\x00" + word(sectors) + word(0) + word(0x1000) + first.to_bytes(8, "little"),
        ready - base: f"{READY}\r\n\0".encode(),
        failed - base: b"FAILED\r\n\0",
        510: b"\x55\xaa",
    }
    whole = bytearray(512)
    for place, part in parts.items():
        whole[place : place + len(part)] = part
    return bytes(whole)


# ---- processes, and what they leave ----------------------------------------------------------------------


def tool(name: str) -> str:
    """The path of a program; Debian keeps some administrators' out of a user's PATH."""
    found = find(name)
    assert found is not None, f"{name} is not installed"
    return found


def find(name: str) -> str | None:
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return shutil.which(name, path=path)


def finished(
    command: Sequence[str], given: bytes = b"", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command, input=given, capture_output=True, timeout=PATIENCE_S, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


@contextlib.contextmanager
def started(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon in the foreground, its words in `log`; asked to end at last, and ended if it does not."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    with open(log, "ab") as words:
        daemon = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=words, stderr=words, start_new_session=True,
            env={**os.environ, "PATH": path},
        )  # fmt: skip
    try:
        yield daemon
    finally:
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(30)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def wait_for(answers: Callable[[], bool], daemon: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while not answers():
        assert daemon.poll() is None and time.monotonic() < end, log.read_text(errors="replace")[-2000:]
        time.sleep(0.05)


@contextlib.contextmanager
def left_as_it_was(folder: Path) -> Iterator[None]:
    """Whatever of processes, mounts and control groups has come and belongs to `folder` goes at the end."""
    groups = control_groups()
    try:
        yield
    finally:
        for pid in processes_of(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 10
        while processes_of(folder) and time.monotonic() < end:
            time.sleep(0.02)
        for mount in reversed(mounts_of(folder)):
            subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)
        for group in sorted(control_groups() - groups, reverse=True):
            with contextlib.suppress(OSError):  # others' are in use
                group.rmdir()


OURS = (b"dockerd", b"containerd", b"runc", b"libvirtd", b"qemu-")  # what these daemons start


def processes_of(folder: Path) -> list[int]:
    """Those of OURS with the folder's name in their command; the shell of who runs this may name it too."""
    mark, found = os.fsencode(folder), []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in (os.getpid(), os.getppid()):
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes()
            name = os.path.basename(words.split(b"\0")[0])
            if mark in words and name.startswith(OURS):
                found.append(int(entry.name))
    return found


def mounts_of(folder: Path) -> list[str]:
    """Where something is mounted below it, in the order of the mounts."""
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [place for place in places if place.startswith(f"{folder}/")]


def control_groups() -> set[Path]:
    """Those that Docker and libvirt make: their own folders, and a folder for each container and guest."""
    root = Path("/sys/fs/cgroup")
    tops = [
        path for pattern in ("docker", "*/docker", "machine", "*/machine") for path in root.glob(pattern)
    ]
    return {Path(each) for top in tops for each, _, _ in os.walk(top)}


# ---- for the examples ------------------------------------------------------------------------------------


def main(name: str, where: str, *command: str) -> int:
    folder = Path(where).resolve()
    with contextlib.ExitStack() as stack:
        if name == "dockerd":
            environment = {"DOCKER_HOST": stack.enter_context(dockerd(folder)).host}
        else:
            libvirt = stack.enter_context(libvirtd(folder))
            define(libvirt)
            environment = {"LIBVIRT_DEFAULT_URI": libvirt.uri}
        return subprocess.run(command, env={**os.environ, **environment}, check=False).returncode


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[1] not in ("dockerd", "libvirtd"):
        sys.exit("usage: daemons.py dockerd|libvirtd FOLDER COMMAND ...")
    sys.exit(main(*sys.argv[1:]))
