"""What is known of the machine a trace was made on: host, devices, file systems, and the places of files.

Reports are made from the trace alone, often elsewhere, so everything they will ask for is looked up right
after the run. What cannot be found out is None, never 0.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import platform
import re
import stat
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from profiler.capture import ext4
from profiler.capture.contents import with_contents
from profiler.capture.directories import MAX_DIRECTORIES, directories
from profiler.capture.structures import structures
from profiler.trace import (
    DATA_KINDS,
    EXTENT_COLUMNS,
    FILE_COLUMNS,
    MAPPING_OPS,
    Trace,
    empty_table,
    host_paths,
    read_bytes,
)
from profiler.units import device_name, show_count, show_path

MAX_EXTENTS_PER_FILE = 100_000
MAX_EXTENTS = 250_000
"""So much is kept in a trace: 15 MB of JSON. A badly fragmented terabyte image has some 100,000 extents."""

MEMORY_FILESYSTEMS = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})
"""Their files are nowhere but in memory: reading them never waits for a device."""

_NOWHERE = MEMORY_FILESYSTEMS | {"proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "tracefs"}
"""Nothing of these lies on a device."""

# linux/fs.h and linux/fiemap.h
_FS_IOC_FIEMAP = 0xC020660B
_FIEMAP = struct.Struct("=QQLLLL")  # start, length, flags, mapped extents, room for extents, reserved
_EXTENT_FIELDS = ("logical", "physical", "length", "flags")
_EXTENT = np.dtype(
    {"names": _EXTENT_FIELDS, "formats": ["u8", "u8", "u8", "u4"], "offsets": [0, 8, 16, 40], "itemsize": 56}
)
_EXTENTS_AT_ONCE = 2048  # 112 KiB a call
_LAST = 0x1  # FIEMAP_EXTENT_LAST
_NOT_PLACED = 0x2 | 0x4  # FIEMAP_EXTENT_UNKNOWN, FIEMAP_EXTENT_DELALLOC: `physical` means nothing


# ---- host -------------------------------------------------------------------------------------------------


def host_facts(devices: Iterable[str] = ()) -> dict[str, Any]:
    """The machine, and those of its devices that are named as "major:minor"; JSON-able, for `Meta.host`.

    {"kernel", "machine", "cpus", "memory_bytes", "virtual", "distribution",
     "devices": {"8:1": {"name", "disk", "model", "rotational", "read_ahead_kb", "max_sectors_kb",
                         "max_segments", "scheduler", "size_bytes", "disk_number", "start_bytes", "under",
                         "filesystems", "inodes"}}}
    `disk` is the whole disk a partition belongs to (a disk's own name otherwise), disk_number its
    "major:minor", start_bytes where the partition begins on it (0 for a whole disk): extents count from the
    partition, requests from the disk. `under` are the devices that a device-mapper or RAID device lies on;
    where requests to such a device go is not looked into: both are None. max_sectors_kb and max_segments
    bound one request, its size and in how many pieces of memory it is; `virtual` names the hypervisor or
    machine type, "" is bare metal. `inodes` is added by `complete`: see `ext4.geometry`.
    """
    system = os.uname()
    return {
        "kernel": system.release,
        "machine": system.machine,
        "cpus": os.cpu_count(),
        "memory_bytes": _memory(),
        "virtual": _virtual(),
        "distribution": _distribution(),
        "devices": {device: _device_facts(device) for device in sorted(set(devices)) if device},
    }


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


def _device_facts(device: str) -> dict[str, Any]:
    place = _sysfs(device)
    facts: dict[str, Any] = dict.fromkeys(
        (
            "name", "disk", "model", "rotational", "read_ahead_kb", "max_sectors_kb", "max_segments",
            "scheduler", "size_bytes", "disk_number", "start_bytes",
        )
    )  # fmt: skip
    facts["under"] = []
    facts["filesystems"] = sorted({mount.kind for mount in _mounts() if mount.device == device})
    if place is None:
        return facts
    # A partition is a folder inside its disk's folder; the queue belongs to the disk.
    disk = place.parent if (place / "partition").exists() else place
    sectors = _number(place / "size")
    rotational = _number(disk / "queue/rotational")
    under = sorted(entry.name for entry in _entries(disk / "slaves"))
    # The heads of NVMe multipath pass on what they get too, to disks that are not listed under them.
    is_direct = not under and "nvme-subsystem" not in disk.parts
    facts |= {
        "name": place.name.replace("!", "/"),  # sysfs writes / in names as !
        "disk": disk.name.replace("!", "/"),
        "model": _read(disk / "device/model") or _read(disk / "device/name") or _read(disk / "dm/name"),
        "rotational": None if rotational is None else bool(rotational),
        "read_ahead_kb": _number(disk / "queue/read_ahead_kb"),
        "max_sectors_kb": _number(disk / "queue/max_sectors_kb"),
        "max_segments": _number(disk / "queue/max_segments"),
        "scheduler": _scheduler(_read(disk / "queue/scheduler")),
        "size_bytes": None if sectors is None else sectors * 512,  # in units of 512, on every disk
        "disk_number": _read(disk / "dev") if is_direct else None,
        "start_bytes": _start(place, disk) if is_direct else None,
        "under": under,
    }
    return facts


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


# ---- file systems -----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Mount:
    number: int  # the mount's id
    device: str  # "major:minor"
    kind: str  # ext4, tmpfs ...


def filesystem_of(device: str, path: bytes | None = None) -> str:
    """The file system ("ext4") of a file whose stat gives this device ("major:minor"); "": not known.

    Where the device is not among the mounted ones (btrfs gives each subvolume a number of its own, overlay
    may pass through those of its layers), the mount that `path` lies on is asked for, if a path is given.
    """
    known = _kinds.get(device)
    if known is None:
        _kinds.update((mount.device, mount.kind) for mount in _mounts())
        known = _kinds.get(device)
    if known is None and path is not None:
        known = _kind_by_path(path, device)
        if known is not None:
            _kinds[device] = known
    return known or ""


_kinds: dict[str, str] = {}  # what was found, since `complete` last began: loop devices' numbers come again


def _kind_by_path(path: bytes, device: str) -> str | None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)  # opens nothing, so blocks on nothing
    except (OSError, ValueError):
        return None
    try:
        if device_name(os.fstat(descriptor).st_dev) != device:
            return None  # another file by now
        text = _read(Path(f"/proc/self/fdinfo/{descriptor}")) or ""
    finally:
        os.close(descriptor)
    found = re.search(r"^mnt_id:\s*([0-9]+)", text, re.MULTILINE)
    return next((mount.kind for mount in _mounts() if found and mount.number == int(found.group(1))), None)


def _mounts(text: bytes | None = None) -> list[_Mount]:
    """The mounts of this process, from /proc/self/mountinfo (proc(5)) or from `text` in its place.

    A line: id, parent, major:minor, root, mount point, options, any number of tags, "-", kind, source,
    options.
    """
    if text is None:
        try:
            text = Path("/proc/self/mountinfo").read_bytes()
        except OSError:
            return []
    mounts = []
    for line in text.split(b"\n"):
        before, dash, after = line.partition(b" - ")
        fields, rest = before.split(b" "), after.split(b" ")
        if dash and len(fields) >= 6 and fields[0].isdigit():
            kind = re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal.group(1), 8) & 255]), rest[0])
            mounts.append(_Mount(int(fields[0]), os.fsdecode(fields[2]), kind.decode("utf-8", "replace")))
    return mounts


# ---- extents ----------------------------------------------------------------------------------------------


def extents(
    files: pd.DataFrame, per_file: int = MAX_EXTENTS_PER_FILE, in_all: int = MAX_EXTENTS
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Where the files lie on their devices: a table of `trace.EXTENT_COLUMNS`, and notes on what is missing.

    files: rows of `trace.FILE_COLUMNS`, the most important first; they are taken in that order until
    `in_all` extents are reached. Each is opened again by its path on the host, and used only if
    device and inode are still the same. Offsets are bytes from the start of the block device that the file
    system is on (the partition, the logical volume), not of the disk under it; on btrfs they are addresses
    of its own, in the same unit. A block device that was read itself lies where it lies: one extent, offset
    for offset. Files in memory, on the network or on overlay have none.
    """
    tables, notes, left = [empty_table(EXTENT_COLUMNS)], [], in_all
    columns = [files[name].tolist() for name in ("file", "path", "device", "inode", "kind")]
    for file, named, device, inode, kind, path in zip(*columns, host_paths(files), strict=True):
        if kind not in (*DATA_KINDS, "directory") or inode is pd.NA:
            continue
        if left <= 0:
            notes.append(f"places on the device are known for the first {show_count(in_all)} extents only")
            break
        rows, whole = _file_extents(path, device, inode, min(per_file, left))
        if not whole:
            first, shown = show_count(len(rows)), show_path(named)
            notes.append(f"places on the device are known for the first {first} extents of {shown} only")
        placed = rows[(rows[:, 3] & _NOT_PLACED) == 0]
        if len(placed) < len(rows):
            notes.append(f"parts of {show_path(named)} had no place on the device yet (not written back)")
        if len(placed):
            made = pd.DataFrame(placed, columns=["logical", "physical", "length", "flags"])
            made.insert(0, "file", np.full(len(placed), file, np.int32))
            tables.append(made)
            left -= len(placed)
    return pd.concat(tables, ignore_index=True).astype(EXTENT_COLUMNS), tuple(notes)


_Rows = np.ndarray[tuple[int, int], np.dtype[np.int64]]
"""Extents, a row each: logical, physical, length (bytes), flags."""


def _file_extents(path: bytes, device: str, inode: int, limit: int) -> tuple[_Rows, bool]:
    """The first `limit` extents of a file, and whether they are all. None where there is no such thing."""
    nothing = np.empty((0, 4), np.int64)
    try:
        # Looked at before it is opened: to open a device or FIFO that took the file's place could have
        # effects.
        if not _is_same(os.stat(path), device, inode):
            return nothing, True
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return nothing, True
    try:
        facts = os.fstat(descriptor)
        if not _is_same(facts, device, inode):
            return nothing, True
        if stat.S_ISBLK(facts.st_mode):
            return np.array([[0, 0, os.lseek(descriptor, 0, os.SEEK_END), _LAST]]), True
        return fiemap(descriptor, limit)
    except OSError:  # no FIEMAP on this file system: EOPNOTSUPP, ENOTTY, EINVAL, EBADR, by its taste
        return nothing, True
    finally:
        os.close(descriptor)


def _is_same(facts: os.stat_result, device: str, inode: int) -> bool:
    """Whether this is the regular file, directory or block device that was seen as `device` and `inode`."""
    if stat.S_ISBLK(facts.st_mode):
        return facts.st_ino == inode and device in (device_name(facts.st_rdev), device_name(facts.st_dev))
    known = stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode)
    return known and facts.st_ino == inode and device_name(facts.st_dev) == device


