"""Files that describe a drive with its geometry: JSON, as measured on the drive itself."""

from __future__ import annotations

import dataclasses
from typing import Any

from profiler.devices.disks.geometry import Zone
from profiler.devices.disks.geometry_disk import Buffer, Drive, Overheads
from profiler.devices.disks.seek import SeekCurve, measured
from profiler.devices.values import Bounds, number, values_of, within
from profiler.errors import ColdseekError

MAX_LIST = 10_000  # zones, points of a seek curve

BOUNDS: dict[str, Bounds] = {
    "rpm": (300, 100_000),
    "surfaces": (1, 64),
    "sectors": (1, 1e12),
    "sector_bytes": (256, 65_536),
    "head_switch_ms": (0, 1000),
    "write_settle_ms": (-100, 100),
    "buffer_segments": (0, 10_000),
    "buffer_segment_sectors": (0, 1e9),
    "max_read_ahead_sectors": (0, 1e9),
    "bus_ms_per_sector": (0, 100),
    "first_cylinder": (0, 1e7),
    "last_cylinder": (0, 1e7),
    "sectors_per_track": (1, 1e6),
    "track_skew_sectors": (0, 1e6),
    "cylinder_skew_sectors": (0, 1e6),
    "overhead_ms": (0, 1000),
    "seek_curve_ms": (0, 1000),
}
"""What a number may be. Outside of this it is a slip of the pen, not a drive."""


def parse_drive(text: str, shown: str) -> Drive:
    """The drive described by `text`. `shown` names the file in errors.

    Needed are `rpm`, `surfaces`, `zones` (each with `first_cylinder`, `last_cylinder`, `sectors_per_track`,
    and the skews `track_skew_sectors` and `cylinder_skew_sectors` if there are any) and `seek_curve_ms`, a
    list of [cylinders, ms]. The rest is as in `Drive`, `Buffer` and `Overheads` and may be missing or null:
    `sectors`, `sector_bytes`, `head_switch_ms`, `write_settle_ms`, `buffer_segments`,
    `buffer_segment_sectors`, `max_read_ahead_sectors`, `overhead_ms` (an object), `bus_ms_per_sector`,
    `write_cache`. Where the time of the bus is not given, or is 0, the disk alone counts. A buffer is one
    segment, and is filled ahead, where only its size is given. Other keys are left alone, such as
    `bus_waits_for_whole_read`: a drive that holds its bus for a whole read keeps others from it, of which a
    single drive knows nothing. Zones may come in any order; where two overlap, the cylinders belong to the
    outer one.

    Raises ColdseekError naming `shown` and the key for anything missing or out of bounds.
    """
    values = values_of(text, "JSON", shown)
    sector_bytes = int(_number(values, "sector_bytes", shown, 512))
    sectors = _number(values, "sectors", shown, 0)
    segment = _number(values, "buffer_segment_sectors", shown, 0)
    cache = values.get("write_cache")
    if not isinstance(cache, bool | None):
        raise ColdseekError(f"{shown}: write_cache is neither true nor false")
    return Drive(
        rpm=_number(values, "rpm", shown),
        surfaces=int(_number(values, "surfaces", shown)),
        zones=_zones(values, shown),
        seek=_seek(values, shown),
        sectors=int(sectors) or None,
        sector_bytes=sector_bytes,
        head_switch_ms=_number(values, "head_switch_ms", shown, 0),
        write_settle_ms=_number(values, "write_settle_ms", shown, 0),
        buffer=Buffer(
            segments=int(_number(values, "buffer_segments", shown, 1)),
            segment_sectors=int(segment),
            read_ahead_sectors=int(_number(values, "max_read_ahead_sectors", shown, segment)),
        ),
        overheads=_overheads(values, shown),
        bus_ms_per_sector=_number(values, "bus_ms_per_sector", shown, 0),
        write_cache=bool(cache),
    )


def _number(values: dict[str, Any], key: str, shown: str, default: float | None = None) -> float:
    return number(values, key, BOUNDS[key], shown, default)


def _list(values: dict[str, Any], key: str, shown: str) -> list[Any]:
    found = values.get(key)
    if not isinstance(found, list) or not 0 < len(found) <= MAX_LIST:
        raise ColdseekError(f"{shown}: {key} is no list with 1 to {MAX_LIST} entries")
    return found


def _zones(values: dict[str, Any], shown: str) -> tuple[Zone, ...]:
    zones: list[Zone] = []
    for entry in _list(values, "zones", shown):
        if not isinstance(entry, dict):
            raise ColdseekError(f"{shown}: zones holds something that is no zone")
        zones.append(
            Zone(
                int(_number(entry, "first_cylinder", shown)),
                int(_number(entry, "last_cylinder", shown)),
                int(_number(entry, "sectors_per_track", shown)),
                _number(entry, "track_skew_sectors", shown, 0),
                _number(entry, "cylinder_skew_sectors", shown, 0),
            )
        )
    kept: list[Zone] = []
    for zone in sorted(zones, key=lambda zone: (zone.first_cylinder, zone.last_cylinder)):
        free = kept[-1].last_cylinder + 1 if kept else 0
        first = max(zone.first_cylinder, free)
        if first <= zone.last_cylinder:
            kept.append(dataclasses.replace(zone, first_cylinder=first))
    if not kept:
        raise ColdseekError(f"{shown}: no zone has a cylinder")
    return tuple(kept)


def _seek(values: dict[str, Any], shown: str) -> SeekCurve:
    points: list[tuple[float, float]] = []
    for entry in _list(values, "seek_curve_ms", shown):
        if not isinstance(entry, list) or len(entry) != 2:
            raise ColdseekError(f"{shown}: seek_curve_ms holds something that is no [cylinders, ms]")
        distance = within(entry[0], BOUNDS["last_cylinder"], "a distance of seek_curve_ms", shown)
        points.append(
            (distance, within(entry[1], BOUNDS["seek_curve_ms"], "a time of seek_curve_ms", shown))
        )
    try:
        return measured(points)
    except ValueError as error:
        raise ColdseekError(f"{shown}: seek_curve_ms: {error}") from error


def _overheads(values: dict[str, Any], shown: str) -> Overheads:
    given = values.get("overhead_ms")
    if given is None:
        return Overheads()
    if not isinstance(given, dict):
        raise ColdseekError(f"{shown}: overhead_ms is no JSON object")
    return Overheads(
        **{
            item.name: within(given[item.name], BOUNDS["overhead_ms"], f"overhead_ms.{item.name}", shown)
            for item in dataclasses.fields(Overheads)
            if given.get(item.name) is not None
        }
    )
