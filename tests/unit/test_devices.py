"""Device models and the files that describe devices."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler import devices
from profiler.devices.disks.datasheet_disk import Disk
from profiler.devices.flash import Flash
from profiler.devices.flat import Flat
from profiler.devices.lazy import Lazy
from profiler.devices.loading import BOUNDS, CURVES, DRIVE_BAND, parse
from profiler.devices.model import Device, continues, pauses
from profiler.devices.network import Network
from profiler.devices.values import MOST_BYTES, values_of
from profiler.errors import ColdseekError

DISK = Disk(
    rpm=6000,
    settle_ms=1,
    average_seek_ms=9,
    full_stroke_ms=17,
    command_ms=0.5,
    transfer_mb_per_s=100,
    capacity_gb=100,
)
FLAT = Flat(iops=100, transfer_mb_per_s=50)
FLASH = Flash(latency_us=((4096, 100),), transfer_mb_per_s=500)


def device(model: object) -> Device:
    return Device("made", "a device", "made up", "kind", model)  # type: ignore[arg-type]


def times(model: object, *requests: tuple[int, int]) -> list[float]:
    offsets, sizes = (np.array(column, np.int64) for column in zip(*requests, strict=True))
    return list(device(model).serve(offsets, sizes).latency)


def test_continues() -> None:
    offsets, sizes = np.array([0, 10, 20, 15]), np.array([10, 10, 5, 5])
    assert continues(offsets, sizes).tolist() == [False, True, True, False]


def test_flat() -> None:
    got = times(FLAT, (0, 4096), (2**30, 4096), (2**30 + 4096, 5_000_000), (0, 50_000_000))
    assert got == pytest.approx([0.01, 0.01, 0.1, 1.0])


def test_disk_seeks_turns_and_transfers() -> None:
    half_turn, command, transfer = 0.005, 0.0005, 1e6 / 100e6
    got = times(DISK, (0, 10**6), (10**6, 10**6), (2 * 10**6 + 10**11 // 3, 10**6), (10**6, 10**6))
    assert got[0] == pytest.approx(command + 0.009 + half_turn + transfer)
    assert got[1] == pytest.approx(transfer)  # goes on: transfer only
    assert got[2] == pytest.approx(command + 0.009 + half_turn + transfer, rel=1e-6)  # a third of the stroke
    assert got[3] == pytest.approx(command + 0.009 + half_turn + transfer, rel=1e-3)  # and back


def test_seek_curve_runs_through_its_published_points() -> None:
    distance = np.array([0, 1e11 / 3 / 4, 1e11 / 3, 1e11, 1e15])
    assert DISK.seek_s(distance) * 1e3 == pytest.approx([1, 5, 9, 17, 17])
    curve = DISK.seek_s(np.linspace(0, 2e11, 1000))
    assert (np.diff(curve) >= 0).all()


def test_a_short_gap_is_read_over() -> None:
    assert times(DISK, (0, 4096), (100_000 + 4096, 4096))[1] == pytest.approx(0.0005 + 0.001 + 4096e-8)
    backward = times(DISK, (8192, 4096), (4096, 4096))[1]
    assert backward == pytest.approx(0.0005 + 0.001 + 0.005 + 4096e-8, rel=0.01)


def test_flash() -> None:
    got = times(FLASH, (0, 512), (10**6, 4096), (10**7, 4096 + 500_000))
    assert got == pytest.approx([1e-4, 1e-4, 1.1e-3])


def test_flash_with_a_measured_curve() -> None:
    curve = Flash(latency_us=((4096, 100), (8192, 120), (16384, 200)), transfer_mb_per_s=500)
    got = times(curve, (0, 512), (0, 6144), (0, 16384), (0, 16384 + 500_000))
    assert got == pytest.approx([100e-6, 110e-6, 200e-6, 1.2e-3])


def test_flash_is_occupied_by_its_channels_its_bandwidth_or_its_limit() -> None:
    sizes = np.array([4096, 5_000_000])
    eight = Flash(((4096, 100),), 500, channels=8).serve(np.zeros(2, np.int64), sizes, np.zeros(2))
    assert eight.occupied == pytest.approx([100e-6 / 8, 1e-2])
    held = Flash(((4096, 100),), 500, iops=120).serve(np.zeros(2, np.int64), sizes, np.zeros(2))
    long = 1e-4 + (5e6 - 4096) / 5e8
    assert held.occupied == pytest.approx([1 / 120, long])
    assert held.latency == pytest.approx([1e-4, long])


def test_network_adds_the_server() -> None:
    network = Network(round_trip_us=200, transfer_mb_per_s=100, server=device(FLASH))
    served = device(network).serve(np.array([0, 4096]), np.array([4096, 500_000]))
    drive = 1e-4 + (500_000 - 4096) / 5e8
    assert served.latency == pytest.approx([2e-4 + 4096e-8 + 1e-4, 2e-4 + 5e-3 + drive])
    assert served.occupied == pytest.approx([1e-4, 5e-3])  # then the wire is slower than the drive


LAZY = Lazy(first_touch_ms=30, block_kib=512, server=device(FLASH))


def test_a_block_is_loaded_when_it_is_first_touched() -> None:
    block = 512 * 1024
    got = times(LAZY, (0, 4096), (8192, 4096), (block, 4096), (0, 4096), (block - 4096, 8192))
    assert got == pytest.approx([0.0301, 0.0001, 0.0301, 0.0001, 0.0001 + 4096 / 5e8])
    # two blocks at once are one wait; what the blocks hold is there then
    got = times(LAZY, (block - 4096, 8192), (0, 4096), (2 * block - 1, 1))
    assert got == pytest.approx([0.0301 + 4096 / 5e8, 0.0001, 0.0001])


def test_several_blocks_are_loaded_at_the_same_time() -> None:
    served = device(LAZY).serve(np.array([0, 2**20, 2**21]), np.full(3, 4096), np.zeros(3))
    assert served.latency == pytest.approx([0.0301] * 3)
    assert served.occupied == pytest.approx([1e-4] * 3)


@given(st.lists(st.tuples(st.integers(0, 2**24), st.integers(1, 2**20)), min_size=1, max_size=50))
def test_no_block_is_loaded_twice(requests: list[tuple[int, int]]) -> None:
    offsets, sizes = (np.array(column, np.int64) for column in zip(*requests, strict=True))
    loads = np.count_nonzero(device(LAZY).serve(offsets, sizes).parts["loading"])
    touched = {at // 2**19 for at in (*offsets.tolist(), *(offsets + sizes - 1).tolist())}
    assert 1 <= loads <= len(touched)
    again = np.concatenate([offsets, offsets]), np.concatenate([sizes, sizes])
    assert np.count_nonzero(device(LAZY).serve(*again).parts["loading"]) == loads


def test_a_server_stands_alone() -> None:
    text = 'kind="lazy"\ntitle="t"\nsource="s"\nfirst_touch_ms=1\nblock_kib=512\nserver="{}"'
    assert parse(text.format("nvme"), "x", "x.toml").kind == "lazy"
    for name in ("nas-1g", "ebs-snapshot"):
        with pytest.raises(ColdseekError, match="is itself a"):
            parse(text.format(name), "x", "x.toml")


@pytest.mark.parametrize("preset", devices.presets(), ids=lambda preset: preset.name)
def test_presets_are_complete(preset: Device) -> None:
    assert preset.title and preset.source
    assert 0 < preset.low_ratio <= 1 <= preset.high_ratio
    assert devices.find(preset.name) == preset
    nothing = preset.serve(np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert len(nothing.latency) == len(nothing.occupied) == nothing.spread_s == nothing.later_s == 0


def test_presets_come_from_slow_to_fast() -> None:
    names = [preset.name for preset in devices.presets()]
    assert names == [
        "ebs-snapshot", "iops-120", "hdd-5400", "hdd-7200", "hdd-7200-now", "hdd-15k", "nas-1g", "efs",
        "cloud-3000", "ceph-rbd", "lustre", "nas-10g", "sata-ssd", "nvme", "nvme-gen4",
    ]  # fmt: skip
    assert {preset.name for preset in devices.usual()} < set(names)


@pytest.mark.parametrize("preset", devices.presets(), ids=lambda preset: preset.name)
@given(
    requests=st.lists(
        st.tuples(st.integers(0, 2**62), st.integers(1, 2**60), st.sampled_from([0.0, 1e-9, 0.1])),
        min_size=1, max_size=99,
    )
)  # fmt: skip
def test_service_times_are_positive_and_finite(
    preset: Device, requests: list[tuple[int, int, float]]
) -> None:
    offsets, sizes = (np.array([row[k] for row in requests], np.int64) for k in (0, 1))
    got = preset.serve(offsets, sizes, np.cumsum([row[2] for row in requests]))
    assert got.latency.shape == got.occupied.shape == (len(requests),)
    assert np.isfinite(got.latency).all() and (got.latency > 0).all()
    assert np.isfinite(got.occupied).all() and (got.occupied > 0).all()
    assert got.spread_s >= 0 and got.later_s >= 0 and 0 <= got.sooner_s <= got.latency.sum()
    for part in got.parts.values():
        assert (part >= 0).all()


def test_scattered_reads_cost_more_than_the_same_in_a_row() -> None:
    sizes = np.full(1000, 4096)
    for preset in devices.presets():
        row = preset.serve(np.arange(1000) * 4096, sizes).latency.sum()
        scattered = preset.serve(np.arange(1000) * 2**23, sizes).latency.sum()
        if preset.kind in ("disk", "flat"):
            assert scattered > 10 * row, preset.name
        else:
            assert scattered >= row, preset.name


def test_zones_read_slower_inside() -> None:
    zoned = dataclasses.replace(DISK, inner_mb_per_s=50)
    assert zoned.rate(np.array([0, 5 * 10**10, 10**11, 10**15])) == pytest.approx([1e8, 7.5e7, 5e7, 5e7])
    assert DISK.rate(np.array([0, 10**11])) == pytest.approx([1e8, 1e8])


def test_a_measured_seek_curve() -> None:
    measured = dataclasses.replace(DISK, seek_curve_ms=((0, 1.0), (10, 5.0), (100, 9.0)))
    assert measured.seek_s(np.array([0, 5e9, 1e10, 1e11, 1e13])) * 1e3 == pytest.approx([1, 3, 5, 9, 9])


def test_a_disk_reads_on_while_it_is_not_asked() -> None:
    sizes, row = np.array([10**6, 10**6]), np.array([0, 10**6])
    paused = DISK.serve(row, sizes, np.array([0, 0.004])).latency  # 400 kB in that time
    assert paused[1] == pytest.approx(600_000 / 1e8 + 400_000 / 3e8)
    long = DISK.serve(row, sizes, np.array([0, 9.0])).latency
    assert long[1] == pytest.approx(1e6 / 3e8)  # all of it was in the buffer


def test_queued_requests_are_served_in_order_of_place() -> None:
    rng = np.random.default_rng(1)
    offsets, sizes = rng.integers(0, 10**11, 320), np.full(320, 4096)
    queue = np.repeat(np.arange(10), 32) * 1e-9
    ncq = dataclasses.replace(DISK, queue_depth=32)
    sorted_in_each = np.concatenate([np.sort(part) for part in np.split(offsets, 10)])
    got = ncq.serve(offsets, sizes, queue)
    assert got.latency.sum() == pytest.approx(DISK.serve(sorted_in_each, sizes, queue).latency.sum())
    as_they_came = DISK.serve(offsets, sizes, queue)
    assert got.latency.sum() + got.later_s == pytest.approx(as_they_came.latency.sum())
    assert as_they_came.later_s == as_they_came.sooner_s == 0
    assert got.sooner_s == pytest.approx(320 * 0.005 * (1 - 2 / 33))


def test_the_spread_is_that_of_uniform_rotation() -> None:
    rng = np.random.default_rng(2)
    sums = rng.uniform(0, 0.01, (10_000, 100)).sum(axis=1)  # 6,000 rpm: 10 ms a turn
    offsets = rng.integers(0, 10**11, 100)
    got = DISK.serve(offsets, np.full(100, 4096), np.arange(100.0))
    assert got.spread_s == pytest.approx(sums.std(), rel=0.05)


def test_pauses() -> None:
    assert pauses(np.array([1.0, 1.0, 3.5])).tolist() == [0, 0, 2.5]
    assert pauses(np.zeros(0)).tolist() == []


GOOD = 'kind = "flash"\ntitle = "t"\nsource = "s"\nlatency_us = 100\ntransfer_mb_per_s = 500\n'
NETWORK = 'kind = "network"\ntitle = "t"\nsource = "s"\nround_trip_us = 1\ntransfer_mb_per_s = 1\n'


def test_a_device_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD + "high_ratio = 2\n")
    found = devices.find(str(path))
    assert (found.name, found.model, found.high_ratio) == ("mine", Flash(((4096.0, 100.0),), 500.0), 2.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "kind is missing"),
        ("kind = 3", "kind is missing or no text"),
        (GOOD.replace("flash", "drum"), "kind is 'drum', not one of flat, disk, flash, network"),
        (GOOD.replace("latency_us = 100", ""), "latency_us is missing"),
        (GOOD.replace("latency_us", "latency_ms"), "unknown key latency_ms; did you mean latency_us?"),
        (GOOD.replace("100", "-1"), "latency_us is no list of points [x, y], x from 1 to"),
        (GOOD.replace("100", "nan"), "latency_us is no list"),
        (GOOD.replace("100", "true"), "latency_us is no list"),
        (GOOD.replace("100", '"fast"'), "latency_us is no list"),
        (GOOD.replace("100", "[]"), "latency_us is no list"),
        (GOOD.replace("100", "[[4096, 100], [4096, 90]]"), "and rising"),
        (GOOD.replace("100", "[[4096, 100, 3]]"), "latency_us is no list"),
        (GOOD.replace("100", "[[1, 1]" + ", [2, 2]" * 2000 + "]"), "latency_us is no list"),
        (GOOD.replace("500", "-1"), "transfer_mb_per_s = -1 is not a number from 0.1 to 1e+06"),
        (GOOD + "channels = 0", "channels = 0 is not a number from 1 to"),
        (GOOD + "iops = inf", "iops = inf is not"),
        (GOOD + "low_ratio = 2", "low_ratio = 2 is not"),
        (GOOD + "latency_us = 1", "is no TOML file"),
        (GOOD.replace('title = "t"', 'title = ""'), "title is missing"),
        ("a = " + "[" * 5000, "is no TOML file"),
        (
            'kind = "network"\ntitle = "t"\nsource = "s"\nround_trip_us = 1\ntransfer_mb_per_s = 1',
            "server does not",
        ),
        (
            NETWORK + 'server = "nas-1g"',
            "is itself a network device",
        ),
        (
            'kind = "disk"\ntitle = "t"\nsource = "s"\nrpm = 7200\nsettle_ms = 9\naverage_seek_ms = 1\n'
            "full_stroke_ms = 20\ncommand_ms = 0\ntransfer_mb_per_s = 100\ncapacity_gb = 100",
            "average_seek_ms does not lie between",
        ),
    ],
)
def test_a_bad_device_file_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(ColdseekError) as caught:
        parse(text, "x", "/some/x.toml")
    assert words in str(caught.value)
    assert str(caught.value).startswith("/some/x.toml") and "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for form, most in MOST_BYTES.items():
        ending = form.lower()
        (tmp_path / f"noise.{ending}").write_bytes(b"\xff\xfe\x00")
        (tmp_path / f"large.{ending}").write_bytes(b" " * (most + 1))
        (tmp_path / f"broken.{ending}").write_bytes(b"[" * 5000)
        for name, words in (
            (f"none.{ending}", "cannot read the device file .*: No such file"),
            (f"noise.{ending}", f"is no {form} file: not UTF-8"),
            (f"large.{ending}", f"is larger than {most:,} bytes, so no device file"),
            (f"broken.{ending}", f"is no {form} file: "),
            ("", "Is a directory"),
        ):
            with pytest.raises(ColdseekError, match=words) as caught:
                devices.find(f"{tmp_path}/{name}")
            assert "\n" not in str(caught.value)


def test_a_device_file_of_any_other_value_is_refused() -> None:
    for text in ("[]", "7", "null", '"x"'):
        with pytest.raises(ColdseekError, match=r"^x[.]json describes no device: it is no JSON object"):
            values_of(text, "JSON", "x.json")


def test_a_drive_with_its_geometry(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(
        '{"rpm": 6000, "surfaces": 1, "seek_curve_ms": [[1, 2.0], [99, 8.0]], "zones": '
        '[{"first_cylinder": 0, "last_cylinder": 99, "sectors_per_track": 100}]}'
    )
    found = devices.find(str(path))
    assert (found.name, found.kind) == ("old", "drive")
    assert (found.low_ratio, found.high_ratio) == DRIVE_BAND == (0.95, 1.05)
    served = found.serve(np.array([0, 512 * 100 * 50]), np.array([512, 512]))
    assert served.parts["seeking"] == pytest.approx([0, 2e-3 + 6e-3 * 49 / 98])
    assert served.latency == pytest.approx(served.occupied)
    with pytest.raises(ColdseekError, match="No such file"):
        devices.find(str(tmp_path / "none.json"))


def test_unknown_names_offer_the_nearest() -> None:
    with pytest.raises(ColdseekError, match="no device named hdd-7300; did you mean hdd-7200"):
        devices.find("hdd-7300")
    with pytest.raises(ColdseekError, match="there are ebs-snapshot, iops-120"):
        devices.find("zzzzzz")
    with pytest.raises(ColdseekError) as caught:
        devices.find("\x1b[31mred\n")
    assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value)


def test_every_number_of_every_model_has_bounds() -> None:
    for model in (Flat, Disk, Flash, Network, Lazy):
        assert {*model.__dataclass_fields__} - {"server"} <= set(BOUNDS) | set(CURVES)
