"""Where a sector lies: logical block address (LBA) -> cylinder, surface, sector, and the angle it is at.

Addresses follow each other along a track, then to the next surface of the cylinder, then to the next
cylinder. Each track begins a skew later than the one before, so that the heads are there when its first
sector comes round (Ruemmler and Wilkes, "An introduction to disk drive modeling", IEEE Computer 27(3),
1994).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

ROUNDING = 1e-6
"""Turns, or sectors, by which arithmetic alone may be off."""

MOST_SPARES = 4
"""Spare sectors of a track that are looked for. That a number of sectors fits one of these by chance alone
is rare: a cylinder has some hundred to thousand sectors."""


class Place(NamedTuple):
    """A sector: index of its zone, its cylinder, surface, and number in its track, all from 0."""

    zone: int
    cylinder: int
    surface: int
    sector: int


@dataclass(frozen=True)
class Zone:
    """Cylinders `first_cylinder` to `last_cylinder`, both included, with tracks of one length.

    The skews are in sectors: from the first sector of a track to that of the next on the next surface, or
    on the next cylinder.
    """

    first_cylinder: int
    last_cylinder: int
    sectors_per_track: int
    track_skew: float = 0.0
    cylinder_skew: float = 0.0

    @property
    def cylinders(self) -> int:
        return self.last_cylinder - self.first_cylinder + 1


class _Run(NamedTuple):
    """A zone as it is walked through: what comes before it, and what a track and a cylinder of it add.

    Turns are those of a read from LBA 0 to the end: of the sectors and the skews between them.
    """

    lba: int
    turns: float
    sectors: int  # of a track, those that have an address
    slots: int  # all of a track, with its spares: a turn has so many
    cylinder_sectors: int
    track_turns: float
    cylinder_turns: float


class Geometry:
    """The map of a drive with `sectors` sectors in use.

    surfaces: tracks of a cylinder. zones: from the outside in. sectors: how many have an address; None for
    all. What the zones hold beyond this are spares. They lie at the end of each track where that makes of
    `sectors` a whole number of cylinders (`spares_of_track`), else they are taken to lie at the end of each
    zone, in proportion to its size: a whole track stays a whole track. More sectors than there is room for
    are cut off.
    rotation_ms, head_switch_ms, cylinder_switch_ms: one turn of the disk, and the time to get to the next
    surface or cylinder. Where that takes longer than the skew, the read has to wait for another turn.

    The angle of a zone's first sector is not known; zones are taken to follow each other as cylinders do.

    Raises ValueError for no zones, zones without sectors or out of order, no surfaces, and no sectors.
    """

    def __init__(
        self,
        surfaces: int,
        zones: Sequence[Zone],
        sectors: int | None = None,
        *,
        rotation_ms: float = 1.0,
        head_switch_ms: float = 0.0,
        cylinder_switch_ms: float = 0.0,
    ) -> None:
        if surfaces < 1 or not zones or (sectors is not None and sectors < 1):
            raise ValueError("a drive has surfaces, zones and sectors")
        ends = [-1, *(zone.last_cylinder for zone in zones)]
        for zone, end in zip(zones, ends, strict=False):
            if zone.sectors_per_track < 1 or not end < zone.first_cylinder <= zone.last_cylinder:
                raise ValueError("the zones of a drive hold sectors and follow one another")
        self.surfaces = surfaces
        self.zones = tuple(zones)
        self.cylinders = zones[-1].last_cylinder + 1
        spares = 0 if sectors is None else spares_of_track(surfaces, zones, sectors)
        rooms = [zone.cylinders * surfaces * (zone.sectors_per_track - spares) for zone in zones]
        room = sum(rooms)
        self.sectors = room if sectors is None else min(sectors, room)
        self._runs: list[_Run] = []
        before, turns = 0, 0.0
        for zone, size in zip(zones, rooms, strict=True):
            slots = zone.sectors_per_track
            count = slots - spares
            to_head = _switch(zone.track_skew / slots, head_switch_ms / rotation_ms)
            to_cylinder = _switch(zone.cylinder_skew / slots, cylinder_switch_ms / rotation_ms)
            cylinder_turns = surfaces + (surfaces - 1) * to_head + to_cylinder
            # with spares in each track the zones are full until the sectors end; else, in whole numbers, the
            # zones' shares of the sectors add up to all of them
            lba, end = (
                min(at, self.sectors) if spares else at * self.sectors // room
                for at in (before, before + size)
            )
            run = _Run(lba, turns, count, slots, count * surfaces, 1 + to_head, cylinder_turns)
            self._runs.append(run)
            before += size
            used = end - lba
            if used:  # the next zone begins behind the last sector, not behind the spares
                cylinder, rest = divmod(used - 1, run.cylinder_sectors)
                surface, sector = divmod(rest, count)
                turns += (
                    cylinder * cylinder_turns + surface * run.track_turns + (sector + 1 + spares) / slots
                )
                turns += to_cylinder
        self._lbas = [run.lba for run in self._runs]
        self._turns = [run.turns for run in self._runs]

    def track_sectors(self, zone: int) -> int:
        """Sectors with an address of a track of the zone with that index."""
        return self._runs[zone].sectors

    def place(self, lba: int) -> Place:
        """Where sector `lba` lies, 0 <= lba < sectors."""
        zone = bisect_right(self._lbas, lba) - 1
        run = self._runs[zone]
        cylinder, rest = divmod(lba - run.lba, run.cylinder_sectors)
        surface, sector = divmod(rest, run.sectors)
        return Place(zone, self.zones[zone].first_cylinder + cylinder, surface, sector)

    def lba(self, place: Place) -> int:
        """The address of the sector there: the inverse of `place`."""
        run = self._runs[place.zone]
        cylinder = place.cylinder - self.zones[place.zone].first_cylinder
        return run.lba + cylinder * run.cylinder_sectors + place.surface * run.sectors + place.sector

    def turns(self, lba: int) -> float:
        """Turns of the disk that a read from LBA 0 on takes until sector `lba` begins.

        Its fraction is the angle at which the sector begins; differences are times of sequential reads.
        """
        zone, cylinder, surface, sector = self.place(lba)
        run = self._runs[zone]
        cylinder -= self.zones[zone].first_cylinder
        return run.turns + cylinder * run.cylinder_turns + surface * run.track_turns + sector / run.slots

    def turns_to_end(self, lba: int) -> float:
        """As `turns`, until sector `lba` ends."""
        return self.turns(lba) + 1 / self._runs[bisect_right(self._lbas, lba) - 1].slots

    def reached(self, turns: float) -> int:
        """The sector at which a read from LBA 0 on has arrived after `turns`: all before it are read."""
        zone = max(bisect_right(self._turns, turns) - 1, 0)
        run = self._runs[zone]
        cylinder, rest = divmod(max(turns - run.turns, 0.0), run.cylinder_turns)
        surface = min(int(rest / run.track_turns), self.surfaces - 1)
        sector = min(int((rest - surface * run.track_turns) * run.slots + ROUNDING), run.sectors)
        lba = run.lba + int(cylinder) * run.cylinder_sectors + surface * run.sectors + sector
        end = self._lbas[zone + 1] if zone + 1 < len(self._lbas) else self.sectors
        return min(lba, end)


def spares_of_track(surfaces: int, zones: Sequence[Zone], sectors: int) -> int:
    """How many spare sectors each track has if `sectors` are whole cylinders of tracks that are so much
    shorter and leave fewer cylinders over than a tenth; 0 where no number up to MOST_SPARES fits, or where
    whole tracks fit as well.
    """
    for spares in range(min(MOST_SPARES, min(zone.sectors_per_track for zone in zones) - 1) + 1):
        left, over = sectors, 0
        for zone in zones:
            cylinder = surfaces * (zone.sectors_per_track - spares)
            whole = min(left // cylinder, zone.cylinders)
            left -= whole * cylinder
            over += zone.cylinders - whole
            if whole < zone.cylinders and left:
                break
        if not left and over * 10 < sum(zone.cylinders for zone in zones):
            return spares
    return 0


def _switch(skew: float, needed: float) -> float:
    """Turns from the end of a track to the start of the next, `skew` and `needed` given in turns."""
    return skew + max(0, math.ceil(needed - skew - ROUNDING))
