"""Device files: TOML with the numbers of one device, shipped as presets or written by a user or a
calibration."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import os
from functools import cache
from importlib import resources
from pathlib import PurePath
from typing import Any

from profiler.devices.disks.datasheet_disk import Disk
from profiler.devices.disks.geometry_file import parse_drive
from profiler.devices.flash import Flash
from profiler.devices.flat import Flat
from profiler.devices.lazy import Lazy
from profiler.devices.model import COUNTS, Curve, Device
from profiler.devices.network import Network
from profiler.devices.values import Bounds, form_of, is_number, number, read, values_of
from profiler.errors import ColdseekError, UsageError
from profiler.units import show_path

KINDS: dict[str, type[Any]] = {
    "flat": Flat, "disk": Disk, "flash": Flash, "network": Network, "lazy": Lazy,
}  # fmt: skip
"""`kind` of a device file -> its model, whose fields are the file's other keys."""

BOUNDS: dict[str, Bounds] = {
    "iops": (1, 1e8),
    "transfer_mb_per_s": (0.1, 1e6),
    "rpm": (300, 100_000),
    "settle_ms": (0, 100),
    "average_seek_ms": (0.01, 1000),
    "full_stroke_ms": (0.01, 1000),
    "command_ms": (0, 100),
    "capacity_gb": (0.001, 1e9),
    "inner_mb_per_s": (0.1, 1e6),
    "buffer_mb": (0, 1e5),
    "queue_depth": (1, 65536),
    "channels": (1, 65536),
    "round_trip_us": (0.1, 1e7),
    "first_touch_ms": (0.001, 1e5),
    "block_kib": (4, 1e6),
    "handoff_us": (0, 1e5),
    "low_ratio": (0.01, 1),
    "high_ratio": (1, 100),
}
"""What a number may be; the unit is in its key. Outside of this it is a slip of the pen, not a device."""

CURVES: dict[str, tuple[Bounds, Bounds]] = {
    "latency_us": ((1, 2**40), (0.1, 1e7)),
    "seek_curve_ms": ((0, 1e9), (0.01, 1000)),
    "pause_us": ((0, 1e9), (0, 1e6)),
}
"""What the points [x, y] of a curve may be: bytes and microseconds, gigabytes and milliseconds, microseconds
both."""

MAX_POINTS = 1000

_TEXTS = ("kind", "title", "source")
_OPTIONAL = ("low_ratio", "high_ratio", "handoff_us", "pause_us")


def presets() -> list[Device]:
    """The devices that come with coldseek, slowest first by their order in `_ORDER`, others by name.

    >>> [device.name for device in coldseek.presets()][:3]
    ['ebs-snapshot', 'iops-120', 'hdd-5400']
    """
    names = sorted(
        (PurePath(entry.name).stem for entry in _folder().iterdir() if entry.name.endswith(".toml")),
        key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name),
    )
    return [_preset(name) for name in names]


_ORDER = (
    "ebs-snapshot", "iops-120", "hdd-5400", "hdd-7200", "hdd-7200-now", "hdd-15k", "nas-1g", "efs",
    "cloud-3000", "ceph-rbd", "lustre", "nas-10g", "sata-ssd", "nvme", "nvme-gen4",
)  # fmt: skip


def usual() -> list[Device]:
    """Those of the presets that differ most, for a report of one screen; slowest first."""
    return [_preset(name) for name in USUAL]


DRIVE_BAND = (0.95, 1.05)
"""low_ratio and high_ratio of a drive with its geometry. The five of docs/accuracy.md, each by the rules
that the other four choose, took 0.952 to 1.038 times what was predicted; the wider of these, both ways."""

USUAL = ("iops-120", "hdd-7200", "nas-1g", "sata-ssd", "nvme")


def find(name: str) -> Device:
    """The device of that name, or the one described by the TOML file at that path, or the drive of a JSON
    file with its geometry (`geometry_file.parse_drive`).

    Raises UsageError for an unknown name (offering the nearest), and ColdseekError for a file that cannot
    be read or whose keys or values are not those of a device, naming the file and the key.
    """
    names = [device.name for device in presets()]
    if name in names:
        return _preset(name)
    if os.sep in name or name.endswith((".toml", ".json")):
        text, stem, shown = read(name), show_path(PurePath(name).stem), show_path(name)
        return _drive(text, stem, shown) if form_of(name) == "JSON" else parse(text, stem, shown)
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.4)
    meant = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
    raise UsageError(f"no device named {show_path(name)}; {meant} (or give the path of a .toml file)")


