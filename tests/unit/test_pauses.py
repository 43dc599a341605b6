"""Requests that are made after a pause take longer where a device says so."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from test_handover import FLASH, fitted, measured

from profiler.calibration.measure import PAUSES_US
from profiler.devices.fitting.preset import to_toml
from profiler.devices.fitting.statistics import PAUSED
from profiler.devices.fitting.tables import READ_COLUMNS
from profiler.devices.loading import parse
from profiler.devices.model import AFTER_A_PAUSE
from profiler.errors import ColdseekError

PAUSES = dataclasses.replace(FLASH, pause_us=((0.0, 0.0), (1000.0, 40.0), (3000.0, 80.0)))


def with_pauses(longer_us: dict[int, float]) -> pd.DataFrame:
    """`measured`, and reads after pauses that took so much longer."""
    rows = [
        (PAUSED, number, 4096, pause_us, (100.0 + more) * (1.3 if read == 0 else 1.0) / 1e6, False)
        for number in range(20)
        for pause_us, more in longer_us.items()
        for read in range(10)
    ]
    return pd.concat([measured(), pd.DataFrame(rows, columns=list(READ_COLUMNS)).astype(READ_COLUMNS)])


def test_the_pause_before_a_request_decides() -> None:
    offsets, sizes = np.arange(4) * 2**20, np.full(4, 4096)
    arrivals = np.array([0.0, 0.0005, 0.0035, 1.0])
    plain, service = FLASH.serve(offsets, sizes, arrivals), PAUSES.serve(offsets, sizes, arrivals)
    assert service.parts[AFTER_A_PAUSE] * 1e6 == pytest.approx([0, 20, 80, 80])
    assert service.latency - plain.latency == pytest.approx(service.parts[AFTER_A_PAUSE])
    assert (service.occupied == plain.occupied).all()
    # one after another, without a pause
    assert PAUSES.serve(offsets, sizes).latency == pytest.approx(
        FLASH.serve(offsets, sizes).latency, abs=1e-9
    )


def test_a_curve_is_fitted_that_never_falls() -> None:
    longer = dict(zip(PAUSES_US, (10.0, 30.0, 20.0, 60.0, 90.0), strict=True))
    fit = fitted(with_pauses(longer))
    (nothing, *points) = fit.pause_us
    assert nothing == (0, 0)
    assert [us for us, _ in points] == list(PAUSES_US)
    assert [more for _, more in points] == pytest.approx([10.2, 25.5, 25.5, 61, 91], abs=3)
    # of the device nothing else is said than without these reads
    assert dataclasses.replace(fit, pause_us=()) == fitted(measured())


def test_noise_is_no_pause_and_what_was_not_measured_is_not_known() -> None:
    assert fitted(measured()).pause_us == ()
    assert fitted(with_pauses(dict.fromkeys(PAUSES_US, 3.0))).pause_us == ()
    assert fitted(with_pauses(dict.fromkeys(PAUSES_US, -30.0))).pause_us == ()


def test_a_device_file_keeps_it() -> None:
    assert parse(to_toml(PAUSES), PAUSES.name, "x.toml").pause_us == PAUSES.pause_us
    for value in ("3", "[[0, 0], [0, 1]]", "[[0, -1]]", "[[0, 1e9]]", '"x"'):
        with pytest.raises(ColdseekError, match="pause_us"):
            parse(to_toml(FLASH) + f"pause_us = {value}\n", "x", "x.toml")
