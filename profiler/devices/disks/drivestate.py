"""The state of a hard disk between requests: where its arm is, how far it has turned, what its buffer holds.

What no description of a drive tells is a rule (`Rules`). Each has a few alternatives, and which of them
holds is decided by measured drives: see docs/accuracy.md.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from profiler.devices.disks.geometry import ROUNDING

if TYPE_CHECKING:
    from profiler.devices.disks.geometry_disk import Drive


@dataclass(frozen=True)
class Rules:
    """What drives do and their parameters leave open, the same for all drives.

    streaming_segment: in tracks; a drive whose buffer segments are shorter reads ahead only behind a read
    that continues another. track_bound: a read-ahead that is limited to so many tracks ends with the track,
    for there is no head switch to be paid for a few sectors. ahead_behind_hits: behind a read that the
    buffer served the drive reads on too. writes_evict: a write gives up what was read before.
    """

    streaming_segment: float = 0.5
    track_bound: float = 1.0
    ahead_behind_hits: bool = True
    writes_evict: bool = True


ALTERNATIVES: dict[str, tuple[float, ...]] = {
    "streaming_segment": (math.inf, 0.5, 0.0),
    "track_bound": (math.inf, 1.0, 0.0),
    "writes_evict": (True, False),
    "ahead_behind_hits": (False, True),
}
"""What each rule may be, the one that promises least first: fewer hits, slower reads."""


def all_rules() -> Iterator[Rules]:
    """Every combination of ALTERNATIVES, those that promise least first."""
    for values in itertools.product(*ALTERNATIVES.values()):
        yield Rules(**dict(zip(ALTERNATIVES, values, strict=True)))  # type: ignore[arg-type]


class Row(NamedTuple):
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


class State:
    """The state of a drive between requests, and the rules it follows.

    - A read whose first sector is in the buffer, or the next to come, is served from there: a hit. It waits
      for what the disk still has to read. Behind it the drive goes on reading ahead. Where the buffer holds
      only the beginning, the arm fetches the rest.
    - Any other read is a miss: seek, turn, read. The bus is at work from the first sector on, the slower of
      disk and bus determines the end. Whether the drive holds the bus meanwhile makes no difference to it.
    - Read-ahead begins when a read has left the disk, and ends at its limit or with the next request that
      needs the arm; see `Rules`. A segment keeps its latest sectors only: reading ahead pushes out what was
      requested.
    - What was written stays in a segment and can be read there.
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
        self.always_ahead = self.room >= drive.rules.streaming_segment * track
        self.segments: list[_Segment] = []  # the one used last comes last
        self.reading: _ReadAhead | None = None
        self.cylinder = self.surface = 0  # where the arm is when nothing is being read ahead
        self.free = 0.0  # ms, when the arm is done with a write that was reported before
        self.after_read = True
        self.read_end = -1  # LBA behind the last read, if that was the last request

    def serve(self, start: int, end: int, read: bool, arrival: float, begin: float) -> Row:
        """Sectors `start` to before `end`, for which the drive has time from `begin` ms on."""
        row = self._read(start, end, arrival, begin) if read else self._write(start, end, arrival, begin)
        self.after_read = read
        self.read_end = end if read else -1
        return row

    def _read(self, start: int, end: int, arrival: float, begin: float) -> Row:
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
            return Row(arrival, done, begin - arrival, command, 0.0, 0.0, transferring, 1.0)
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
        return Row(arrival, done, waiting, command, seeking, turning, done - first, 0.0)

    def _write(self, start: int, end: int, arrival: float, begin: float) -> Row:
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
            kept
            for kept in self.segments
            if (kept.written or not self.drive.rules.writes_evict)
            and (kept.high <= start or end <= kept.low)
        ]
        if self.room:
            self._use(_Segment(max(start, end - self.room), end, written=True))
        self.free = left
        if cached:
            transferring = received - begin - command
            return Row(arrival, received, begin - arrival, command, 0.0, 0.0, transferring, 0.0)
        done = max(left, received)
        waiting = ready - command - arrival
        return Row(arrival, done, waiting, command, seeking, turning, done - first, 0.0)

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
            if not self.drive.rules.ahead_behind_hits:
                return
            assert reading is not None
            target = max(target, reading.target)
            self._start(segment, reading.origin, reading.since, reading.turns, target)
        elif (
            self.drive.rules.ahead_behind_hits
            and self._goes_ahead(start)
            and not segment.written
            and target > segment.high
        ):
            self._stop(begin)
            ready = max(done, self.free)
            seeking, turning, turns = self._move(segment.high, ready, write=False)
            self._arrive(segment.high)
            self._start(segment, segment.high, ready + seeking + turning, turns, target)

    def _goes_ahead(self, start: int) -> bool:
        return self.ahead > 0 and (self.always_ahead or start == self.read_end)

    def _target(self, end: int) -> int:
        """Up to where to read ahead behind sector `end` - 1."""
        first = self.map.place(min(end, self.map.sectors - 1))
        track = self.map.track_sectors(first.zone)
        target = end + self.ahead
        if self.ahead <= self.drive.rules.track_bound * track:
            target = min(target, end - first.sector + track)
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
