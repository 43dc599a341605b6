"""A disk with its geometry, against times worked out by hand.

The drive made here turns in 10 ms; a track has 100 sectors of 512 bytes, so that a sector takes 0.1 ms.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from profiler.devices.disks.geometry import Zone
from profiler.devices.disks.geometry_disk import Buffer, Drive, Overheads, Served
from profiler.devices.disks.geometry_file import parse_drive
from profiler.devices.disks.seek import measured
from profiler.errors import ColdseekError

BARE = Drive(
    rpm=6000, surfaces=2, zones=(Zone(0, 99, 100, 10, 20),), seek=measured([(1, 1.0), (99, 8.0)]),
    head_switch_ms=0.5,
)  # fmt: skip
BUFFERED = dataclasses.replace(
    BARE,
    buffer=Buffer(2, 200, 200),
    overheads=Overheads(0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
    bus_ms_per_sector=0.01,
)

Request = tuple[int, int] | tuple[int, int, bool]


def serve(drive: Drive, *requests: Request, **times: Any) -> Served:
    """Requests (first sector, sectors) are reads, (first sector, sectors, False) is a write."""
    starts, counts = ([request[part] for request in requests] for part in (0, 1))
    reads = [len(request) == 2 for request in requests]
    return drive.replay(np.array(starts) * 512, np.array(counts) * 512, reads, **times)


def ms(times: Any) -> list[float]:
    return [round(float(time) * 1e3, 6) for time in times]


# ---- the mechanics ---------------------------------------------------------------------------------------


def test_a_track_is_read_in_one_turn() -> None:
    served = serve(BARE, (0, 100))
    assert ms(served.transferring) == [10.0]
    assert ms(served.responses) == [10.0]


def test_the_disk_turns_on_while_nothing_is_asked() -> None:
    served = serve(BARE, (0, 1), arrivals_s=[0.004])  # it has turned by 40 sectors
    assert ms(served.turning) == [6.0]
    assert ms(served.responses) == [6.1]


def test_skew_hides_a_head_switch() -> None:
    assert ms(serve(BARE, (0, 200)).responses) == [10 + 1 + 10]  # the skew is 10 sectors, 1 ms
    without = dataclasses.replace(BARE, zones=(Zone(0, 99, 100),))
    assert ms(serve(without, (0, 200)).responses) == [30.0]  # the switch misses the start, a turn is lost


def test_skew_hides_a_cylinder_switch() -> None:
    assert ms(serve(BARE, (100, 200)).transferring) == [10 + 2 + 10]


def test_a_seek_then_the_rest_of_the_turn() -> None:
    # Cylinder 1 begins at 2 tracks + skews of 10 and 20 sectors: angle 0.3. The seek ends at 1 ms.
    served = serve(BARE, (200, 5))
    assert ms(served.seeking) == [1.0]
    assert ms(served.turning) == [2.0]
    assert ms(served.transferring) == [0.5]


def test_the_second_request_waits_for_the_first() -> None:
    served = serve(BARE, (0, 50), (50, 50), arrivals_s=[0, 0.001])
    assert ms(served.waiting) == [0, 4]
    assert ms(served.turning) == [0, 0]  # there to the moment
    assert ms(served.responses) == [5, 9]


def test_closed_loop() -> None:
    served = serve(BARE, (0, 50), (50, 50), think_s=[0, 0.001])
    assert ms(served.arrivals) == [0, 6]
    assert ms(served.waiting) == [0, 0]
    assert ms(served.turning) == [0, 9]  # by 1 ms too late


def test_write_settle_counts_after_a_move_only() -> None:
    drive = dataclasses.replace(BARE, write_settle_ms=0.25)
    assert ms(serve(drive, (200, 5, False)).seeking) == [1.25]
    assert ms(serve(drive, (10, 5, False)).seeking) == [0.0]
    assert ms(serve(dataclasses.replace(BARE, write_settle_ms=-9), (200, 5, False)).seeking) == [0.0]


def test_the_slower_of_disk_and_bus_counts() -> None:
    slow = dataclasses.replace(BARE, bus_ms_per_sector=0.3)
    assert ms(serve(slow, (0, 10)).responses) == [0.1 + 10 * 0.3]
    fast = dataclasses.replace(BARE, bus_ms_per_sector=0.03)
    assert ms(serve(fast, (0, 10)).responses) == [10 * 0.1 + 0.03]


# ---- the buffer ------------------------------------------------------------------------------------------


def test_what_was_read_ahead_is_there() -> None:
    served = serve(BUFFERED, (0, 4), (50, 4), think_s=0.02)
    assert served.hits.tolist() == [False, True]
    assert ms(served.responses)[1] == 0.24


def test_what_is_being_read_ahead_is_waited_for() -> None:
    served = serve(BUFFERED, (0, 4), (4, 40))
    # The first leaves the disk 0.01 ms before it is done; the last sector comes 4 ms later, then the bus.
    assert served.hits.tolist() == [False, True]
    assert ms(served.responses)[1] == pytest.approx(4.0, abs=1e-6)


def test_a_stream_runs_at_the_speed_of_the_disk() -> None:
    served = serve(BUFFERED, *((start, 20) for start in range(0, 2000, 20)))
    first, last = served.responses[0], served.arrivals[-1] + served.responses[-1]
    turns = BUFFERED.geometry.turns_to_end(1999) - BUFFERED.geometry.turns_to_end(19)
    assert last - first == pytest.approx(turns * 0.01)
    assert served.hits[1:].all()


def test_reading_ahead_ends_where_the_arm_is_needed() -> None:
    away: list[Request] = [(0, 4), (10_000, 4)]  # 10 sectors were read ahead when the arm left
    assert serve(BUFFERED, *away, (4, 4), think_s=[0, 0.001, 0]).hits.tolist() == [False, False, True]
    assert serve(BUFFERED, *away, (60, 4), think_s=[0, 0.001, 0]).hits.tolist() == [False, False, False]


def test_a_hit_is_read_ahead_behind_too() -> None:
    served = serve(BUFFERED, (0, 4), (50, 4), (240, 4), think_s=0.1)
    assert served.hits.tolist() == [False, True, True]
    assert serve(BUFFERED, (0, 4), (240, 4), think_s=0.1).hits.tolist() == [False, False]


def test_the_beginning_from_the_buffer_the_rest_from_the_disk() -> None:
    # 4 sectors and 10 read ahead, then the arm leaves; of sectors 10 to 19 the last 6 are missing
    served = serve(BUFFERED, (0, 4), (10_000, 4), (10, 10), think_s=[0, 0.00099, 0])
    whole = serve(BUFFERED, (0, 4), (10_000, 4), (14, 6), think_s=[0, 0.00099, 0])
    assert not served.hits.any()
    assert ms(served.seeking)[2] == ms(whole.seeking)[2] > 0
    assert ms(served.turning)[2] == ms(whole.turning)[2]


def test_reading_ahead_pushes_out_what_was_requested() -> None:
    assert serve(BUFFERED, (0, 4), (0, 4), think_s=0.1).hits.tolist() == [False, False]
    assert serve(BUFFERED, (0, 4), (0, 4), think_s=0.001).hits.tolist() == [False, True]


def test_a_read_ahead_within_a_track_stays_on_it() -> None:
    drive = dataclasses.replace(BUFFERED, buffer=Buffer(2, 100, 100))
    assert serve(drive, (80, 4), (96, 4), think_s=0.1).hits.tolist() == [False, True]
    assert serve(drive, (80, 4), (100, 4), think_s=0.1).hits.tolist() == [False, False]


def test_short_segments_are_filled_ahead_behind_a_stream_only() -> None:
    drive = dataclasses.replace(BUFFERED, buffer=Buffer(2, 40, 40))
    served = serve(drive, (0, 4), (4, 4), (8, 4), (12, 4), think_s=0.1)
    assert served.hits.tolist() == [False, False, True, True]
    assert serve(drive, (0, 4), (0, 4), think_s=0.1).hits.tolist() == [False, True]  # nothing pushed it out


def test_the_segment_out_of_use_longest_is_given_up() -> None:
    drive = dataclasses.replace(BUFFERED, buffer=Buffer(2, 40, 0))
    assert serve(drive, (0, 4), (500, 4), (0, 4), think_s=0.1).hits.tolist() == [False, False, True]
    served = serve(drive, (0, 4), (500, 4), (900, 4), (0, 4), think_s=0.1)
    assert not served.hits.any()


def test_what_was_written_can_be_read_and_replaces_what_was_read() -> None:
    served = serve(BUFFERED, (0, 4, False), (0, 4), think_s=0.1)
    assert served.hits.tolist() == [False, True]
    assert ms(served.responses)[1] == 0.34
    served = serve(BUFFERED, (0, 4), (9000, 4, False), (20, 4), think_s=0.1)
    assert served.hits.tolist() == [False, False, False]
    served = serve(BUFFERED, (0, 4, False), (2, 4, False), (0, 1), think_s=0.1)
    assert served.hits.tolist() == [False, False, False]


def test_overheads_by_what_came_before() -> None:
    served = serve(BUFFERED, (0, 1), (9000, 1, False), (0, 1, False), (5000, 1), (2000, 1), (2001, 1))
    assert ms(served.command) == [0.4, 0.6, 0.7, 0.5, 0.4, 0.2]


def test_a_cached_write_is_done_before_it_is_on_the_disk() -> None:
    drive = dataclasses.replace(BUFFERED, write_cache=True)
    served = serve(drive, (9000, 4, False), (0, 1))
    assert ms(served.responses)[0] == 0.6 + 4 * 0.01
    through = serve(BUFFERED, (9000, 4, False), (0, 1))
    assert served.waiting[1] > 0
    assert ms(served.arrivals + served.responses)[1] == pytest.approx(
        ms(through.arrivals + through.responses)[1], abs=10.001
    )


# ---- for any requests ------------------------------------------------------------------------------------

PLACES = st.tuples(st.integers(0, BARE.geometry.sectors - 1), st.integers(1, 300), st.booleans())
DRIVES = st.builds(
    lambda segments, size, ahead, cache, settle, bus: dataclasses.replace(
        BUFFERED,
        buffer=Buffer(segments, size, ahead),
        write_cache=cache,
        write_settle_ms=settle,
        bus_ms_per_sector=bus,
    ),
    st.integers(0, 3),
    st.integers(0, 300),
    st.integers(0, 300),
    st.booleans(),
    st.floats(-2, 2),
    st.floats(0, 0.5),
)


def many(drive: Drive, requests: list[tuple[int, int, bool]], **times: Any) -> Served:
    starts, counts, reads = (np.array(column) for column in zip(*requests, strict=True))
    return drive.replay(starts * 512, counts * 512, reads, **times)


@given(DRIVES, st.lists(PLACES, min_size=1, max_size=30), st.floats(0, 0.05), st.booleans())
def test_times_are_finite_and_add_up(
    drive: Drive, requests: list[tuple[int, int, bool]], pause: float, is_open: bool
) -> None:
    times: dict[str, Any] = {"think_s": pause}
    if is_open:
        times = {"arrivals_s": np.arange(len(requests)) * pause}
    served = many(drive, requests, **times)
    parts = [served.waiting, served.command, served.seeking, served.turning, served.transferring]
    for part in [served.arrivals, served.responses, *parts]:
        assert np.isfinite(part).all()
        assert (part >= -1e-9).all()
    assert sum(parts) == pytest.approx(served.responses, abs=1e-9)
    assert (served.turning < 0.01).all()
    assert not (served.hits & (served.seeking + served.turning > 0)).any()
    done = served.arrivals + served.responses
    assert (np.diff(done) >= -1e-9).all()


@given(DRIVES, st.lists(PLACES, min_size=1, max_size=10), st.integers(1, 10_000))
def test_a_turn_later_is_served_the_same(
    drive: Drive, requests: list[tuple[int, int, bool]], turns: int
) -> None:
    now = np.arange(len(requests)) * 0.0123
    served = many(drive, requests, arrivals_s=now)
    later = many(drive, requests, arrivals_s=now + turns * 0.01)
    # a sector that is there to the moment may be just missed in the arithmetic of the other
    assume(((served.turning > 1e-7) & (served.turning < 0.01 - 1e-7) | (served.turning == 0)).all())
    assume((later.turning < 0.01 - 1e-7).all())
    assert later.responses == pytest.approx(served.responses, abs=1e-7)
    assert later.hits.tolist() == served.hits.tolist()


@given(st.integers(0, 2**62), st.integers(0, 2**40))
def test_any_offset_and_size_is_served(offset: int, size: int) -> None:
    served = BARE.replay([offset], [size])
    assert np.isfinite(served.responses).all()
    assert served.responses[0] > 0


def test_no_requests() -> None:
    served = BARE.replay([], [])
    assert all(len(getattr(served, item.name)) == 0 for item in dataclasses.fields(Served))


@pytest.mark.parametrize(
    "times",
    [{"think_s": -1}, {"think_s": float("nan")}, {"arrivals_s": [1, 0]}, {"arrivals_s": [0, float("inf")]}],
)
def test_times_that_make_no_sense_are_refused(times: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="times"):
        serve(BARE, (0, 1), (1, 1), **times)


# ---- the file --------------------------------------------------------------------------------------------

DESCRIBED: dict[str, Any] = {
    "name": "made up",
    "rpm": 6000,
    "surfaces": 2,
    "sectors": 19_000,
    "head_switch_ms": 0.5,
    "write_settle_ms": -0.2,
    "seek_curve_ms": [[1, 1.0], [99, 8.0]],
    "zones": [
        {"first_cylinder": 50, "last_cylinder": 99, "sectors_per_track": 90},
        {"first_cylinder": 0, "last_cylinder": 49, "sectors_per_track": 100, "track_skew_sectors": 10},
    ],
    "buffer_segments": 3.0,
    "buffer_segment_sectors": 120,
    "overhead_ms": {"read_hit_after_read": 0.5, "write_after_read": None},
    "bus_ms_per_sector": 0.05,
}


def described(**changes: Any) -> Drive:
    return parse_drive(json.dumps({**DESCRIBED, **changes}), "made.json")


def test_a_drive_from_a_file() -> None:
    drive = described()
    assert [zone.sectors_per_track for zone in drive.zones] == [100, 90]
    assert (drive.sectors, drive.geometry.sectors, drive.sector_bytes) == (19_000, 19_000, 512)
    assert drive.buffer == Buffer(3, 120, 120)
    assert drive.overheads == Overheads(read_hit_after_read=0.5)
    assert (drive.bus_ms_per_sector, drive.write_settle_ms, drive.write_cache) == (0.05, -0.2, False)


def test_a_bus_without_a_time_takes_none() -> None:
    assert described(bus_ms_per_sector=0).bus_ms_per_sector == 0
    assert described(bus_ms_per_sector=None).bus_ms_per_sector == 0


def test_holding_the_bus_changes_no_time() -> None:
    assert (
        described(bus_waits_for_whole_read=True) == described(bus_waits_for_whole_read=False) == described()
    )


def test_zones_that_overlap_are_the_outer_ones() -> None:
    zone = {"last_cylinder": 60, "sectors_per_track": 100}
    drive = described(
        zones=[{"first_cylinder": 0, **zone}, {"first_cylinder": 50, **zone, "last_cylinder": 70}]
    )
    assert [(zone.first_cylinder, zone.last_cylinder) for zone in drive.zones] == [(0, 60), (61, 70)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rpm": None}, "rpm is missing"),
        ({"rpm": "fast"}, "rpm = "),
        ({"rpm": float("nan")}, "rpm = "),
        ({"rpm": 10**400}, "rpm = "),
        ({"surfaces": True}, "surfaces = "),
        ({"zones": []}, "zones is no list"),
        ({"zones": [3]}, "no zone"),
        ({"zones": [{"first_cylinder": 9, "last_cylinder": 1, "sectors_per_track": 9}]}, "no zone"),
        ({"seek_curve_ms": [[1]]}, "seek_curve_ms"),
        ({"seek_curve_ms": [[0, 1]]}, "above 0"),
        ({"seek_curve_ms": [[1, -5]]}, "a time of seek_curve_ms = -5"),
        ({"overhead_ms": 3}, "overhead_ms is no JSON object"),
        ({"overhead_ms": {"read_hit_after_read": -1}}, "overhead_ms.read_hit_after_read = -1"),
        ({"bus_ms_per_sector": -1}, "bus_ms_per_sector = -1"),
        ({"write_cache": "yes"}, "write_cache"),
    ],
)
def test_what_is_no_drive_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ColdseekError, match=r"made\.json") as caught:
        described(**changes)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000, '{"rpm": 1e999}'])
def test_text_that_describes_nothing(text: str) -> None:
    with pytest.raises(ColdseekError, match=r"made\.json"):
        parse_drive(text, "made.json")
