"""Opening a disk image with qemu-img: which command does it, and whether qemu-img takes the image at all."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess

from profiler.errors import ColdseekError, CommandNotFoundError, UsageError
from profiler.images.names import named
from profiler.units import show_path

WAYS = ("info", "check", "map", "read")
"""What `coldseek open --by` takes: three commands of qemu-img, and reading all of the guest's data."""

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
        raise CommandNotFoundError(
            "qemu-img: command not found; install qemu-utils (Debian) or qemu-img (Fedora)"
        )
    # The path is absolute, so nothing in it is taken for a protocol or an option. --force-share: a virtual
    # machine may be running on the image.
    name = name or path
    facts = json.loads(_ask(qemu_img, ["info", "--force-share", "--output=json", name], shown))
    if way != "info":  # these open what is behind it too, and without end where that leads back to it
        _ask(qemu_img, ["info", "--force-share", "--backing-chain", name], shown)
    command = {
        "info": ["info", "--force-share", name],
        "check": ["check", "--force-share", name],
        # as text, map refuses what is compressed, encrypted, or not one stretch of a file
        "map": ["map", "--force-share", "--output=json", name],
        "read": [
            "convert", "--force-share", "-n", "--target-image-opts",
            *(() if name.startswith("json:") else ("-f", str(facts["format"]))), name,
            f"driver=null-co,size={int(facts['virtual-size'])}",
        ],
    }  # fmt: skip
    if way == "check" and facts.get("format") in _PERHAPS_UNCHECKED:
        _refuse_unchecked(qemu_img, name, shown)
    return path, [qemu_img, *command[way]]


def _refuse_unreadable(path: str, shown: str) -> None:
    """Raise ColdseekError for what is no file or block device, and for what this user cannot read."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise ColdseekError(f"{shown} is a directory; name a disk image in it")
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


def _ask(qemu_img: str, arguments: list[str], shown: str) -> bytes:
    done = subprocess.run([qemu_img, *arguments], capture_output=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "surrogateescape").strip().splitlines() or ["no reason given"]
        reason = show_path(words[-1].removeprefix("qemu-img: "))
        raise ColdseekError(f"qemu-img refuses {shown}: {reason}")
    return done.stdout
