"""Where a sector lies on a disk, and when it comes round."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.devices.disks.geometry import Geometry, Place, Zone, spares_of_track

TWO_ZONES = Geometry(2, [Zone(0, 1, 10, 2, 3), Zone(4, 5, 8, 1, 2)])


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    zones, first = [], 0
    for _ in range(draw(st.integers(1, 4))):
        first += draw(st.integers(0, 3))
        last = first + draw(st.integers(0, 5))
        count = draw(st.integers(1, 60))
        zones.append(Zone(first, last, count, draw(st.integers(0, count)), draw(st.integers(0, count))))
        first = last + 1
    surfaces = draw(st.integers(1, 4))
    room = sum(zone.cylinders * zone.sectors_per_track * surfaces for zone in zones)
    return Geometry(
        surfaces,
        zones,
        draw(st.none() | st.integers(1, room + 10)),
        rotation_ms=10,
        head_switch_ms=draw(st.floats(0, 30)),
        cylinder_switch_ms=draw(st.floats(0, 30)),
    )


def test_addresses_run_along_the_track_then_down_then_inwards() -> None:
    assert TWO_ZONES.sectors == 2 * 2 * 10 + 2 * 2 * 8
    assert TWO_ZONES.place(9) == Place(0, 0, 0, 9)
    assert TWO_ZONES.place(10) == Place(0, 0, 1, 0)
    assert TWO_ZONES.place(20) == Place(0, 1, 0, 0)
    assert TWO_ZONES.place(39) == Place(0, 1, 1, 9)
    assert TWO_ZONES.place(40) == Place(1, 4, 0, 0)  # over the cylinders between the zones
    assert TWO_ZONES.place(71) == Place(1, 5, 1, 7)


def test_turns_add_up_sectors_and_skews() -> None:
    assert TWO_ZONES.turns(0) == 0
    assert TWO_ZONES.turns(5) == pytest.approx(0.5)
    assert TWO_ZONES.turns_to_end(9) == pytest.approx(1.0)
    assert TWO_ZONES.turns(10) == pytest.approx(1.2)  # the track, a skew of 2 of 10 sectors
    assert TWO_ZONES.turns(20) == pytest.approx(2.5)  # both tracks, both skews
    assert TWO_ZONES.turns(40) == pytest.approx(5.0)
    assert TWO_ZONES.turns(48) == pytest.approx(6.125)


def test_a_switch_longer_than_the_skew_costs_turns() -> None:
    def second_track(switch_ms: float) -> float:
        return Geometry(2, [Zone(0, 0, 10, 2)], rotation_ms=10, head_switch_ms=switch_ms).turns(10)

    assert second_track(2.0) == pytest.approx(1.2)  # just in time
    assert second_track(2.5) == pytest.approx(2.2)
    assert second_track(12.5) == pytest.approx(3.2)


def test_spares_lie_at_the_end_of_each_zone() -> None:
    spared = Geometry(2, [Zone(0, 1, 10), Zone(2, 3, 10)], 60)
    assert spared.place(29) == Place(0, 1, 0, 9)
    assert spared.place(30) == Place(1, 2, 0, 0)
    assert spared.turns(30) == pytest.approx(3.0)  # spares are not read over


def test_spares_at_the_end_of_each_track_are_known_by_the_number_of_sectors() -> None:
    zone = Zone(0, 99, 58, 7, 25)
    assert spares_of_track(14, [zone], 14 * 57 * 99) == 1
    assert spares_of_track(14, [zone], 14 * 57 * 99 + 1) == 0  # no whole cylinder
    assert spares_of_track(14, [zone], 14 * 57 * 80) == 0  # a fifth of the cylinders would be without use
    assert spares_of_track(14, [zone], 14 * 58 * 99) == 0
    assert spares_of_track(2, [Zone(0, 9, 1)], 7) == 0
    two = [Zone(0, 9, 20), Zone(10, 19, 10)]
    assert spares_of_track(2, two, 2 * (10 * 18 + 10 * 8)) == 2


def test_spares_of_a_track_are_turned_over() -> None:
    spared = Geometry(2, [Zone(0, 19, 10, 2, 3)], 2 * 9 * 19)
    assert spared.track_sectors(0) == 9
    assert spared.place(9) == Place(0, 0, 1, 0)
    assert spared.turns(8) == pytest.approx(0.8)  # ten sectors a turn, the last without an address
    assert spared.turns(9) == pytest.approx(1.2)
    assert spared.reached(1.19) == 9
    assert spared.place(spared.sectors - 1) == Place(0, 18, 1, 8)


def test_more_sectors_than_there_is_room_for_are_cut_off() -> None:
    assert Geometry(1, [Zone(0, 0, 10)], 1000).sectors == 10


@given(geometries())
def test_every_address_has_one_place_and_every_place_one_address(geometry: Geometry) -> None:
    places = [geometry.place(lba) for lba in range(geometry.sectors)]
    assert len(set(places)) == geometry.sectors
    assert [geometry.lba(place) for place in places] == list(range(geometry.sectors))
    assert places == sorted(places)
    for place in places:
        zone = geometry.zones[place.zone]
        assert zone.first_cylinder <= place.cylinder <= zone.last_cylinder
        assert 0 <= place.surface < geometry.surfaces
        assert 0 <= place.sector < zone.sectors_per_track


@given(geometries())
def test_a_read_from_start_to_end_reaches_sector_after_sector(geometry: Geometry) -> None:
    for lba in range(geometry.sectors):
        assert geometry.reached(geometry.turns(lba)) == lba
        assert geometry.reached(geometry.turns_to_end(lba)) == lba + 1
        if lba:
            assert geometry.turns(lba) >= geometry.turns_to_end(lba - 1) - 1e-9


@pytest.mark.parametrize(
    ("surfaces", "zones", "sectors"),
    [
        (0, [Zone(0, 1, 10)], None),
        (1, [], None),
        (1, [Zone(0, 1, 0)], None),
        (1, [Zone(1, 0, 10)], None),
        (1, [Zone(0, 5, 10), Zone(5, 6, 10)], None),
        (1, [Zone(-1, 0, 10)], None),
        (1, [Zone(0, 1, 10)], 0),
    ],
)
def test_what_is_no_drive_is_refused(surfaces: int, zones: list[Zone], sectors: int | None) -> None:
    with pytest.raises(ValueError, match="drive"):
        Geometry(surfaces, zones, sectors)
