"""What one cold run comes to, in numbers that are alike in every run of the same start.

Wall times vary with whatever else a machine does, and so do the requests that a tracer sees: read-ahead is
driven by time. So all of this is worked out from what the program asked for, which repeats: its calls, its
mapped pages, the names that it looked up.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from profiler.analysis.host import PSEUDO_FILESYSTEMS
from profiler.analysis.intervals import exact_sum
from profiler.analysis.reads import access
from profiler.analysis.reads.attribution import structure_of
from profiler.analysis.simulation.projection import Cold, project, requests
from profiler.devices.model import Device
from profiler.facts.starts import UNKNOWN, Image, Part, Program, Start
from profiler.trace import Trace

COUNTS = (
    "requests", "metadata_requests", "device_bytes", "reads", "bytes", "unique_bytes", "files", "seeks",
)  # fmt: skip
"""The quantities but for the seconds of each device, `seconds.NAME`.

requests: that reach the device, metadata_requests of them for names and inodes. device_bytes: in them.
reads, bytes, unique_bytes, seeks: of the calls. files: of which something reaches the device."""

SECONDS = "seconds"


@dataclass(frozen=True)
class Measured:
    """One run. quantities: name -> value, None: not known. parts: requests and bytes of each file."""

    quantities: Mapping[str, float | None]
    parts: Mapping[Part, tuple[int, int]]
    exit_status: int | None
    images: tuple[Image, ...]
    machine: Mapping[str, str]


def measured(trace: Trace, devices: Sequence[Device]) -> Measured:
    """The quantities of a cold run. An empty trace has them all, as zeros."""
    reads = trace.reads()
    cold = requests(trace, reads, look=False)
    of_disks = ~trace.files["filesystem"].isin(PSEUDO_FILESYSTEMS).to_numpy(bool)
    totals = access.totals(access.classify(reads[of_disks[reads["file"].to_numpy(np.int64)]]))
    frame = cold.requests
    own = frame["own"].to_numpy(bool)
    quantities: dict[str, float | None] = {
        "requests": len(frame),
        "metadata_requests": None if cold.metadata == "none" else int(own.sum()),
        "device_bytes": exact_sum(frame["size"].to_numpy(np.int64)),
        "files": int(frame["file"][~own].nunique()),
        **{name: getattr(totals, name) for name in ("reads", "bytes", "unique_bytes", "seeks")},
    }
    if trace.meta.lost_events:
        quantities = dict.fromkeys(quantities)  # they are at least so many
    steady = _steady(cold)
    for device in devices:
        known = not trace.meta.lost_events
        quantities[f"{SECONDS}.{device.name}"] = project(steady, device).seconds if known else None
    return Measured(quantities, _parts(trace, cold), trace.meta.exit_status, _images(trace), _machine(trace))


def _steady(cold: Cold) -> Cold:
    """The same requests, one after another, of a program that computes in no time: how long it really
    computed, and so what it waits for, changes with the load of the machine."""
    frame = cold.requests
    count = len(frame)
    later = np.isinf(frame["needed_s"].to_numpy(np.float64))  # nothing ever waits for these
    return dataclasses.replace(
        cold,
        requests=frame.assign(
            issued_s=np.zeros(count),
            needed_s=np.where(later, np.inf, 0.0),
            group=np.arange(count, dtype=np.int64),
            handed=np.zeros(count, bool),
        ),
    )


def _parts(trace: Trace, cold: Cold) -> dict[Part, tuple[int, int]]:
    frame = cold.requests[~cold.requests["own"].to_numpy(bool)]
    rows = frame.assign(structure=structure_of(frame, trace.structures))
    sums = rows.groupby(["file", "structure"], sort=True)["size"].agg(["size", "sum"])
    made: dict[Part, tuple[int, int]] = {}
    for (file, structure), count, size in sums.itertuples(name=None):
        part = within(trace.files["path"].iloc[file], trace.meta.cwd), structure
        before = made.get(part, (0, 0))  # two files may have had one name
        made[part] = before[0] + count, before[1] + size
    return made


def within(path: bytes, folder: str) -> bytes:
    """A path below the folder as seen from there, so that it is the same in another checkout."""
    above = os.fsencode(folder).rstrip(b"/") + b"/"
    return b"./" + path[len(above) :] if len(above) > 1 and path.startswith(above) else path


def _images(trace: Trace) -> tuple[Image, ...]:
    sizes = trace.files["size"]
    return tuple(
        Image(
            os.fsdecode(within(trace.files["path"].iloc[number], trace.meta.cwd)),
            image.format,
            None if sizes.isna().iloc[number] else int(sizes.iloc[number]),
            image.virtual_size or None,
            image.cluster_size or None,
        )
        for number, image in sorted(trace.meta.images.items())
        if number < len(sizes)
    )


def _machine(trace: Trace) -> dict[str, str]:
    """What the quantities depend on besides the program: who saw them, and what the kernel makes of them."""
    host = trace.meta.host
    used = trace.files[trace.files["kind"].isin(("regular", "block")).to_numpy(bool)]
    numbers = sorted(set(used["device"]) - {""})
    devices = [host.devices[name] for name in numbers if name in host.devices]
    ahead, largest = (
        sorted({value for device in devices if (value := getattr(device, name)) is not None})
        for name in ("read_ahead_kb", "max_sectors_kb")
    )
    disks = used[used["device"].isin([name for name in numbers if not name.startswith("0:")]).to_numpy(bool)]
    made = {
        "tracer": trace.meta.tracer,
        "architecture": host.machine or "",
        "kernel": ".".join((host.kernel or "").split(".")[:2]),
        "distribution": host.distribution or "",
        "filesystems": " ".join(sorted(set(disks["filesystem"]) - {""})),
        "read_ahead_kb": " ".join(map(str, ahead)),
        "max_sectors_kb": " ".join(map(str, largest)),
        "evicted": trace.meta.evicted,
        "cold": "proved" if trace.meta.cache == "cold" else "not proved",
    }
    return {name: words for name, words in made.items() if words}


def start_of(
    command: Sequence[str], runs: Sequence[Measured], program: Program = UNKNOWN, version: str = ""
) -> Start:
    """What several runs of one command come to; without any, a start of no runs."""
    names = dict.fromkeys(name for run in runs for name in run.quantities)
    every = dict.fromkeys(part for run in runs for part in run.parts)
    last = runs[-1] if runs else None
    return Start(
        tuple(command),
        last.exit_status if last else None,
        len(runs),
        {name: tuple(_rounded(run.quantities.get(name)) for run in runs) for name in names},
        {
            part: (
                statistics.median_low([run.parts.get(part, (0, 0))[0] for run in runs]),
                statistics.median_low([run.parts.get(part, (0, 0))[1] for run in runs]),
            )
            for part in every
        },
        program,
        last.images if last else (),
        last.machine if last else {},
        version,
    )


def _rounded(value: float | None) -> float | None:
    """To microseconds: finer differences are of no model."""
    return round(value, 6) if isinstance(value, float) else value