def parse(text: str, name: str, shown: str) -> Device:
    """The device described by `text` (TOML). `shown` names the file in errors.

    Raises ColdseekError naming `shown` and the key for anything missing, unknown or out of bounds.
    """
    values = values_of(text, "TOML", shown)
    for key in _TEXTS:
        if not isinstance(values.get(key), str) or not values[key].strip():
            raise ColdseekError(f"{shown}: {key} is missing or no text")
    if values["kind"] not in KINDS:
        raise ColdseekError(f"{shown}: kind is {values['kind']!r}, not one of {', '.join(KINDS)}")
    model = KINDS[values["kind"]]
    needed = {item.name for item in dataclasses.fields(model)}
    unknown = sorted(set(values) - needed - {*_TEXTS, *_OPTIONAL, "counts", "remote"})
    if unknown:
        near = difflib.get_close_matches(unknown[0], needed, n=1)
        hint = (
            f"did you mean {near[0]}?"
            if near
            else f"a {values['kind']} device has {', '.join(sorted(needed))}"
        )
        raise ColdseekError(f"{shown}: unknown key {show_path(unknown[0])}; {hint}")
    fields = {
        item.name: _value(values, item.name, shown)
        for item in dataclasses.fields(model)
        if item.name in values or item.default is dataclasses.MISSING
    }
    more: dict[str, Any] = {key: _value(values, key, shown) for key in _OPTIONAL if key in values}
    made = model(**fields)
    if isinstance(made, Disk) and not made.settle_ms <= made.average_seek_ms <= made.full_stroke_ms:
        raise ColdseekError(f"{shown}: average_seek_ms does not lie between settle_ms and full_stroke_ms")
    title, source = (" ".join(values[key].split()) for key in ("title", "source"))
    counts = values.get("counts", COUNTS[0])
    if counts not in COUNTS:
        raise ColdseekError(f"{shown}: counts is {str(counts)[:40]!r}, not one of {', '.join(COUNTS)}")
    remote = values.get("remote", values["kind"] == "network")
    if not isinstance(remote, bool):
        raise ColdseekError(f"{shown}: remote is {str(remote)[:40]!r}, not true or false")
    return Device(name, title, source, values["kind"], made, counts=counts, remote=remote, **more)


def _value(values: dict[str, Any], key: str, shown: str) -> float | Curve | Device:
    if key == "server":
        return _server(values, shown)
    return _curve(values, key, shown) if key in CURVES else number(values, key, BOUNDS[key], shown)


def _curve(values: dict[str, Any], key: str, shown: str) -> Curve:
    """The points of a curve. For latency_us a single number will do: that of 4 KiB."""
    points = values.get(key)
    across, up = CURVES[key]
    if points is None:
        raise ColdseekError(f"{shown}: {key} is missing")
    if key == "latency_us" and is_number(points, up):
        return ((4096.0, float(points)),)
    good = (
        isinstance(points, list)
        and 0 < len(points) <= MAX_POINTS
        and all(
            isinstance(point, list)
            and len(point) == 2
            and is_number(point[0], across)
            and is_number(point[1], up)
            for point in points
        )
        and all(before[0] < after[0] for before, after in itertools.pairwise(points))
    )
    if not good:
        (least, most), (low, high) = across, up
        bounds = f"x from {least:g} to {most:g} and rising, y from {low:g} to {high:g}"
        raise ColdseekError(f"{shown}: {key} is no list of points [x, y], {bounds}")
    return tuple((float(x), float(y)) for x, y in points)


def _server(values: dict[str, Any], shown: str) -> Device:
    """The device behind a network, or behind a volume that is filled on demand: a preset without one."""
    name = values.get("server")
    if not isinstance(name, str) or not (_folder() / f"{PurePath(name).name}.toml").is_file():
        raise ColdseekError(f'{shown}: server does not name a preset, as in server = "hdd-7200"')
    file = f"{PurePath(name).name}.toml"
    kind = values_of((_folder() / file).read_text("utf-8"), "TOML", file)["kind"]
    if kind in ("network", "lazy"):
        raise ColdseekError(f"{shown}: server = {name!r} is itself a {kind} device")
    return _preset(PurePath(name).name)


def _drive(text: str, name: str, shown: str) -> Device:
    source = "its geometry, as measured on the drive itself"
    return Device(name, f"the drive of {shown}", source, "drive", parse_drive(text, shown), *DRIVE_BAND)


@cache
def _preset(name: str) -> Device:
    return parse((_folder() / f"{name}.toml").read_text("utf-8"), name, f"preset {name}.toml")


def _folder() -> Any:
    return resources.files("profiler.devices") / "presets"