def fiemap(descriptor: int, limit: int) -> tuple[_Rows, bool]:
    """Ask FS_IOC_FIEMAP (Documentation/filesystems/fiemap.rst) again and again until the last extent.

    Without FIEMAP_FLAG_SYNC: an observer does not make the system write. What is not yet written back has no
    place then, and carries a flag that says so.
    """
    parts, start, got = [np.empty((0, 4), np.int64)], 0, 0
    while got < limit:
        room = min(_EXTENTS_AT_ONCE, limit - got)
        answer = bytearray(_FIEMAP.size + room * _EXTENT.itemsize)
        _FIEMAP.pack_into(answer, 0, start, 2**64 - 1 - start, 0, 0, room, 0)
        fcntl.ioctl(descriptor, _FS_IOC_FIEMAP, answer, True)
        count = _FIEMAP.unpack_from(answer)[3]
        found = np.frombuffer(answer, _EXTENT, count, _FIEMAP.size)
        if not count:
            return np.concatenate(parts), True
        parts.append(np.stack([found[name].astype(np.int64) for name in _EXTENT_FIELDS], axis=1))
        got += count
        if found["flags"][-1] & _LAST:
            return np.concatenate(parts), True
        start = int(found["logical"][-1] + found["length"][-1])
    return np.concatenate(parts), False


