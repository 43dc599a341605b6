"""The machine that a trace is of, and its block devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from profiler.calls import LARGEST
from profiler.facts.values import Json, flag, mapping, number, text, texts

_MOST = 2**31
_LARGEST_BLOCK = 65536
_MOST_BLOCKS = 2**48


@dataclass(frozen=True)
class Inodes:
    """Where a file system of the ext family keeps its inodes. source: "file system", or "worked out", as
    mke2fs lays out all but small disks, where it does not say. block_size, inode_size: bytes.
    read_ahead_blocks: of the tables, at a time. tables: group -> its first block."""

    source: str
    block_size: int
    inode_size: int
    blocks_per_group: int
    inodes_per_group: int
    read_ahead_blocks: int
    tables: Mapping[int, int]


@dataclass(frozen=True)
class Device:
    """A block device.

    disk: the whole disk a partition belongs to (a disk's own name otherwise), disk_number its "major:minor",
    start_bytes where the partition begins on it (0 for a whole disk): extents count from the partition,
    requests from the disk. under: the devices that a device-mapper or RAID device lies on; where requests to
    such a device go is not looked into: disk_number and start_bytes are None. max_sectors_kb and
    max_segments bound one request, its size and in how many pieces of memory it is.
    inodes_sought: whether anybody looked where inodes lie; inodes: where, as far as that was told.
    """

    name: str | None = None
    disk: str | None = None
    model: str | None = None
    rotational: bool | None = None
    read_ahead_kb: int | None = None
    max_sectors_kb: int | None = None
    max_segments: int | None = None
    scheduler: str | None = None
    size_bytes: int | None = None
    disk_number: str | None = None
    start_bytes: int | None = None
    under: tuple[str, ...] = ()
    filesystems: tuple[str, ...] = ()
    inodes_sought: bool = False
    inodes: Inodes | None = None


@dataclass(frozen=True)
class Host:
    """The machine. virtual: names the hypervisor or machine type, "" is bare metal. devices: by
    "major:minor". name: what the machine calls itself (hostname(7))."""

    kernel: str | None = None
    machine: str | None = None
    cpus: int | None = None
    memory_bytes: int | None = None
    virtual: str | None = None
    distribution: str | None = None
    devices: Mapping[str, Device] = field(default_factory=dict)
    name: str | None = None

    def device(self, number: str) -> Device:
        """The device "major:minor"; one of which nothing is known where the trace has none."""
        return self.devices.get(number, Device())


def from_json(value: Any) -> Host:
    """A host as JSON has it (`to_json`)."""
    values = mapping(value)
    return Host(
        **{name: text(values, name) for name in ("kernel", "machine", "virtual", "distribution", "name")},
        cpus=number(values, "cpus", _MOST),
        memory_bytes=number(values, "memory_bytes", LARGEST),
        devices={
            name: _device(facts)
            for name, facts in mapping(values.get("devices")).items()
            if isinstance(facts, dict)
        },
    )


def _device(values: Json) -> Device:
    words: Json = {
        name: text(values, name) for name in ("name", "disk", "model", "scheduler", "disk_number")
    }
    counts = ("read_ahead_kb", "max_sectors_kb", "max_segments")
    numbers: Json = {name: number(values, name, _MOST) for name in counts}
    return Device(
        **words,
        **numbers,
        rotational=flag(values, "rotational"),
        size_bytes=number(values, "size_bytes", LARGEST),
        start_bytes=number(values, "start_bytes", LARGEST),
        under=texts(values, "under"),
        filesystems=texts(values, "filesystems"),
        inodes_sought="inodes" in values,
        inodes=_inodes(mapping(values.get("inodes"))),
    )


def _inodes(values: Json) -> Inodes | None:
    block, inode = (number(values, name, _LARGEST_BLOCK) or 0 for name in ("block_size", "inode_size"))
    per_group, blocks = (number(values, f"{name}_per_group", 2**32) for name in ("inodes", "blocks"))
    tables = values.get("inode_tables")
    if not (block >= 1024 and block % 1024 == 0 and 128 <= inode <= block and per_group and blocks):
        return None
    if not isinstance(tables, dict):
        return None
    return Inodes(
        text(values, "source") or "",
        block,
        inode,
        blocks,
        per_group,
        number(values, "read_ahead_blocks", 1024) or 0,
        {
            int(group): table
            for group, table in tables.items()
            if group.isascii() and group.isdecimal() and len(group) < 11
            if type(table) is int and 0 <= table < _MOST_BLOCKS
        },
    )


def to_json(host: Host) -> Json:
    """The host as JSON has it."""
    made = _fields(host)
    return made | {"devices": {name: _device_json(device) for name, device in host.devices.items()}}


def _device_json(device: Device) -> Json:
    made = _fields(device) | {"under": list(device.under), "filesystems": list(device.filesystems)}
    del made["inodes_sought"], made["inodes"]
    if not device.inodes_sought:
        return made
    inodes = {} if device.inodes is None else _fields(device.inodes)
    if inodes:
        inodes["inode_tables"] = {str(group): table for group, table in inodes.pop("tables").items()}
    return made | {"inodes": inodes}


def _fields(facts: Any) -> Json:
    return {item.name: getattr(facts, item.name) for item in dataclasses.fields(facts)}
