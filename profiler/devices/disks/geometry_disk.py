"""A hard disk whose geometry is known: an arm, a turning disk and a buffer, request by request.

The mechanics are those of Ruemmler and Wilkes, "An introduction to disk drive modeling", IEEE Computer
27(3), 1994. The parameters are those that Worthington, Ganger, Patt and Wilkes measure in "On-line
extraction of SCSI disk drive parameters", SIGMETRICS 1995; the DiskSim 4.0 reference manual (CMU-PDL-08-101,
2008) explains them. The rules of the buffer are said at `drivestate.State`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from profiler.devices.disks.drivestate import Row, Rules, State
from profiler.devices.disks.geometry import Geometry, Zone
from profiler.devices.disks.seek import SeekCurve
from profiler.devices.model import Bytes, Floats, Service, pauses


@dataclass(frozen=True)
class Overheads:
    """What the electronics take for a request, in ms, by what it is and what the one before it was.

    The very first counts as one after a read.
    """

    read_hit_after_read: float = 0.0
    read_hit_after_write: float = 0.0
    read_miss_after_read: float = 0.0
    read_miss_after_write: float = 0.0
    write_after_read: float = 0.0
    write_after_write: float = 0.0


@dataclass(frozen=True)
class Buffer:
    """`segments` pieces of memory, each with one run of up to `segment_sectors`, the latest of it.

    read_ahead_sectors: how far beyond the end of a request the drive reads on. All 0: no buffer.
    """

    segments: int = 0
    segment_sectors: int = 0
    read_ahead_sectors: int = 0


@dataclass(frozen=True)
class Served:
    """What became of the requests: an array each, one number a request, in seconds.

    arrivals: when it reached the drive. responses: how long until it was done, the sum of its five parts:
    waiting for those before it, command (the electronics), seeking, turning (until its first sector that is
    not in the buffer came round), transferring. hits: which of them the buffer served, without the arm.
    """

    arrivals: Floats
    responses: Floats
    waiting: Floats
    command: Floats
    seeking: Floats
    turning: Floats
    transferring: Floats
    hits: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Drive:
    """One disk drive.

    rpm: turns a minute. surfaces, zones, sectors: as in `Geometry`. seek: the time of the arm, settled for
    reads. head_switch_ms: to the next surface. write_settle_ms: what a move takes longer, or shorter where
    negative, before a write. bus_ms_per_sector: from or to the host. write_cache: a write is done when it is
    in the buffer; it reaches the disk afterwards. rules: what none of these tells.

    Times are of one turning disk: at time 0 the angle is 0, the arm is at cylinder 0, the buffer empty.
    """

    rpm: float
    surfaces: int
    zones: tuple[Zone, ...]
    seek: SeekCurve
    sectors: int | None = None
    sector_bytes: int = 512
    head_switch_ms: float = 0.0
    write_settle_ms: float = 0.0
    buffer: Buffer = field(default_factory=Buffer)
    overheads: Overheads = field(default_factory=Overheads)
    bus_ms_per_sector: float = 0.0
    write_cache: bool = False
    rules: Rules = field(default_factory=Rules)

    @property
    def rotation_ms(self) -> float:
        """One turn of the disk."""
        return 60_000 / self.rpm

    @cached_property
    def geometry(self) -> Geometry:
        return Geometry(
            self.surfaces,
            self.zones,
            self.sectors,
            rotation_ms=self.rotation_ms,
            head_switch_ms=self.head_switch_ms,
            cylinder_switch_ms=float(self.seek.ms(1)),
        )

    @cached_property
    def seek_ms(self) -> list[float]:
        """The seek time over 0, 1, 2 ... cylinders."""
        return [float(time) for time in self.seek.ms(np.arange(self.geometry.cylinders))]

    def serve(self, offsets: Bytes, sizes: Bytes, arrivals: Floats) -> Service:
        """See `model.Model.serve`; parts: command, seeking, turning, transferring. The angle is the real
        one, so nothing is left to chance. What is queued is served as it came.
        """
        served = self.replay(offsets, sizes, think_s=pauses(arrivals))
        names = ("command", "seeking", "turning", "transferring")
        return Service({name: getattr(served, name) for name in names}, served.responses)

    def replay(
        self,
        offsets: npt.ArrayLike,
        sizes: npt.ArrayLike,
        is_read: npt.ArrayLike = True,
        *,
        arrivals_s: npt.ArrayLike | None = None,
        think_s: npt.ArrayLike = 0.0,
    ) -> Served:
        """Serve requests one after another, first come, first served.

        offsets, sizes: bytes, one-dimensional and of one length; sectors touched in part are transferred
        whole, at least one, and addresses beyond the end of the drive begin again at its start. is_read:
        False is a write. arrivals_s: when each reaches the drive, never falling (open loop). Without these
        a request comes think_s after the one before is done (closed loop). is_read and think_s may be single
        values.

        Raises ValueError for arrays of different lengths, negative or falling times, or times that are no
        numbers.
        """
        first = np.asarray(offsets, np.int64)
        if first.ndim != 1:
            raise ValueError("offsets are one-dimensional")
        last = first + np.maximum(np.broadcast_to(np.asarray(sizes, np.int64), first.shape), 1) - 1
        counts = np.minimum(
            last // self.sector_bytes - first // self.sector_bytes + 1, self.geometry.sectors
        )
        starts = first // self.sector_bytes % self.geometry.sectors
        starts = np.minimum(starts, self.geometry.sectors - counts)
        reads = np.broadcast_to(np.asarray(is_read, np.bool_), first.shape)
        is_open = arrivals_s is not None
        times = np.broadcast_to(np.asarray(arrivals_s if is_open else think_s, np.float64), first.shape)
        steps = np.diff(times, prepend=0.0) if is_open else times
        if not (np.isfinite(times).all() and (steps >= 0).all()):
            raise ValueError("times are numbers that are not negative, and arrivals do not fall")
        service = State(self)
        rows: list[Row] = []
        done = 0.0
        for start, count, read, time in zip(
            starts.tolist(), counts.tolist(), reads.tolist(), (times * 1e3).tolist(), strict=True
        ):
            arrival = time if is_open else done + time
            row = service.serve(start, start + count, read, arrival, max(arrival, done))
            rows.append(row)
            done = row.done
        table = np.array(rows, np.float64).reshape(-1, len(Row._fields)).T / 1e3
        arrivals, ends, waiting, command, seeking, turning, transferring, hits = table
        return Served(arrivals, ends - arrivals, waiting, command, seeking, turning, transferring, hits > 0)
