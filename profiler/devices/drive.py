"""A hard disk whose geometry is known: an arm, a turning disk and a buffer, request by request.

The mechanics are those of Ruemmler and Wilkes, "An introduction to disk drive modeling", IEEE Computer
27(3), 1994. The parameters are those that Worthington, Ganger, Patt and Wilkes measure in "On-line
extraction of SCSI disk drive parameters", SIGMETRICS 1995; the DiskSim 4.0 reference manual (CMU-PDL-08-101,
2008) explains them. The rules of the buffer are said at `_Service`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from profiler.devices.geometry import ROUNDING, Geometry, Zone
from profiler.devices.model import Bytes, Floats, Service, pauses
from profiler.devices.seek import SeekCurve

STREAMING_SEGMENT = 0.5
"""Tracks. A drive whose buffer segments are shorter reads ahead only behind a read that continues another.
So did the only drive of five with such segments, those of a quarter of a track; the other four, with
segments of a track and more, read ahead behind every read."""


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
    in the buffer; it reaches the disk afterwards.

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
        service = _Service(self)
        rows: list[_Row] = []
        done = 0.0
        for start, count, read, time in zip(
            starts.tolist(), counts.tolist(), reads.tolist(), (times * 1e3).tolist(), strict=True
        ):
            arrival = time if is_open else done + time
            row = service.serve(start, start + count, read, arrival, max(arrival, done))
            rows.append(row)
            done = row.done
        table = np.array(rows, np.float64).reshape(-1, len(_Row._fields)).T / 1e3
        arrivals, ends, waiting, command, seeking, turning, transferring, hits = table
        return Served(arrivals, ends - arrivals, waiting, command, seeking, turning, transferring, hits > 0)


class _Row(NamedTuple):
    """A request, in ms; `hit` is 0 or 1."""

    arrival: float
    done: float
    waiting: float
    command: float
    seeking: float
    turning: float
    transferring: float
    hit: float


class _Segment:
    """A run of sectors in the buffer, `low` <= LBA < `high`."""

    __slots__ = ("high", "low", "written")

    def __init__(self, low: int, high: int, written: bool) -> None:
        self.low = low
        self.high = high
        self.written = written


class _ReadAhead(NamedTuple):
    """The disk reads into `segment` from LBA `origin`, at `since` ms, when it has turned by `turns`, up to
    LBA `target`, when it has turned by `last`."""

    segment: _Segment
    origin: int
    since: float
    turns: float
    target: int
    last: float


class _Service:
    """The state of a drive between requests, and the rules it follows.

    - A read whose first sector is in the buffer, or the next to come, is served from there: a hit. It waits
      for what the disk still has to read. Behind it the drive goes on reading ahead. Where the buffer holds
      only the beginning, the arm fetches the rest.
    - Any other read is a miss: seek, turn, read. The bus is at work from the first sector on, the slower of
      disk and bus determines the end.
    - Read-ahead begins when a read has left the disk, and ends at its limit or with the next request that
      needs the arm. A limit within a track keeps it on the track, for there is no head switch to be paid for
      a few sectors. A segment keeps its latest sectors only: reading ahead pushes out what was requested.
    - What was written stays in a segment and can be read there; what was read before is given up then.
    - The segment that is longest out of use is given up first.
    """

    def __init__(self, drive: Drive) -> None:
        self.drive = drive
        self.map = drive.geometry
        self.turn = drive.rotation_ms
        self.seeks = drive.seek_ms
        buffer = drive.buffer
        self.room = buffer.segment_sectors if buffer.segments > 0 else 0
        self.ahead = min(buffer.read_ahead_sectors, self.room)
        cylinders = sum(zone.cylinders for zone in drive.zones)
        track = sum(zone.cylinders * zone.sectors_per_track for zone in drive.zones) / cylinders
        self.always_ahead = self.room >= STREAMING_SEGMENT * track
        self.segments: list[_Segment] = []  # the one used last comes last
        self.reading: _ReadAhead | None = None
        self.cylinder = self.surface = 0  # where the arm is when nothing is being read ahead
        self.free = 0.0  # ms, when the arm is done with a write that was reported before
        self.after_read = True
        self.read_end = -1  # LBA behind the last read, if that was the last request

    def serve(self, start: int, end: int, read: bool, arrival: float, begin: float) -> _Row:
        """Sectors `start` to before `end`, for which the drive has time from `begin` ms on."""
        row = self._read(start, end, arrival, begin) if read else self._write(start, end, arrival, begin)
        self.after_read = read
        self.read_end = end if read else -1
        return row

    def _read(self, start: int, end: int, arrival: float, begin: float) -> _Row:
        overheads = self.drive.overheads
        segment, coming = self._find(start, begin)
        if segment is not None and (coming or end <= segment.high):
            command = overheads.read_hit_after_read if self.after_read else overheads.read_hit_after_write
            done = begin + command + (end - start) * self.drive.bus_ms_per_sector
            reading = self.reading
            if reading is not None and reading.segment is segment and end > reading.origin:
                there = reading.since + (self.map.turns_to_end(end - 1) - reading.turns) * self.turn
                done = max(done, there + self.drive.bus_ms_per_sector)
            self._use(segment)
            self._read_on(segment, start, end, coming, begin, done)
            transferring = done - begin - command
            return _Row(arrival, done, begin - arrival, command, 0.0, 0.0, transferring, 1.0)
        command = overheads.read_miss_after_read if self.after_read else overheads.read_miss_after_write
        self._stop(begin)
        missing = max(start, segment.high) if segment is not None else start
        ready = max(begin + command, self.free)
        seeking, turning, turns = self._move(missing, ready, write=False)
        first = ready + seeking + turning
        left = first + (self.map.turns_to_end(end - 1) - turns) * self.turn
        met = first + (self.map.turns_to_end(missing) - turns) * self.turn  # the first sector is read
        bus = self.drive.bus_ms_per_sector
        done = max(left + bus, met + (end - start) * bus)
        self._arrive(end - 1)
        if self.room:
            segment = segment or _Segment(start, end, written=False)
            segment.high, segment.low = end, max(segment.low, end - self.room)
            segment.written = False
            self._use(segment)
            if self._goes_ahead(start):
                self._start(segment, end, left, self.map.turns_to_end(end - 1), self._target(end))
        waiting = ready - command - arrival
        return _Row(arrival, done, waiting, command, seeking, turning, done - first, 0.0)

    def _write(self, start: int, end: int, arrival: float, begin: float) -> _Row:
        overheads = self.drive.overheads
        command = overheads.write_after_read if self.after_read else overheads.write_after_write
        self._stop(begin)
        received = begin + command + (end - start) * self.drive.bus_ms_per_sector
        cached = self.drive.write_cache
        # Without a write cache the data arrive while the arm moves and the disk turns.
        ready = max(received if cached else begin + command, self.free)
        seeking, turning, turns = self._move(start, ready, write=True)
        first = ready + seeking + turning
        left = first + (self.map.turns_to_end(end - 1) - turns) * self.turn
        self._arrive(end - 1)
        self.segments = [
            kept for kept in self.segments if kept.written and (kept.high <= start or end <= kept.low)
        ]
        if self.room:
            self._use(_Segment(max(start, end - self.room), end, written=True))
        self.free = left
        if cached:
            transferring = received - begin - command
            return _Row(arrival, received, begin - arrival, command, 0.0, 0.0, transferring, 0.0)
        done = max(left, received)
        waiting = ready - command - arrival
        return _Row(arrival, done, waiting, command, seeking, turning, done - first, 0.0)

    def _find(self, lba: int, now: float) -> tuple[_Segment | None, bool]:
        """The segment that holds sector `lba`, or will next, and whether it is being filled."""
        for segment in reversed(self.segments):
            low, high, coming = segment.low, segment.high, False
            reading = self.reading
            if reading is not None and reading.segment is segment:
                turns = reading.turns + (now - reading.since) / self.turn
                coming = turns < reading.last
                got = self.map.reached(turns) if coming else reading.target
                low, high = max(low, min(got, reading.target) - self.room), reading.target
                if not coming:
                    segment.high = high
            if low <= lba < high or (coming and lba == high):
                return segment, coming
        return None, False

    def _read_on(
        self, segment: _Segment, start: int, end: int, coming: bool, begin: float, done: float
    ) -> None:
        """After a hit, read ahead behind it too."""
        reading, target = self.reading, self._target(end)
        if coming:
            assert reading is not None
            target = max(target, reading.target)
            self._start(segment, reading.origin, reading.since, reading.turns, target)
        elif self._goes_ahead(start) and not segment.written and target > segment.high:
            self._stop(begin)
            ready = max(done, self.free)
            seeking, turning, turns = self._move(segment.high, ready, write=False)
            self._arrive(segment.high)
            self._start(segment, segment.high, ready + seeking + turning, turns, target)

    def _goes_ahead(self, start: int) -> bool:
        return self.ahead > 0 and (self.always_ahead or start == self.read_end)

    def _target(self, end: int) -> int:
        """Up to where to read ahead behind sector `end` - 1."""
        last = self.map.place(end - 1)
        track = self.map.zones[last.zone].sectors_per_track
        target = end + self.ahead
        if self.ahead <= track:
            target = min(target, end - 1 - last.sector + track)
        return min(target, self.map.sectors)

    def _start(self, segment: _Segment, origin: int, since: float, turns: float, target: int) -> None:
        """Read ahead into `segment`, if there is anything to read; the terms are those of `_ReadAhead`."""
        if target > origin:
            last = self.map.turns_to_end(target - 1)
            self.reading = _ReadAhead(segment, origin, since, turns, target, last)

    def _stop(self, now: float) -> None:
        """End the read-ahead: note what it has read, and where the arm is."""
        if self.reading is None:
            return
        segment, _, since, turns, target, last = self.reading
        turned = turns + (now - since) / self.turn
        got = target if turned >= last else min(self.map.reached(turned), target)
        segment.high = max(segment.high, got)
        segment.low = max(segment.low, segment.high - self.room)
        self._arrive(segment.high - 1)
        self.reading = None

    def _move(self, lba: int, now: float, *, write: bool) -> tuple[float, float, float]:
        """To sector `lba`: ms of seeking and of turning, and the turns at which the sector begins."""
        place = self.map.place(lba)
        seeking = self.seeks[abs(place.cylinder - self.cylinder)]
        if place.surface != self.surface:
            seeking = max(seeking, self.drive.head_switch_ms)
        if write and (place.cylinder, place.surface) != (self.cylinder, self.surface):
            seeking = max(seeking + self.drive.write_settle_ms, 0.0)
        turns = self.map.turns(lba)
        share = (turns - (now + seeking) / self.turn) % 1.0
        if share > 1 - ROUNDING:  # it begins right now
            share = 0.0
        return seeking, share * self.turn, turns

    def _arrive(self, lba: int) -> None:
        place = self.map.place(lba)
        self.cylinder, self.surface = place.cylinder, place.surface

    def _use(self, segment: _Segment) -> None:
        """Note that it was used last, and give up those for which there is no room."""
        if segment in self.segments:
            self.segments.remove(segment)
        self.segments.append(segment)
        for old in self.segments[: -self.drive.buffer.segments]:
            if self.reading is not None and self.reading.segment is old:
                self.reading = None
            self.segments.remove(old)
