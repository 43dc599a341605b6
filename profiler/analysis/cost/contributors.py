"""Which things a cold start waits for most, and what they are: files that belong together are one thing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from profiler.analysis.cost.costs import Cost
from profiler.analysis.reads.file_kinds import JAVASCRIPT, PYTHON, FileKind, file_kind
from profiler.analysis.simulation.projection import Cold, Projection
from profiler.devices.model import Floats
from profiler.trace import Trace
from profiler.units import show_path

MOST = 3
"""So many are named: what is behind them is a small part of nearly every start."""

PROGRAM, IMAGE, METADATA = "program", "disk image", "directories and inodes"


@dataclass(frozen=True)
class Contributor:
    """name: of the file, or of what its files are together; b"": the kind tells it all. kind: in words.
    files: how many. requests, bytes: that reached the device. seconds: that the program waited for it, None:
    not known. share: of that of all, else of all bytes. observed: as of `costs.Cost`.
    """

    name: bytes
    kind: str
    files: int
    requests: int
    bytes: int
    seconds: float | None
    share: float
    observed: bool


def contributors(trace: Trace, found: Sequence[Cost], most: int = MOST) -> tuple[Contributor, ...]:
    """The dearest, most first; at most so many. found: what files cost (`costs`, `projected_costs`)."""
    programs = set(trace.events["file"][(trace.events["op"] == "exec").to_numpy(bool)].tolist())
    images = set(trace.meta.images)
    rows: dict[tuple[str, bytes], list[Cost]] = {}
    for one in found:
        kind = _kind(one, programs, images)
        key = (kind.kind, kind.group or (b"" if one.file < 0 else one.path))
        rows.setdefault(key, []).append(one)
    timed = all(one.waited_s is not None for one in found) and any(one.waited_s for one in found)
    total = sum(_weight(one, timed) for one in found)
    made = [
        Contributor(
            _name(kind, name),
            kind,
            len({(one.file, one.path) for one in parts}),
            sum(one.requests for one in parts),
            sum(one.bytes for one in parts),
            sum(one.waited_s or 0.0 for one in parts) if timed else None,
            sum(_weight(one, timed) for one in parts) / total if total else 0.0,
            all(one.observed for one in parts),
        )
        for (kind, name), parts in rows.items()
    ]
    return tuple(sorted(made, key=lambda one: -one.share)[:most])


def in_words(one: Contributor) -> str:
    """ "node (program)", "Python modules of numpy", "git repository"; fit to print."""
    name = show_path(one.name)
    if not one.name or one.kind == "file":
        return name or one.kind
    return f"{one.kind} of {name}" if one.kind in (PYTHON, JAVASCRIPT) else f"{name} ({one.kind})"


def projected_costs(trace: Trace, cold: Cold, projection: Projection) -> tuple[Cost, ...]:
    """What each file costs on a device, by the simulation, where nothing better is known. projection: of
    this very cold start."""
    return _by_file(trace, cold, projection.times)


def by_bytes(trace: Trace, cold: Cold) -> tuple[Cost, ...]:
    """The same where no device is known: what it is waited for is not."""
    return _by_file(trace, cold, None)


def _by_file(trace: Trace, cold: Cold, times: Floats | None) -> tuple[Cost, ...]:
    frame = cold.requests
    own = frame["own"].to_numpy(bool)
    file = np.where(own, -1, frame["file"].to_numpy(np.int64))
    requests, bytes_, waited = (
        np.bincount(file + 1, weights, minlength=len(trace.files) + 1)
        for weights in (None, frame["size"].to_numpy(np.float64), times)
    )
    paths = trace.files["path"].tolist()
    return tuple(
        Cost(
            number,
            paths[number] if number >= 0 else b"",
            "",
            "read" if number >= 0 else "metadata",
            int(requests[number + 1]),
            int(bytes_[number + 1]),
            None if times is None else float(waited[number + 1]),
            observed=False,
        )
        for number in (np.flatnonzero(requests) - 1).tolist()
    )


def _kind(one: Cost, programs: set[int], images: set[int]) -> FileKind:
    if one.file < 0 or one.how == "metadata":
        return FileKind(METADATA, METADATA.encode())
    if one.file in images:
        return FileKind(IMAGE)
    known = file_kind(one.path)
    return FileKind(PROGRAM) if one.file in programs and known.kind in ("file", "script") else known


def _weight(one: Cost, timed: bool) -> float:
    return (one.waited_s or 0.0) if timed else float(one.bytes)


def _name(kind: str, name: bytes) -> bytes:
    """Nothing where the kind says it already."""
    return b"" if name == kind.encode() else os.path.basename(name) or name
