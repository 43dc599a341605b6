"""The page's data: packed columns, levels, costs; nothing from outside in its markup."""

from __future__ import annotations

import base64
import binascii
import hashlib
import html
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import report_cases
from made import GIB, trace
from typer.testing import CliRunner

from profiler import cli
from profiler.analysis.cost.below_the_program import ANSWERS
from profiler.files.traces import save
from profiler.report.comparison import compare_summary
from profiler.report.page import layers, marks, of_comparison, of_trace
from profiler.report.page.costs import cumulative
from profiler.report.page.levels import levels
from profiler.report.page.packing import Pack
from profiler.report.summarise import summarise
from profiler.trace import Trace

Ints = npt.NDArray[np.int64]


def unpacked(block: str | bytes, facts: dict[str, int]) -> Ints:
    """The column again, as a browser unpacks it."""
    data = binascii.a2b_base64(block) if isinstance(block, str) else block
    raw = np.frombuffer(zlib.decompress(data, -15), np.uint8).reshape(facts["planes"], facts["rows"])
    values = sum(raw[plane].astype(np.int64) << (8 * plane) for plane in range(facts["planes"]))
    values = np.asarray(values, np.int64)
    return np.where(values & 1, -(values >> 1) - 1, values >> 1) if facts["signed"] else values


def facts_of(page: str) -> dict[str, Any]:
    number = re.search(r'<body data-facts="(\d+)">', page)
    assert number is not None
    block = re.search(rf'id="b{number[1]}">([^<]*)<', page)
    assert block is not None
    found: dict[str, Any] = json.loads(zlib.decompress(binascii.a2b_base64(block[1]), -15))
    return found


def made(of: Trace) -> str:
    return of_trace(of, summarise(of))


def test_columns_come_back() -> None:
    pack = Pack()
    for values, signed in (
        ([], False), ([0], False), ([0, 255, 256, 2**52], False), ([0, -1, 1, -(2**51), 2**51], True),
    ):  # fmt: skip
        facts = pack.column(np.array(values, np.int64), signed)
        assert unpacked(pack.blocks[facts["block"]], facts).tolist() == values


