"""The summary that every report is made from."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from made import GIB, MIB, below, trace
from report_cases import RUNS, check, kernel, run
from report_cases import image as image_case

from profiler.facts.runs import Measured, Run, from_json
from profiler.report.summarise import summarise
from profiler.report.summary import Pseudo
from profiler.trace import FileFacts


def test_the_named_image_is_in_focus() -> None:
    rows = [(0, 0, 1), (0, 1, 1), (1, 0, 1)]
    for image, cwd in ((b"/vm/b", "/"), (b"b", "/vm"), (b"../vm/b", "/vm"), (b"elsewhere/b", "/")):
        made = summarise(trace(rows, files=[b"/vm/a", b"/vm/b"], image=image.decode(), cwd=cwd))
        assert made.focus is not None and made.focus.path == b"/vm/b", image
        assert [file.path for file in made.files] == [b"/vm/b", b"/vm/a"]
        assert (made.others.files, made.others.reads) == (1, 2)


def test_else_the_file_that_costs_the_most() -> None:
    reads = [(0, 0, 1000), *((1, number * MIB, 1) for number in range(3))]
    made = summarise(trace(reads, image="/none"))
    assert made.focus is not None and made.focus.path == b"/b"
    assert [file.path for file in made.files] == [b"/b", b"/a"]
    assert summarise(trace()).focus is None


def test_reads_of_pseudo_file_systems_are_in_no_totals() -> None:
    proc = FileFacts(b"/proc/self/maps", device="0:21", kind="regular", filesystem="proc")
    ram = FileFacts(b"/dev/shm/x", device="0:25", size=MIB, kind="regular", filesystem="tmpfs")
    rows = [(0, 0, 4096), *((1, number * 4096, 4096) for number in range(50)), (2, 0, 100)]
    made = summarise(trace(rows, files=[b"/data", proc, ram]))
    assert (made.totals.reads, made.totals.bytes, made.totals.files) == (2, 4196, 2)  # tmpfs has contents
    assert made.pseudo == Pseudo(1, 50, 50 * 4096)
    assert made.focus is not None and made.focus.path == b"/data"
    assert (made.others.files, made.others.reads) == (1, 1)
    assert [file.path for file in made.files] == [b"/data", b"/dev/shm/x", b"/proc/self/maps"]
    assert [file.role for file in made.files] == ["data", "memory", "memory"]
    assert [cost.path for cost in made.costs] == [b"/data"]
    assert sum(reader.reads for reader in made.readers) == made.totals.reads


def test_files_that_were_only_mapped_are_there() -> None:
    faulted = [(10**9 * file, "request", 4, (20 + file) * GIB, 65536 * file) for file in (1, 2)]
    made = summarise(below(image_case(), faulted, duration_ns=10**6))
    mapped = [file for file in made.files if not file.reads]
    assert {file.path for file in mapped} == {b"/usr/lib/libc.so.6", b"/usr/bin/qemu-img"}
    assert all(file.scattered_ratio is None and file.share for file in mapped)
    assert sum(part.share for part in made.parts) == pytest.approx(1)
    assert {part.role for part in made.parts} == {"image", "data"}
    assert made.image is not None and made.image.path == b"/vm/disk0.qcow2"


def test_usual_size() -> None:
    made = summarise(trace([(0, 0, 4096), (0, 4096, 4096), (0, 9, 7), (1, 0, 1), (1, 1, 2), (1, 2, 3)]))
    assert [file.usual_size for file in made.files] == [4096, None]


def test_measured_runs() -> None:
    made = summarise(check())
    assert made.cold[0] == Run(2.29, 0, 0, 16 * 1024 * MIB, 41 * MIB)
    assert made.slowdown == pytest.approx(5.5 / 2.29)
    assert summarise(check(cache="keep")).slowdown is None
    assert summarise(check(wall_s=None)).slowdown is None


@pytest.mark.parametrize(
    "entry",
    [None, 3, "x", [], {}, {"wall_s": "1"}, {"wall_s": True}, {"wall_s": -1}, {"wall_s": float("nan")},
     {"wall_s": float("inf")}, {"wall_s": 1, "exit_status": 1.5}, {"wall_s": 1, "device_read_bytes": -1},
     {"wall_s": 1, "resident_before_bytes": 2**70}, {"wall_s": 1, "exit_status": True}],
)  # fmt: skip
def test_damaged_runs_are_counted_and_left_out(entry: Any) -> None:
    good = RUNS["cold"][0]
    found = from_json({"cold": [entry, good]})
    assert len(found.cold) == 1 and found.damaged == (1, 0)


def test_damaged_lists() -> None:
    assert from_json({"cold": {"wall_s": 1}}) == Measured(damaged=(1, 0))
    assert from_json({"warm": [run(1, 0, 0)]}).cold == ()
    assert from_json({"cold": [{"wall_s": 1}]}) == Measured(cold=(Run(1.0),))


def test_writes_are_apart() -> None:
    made = summarise(trace([(0, 0, 100), (0, 100, 100)], op="pwrite64"))
    assert (made.totals.reads, made.writes, made.written_bytes) == (0, 2, 200)


def test_what_was_observed_is_there_or_none() -> None:
    made = summarise(kernel())
    assert made.page_cache is not None and made.device is not None
    assert made.page_cache.hits + made.page_cache.misses == made.totals.reads == 6144
    assert made.totals.files == 1  # what was mapped is no read
    assert made.device.requests == 1320
    assert (summarise(check()).page_cache, summarise(check()).device) == (None, None)


def test_the_layers_below_change_nothing_above_them() -> None:
    made = kernel()
    calls = made.events[(made.events["layer"] == "syscall").to_numpy(bool)].reset_index(drop=True)
    with_layers, without = summarise(made), summarise(dataclasses.replace(made, events=calls))
    for name in ("totals", "gaps", "sizes", "others", "writes", "written_bytes"):
        assert getattr(with_layers, name) == getattr(without, name)
