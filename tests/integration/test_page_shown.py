"""The page in a real browser: what is drawn, what the mouse, keys and fingers do, what hostile names do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import report_cases
from browser import program
from conftest import ROOT
from made import trace
from page_cases import LABEL, VIEW, box, colours, made, pages, section, settle

from profiler.report.comparison import compare_summary
from profiler.report.page import of_comparison, of_trace
from profiler.report.summarise import summarise
from profiler.trace import FileFacts, Trace
from profiler.units import show_bytes, show_count, show_percent, show_seconds

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(program() is None, reason="no chromium; make test-full installs it"),
]


@pytest.fixture(scope="module")
def open_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with pages(tmp_path_factory.mktemp("pages")) as opened:
        yield opened


def test_numbers_are_shown_as_in_text(open_page: Any) -> None:
    shown = open_page(made(trace()))
    numbers = (ROOT / "profiler/report/page/sheet/numbers.js").read_text()

    def said(name: str, values: list[float]) -> list[str]:
        script = f"{numbers} return JSON.stringify({values}.map((value) => {name}(value)));"
        found: list[str] = json.loads(shown.value(f"(() => {{ {script} }})()"))
        return found

    values = [0, 1, 999, 1023.6, 1024, 41_943_040, 2**50, 2**62, 179.4, 179.6, 305, 10_800, 1e5, 0.0042,
              0.99951, 1e-6, 9.996e-7, 1.5e-9, 12.345]  # fmt: skip
    assert said("showBytes", values) == [show_bytes(value) for value in values]
    assert said("showSeconds", values) == [show_seconds(value) for value in values]
    ratios = [0, 1, 0.0001, 0.5, 0.9999, 0.123456]
    assert said("showPercent", ratios) == [show_percent(value) for value in ratios]
    assert said("showCount", [20499]) == [show_count(20499)]


def test_a_page_says_and_draws_what_was_read(open_page: Any) -> None:
    of = report_cases.image()
    shown = open_page(made(of))
    text = shown.value("document.body.innerText")
    for words in ("qemu-img check disk0.qcow2", "4,097 scattered 4 KiB reads", "refcount block", "hdd-7200"):
        assert words in text
    assert colours(shown) > 1000
    assert colours(shown, "#cost canvas") > 500
    row = shown.value("document.querySelector('#tables table tbody tr').innerText").split("\t")
    assert row[0].strip() == "/vm/disk0.qcow2" and row[2].strip() == "6,144"


def test_zoom_pan_and_back(open_page: Any) -> None:
    shown = open_page(made(report_cases.check()))
    left, top, width, height = box(shown)
    every = shown.value(VIEW)
    assert "12,288 marks" in shown.value(LABEL)
    for _ in range(4):
        shown.mouse("mouseWheel", left + width * 0.1, top + height * 0.9, deltaX=0, deltaY=-200)
    settle(shown)
    near = shown.value(VIEW)
    assert near != every
    shown.drag((left + 300, top + 100), (left + 200, top + 150))
    settle(shown)
    assert shown.value(VIEW) != near
    shown.value("document.querySelector('canvas.over').focus()")
    shown.key("0")
    settle(shown)
    assert shown.value(VIEW) == every


def test_a_box_selects_and_all_numbers_follow(open_page: Any) -> None:
    shown = open_page(made(report_cases.check()))
    left, top, width, height = box(shown)
    before = shown.value("document.querySelector('#tables').innerText")
    shown.drag((left + 1, top + 1), (left + width / 6, top + height - 1), modifiers=8)
    said = shown.value("document.querySelector('#selection').innerText")
    count = int(said.split(" read")[0].split()[-1].replace(",", ""))
    assert 1000 < count < 3000
    after = shown.value("document.querySelector('#tables').innerText")
    assert after != before and f"{count:,}" in after and "of what is selected" in after
    shown.value("document.querySelector('canvas.over').focus()")
    shown.key("Escape")
    assert shown.value("document.querySelector('#tables').innerText") == before
    shown.key("s")  # all that is in view
    said = shown.value("document.querySelector('#selection').innerText")
    assert "12,288 reads of 1 file" in said


def test_what_is_selected_costs_what_was_projected(open_page: Any) -> None:
    of = report_cases.check()
    summary = summarise(of)
    shown = open_page(of_trace(of, summary))
    shown.value("document.querySelector('select').value = '-1'")
    shown.value("document.querySelector('select').dispatchEvent(new Event('change'))")
    shown.value("document.querySelector('canvas.over').focus()")
    shown.key("s")
    table = shown.value(f"{section('Devices')}.innerText")
    for one in summary.projections:
        assert show_seconds(one.seconds) in table


def test_a_kind_is_switched_off_and_on(open_page: Any) -> None:
    shown = open_page(made(report_cases.image()))
    every = colours(shown)
    shown.value("document.querySelector('#legend button').click()")
    settle(shown)
    assert colours(shown) < every / 2
    shown.value("document.querySelector('#legend button').click()")
    settle(shown)
    assert colours(shown) == every


def test_a_read_is_named_under_the_mouse_and_by_keys(open_page: Any) -> None:
    shown = open_page(made(report_cases.image()))
    shown.value("document.querySelector('canvas.over').focus()")
    shown.key("n")
    first = shown.value("document.querySelector('#hover').textContent")
    for words in ("read 1 of 6,144", "/vm/disk0.qcow2", "offset 143,360", "4 KiB", "refcount block",
                  "thread 1", "pread64", "took 150 us", "missed the page cache",
                  "served by a request"):  # fmt: skip
        assert words in first
    left, top, width, height = box(shown)
    shown.mouse("mouseMoved", left + width / 6 + 1, top + height * 0.55)
    hovered = shown.value("document.querySelector('#hover').textContent")
    assert hovered != first and "refcount block" in hovered


def test_the_keyboard_alone_reaches_everything(open_page: Any) -> None:
    shown = open_page(made(report_cases.image()))
    met = set()
    for _ in range(60):
        shown.key("Tab")
        met.add(shown.value("`${document.activeElement.tagName} ${document.activeElement.className}`"))
    assert {"SELECT ", "INPUT ", "CANVAS over", "BUTTON link"} <= met


def test_a_reader_of_the_screen_is_told_all(open_page: Any) -> None:
    shown = open_page(made(report_cases.image()))
    nodes = shown.tree()
    roles = [node["role"]["value"] for node in nodes if "role" in node and not node.get("ignored")]
    assert roles.count("table") >= 4 and "heading" in roles
    named = ("button", "combobox", "checkbox", "table")
    nameless = [
        node for node in nodes
        if not node.get("ignored") and node.get("role", {}).get("value") in named
        and not node.get("name", {}).get("value")
    ]  # fmt: skip
    assert not nameless


def test_fingers_pinch(open_page: Any) -> None:
    shown = open_page(made(report_cases.check()), 360, 740)
    every = shown.value(VIEW)
    shown.value("document.querySelector('canvas.over').scrollIntoView()")
    left, top, width, height = box(shown)
    x, y = left + width / 3, top + height / 2
    shown.touch("touchStart", (x - 20, y - 20), (x + 20, y + 20))
    shown.touch("touchMove", (x - 60, y - 60), (x + 60, y + 60))
    shown.touch("touchEnd")
    settle(shown)
    assert shown.value(VIEW) != every
    assert shown.value("document.documentElement.scrollWidth") <= 360


def test_a_click_sorts_and_words_filter(open_page: Any) -> None:
    shown = open_page(made(report_cases.python_import(30)))
    files = section("Files")
    rows = f"[...{files}.querySelectorAll('tbody tr')].map((row) => Number(row.cells[2].textContent))"
    heads = f"[...{files}.querySelectorAll('th button')]"
    shown.value(f"{heads}.find((one) => one.textContent === 'reads').click()")
    reads = shown.value(rows)
    assert reads == sorted(reads, reverse=True) and len(reads) == 30
    typed = "input.value = 'm12.'; input.dispatchEvent(new Event('input'));"
    shown.value(f"(() => {{ const input = {files}.querySelector('input'); {typed} }})()")
    assert len(shown.value(rows)) == 1


def test_two_traces_share_their_axes(open_page: Any) -> None:
    cold, warm = report_cases.kernel(), report_cases.kernel(cache="warm")
    shown = open_page(of_comparison(compare_summary(cold, warm), (cold, warm)))
    assert shown.value("document.querySelectorAll('#panels canvas.over').length") == 2
    left, top, width, height = box(shown)
    shown.mouse("mouseWheel", left + width / 2, top + height / 2, deltaX=0, deltaY=-240)
    settle(shown)
    labels = shown.value(
        "[...document.querySelectorAll('canvas.over')].map((one) => one.getAttribute('aria-label'))"
    )
    assert labels[0].removeprefix("cold") == labels[1].removeprefix("warm")
    heads = shown.value("document.querySelector('#tables').innerText")
    assert "reads (cold)" in heads and "reads (warm)" in heads


def test_dark_and_printed(open_page: Any) -> None:
    shown = open_page(made(report_cases.check()))
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    light = shown.value(paper)
    shown.media(dark=True)
    assert shown.value(paper) != light
    assert shown.pdf().startswith(b"%PDF")


HOSTILE = (
    "<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>", "'\"><svg/onload=alert(1)>", "]]>",
    "{{facts}}", "\u202egpj.exe", "<!--", "${alert(1)}", "&lt;b&gt;", "\x1b[2J", "a\nb", "__proto__", "%00",
    "constructor", "javascript:alert(1)", "\u2066x\u2069", "x" * 4000,
)  # fmt: skip

SHAPE = """[...document.querySelectorAll('*')].map((one) => one.tagName)
    .reduce((counts, tag) => ({ ...counts, [tag]: (counts[tag] || 0) + 1 }), {})"""


def of_names(names: list[bytes], words: tuple[str, ...]) -> Trace:
    """A trace with a read of each of these files; words: in all that a trace says of itself."""
    facts = [FileFacts(name, "8:1", size=4096, kind="regular", filesystem="ext4") for name in names]
    rows = [(number, 0, 4096) for number in range(len(names))]
    said = {"command": ("sh", *words[:12]), "notes": words, "targets": words[:6], "partial": words[0]}
    return trace(rows, facts, **said, image=words[1])


def test_ten_thousand_hostile_names_change_nothing(open_page: Any) -> None:
    names = [f"/srv/{number}/{HOSTILE[number % len(HOSTILE)]}".encode() for number in range(9_900)]
    names += [b"/srv/\xff\xfe%d<b>" % number for number in range(100)]
    shown = open_page(made(of_names(names, HOSTILE)))
    shape = shown.value(SHAPE)
    shown.value(
        "[...document.querySelectorAll('section button')].filter((one) => one.textContent.endsWith('rows'))"
        ".forEach((one) => { one.click(); one.click(); })"
    )
    assert shown.value("document.querySelectorAll('tbody tr').length") >= 10_000
    assert shown.value("document.querySelectorAll('img, svg, iframe, object, embed, b').length") == 0
    text = shown.value("document.body.innerText")
    assert not set(text) & set("\u202e\u2066\x1b")
    assert "<script>alert(1)</script>" in text  # shown, not run
    meek = tuple(f"word {number}" for number in range(len(HOSTILE)))
    shown = open_page(made(of_names([b"/srv/%d" % number for number in range(10_000)], meek)))
    assert shown.value(SHAPE) == shape
