"""Device models made of measured reads: a simulated device is found again."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.calibration.measure import DEPTHS, SIZES, distances
from profiler.devices.disks.datasheet_disk import Disk
from profiler.devices.fitting.fit import Fitted, fit
from profiler.devices.fitting.preset import source, to_toml
from profiler.devices.fitting.statistics import PAGE, level, rising, without_stalls
from profiler.devices.fitting.tables import RATE_COLUMNS, READ_COLUMNS
from profiler.devices.flash import Flash
from profiler.devices.flat import Flat
from profiler.devices.loading import parse, presets
from profiler.devices.model import Device, Service
from profiler.errors import ColdseekError
from profiler.report.text.calibration import calibration

ROUNDS = 20
DISK = Disk(
    rpm=7200, settle_ms=1.0, average_seek_ms=8.5, full_stroke_ms=16.0, command_ms=0.2,
    transfer_mb_per_s=200, inner_mb_per_s=100, capacity_gb=1000, queue_depth=32,
)  # fmt: skip
FLASH = Flash(((4096, 90.0), (65536, 150.0), (2**20, 700.0)), transfer_mb_per_s=2500, channels=12)


class Bench:
    """Measurements of a model, as the calibration makes them; `noise` is their relative deviation."""

    def __init__(self, model: Disk | Flash, span: int, noise: float = 0.03, stalls: float = 0.002) -> None:
        self.model, self.span, self.noise, self.stalls = model, span, noise, stalls
        self.rng = np.random.default_rng(7)
        self.reads: list[tuple[object, ...]] = []
        self.rates: list[tuple[object, ...]] = []

    def times(self, offsets: np.ndarray, size: int) -> np.ndarray:
        service = self.serve(offsets, size)
        took = service.latency.copy()
        if isinstance(self.model, Disk):  # a turn is any part of one, not half of it
            half = service.parts["turning"] == 30 / self.model.rpm
            took[half] += (self.rng.random(int(half.sum())) - 0.5) * 60 / self.model.rpm
        took *= self.rng.normal(1, self.noise, len(took)).clip(0.5, 2)
        stalled = self.rng.random(len(took)) < self.stalls
        return took * np.where(stalled, 100.0, 1.0)

    def serve(self, offsets: np.ndarray, size: int) -> Service:
        made = Device("made", "made", "made", "made", self.model)
        return made.serve(offsets.astype(np.int64), np.full(len(offsets), size, np.int64))

    def places(self, count: int) -> np.ndarray:
        return self.rng.integers(0, (self.span - 2**20) // PAGE, count) * PAGE

    def note(self, series: str, number: int, size: int, distance: int, times: np.ndarray) -> None:
        self.reads += [(series, number, size, distance, took, False) for took in times]

    def measure(self, small: int, others: int) -> Bench:
        for number in range(ROUNDS):
            self.note("random", number, PAGE, 0, self.times(self.places(small), PAGE))
            through = self.times(self.places(small), PAGE)
            self.note("buffered", number, PAGE, 0, through + 10e-6)
            for size in SIZES:
                self.note("random", number, size, 0, self.times(self.places(others), size))
            for distance in distances(self.span):
                begin = self.rng.integers(0, (self.span - distance) // PAGE, others) * PAGE
                both = np.stack([begin + distance, begin], axis=1).ravel()  # there, and back by `distance`
                self.note("distance", number, PAGE, distance, self.times(both, PAGE)[1::2])
            start = np.arange(33) * PAGE
            self.note("next", number, PAGE, 0, self.times(start, PAGE)[1:] + self.command)
            for place in (0.0, 1.0):
                run = np.arange(16) * 2**20 + int(place * (self.span - 16 * 2**20))
                took = self.serve(run, 2**20).occupied[1:].sum()
                self.rates.append(("sequential", number, 2**20, 4, place, 15, took))
            for depth in DEPTHS:
                self.rates.append(("queue", number, PAGE, depth, 0.0, 1000, 1000 / self.rate(depth, PAGE)))
            self.rates.append(("queue", number, 65536, 32, 0.0, 100, 100 / self.rate(32, 65536)))
        return self

    @property
    def command(self) -> float:
        return self.model.command_ms / 1e3 if isinstance(self.model, Disk) else 0.0

    def rate(self, depth: int, size: int) -> float:
        if isinstance(self.model, Disk):
            return 75 * (1 + 0.2 * np.log2(depth))
        service = self.serve(np.zeros(1), size)
        return float(min(depth / service.latency[0], 1 / service.occupied[0], self.model.iops))

    def fit(self, rotational: bool | None, whole: bool = True) -> Fitted:
        return fit(*self.tables(), span=self.span, capacity=10**12, rotational=rotational, whole=whole)

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        return (
            pd.DataFrame(self.reads, columns=list(READ_COLUMNS)).astype(READ_COLUMNS),
            pd.DataFrame(self.rates, columns=list(RATE_COLUMNS)).astype(RATE_COLUMNS),
        )


@pytest.fixture(scope="module")
def disk() -> Fitted:
    return Bench(DISK, 10**12).measure(60, 20).fit(True)


@pytest.fixture(scope="module")
def flash() -> Fitted:
    return Bench(FLASH, 2**30).measure(100, 20).fit(True)


def test_a_disk_is_found_again(disk: Fitted) -> None:
    found = disk.model
    assert isinstance(found, Disk)
    assert found.rpm == 7200
    assert found.transfer_mb_per_s == pytest.approx(200, rel=0.05)
    assert found.inner_mb_per_s == pytest.approx(100, rel=0.05)
    assert found.command_ms == pytest.approx(0.2, abs=0.05)
    pairs = np.abs(np.diff(np.random.default_rng(3).random(10_000) * 1e12))
    assert found.average_seek_ms == pytest.approx(DISK.seek_s(pairs).mean() * 1e3, rel=0.05)
    assert found.full_stroke_ms == pytest.approx(16 * 0.95, rel=0.1)  # of 9 tenths of the way
    assert found.queue_depth == 32
    for distance in (10**8, 10**10, 10**11, 5 * 10**11):
        wanted = DISK.seek_s(np.array([float(distance)]))[0] * 1e3
        assert found.seek_s(np.array([float(distance)]))[0] * 1e3 == pytest.approx(wanted, abs=0.6)


def test_a_disk_found_again_predicts_the_wait(disk: Fitted) -> None:
    offsets = np.random.default_rng(3).integers(0, 10**12 // PAGE - 1, 2000) * PAGE
    sizes = np.full(2000, PAGE)
    wanted = DISK.serve(offsets, sizes, np.arange(2000.0)).latency.sum()
    assert disk.model.serve(offsets, sizes, np.arange(2000.0)).latency.sum() == pytest.approx(
        wanted, rel=0.05
    )
    assert disk.low_ratio <= 1 <= disk.high_ratio <= 1.5


def test_flash_is_found_again_though_it_is_called_rotational(flash: Fitted) -> None:
    found = flash.model
    assert isinstance(found, Flash)
    # 10 us of it are the page cache's
    sizes = np.array([PAGE, 16384, 65536, 2**20, 2**24])
    wanted = FLASH.serve(sizes, sizes, sizes * 1.0).latency + 10e-6
    assert found.serve(sizes, sizes, sizes * 1.0).latency == pytest.approx(wanted, rel=0.1)
    assert found.channels == pytest.approx(12 * 100 / 90, rel=0.1)
    assert found.transfer_mb_per_s == pytest.approx(2500, rel=0.05)
    assert any("rotational" in note for note in flash.notes)
    assert 0.7 < flash.low_ratio <= 0.9
    assert 1.1 <= flash.high_ratio < 1.3


def test_a_limit_on_the_requests_is_told_from_few_channels() -> None:
    held = dataclasses.replace(FLASH, iops=3000.0, channels=64.0)
    found = Bench(held, 2**30).measure(50, 10).fit(False).model
    assert isinstance(found, Flash)
    assert found.iops == pytest.approx(3000, rel=0.02)
    slow = Bench(dataclasses.replace(FLASH, channels=1.0), 2**30).measure(50, 10).fit(False).model
    assert isinstance(slow, Flash)
    assert slow.iops > 1e9
    assert slow.channels == pytest.approx(100 / 90, rel=0.05)


def test_a_device_held_back_already_one_at_a_time_keeps_its_latency() -> None:
    """Four reads go through at once, then the fifth waits for leave: 2,800 a second."""
    bench = Bench(dataclasses.replace(FLASH, iops=2800.0, channels=64.0), 2**30, stalls=0).measure(50, 10)
    reads, rates = bench.tables()
    fifth = np.arange(len(reads)) % 5 == 0
    reads.loc[fifth, "seconds"] += 1.3e-3
    rates["requests"] = 2800
    rates.loc[rates["series"] == "queue", "seconds"] = 1.0
    found = fit(reads, rates, span=2**30, rotational=False).model
    assert isinstance(found, Flash)
    assert found.iops == pytest.approx(2800)
    assert found.latency_us[0][1] == pytest.approx(90, rel=0.2)


def test_a_device_held_in_long_slices_is_told_from_stalls() -> None:
    """100 reads pass at once, then none for a tenth of a second: 1,000 a second on the whole."""
    reads, _ = Bench(FLASH, 2**30, stalls=0).measure(50, 10).tables()
    waits = np.arange(len(reads)) % 100 == 0
    reads.loc[waits, "seconds"] += 0.1 - 100 * reads["seconds"].mean()
    rates = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in RATE_COLUMNS.items()})
    found = fit(reads, rates, span=2**30, rotational=False)
    assert isinstance(found.model, Flash)
    assert found.model.iops == pytest.approx(1000, rel=0.05)
    assert found.model.latency_us[0][1] == pytest.approx(95, rel=0.1)
    assert "held to so many" in source(found, "Measured.")
    _, free = Bench(FLASH, 2**30).measure(50, 10).tables()
    busy = fit(reads, free, span=2**30, rotational=False).model  # it is the machine that is busy
    assert isinstance(busy, Flash)
    assert busy.iops > 1e9


def test_a_small_file_on_a_disk_is_a_disk_if_the_kernel_says_so() -> None:
    bench = Bench(DISK, 2**30).measure(30, 10)
    found = bench.fit(True, whole=False)
    assert isinstance(found.model, Disk)
    assert found.model.rpm == 7200
    assert any("block device" in note for note in found.notes)
    assert isinstance(bench.fit(False).model, Flash)


def test_places_of_zeros_do_not_count_for_flash() -> None:
    bench = Bench(FLASH, 2**30).measure(50, 10)
    reads, rates = bench.tables()
    empty = np.arange(len(reads)) % 2 == 0
    reads.loc[empty, ["seconds", "zeros"]] = [1e-6, True]
    found = fit(reads, rates, span=2**30, rotational=False)
    assert found.direct_us[PAGE] == pytest.approx(90, rel=0.05)
    assert any("zeros" in note for note in found.notes)


def test_series_that_could_not_be_measured_are_said() -> None:
    reads, rates = Bench(FLASH, 2**30).measure(50, 10).tables()
    found = fit(reads[reads["series"] == "random"], rates[:0], span=2**30)
    assert isinstance(found.model, Flash)
    assert found.model.channels == 1
    assert found.buffered_us is None
    assert len(found.notes) == 2
    with pytest.raises(ColdseekError, match="too few reads"):
        fit(reads[:0], rates[:0], span=2**30)


def test_the_level_is_a_mean_without_stalls() -> None:
    reads = pd.DataFrame({"round": np.repeat([0, 1, 2], 10), "seconds": [1.0] * 5 + [3.0] * 5 + [2.0] * 20})
    assert level(reads) == 2
    reads.loc[7, "seconds"] = 1000.0
    assert level(reads) == 2
    assert without_stalls(np.array([1.0, 1.0, 1.0, 19.0, 21.0])).tolist() == [1, 1, 1, 19]
    assert without_stalls(np.zeros(0)).tolist() == []


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0.1, 1e3)), min_size=1, max_size=30))
def test_rising_rises_keeps_the_mean_and_what_rises_already(pairs: list[tuple[float, float]]) -> None:
    values, weights = (np.array(column) for column in zip(*pairs, strict=True))
    found = rising(values, weights)
    assert (np.diff(found) >= 0).all()
    assert np.average(found, weights=weights) == pytest.approx(np.average(values, weights=weights))
    assert rising(np.sort(values), weights) == pytest.approx(np.sort(values))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text.strip())
NUMBER = st.floats(1, 50)
CURVE = st.lists(st.integers(1, 2**40), min_size=1, max_size=9, unique=True).flatmap(
    lambda sizes: st.tuples(*(st.tuples(st.just(float(size)), NUMBER) for size in sorted(sizes)))
)


@given(TEXT, TEXT, CURVE, NUMBER, NUMBER)
def test_a_device_file_reads_back_as_the_device(
    title: str, words: str, curve: tuple[tuple[float, float], ...], number: float, high: float
) -> None:
    model = Flash(curve, number, channels=number, iops=high)
    device = Device("x", " ".join(title.split()), " ".join(words.split()), "flash", model, 0.5, high)
    assert parse(to_toml(device), "x", "x.toml") == device


def test_what_is_no_text_does_not_break_a_device_file() -> None:
    device = Device("x", 'a "b" \\ \udcff', '""" \x00 \x7f', "flat", Flat(100.0, 50.0))
    found = parse(to_toml(device), "x", "x.toml")
    assert found.title == 'a "b" \\ \ufffd'
    assert found.source == '""" \x00 \x7f'


@pytest.mark.parametrize(
    "preset", [one for one in presets() if one.kind not in ("network", "lazy")], ids=lambda one: one.name
)
def test_presets_survive_being_written(preset: Device) -> None:
    assert parse(to_toml(preset), preset.name, "x.toml") == preset


def test_what_was_found_makes_a_device_file_and_a_table(disk: Fitted, flash: Fitted) -> None:
    for found in (disk, flash):
        words = source(found, "Measured here.")
        device = Device("x", "x", words, found.kind, found.model, found.low_ratio, found.high_ratio)
        assert parse(to_toml(device), "x", "x.toml") == device
        assert "Measured here. Random reads of 4 KiB" in words
        table = calibration(found, "a file of 1 GiB").plain.split("\n")
        assert max(len(line) for line in table) <= 80 and len(table) <= 24
        assert any(line.startswith(f"found       {found.kind}: ") for line in table)
