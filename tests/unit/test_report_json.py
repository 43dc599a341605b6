"""The JSON reports: golden files and the contract of their keys."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
from made import seed_2010, trace
from report_cases import CASES, check, image, kernel, python_import

from profiler import devices
from profiler.analysis.simulation.projection import project
from profiler.report import json as report_json
from profiler.report.comparison import compare_summary
from profiler.report.summarise import summarise

DATA = Path(__file__).parent.parent / "data"


def strict(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text.encode("ascii")
    return json.loads(text, parse_constant=refuse)


def rounded(text: str) -> Any:
    """The last digits of a sum may differ from one processor to another."""
    return json.loads(text, parse_float=lambda digits: f"{float(digits):.9g}")


@pytest.mark.parametrize("case", CASES)
def test_golden_reports(case: str) -> None:
    got = report_json.dumps(report_json.report(summarise(CASES[case]())))
    strict(got)
    path = DATA / f"report_{case}.json"
    if os.environ.get("COLDSEEK_GOLDEN"):
        path.write_text(got)
    assert rounded(got) == rounded(path.read_text())


def test_the_keys_of_the_contract() -> None:
    report = report_json.report(summarise(check()))
    assert report["schema"] == "coldseek.report/1"
    assert set(report) >= {"trace", "totals", "patterns", "strides", "files", "device", "projections"}
    assert set(report["trace"]) >= {
        "command", "tracer", "cache", "resident_before_bytes", "wall_s", "exit_status", "lost_events",
        "unseen", "complete",
    }  # fmt: skip
    assert set(report["totals"]) >= {
        "reads", "bytes", "unique_bytes", "seeks", "scattered_ratio", "sequential_ratio",
    }  # fmt: skip
    assert list(report["patterns"])[:5] == ["consecutive", "strided", "forward", "backward", "repeat"]
    assert report["strides"][0] == {"bytes": 8388608, "count": 4094}
    assert set(report["files"][0]) >= {
        "path", "reads", "bytes", "unique_bytes", "seeks", "scattered_ratio", "patterns", "structures",
    }  # fmt: skip
    assert report["files"][0]["path"] == "/vm/disk0.qcow2"
    for layer in ("page_cache", "device"):  # unknown is null, not 0
        assert report[layer].pop("observed") is False
        assert set(report[layer].values()) == {None}
    assert set(report["device"]) >= {"requests", "bytes", "seeks", "accounted_bytes"}
    assert set(report["projections"][0]) >= {"device", "requests", "seconds", "low_s", "high_s"}


def test_what_was_observed() -> None:
    report = report_json.report(summarise(kernel()))
    cache, device = report["page_cache"], report["device"]
    assert cache["observed"] and device["observed"]
    parts = [cache[f"{part}_bytes"] for part in ("read", "mapped", "metadata", "written")]
    assert sum(parts) == cache["bytes"] == sum(file["bytes"] for file in cache["files"])
    answers = [cache[key] for key in ("hits", "misses", "direct", "unknown")]
    assert sum(answers) == report["totals"]["reads"]
    assert cache["files"][1] == {
        "path": "/usr/lib/libc.so.6", "bytes": 6291456, "mapped_bytes": 6291456,
    }  # fmt: skip
    assert (device["requests"], device["kernel_requests"]) == (1320, 264)
    assert device["accounted_bytes"] == 18874368
    warm = report_json.report(summarise(trace([(0, 0, 1)], tracer="kernel")))
    assert (warm["page_cache"]["bytes"], warm["page_cache"]["files"]) == (0, [])
    assert (warm["device"]["requests"], warm["device"]["median_s"]) == (0, None)


def test_requests_of_structures() -> None:
    """All requests of the case are the image's; where it lies is not known without its extents."""
    made = image()
    found = report_json.report(summarise(made))
    of_image = found["files"][0]["structures"]
    assert sum(one["requests"] for one in of_image.values()) == found["device"]["requests"] == 1320
    made = dataclasses.replace(made, extents=made.extents[:0])
    unknown = report_json.report(summarise(made))["files"][0]["structures"]
    assert unknown.keys() == of_image.keys() and {one["requests"] for one in unknown.values()} == {None}


def test_compare() -> None:
    made = report_json.compare(compare_summary(check(cache="warm", wall_s=3.0), check()))  # any order
    assert strict(report_json.dumps(made))["schema"] == "coldseek.compare/1"
    assert made["cold"]["wall_s"] == [2.29, 2.35, 2.21]
    assert (made["cold"]["median_s"], made["warm"]["median_s"]) == (2.29, 1.2)
    assert made["ratio"] == pytest.approx(2.29 / 1.2)
    assert made["cold"]["resident_before_bytes"] == 0
    assert made["cold"]["report"]["trace"]["cache"] == "cold"
    assert made["cold"]["tracer_slowdown"] == pytest.approx(5.5 / 2.29)
    assert made["first"] is None


def test_compare_of_any_two() -> None:
    made = report_json.compare(compare_summary(seed_2010(), python_import()))
    assert made["cold"] is None and made["warm"] is None and made["ratio"] is None
    assert made["first"]["report"]["totals"]["reads"] == 1935
    assert made["only_first"] == ["/vm/disk0.qcow2"] and len(made["only_second"]) == 200


def test_project() -> None:
    made = report_json.project([project(seed_2010(), devices.find("iops-120"))])
    assert made["schema"] == "coldseek.project/1"
    assert made["projections"][0]["seconds"] == pytest.approx(16.125)


def test_paths_lose_nothing() -> None:
    names = [b"/plain", "/ünï".encode(), b"/\xff\n", b"/back\\slash"]
    files = report_json.report(summarise(trace([(n, 0, 1) for n in range(4)], files=names)))["files"]
    back = [
        bytes.fromhex(file["path_hex"]) if "path_hex" in file else file["path"].encode() for file in files
    ]
    assert sorted(back) == sorted(names)
    assert files[2]["path"] == "/\\xff\n"


def test_lone_surrogates_do_not_reach_the_json() -> None:
    got = report_json.dumps(
        report_json.report(summarise(trace(command=("\udcff", "\ud800"), image="\ud800")))
    )
    assert json.loads(got)["trace"]["command"] == ["\\xff", "\\ud800"]