def many(count: int) -> tuple[marks.Marks, marks.Files]:
    """Marks of two files and three kinds of structures, in bursts."""
    chance = np.random.default_rng(23)
    file = chance.integers(0, 2, count)
    offset = chance.integers(0, 1 << 20, count) // 50_000 * 50_000
    bursts = 1 + (np.arange(count) > count // 2)
    found = marks.Marks(
        time_ns=np.cumsum(chance.exponential(1000, count)).astype(np.int64) * bursts,
        file=file, offset=np.where(chance.random(count) < 0.01, marks.UNKNOWN, offset),
        size=np.full(count, 4096), took_ns=np.full(count, 10), structure=chance.integers(-1, 2, count),
        answer=chance.integers(0, 4, count), thread=file * 0, op=file * 0, seek=file * 0,
    )  # fmt: skip
    files = marks.Files()
    files.number(b"/a"), files.number(b"/b")
    files.saw(found)
    return found, files


def test_levels_count_every_mark_once() -> None:
    found, files = many(400_000)
    made = levels(found, files)
    assert made
    known = found.offset >= 0
    for level in made:
        assert (np.diff(level.row) > 0).all()
        assert level.count.sum() == known.sum()
        for name in ("file", "structure", "answer"):
            column = getattr(found, name)
            summed = np.bincount(column[level.row] + 1, level.count)
            assert summed.tolist() == np.bincount(column[known] + 1).tolist(), name


def test_few_marks_have_no_levels() -> None:
    assert levels(*many(1000)) == []


def test_a_layer_that_is_too_large_keeps_every_nth_mark() -> None:
    found, files = many(400_000)
    pack = Pack()
    made = layers.layer(found, files, pack, 300_000)
    assert made["step"] > 1 and made["rows"] == -(-400_000 // made["step"]) and made["all"] == 400_000
    size = sum(len(pack.blocks[one["block"]]) for one in made.values() if isinstance(one, dict))
    assert size < 400_000
    assert all(level["columns"] for level in made["levels"])  # rows of the marks would not be there


def offsets(page: str, layer: dict[str, Any], rows: Ints) -> list[float]:
    """Offsets as the page's script works them out."""
    blocks = dict(re.findall(r'id="b(\d+)">([^<]*)<', page))
    file, gap, size, flags = (
        unpacked(blocks[str(layer[name]["block"])], layer[name]) for name in ("file", "gap", "size", "flags")
    )
    ends: dict[int, int] = {}
    made = []
    for row in rows.tolist():
        if flags[row] & 8:
            made.append(-1)
            continue
        start = ends.get(int(file[row]), 0) + int(gap[row])
        ends[int(file[row])] = start + int(size[row])
        made.append(start * layer["unit"])
    return made


def test_offsets_and_times_survive() -> None:
    rows = [(0, 4096, 512), (1, 0, 832), (0, None, 100), (0, 4608, 512), (0, 0, 512), (1, 16 * GIB, 1)]
    page = made(trace(rows))
    layer = facts_of(page)["traces"][0]["layers"]["reads"]
    assert offsets(page, layer, np.arange(6)) == [-1 if at is None else at for _, at, _ in rows]


def test_the_largest_offsets_are_told_in_larger_units() -> None:
    page = made(trace([(0, 2**62, 2**62), (0, 2**62, 4096), (0, 0, 4096)]))
    layer = facts_of(page)["traces"][0]["layers"]["reads"]
    assert layer["unit"] > 1
    assert offsets(page, layer, np.arange(3)) == [2**62, 2**62, 0]


@pytest.mark.parametrize(
    ("offset", "size", "step_ns"), [(0, 4096, 1), (2**62, 100, 1), (2**62, 1, 10**6), (0, 1, 0)]
)
def test_numbers_that_are_smaller_than_their_unit_are_none(offset: int, size: int, step_ns: int) -> None:
    """Kept in 8 bits, they once met a unit that does not fit into these."""
    start = trace([(0, offset, size), (0, 0, size), (1, offset, size)], step_ns=step_ns)
    assert of_trace(start, summarise(start)).startswith("<!doctype html>")


def test_how_long_a_read_took_is_told_to_a_percent() -> None:
    took = np.array([marks.UNKNOWN, 0, 1, 999, 12_345_678, 2**62], np.int64)
    codes = layers.powers(took, layers.FINE)
    assert codes[0] == 0 and (codes[1:] > 0).all()
    assert layers.FINE ** (codes[3:] - 1.0) == pytest.approx(took[3:].astype(float), rel=0.011)


def test_the_page_says_what_the_report_says() -> None:
    of = report_cases.image()
    summary = summarise(of)
    facts = facts_of(of_trace(of, summary))["traces"][0]
    assert facts["totals"]["reads"] == summary.totals.reads == facts["layers"]["reads"]["all"]
    assert sum(row["reads"] for row in facts["files"]) == summary.totals.reads
    assert [one["seconds"] for one in facts["devices"]] == [one.seconds for one in summary.projections]
    assert {row["kind"] for row in facts["structures"]} >= {"refcount block", "L2 table"}


def test_cost_adds_up_to_the_projection() -> None:
    of = report_cases.check()
    summary = summarise(of)
    for one in summary.projections:
        line = cumulative(one, len(of.reads()))
        assert (np.diff(line) >= 0).all() and line[-1] == pytest.approx(one.seconds)


def test_answers_fit_the_words_of_the_page() -> None:
    """The script names them by their place."""
    script = (Path(marks.__file__).parent / "map" / "marks.js").read_text()
    listed = re.search(r"const ANSWERS = \[([^]]*)\]", script)
    assert listed is not None
    told = re.findall(r"'([^']+)'", listed[1])
    assert dict(zip(told, ANSWERS, strict=True)) == {
        "in the page cache": "hit", "missed the page cache": "miss", "past the page cache": "direct",
        "not known whether cached": "unknown",
    }  # fmt: skip


def test_what_may_run_is_what_is_there() -> None:
    page = made(report_cases.check())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    said = html.unescape(policy[1])
    assert "default-src 'none'" in said and "unsafe" not in said and "http" not in said
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        text = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert len(text) == 1
        digest = base64.b64encode(hashlib.sha256(text[0].encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in said


def test_it_names_nothing_outside() -> None:
    page = made(report_cases.check())
    without = re.sub(r'<script type="text/plain"[^>]*>[^<]*</script>', "", page)
    assert not re.findall(r"https?:|//[a-z]+\.|\bimport\s|\bfetch\(|XMLHttp|src=|url\(", without)


@pytest.mark.parametrize("case", sorted(report_cases.CASES))
def test_no_text_from_outside_is_in_the_markup(case: str) -> None:
    """Of two traces the pages differ in blocks, numbers and the escaped title alone."""

    def markup(page: str) -> str:
        page = re.sub(r"<title>[^<]*</title>|data-facts=\"\d+\"", "", page)
        return re.sub(r'<script type="text/plain" id="b\d+">[A-Za-z0-9+/=]*</script>\n?', "", page)

    assert markup(made(report_cases.CASES[case]())) == markup(made(trace()))


def test_titles_are_escaped() -> None:
    page = made(report_cases.check(command=("</title><script>alert(1)</script>", '"&\x1b')))
    assert "<script>alert" not in page and "\x1b" not in page


def test_a_pair_has_both_on_one_page() -> None:
    cold, warm = report_cases.check(), report_cases.check(cache="warm")
    facts = facts_of(of_comparison(compare_summary(warm, cold), (warm, cold)))
    assert [one["name"] for one in facts["traces"]] == ["cold", "warm"]
    assert facts["headline"] and len(facts["files"]["name"]) == 6  # not twice


def test_a_page_says_what_the_times_prove() -> None:
    walls = [1.0, 1.01, 0.99, 1.0, 1.02, 0.98, 1.9]
    runs = {name: [report_cases.run(wall, 0, 0) for wall in walls] for name in ("cold", "warm")}
    traces = [report_cases.check(cache=cache, measured=runs) for cache in runs]
    facts = facts_of(of_comparison(compare_summary(*traces), traces))
    assert facts["headline"][0].startswith("NOT TOLD APART: ")
    cold = facts["traces"][0]
    assert [one["apart"] for one in cold["runs"]] == 2 * [*[False] * 6, True]
    assert "OUTLIER: of 7 cold runs, run 7 (1.9 s) stands apart from the median, 1 s." in cold["warnings"]
    assert not any("NOT TOLD APART" in words for words in cold["warnings"])  # the headline has it
    assert [words[:20] for words in cold["medians"]] == ["cold median 1 s, 95%", "warm median 1 s, 95%"]
    alone = facts_of(made(traces[0]))["traces"][0]
    assert sum("NOT TOLD APART" in words for words in alone["warnings"]) == 1
    two = facts_of(of_comparison(compare_summary(traces[0], traces[0]), [traces[0], traces[0]]))["traces"]
    assert two[1]["medians"][0].startswith("second, cold median 1 s")


def test_commands_write_pages(tmp_path: Path) -> None:
    import profiler.cli.commands.compare
    import profiler.cli.commands.report  # noqa: F401

    save(report_cases.check(), tmp_path / "a.trace.parquet")
    save(report_cases.kernel(), tmp_path / "b.trace.parquet")
    a, b, out = str(tmp_path / "a.trace.parquet"), str(tmp_path / "b.trace.parquet"), tmp_path / "o.html"
    runner = CliRunner()
    done = runner.invoke(cli.app, ["report", a, "--format", "html", "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert facts_of(out.read_text())["traces"][0]["name"] == ""
    done = runner.invoke(cli.app, ["compare", a, b, "--format", "html", "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert len(facts_of(out.read_text())["traces"]) == 2
