"""Opening a disk image with QEMU's tools: which command does it, and whether they take the image at all."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess

from profiler.errors import ColdseekError, CommandNotFoundError, UsageError
from profiler.images.names import named
from profiler.machine.refusals import refused
from profiler.units import show_path

WAYS = ("info", "check", "map", "read", "vm")
"""What `coldseek open --by` takes: three commands of qemu-img, reading all of the guest's data, and opening
the image with all that is behind it, as a virtual machine does."""

_FIRST, _STEP = 2**20, 2**16
"""Bytes of the guest's disk that firmware and boot loader read first - partition table, boot loader up to
where the first partition begins, as partitioning tools align it - and how many at a time."""

_LAST = 33 * 512
"""Bytes of the second copy of a GUID partition table, at the end (UEFI specification, 5.3.1)."""

_PACKAGES = "install qemu-utils (Debian) or qemu-img (Fedora)"
_PERHAPS_UNCHECKED = ("raw", "vpc", "vmdk", "vhdx", "dmg", "luks", "qcow", "cloop", "bochs")
_NO_CHECK = 63  # exit status of `qemu-img check` for formats that have nothing to check (qemu-img(1))


def open_command(image: str, way: str) -> tuple[str, list[str]]:
    """The absolute path of `image`, and the command that opens it in this way, once qemu-img has taken it.

    Raises ColdseekError, in one line, if there is no such file, if it is no image, or if qemu-img refuses
    it; CommandNotFoundError without qemu-img; UsageError for an unknown way.
    """
    if way not in WAYS:
        raise UsageError(f"--by takes {', '.join(WAYS)}, not {show_path(way)}")
    if not image:
        raise UsageError("the image has an empty name; name one, as in: coldseek open disk0.qcow2")
    shown, path, name = show_path(image), os.path.realpath(image), ""
    if not os.path.lexists(image):
        path, name = _of_qemu(image, path)
    _refuse_unreadable(path, shown)
    qemu_img = shutil.which("qemu-img")
    if qemu_img is None:
        raise CommandNotFoundError(f"qemu-img: command not found; {_PACKAGES}")
    # The path is absolute, so nothing in it is taken for a protocol or an option. --force-share: a virtual
    # machine may be running on the image.
    name = name or path
    facts = json.loads(_ask(qemu_img, ["info", "--force-share", "--output=json", name], shown))
    if way != "info":  # these open what is behind it too, and without end where that leads back to it
        _ask(qemu_img, ["info", "--force-share", "--backing-chain", name], shown)
        # and want what info does not: locks, keys, files of data
        _ask(qemu_img, ["map", "--force-share", "--output=json", "--max-length=512", name], shown)
    size, told = int(facts["virtual-size"]), () if name.startswith("json:") else ("-f", str(facts["format"]))
    if way == "vm":
        return path, _as_a_machine(name, told, size)
    command = {
        "info": ["info", "--force-share", name],
        "check": ["check", "--force-share", name],
        # as text, map refuses what is compressed, encrypted, or not one stretch of a file
        "map": ["map", "--force-share", "--output=json", name],
        "read": [
            "convert", "--force-share", "-n", "--target-image-opts", *told, name,
            f"driver=null-co,size={size}",
        ],
    }  # fmt: skip
    if way == "check" and facts.get("format") in _PERHAPS_UNCHECKED:
        _refuse_unchecked(qemu_img, name, shown)
    return path, [qemu_img, *command[way]]


def _as_a_machine(name: str, told: tuple[str, ...], size: int) -> list[str]:
    """The command that opens the image and what is behind it, to read only, and reads what a boot reads
    first. size: of the guest's disk, in bytes."""
    qemu_io = shutil.which("qemu-io")
    if qemu_io is None:
        raise CommandNotFoundError(f"qemu-io: command not found; {_PACKAGES}")
    first = min(size, _FIRST)
    places = [(start, min(_STEP, first - start)) for start in range(0, first, _STEP)]
    if size > first:
        last = min(_LAST, size - first) // 512 * 512
        places.append((size // 512 * 512 - last, last))
    reads = [word for start, length in places for word in ("-c", f"read -q {start} {length}")]
    return [qemu_io, "-r", "-U", *told, *reads, name]


def _refuse_unreadable(path: str, shown: str) -> None:
    """Raise ColdseekError for what is no file or block device, and for what this user cannot read."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise ColdseekError(f"{shown} is a directory; {_in_directory(path)}")
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):  # to open a FIFO would wait for a writer
            raise ColdseekError(f"{shown} is neither a file nor a block device; name a disk image")
        with open(path, "rb"):
            pass
    except FileNotFoundError:
        raise ColdseekError(f"{shown}: no such file; name a disk image") from None
    except PermissionError as error:
        remedy = "run as a user who may, with sudo --as-root"
        raise ColdseekError(f"cannot read {shown}: {error.strerror}; {remedy}") from error
    except OSError as error:
        raise ColdseekError(f"cannot read {shown}: {error.strerror}; name a disk image") from error


def _in_directory(path: str) -> str:
    if os.path.exists(os.path.join(path, "DiskDescriptor.xml")):
        return "of a Parallels disk qemu-img opens the files one by one: name the .hds in it"
    return "name a disk image in it"


def _of_qemu(image: str, path: str) -> tuple[str, str]:
    """The file that a name of QEMU's stands for, and the name to give it; of a file's name `path`, and "".

    Raises ColdseekError for what is no file.
    """
    meant = named(image)
    if meant.remote:
        shown = show_path(image)
        raise ColdseekError(
            f"{shown} is remote ({meant.remote}), so no read of it is one of a file; what opening it reads "
            f"here is seen by: coldseek record -- qemu-img info {shown}"
        )
    if image.startswith("json:") and meant.path:
        return os.path.realpath(meant.path), image
    return path, ""


def _refuse_unchecked(qemu_img: str, name: str, shown: str) -> None:
    done = subprocess.run([qemu_img, "check", "--force-share", name], capture_output=True, check=False)
    if done.returncode == _NO_CHECK:
        raise ColdseekError(f"qemu-img cannot check the format of {shown}; use --by map, info or read")


def _ask(tool: str, arguments: list[str], shown: str) -> bytes:
    done = subprocess.run([tool, *arguments], capture_output=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise ColdseekError(refused(os.path.basename(tool), done.returncode, done.stderr, shown))
    return done.stdout