# ---- a trace's surroundings -------------------------------------------------------------------------------


def complete(trace: Trace) -> Trace:
    """A trace captured just now, with `extents` of the data files that were read or mapped, `structures` of
    the disk images that were read, the `contents` that the guest has there, `meta.host`, the file systems
    of all files whose device is known, and the `directories` above them, with extents too: what opening
    them costs a cold start.

    The files with the most bytes read come first where there are more extents than a trace holds, those
    that were mapped only come next.
    """
    _kinds.clear()
    read = read_bytes(trace)
    events = trace.events
    mapped = events["file"][events["op"].isin(MAPPING_OPS)].drop_duplicates()
    found_mapped = [file for file in mapped if file >= 0 and file not in read.index]
    layout, images, more = structures(trace)
    images = {number: trace.meta.images.get(number, {}) | facts for number, facts in images.items()}
    files = _with_filesystems(trace.files)
    above, all_above = directories(files, _NOWHERE)
    files = pd.concat([files, _with_filesystems(above)], ignore_index=True)
    kept = ~files["filesystem"].isin(_NOWHERE)
    looked_up = files[(kept & (files["kind"] == "directory")).to_numpy(bool)]
    read_files = files.loc[[*read.index, *found_mapped]]
    found, notes = extents(pd.concat([read_files, looked_up]))
    if not all_above:
        notes = (*notes, f"directories were looked at up to the first {show_count(MAX_DIRECTORIES)} only")
    host = host_facts([*read_files["device"], *looked_up["device"]])
    for device, facts in host["devices"].items():
        facts["inodes"] = _inode_tables(files[(files["device"] == device).to_numpy(bool)], facts)
    made = dataclasses.replace(
        trace,
        meta=dataclasses.replace(
            trace.meta, host=host, images=images, notes=(*trace.meta.notes, *notes, *more)
        ),
        files=files,
        extents=found,
        structures=layout,
    )
    return with_contents(made)


def _with_filesystems(files: pd.DataFrame) -> pd.DataFrame:
    kinds = [
        known or (filesystem_of(device, path) if device and kind in ("regular", "directory", "link") else "")
        for (known, device, kind), path in zip(
            files[["filesystem", "device", "kind"]].to_numpy(), host_paths(files), strict=True
        )
    ]
    return files.assign(filesystem=pd.Series(kinds, dtype=FILE_COLUMNS["filesystem"], index=files.index))


def _inode_tables(files: pd.DataFrame, facts: dict[str, Any]) -> dict[str, Any]:
    """Of one device's files, where their inodes lie, as far as that is known of the file system."""
    files = files[(files["filesystem"].isin(ext4.KINDS) & files["inode"].notna()).to_numpy(bool)]
    mounted = files[(files["kind"] == "directory").to_numpy(bool)]
    if not len(mounted) or not facts["size_bytes"]:
        return {}
    place = host_paths(mounted)[-1]
    return ext4.geometry(facts["name"], facts["size_bytes"], files["inode"].tolist(), place)
