"""The facts of a trace, and histograms and sketches of a fixed size."""

from __future__ import annotations

import dataclasses
from collections import Counter

import made
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import MIB

from profiler import devices
from profiler.analysis.fleet import histograms, pages
from profiler.analysis.fleet.facts import facts_of, model_of
from profiler.analysis.simulation.projection import project
from profiler.facts.fleet import GAP_BINS, MOST_FILES, MOST_TEXT, SIZE_BINS, SKETCH
from profiler.report.summarise import summarise

DEVICES = (devices.find("hdd-7200"), devices.find("nvme"))
WIDE = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(WIDE))
def test_a_gap_is_in_the_bin_of_its_magnitude(values: list[int]) -> None:
    counts = histograms.gaps(np.array(values, np.int64))
    # Python's own integers tell the bits of the magnitude; there is none of 2**63 with a sign
    bits = [min(abs(value), 2**63 - 1).bit_length() * (1 if value > 0 else -1) for value in values]
    assert Counter(bits) == {bin - GAP_BINS // 2: count for bin, count in enumerate(counts) if count}


@given(st.lists(st.integers(1, 2**63 - 1)))
def test_a_size_is_in_the_bin_of_its_highest_bit(values: list[int]) -> None:
    counts = histograms.sizes(np.array(values, np.int64))
    assert len(counts) == SIZE_BINS
    assert Counter(value.bit_length() - 1 for value in values) == {n: c for n, c in enumerate(counts) if c}


def test_the_digest_of_pages_is_that_of_their_set() -> None:
    paths = [b"/a", b"/b"]
    there = pages.hashes(paths, np.array([0, 0, 1]), np.array([5, 6, 5]))
    back = pages.hashes([b"/b", b"/a"], np.array([0, 1, 1]), np.array([5, 6, 5]))
    assert pages.digest(there) == pages.digest(back)
    assert pages.digest(there) != pages.digest(pages.hashes(paths, np.array([0, 0, 1]), np.array([5, 6, 6])))
    assert len(set(there.tolist())) == 3


def test_a_sketch_tells_how_alike_two_sets_are() -> None:
    """60,000 pages of which two thirds are in both; by chance the estimate is within 4 of its deviations."""
    every = pages.hashes([b"/a"], np.zeros(60_000, np.int64), np.arange(60_000))
    first, second = every[:50_000], every[10_000:]
    least = set(pages.sketch(first)) | set(pages.sketch(second))
    least = set(sorted(least)[:SKETCH])
    both = least & set(pages.sketch(first)) & set(pages.sketch(second))
    assert len(both) / SKETCH == pytest.approx(2 / 3, abs=4 * (2 / 9 / SKETCH) ** 0.5)
    assert list(pages.sketch(first)) == sorted(first.tolist())[:SKETCH]


def test_the_facts_are_those_of_the_report() -> None:
    trace = made.seed_2010(command=("qemu-img", "check", "disk0.qcow2"))
    facts, summary = facts_of(trace, DEVICES), summarise(trace, DEVICES)
    assert facts.reads == summary.totals.reads == 1935
    assert facts.seeks == summary.totals.seeks
    assert facts.bytes == summary.totals.bytes
    assert facts.pages == 1935
    assert facts.seconds == {each.device: each.seconds for each in summary.projections}
    assert facts.command == "qemu-img check disk0.qcow2"
    assert sum(facts.sizes or ()) == 1935
    assert sum(facts.gaps or ()) == 1934  # the first read has none
    assert facts.files is not None and facts.files[0].path == "/vm/disk0.qcow2"
    assert facts.savings is None


def test_what_is_not_known_is_none_and_never_zero() -> None:
    facts = facts_of(made.trace(), DEVICES)
    assert facts.reads == 0 and facts.pages == 0
    for name in ("host", "image", "cold_s", "is_disk", "scattered_ratio", "metadata_requests", "started_at"):
        assert getattr(facts, name) is None, name


def test_savings_are_those_of_the_advice() -> None:
    trace = made.seed_2010()
    facts = facts_of(trace, DEVICES[:1], advice=True)
    whole = project(trace, DEVICES[0])
    assert facts.savings is not None
    saved = {each.option: each.seconds for each in facts.savings}
    assert saved["in-order"] == pytest.approx(whole.seconds - whole.sequential_s)


def test_a_row_is_of_a_bounded_size_whatever_a_trace_holds() -> None:
    many = [b"/many/%d" % number for number in range(100)]
    trace = made.trace(
        [(file, 4 * MIB * page, 4096) for file in range(100) for page in range(10)],
        files=many,
        command=("x" * 5000, "\udcff\ud800", "\x1b[31m"),
        started_at="2026-13-45T99:99:99Z",
    )
    facts = facts_of(trace, DEVICES)
    assert facts.files is not None and len(facts.files) == MOST_FILES
    assert facts.sketch is not None and len(facts.sketch) == SKETCH
    assert facts.command is not None and len(facts.command) == MOST_TEXT
    assert facts.started_at is None


@pytest.mark.parametrize(
    ("words", "moment"),
    [
        ("2026-11-28T01:02:03Z", "2026-11-28T01:02:03.000000+00:00"),
        ("2026-11-28T01:02:03.5+02:00", "2026-11-27T23:02:03.500000+00:00"),
        ("0001-01-01T00:00:00+14:00", None),
        ("today", None),
    ],
)
def test_when_it_started_is_told_in_utc(words: str, moment: str | None) -> None:
    assert facts_of(made.trace(started_at=words), DEVICES[:1]).started_at == moment


def test_another_device_or_version_is_another_model() -> None:
    usual = model_of(DEVICES, "1")
    slower = (dataclasses.replace(DEVICES[0], high_ratio=9.0), DEVICES[1])
    others = {model_of(DEVICES[:1], "1"), model_of(DEVICES, "2"), model_of(DEVICES, "1", True)}
    assert len({usual, model_of(slower, "1"), *others}) == 5
