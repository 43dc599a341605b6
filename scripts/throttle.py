"""Hold a disk to so many reads a second, for the processes of a control group: a device of a known speed.

cgroup v1 (blkio.throttle.read_iops_device) or v2 (io.max), whichever the machine has. Needs root.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

PREFIX = "coldseek-held-"


class NotHeldError(RuntimeError):
    """The disk cannot be held; the text says why."""


def disk_of(path: str | Path) -> str:
    """The "major:minor" of the whole disk that a file lies on."""
    device = os.stat(path).st_dev
    place = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    if not place.exists():
        raise NotHeldError(f"{path} does not lie on a disk; name a place on one")
    place = place.resolve()
    disk = place.parent if (place / "partition").exists() else place
    return (disk / "dev").read_text().strip()


@contextlib.contextmanager
def held(disk: str, reads_a_second: int) -> Iterator[None]:
    """Within it, this process and those that it starts read at most so often from `disk`."""
    parent, version = _controller()
    clean(parent)
    before = Path("/proc/self/cgroup").read_text()
    group = parent / f"{PREFIX}{os.getpid()}"
    home = _home(parent, before, version)
    try:
        group.mkdir()
        if version == 1:
            _write(group / "blkio.throttle.read_iops_device", f"{disk} {reads_a_second}")
        else:
            _write(parent / "cgroup.subtree_control", "+io")
            _write(group / "io.max", f"{disk} riops={reads_a_second}")
        _write(group / "cgroup.procs", "0")
        yield
    except OSError as error:
        raise NotHeldError(f"cannot hold the disk: {error}; run it as root") from error
    finally:
        with contextlib.suppress(OSError):
            _write(home / "cgroup.procs", "0")
        with contextlib.suppress(OSError):
            group.rmdir()


def clean(parent: Path) -> None:
    """Remove groups that a killed run left behind: nobody is in them."""
    for group in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            group.rmdir()


def _controller() -> tuple[Path, int]:
    """Where groups for a disk are made, and the version of cgroups there."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for fields in mounts:
        kind, options = fields[fields.index("-") + 1], fields[-1].split(",")
        if kind == "cgroup" and "blkio" in options:
            return Path(fields[4]), 1
    for fields in mounts:
        top = Path(fields[4])
        if (
            fields[fields.index("-") + 1] == "cgroup2"
            and "io" in (top / "cgroup.controllers").read_text().split()
        ):
            return top, 2
    raise NotHeldError("no control group can hold a disk here: neither blkio (v1) nor io (v2) is mounted")


def _home(parent: Path, memberships: str, version: int) -> Path:
    """The group that this process is in now, to go back to."""
    kind = r"[^:]*\bblkio\b[^:]*" if version == 1 else ""
    found = re.search(rf"^\d+:{kind}:/(.*)$", memberships, re.MULTILINE)
    return parent / found.group(1) if found else parent


def _write(path: Path, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
