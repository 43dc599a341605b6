"""A check as text, Markdown, JSON and JUnit XML: golden pages, and hostile names in every form."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from test_report_text import golden

from profiler.analysis.check.held import Held, held
from profiler.analysis.check.limits import parse
from profiler.facts.starts import Image, Program, Start
from profiler.report import check as forms

HOSTILE = ("\x1b[31m<script>|`\n", "‮", "\x00", "𝔘" * 4000, "\udcff", "]]>", "&amp;")


def start(requests: int, parts: dict[tuple[bytes, str], tuple[int, int]], **more: object) -> Start:
    """A start of three runs, a little apart."""
    return Start(
        ("./serve", "--config", "etc/site.toml"), 0, 3,
        {
            "requests": (requests, requests + 2, requests + 1),
            "metadata_requests": (None, None, None),
            "device_bytes": (requests * 65536,) * 3,
            "files": (len(parts),) * 3,
            "seconds.hdd-7200": (requests / 120,) * 3,
        },
        parts, Program("/usr/bin/serve", 1000, "ab"), machine={"tracer": "ptrace", "kernel": "6.12"},
        version="0.1.0", **more,
    )  # type: ignore[arg-type]  # fmt: skip


SERVED = {(b"./site/index", ""): (10, 655360), (b"/srv/disk.qcow2", "l2"): (40, 2621440)}
BASELINE = start(1000, SERVED)


def regressed() -> Held:
    pandas = {(b"/usr/lib/python3/dist-packages/pandas/%d.py" % n, ""): (2, 8192) for n in range(106)}
    now = start(
        1212, {**SERVED, (b"/srv/disk.qcow2", "l2"): (52, 3407872), **pandas},
        images=(Image("/srv/disk.qcow2", "qcow2", 2**30),),
    )  # fmt: skip
    return held(BASELINE, now, {}, wanted=3, faults=["NOT COLD: ./site/index: 4 KiB were cached"])


def better() -> Held:
    return held(BASELINE, start(500, {}), {}, wanted=3)


def unknown() -> Held:
    return held(BASELINE, start(1000, SERVED), {}, wanted=5, faults=["23 events lost"] * 2)


def alone() -> Held:
    return held(None, start(1000, SERVED), dict([parse("requests=2000")]), wanted=3)


def hostile() -> Held:
    parts = {
        (f"/{name}{n}".encode("utf-8", "surrogateescape"), name): (1, 1)
        for name in HOSTILE
        for n in range(99)
    }
    before = Start(HOSTILE, 0, 3, {"requests": (1.0,)}, {}, Program(HOSTILE[0]), version=HOSTILE[1])
    now = Start(
        HOSTILE, 0, 3, {"requests": (900.0,), **{f"seconds.{name}": (1.0,) for name in HOSTILE}}, parts,
        Program(HOSTILE[3]), tuple(Image(name, name) for name in HOSTILE),
        dict.fromkeys(HOSTILE, HOSTILE[0]),
    )  # fmt: skip
    return held(before, now, {}, wanted=3, faults=HOSTILE)


CASES = {case.__name__: case for case in (regressed, better, unknown, alone, hostile)}


@pytest.mark.parametrize("case", ["regressed", "better", "unknown", "alone"])
def test_golden_pages(case: str) -> None:
    result = CASES[case]()
    golden(f"check_{case}.txt", forms.text(result, 80).plain + "\n")
    golden(f"check_{case}.md", forms.markdown(result))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(case: str, width: int) -> None:
    assert max(map(len, forms.text(CASES[case](), width).plain.splitlines())) <= width


@pytest.mark.parametrize("case", CASES)
def test_every_form_says_the_same(case: str) -> None:
    result = CASES[case]()
    as_json = json.loads(json.dumps(forms.as_json(result), allow_nan=False))
    assert as_json["state"] == result.state and len(as_json["changes"]) == len(result.changes)
    assert [line["state"] for line in as_json["quantities"]] == [line.state for line in result.lines]
    suite = ElementTree.fromstring(forms.junit(result).encode())
    wrong = {"regressed": "failures", "unknown": "errors"}
    for state, counted in wrong.items():
        count = sum(line.state == state for line in result.lines)
        more = counted == "errors" and result.state == "unknown" and not count
        assert int(suite.get(counted, "-1")) == count + more
    words = " ".join(forms.text(result, 1000).plain.split())
    if case != "hostile":
        assert as_json["verdict"] in words and as_json["verdict"] in forms.markdown(result).replace("\\", "")


def test_hostile_names_change_nothing() -> None:
    result = hostile()
    whole = [forms.text(result, 80).plain, forms.markdown(result), forms.junit(result)]
    for words in whole:
        assert not set(words) & {"\x1b", "\x00", "‮"}
    markdown = forms.markdown(result)
    assert len(markdown.encode()) < 60_000 and "<script>" not in markdown.replace("`", "").split("**")[1]
    ElementTree.fromstring(forms.junit(result).encode())
