"""The machine and its block devices, as a trace is told of them. What is not known is None, never 0."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from pathlib import Path

from profiler.facts.host import Device, Host
from profiler.machine.mounts import mounts


def host_facts(devices: Iterable[str] = ()) -> Host:
    """The machine, and those of its devices that are named as "major:minor". Where inodes lie on them
    is told by `ext4.geometry`."""
    system = os.uname()
    return Host(
        system.release, system.machine, os.cpu_count(), _memory(), _virtual(), _distribution(),
        {device: _device_facts(device) for device in sorted(set(devices)) if device},
        system.nodename or None,
    )  # fmt: skip


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def _virtual() -> str | None:
    """The processor says whether there is a hypervisor; the firmware's product name says which."""
    text = _read(Path("/proc/cpuinfo"))
    if text is None or not re.search(r"^(flags|Features)\s*:", text, re.MULTILINE):
        return None
    if not re.search(r"^flags\s*:.*\bhypervisor\b", text, re.MULTILINE):
        return "" if "flags" in text else None  # only x86 processors tell
    names = [_read(Path("/sys/class/dmi/id") / name) for name in ("sys_vendor", "product_name")]
    return " ".join(name for name in names if name) or "a hypervisor"


def _distribution() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def _device_facts(device: str) -> Device:
    place = _sysfs(device)
    filesystems = tuple(sorted({mount.kind for mount in mounts() if mount.device == device}))
    if place is None:
        return Device(filesystems=filesystems)
    # A partition is a folder inside its disk's folder; the queue belongs to the disk.
    disk = place.parent if (place / "partition").exists() else place
    sectors = _number(place / "size")
    rotational = _number(disk / "queue/rotational")
    under = tuple(sorted(entry.name for entry in _entries(disk / "slaves")))
    # The heads of NVMe multipath pass on what they get too, to disks that are not listed under them.
    is_direct = not under and "nvme-subsystem" not in disk.parts
    return Device(
        name=place.name.replace("!", "/"),  # sysfs writes / in names as !
        disk=disk.name.replace("!", "/"),
        model=_read(disk / "device/model") or _read(disk / "device/name") or _read(disk / "dm/name"),
        rotational=None if rotational is None else bool(rotational),
        read_ahead_kb=_number(disk / "queue/read_ahead_kb"),
        max_sectors_kb=_number(disk / "queue/max_sectors_kb"),
        max_segments=_number(disk / "queue/max_segments"),
        scheduler=_scheduler(_read(disk / "queue/scheduler")),
        size_bytes=None if sectors is None else sectors * 512,  # in units of 512, on every disk
        disk_number=_read(disk / "dev") if is_direct else None,
        start_bytes=_start(place, disk) if is_direct else None,
        under=under,
        filesystems=filesystems,
    )


def _start(place: Path, disk: Path) -> int | None:
    """Where a partition begins on its disk, in bytes; of the disk itself 0."""
    sectors = 0 if place == disk else _number(place / "start")
    return None if sectors is None else sectors * 512  # in units of 512, on every disk


def _sysfs(device: str) -> Path | None:
    if not re.fullmatch(r"[0-9]+:[0-9]+", device):
        return None
    place = Path("/sys/dev/block") / device
    try:
        return place.resolve(strict=True)
    except OSError:
        return None


def _scheduler(text: str | None) -> str | None:
    """ "none [mq-deadline] kyber" -> "mq-deadline"; a bare "none" is itself."""
    if text is None:
        return None
    chosen = re.search(r"\[([^]]+)\]", text)
    return chosen.group(1) if chosen else text


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


def _number(path: Path) -> int | None:
    text = _read(path)
    return int(text) if text is not None and re.fullmatch(r"-?[0-9]+", text) else None


def _entries(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except OSError:
        return []
