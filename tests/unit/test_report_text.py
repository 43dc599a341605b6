"""The text reports: golden files, hostile names, widths. COLDSEEK_GOLDEN=1 writes the golden files anew."""

from __future__ import annotations

import dataclasses
import io
import os
import re
from pathlib import Path

import pytest
from made import GIB, MIB, below, seed_2010, trace
from report_cases import CASES, RUNS, check, image, kernel

from profiler import devices
from profiler.analysis.simulation.projection import project
from profiler.report import text
from profiler.report.comparison import compare_summary
from profiler.report.summarise import summarise
from profiler.report.summary import StructureSummary

DATA = Path(__file__).parent.parent / "data"


def golden(name: str, got: str) -> None:
    path = DATA / name
    if os.environ.get("COLDSEEK_GOLDEN"):
        path.write_text(got)
    assert got == path.read_text()


@pytest.mark.parametrize("case", CASES)
def test_golden_reports(case: str) -> None:
    golden(f"report_{case}.txt", text.report(summarise(CASES[case]())).plain + "\n")


def test_golden_comparison() -> None:
    golden(
        "report_compare.txt",
        text.compare(compare_summary(check(), check(cache="warm", wall_s=3.0))).plain + "\n",
    )


def test_golden_projection() -> None:
    made = [project(seed_2010(), device, 4) for device in devices.presets()]
    golden("report_project.txt", text.project(made).plain + "\n")


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("width", [60, 80, 99, 1000])
def test_no_line_is_longer_than_the_page(case: str, width: int) -> None:
    lines = text.report(summarise(CASES[case]()), width).plain.split("\n")
    assert max(map(len, lines)) <= min(width, 99)


@pytest.mark.parametrize("kind", ["L2 table", "compressed cluster", "redundant grain directory"])
@pytest.mark.parametrize("count", [9, 9_999, 12_345_678])
def test_the_table_of_structures_fits_and_leaves_out_what_it_can_do_without(kind: str, count: int) -> None:
    summary = summarise(image())
    assert summary.focus is not None
    row = StructureSummary(kind, count, 1023 * MIB, 1023 * MIB, count, count, 0.894)
    made = dataclasses.replace(summary, focus=dataclasses.replace(summary.focus, structures=(row,)))
    lines = text.report(made).plain.split("\n")
    (at,) = [number for number, line in enumerate(lines) if line.startswith("structures")]
    head, cells = lines[at].split()[1:], lines[at + 1].split()
    assert head[0] == "reads" and head[-3:] == ["requests", "HDD", "time"]
    assert kind in lines[at + 1] and cells[-1] == "89.4%" and cells.count(f"{count:,}") >= 2
    assert ("unique" in head) == (kind == "L2 table" and count < 10_000_000)


def test_requests_that_are_not_known_have_no_column() -> None:
    unknown = text.report(summarise(dataclasses.replace(image(), extents=kernel().extents))).plain
    known = text.report(summarise(image())).plain
    assert "seeks  HDD time" in unknown and "seeks  requests  HDD time" in known


def test_the_verdict_on_the_case_has_its_numbers() -> None:
    first = " ".join(text.report(summarise(seed_2010())).plain.split("\n\n")[0].split())
    assert "1,935 scattered 4 KiB reads, most of them 8 MiB apart" in first
    assert "16.1 s at 120 IOPS" in first


def test_what_is_missing_comes_first() -> None:
    shown = text.report(summarise(trace([(0, 0, 10)], lost_events=12, partial="killed"))).plain.split("\n")
    assert shown[0].startswith("INCOMPLETE: 12 events lost")
    assert shown[1].startswith("PARTIAL: ")


def test_what_the_tracer_cannot_see_is_said() -> None:
    shown = text.report(summarise(trace([(0, 0, 10)], unseen=("mmap", "new\x1b[2J")))).plain
    assert "reads through memory mappings (page faults); new\\x1b[2J" in shown


@pytest.mark.parametrize(
    "name", [b"\x1b[31mred\n", b"[bold]x[/bold][/]", b"\xff\xfe", "‮gpj.exe".encode(), b"\\"]
)
def test_hostile_names(name: bytes) -> None:
    made = trace([(0, 0, 10), (1, 0, 10)], files=[b"/" + name, b"/a"], command=("cat", os.fsdecode(name)))
    for page in (text.report(summarise(made)), text.compare(compare_summary(made, trace()))):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f‮\ud800-\udfff]", page.plain)
        stream = Terminal()
        text.write(page, stream)
        assert plain(stream.getvalue()) == page.plain + "\n"
        assert not page.spans or all(span.style != "bold]x" for span in page.spans)
    if name.startswith(b"["):
        assert "[bold]x[/bold][/]" in text.report(summarise(made)).plain


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def plain(written: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", written)


def test_colours_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    page = text.report(summarise(check()))
    pipe, terminal = io.StringIO(), Terminal()
    text.write(page, pipe)
    text.write(page, terminal)
    assert "\x1b" not in pipe.getvalue()
    assert "\x1b[" in terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    colourless = Terminal()
    text.write(page, colourless)
    assert colourless.getvalue() == pipe.getvalue()


def test_a_traced_time_is_never_the_programs() -> None:
    made = compare_summary(check(measured={}), check(cache="warm", measured={}))
    shown = text.compare(made).plain
    assert made.ratio is None
    assert "Times were not measured" in shown
    assert all("tracer's time" in line for line in shown.split("\n") if "5.5 s" in line)


def test_a_traced_run_that_is_no_slower_is_not_called_so() -> None:
    fast = compare_summary(check(wall_s=2.2), check(cache="warm", wall_s=1.25))
    shown = text.compare(fast).plain.replace("\n           ", "")
    assert "cold: 2.2 s; tracing made no measurable difference\n" in shown
    assert "warm: 1.25 s; tracing made no measurable difference\n" in shown
    assert "while traced; tracing made no measurable difference" in " ".join(
        text.report(fast.first.summary).plain.split()
    )
    slow = text.compare(compare_summary(check(), check(cache="warm"))).plain
    assert "cold: 5.5 s, 2.4 times as long; the tracer's" in slow


def test_many_runs_share_lines() -> None:
    runs = {"cold": RUNS["cold"] * 20, "warm": RUNS["warm"][:1]}
    shown = text.compare(compare_summary(check(measured=runs), check(cache="warm"))).plain
    assert shown.count("2.29 s") == 25  # twice as the median, in its interval, and beside the projections
    assert len(shown.split("\n")) <= 46


def test_a_long_name_is_cut() -> None:
    shown = text.report(summarise(trace([(0, 0, 10)], files=[b"/" + b"x" * 5000]))).plain
    assert shown.split("files  ")[0].count("x") < 1000  # below that every name is whole


def test_unknown_offsets_are_counted_apart() -> None:
    shown = text.report(summarise(trace([(0, None, 10), (0, None, 10)]))).plain
    assert "2 reads at unknown offsets" in shown and "at which offsets is not known" in shown


def test_extents_of_all_files_need_no_excuse() -> None:
    made = trace([(0, 0, 10)], extents=[(0, 0, GIB, MIB, 1)])
    assert "taken as device offsets" not in text.report(summarise(made)).plain
    assert (
        "taken as device offsets"
        in text.report(summarise(dataclasses.replace(made, extents=trace().extents))).plain
    )


def test_what_was_observed_is_told_from_what_is_modelled() -> None:
    shown = " ".join(text.report(summarise(kernel())).plain.split())
    assert "4,032 reads hit, 2,112 missed; 24.5 MiB brought in: 16 MiB by reads, 8 MiB mapped" in shown
    assert "6 MiB of libc.so.6 (mapped)" in shown
    assert "1,320 requests (264 by kernel workers), 10 MiB, 1,297 seeks" in shown
    assert "projected cold: 2,377 requests, 24.6 MiB; metadata: 132, observed" in shown
    assert "page cache" not in text.report(summarise(check())).plain


def test_lost_events_make_hits_unknown() -> None:
    shown = text.report(summarise(kernel(lost_events=7))).plain
    assert shown.startswith("INCOMPLETE: 7 events lost")
    assert "0 reads hit, 2,112 missed, 4,032 not known (events were lost)" in " ".join(shown.split())


def test_two_observed_traces() -> None:
    warm = trace([(0, 0, 10)], tracer="kernel", cache="warm", command=kernel().meta.command)
    shown = text.compare(compare_summary(kernel(), warm)).plain
    for label, cold in (("missed", "2,112"), ("brought in", "24.5 MiB"), ("requests", "1,320")):
        assert re.search(rf"^{label} +{cold} +0", shown, re.MULTILINE)
    assert "brought in" not in text.compare(compare_summary(kernel(), check(cache="warm"))).plain


def test_without_reads_what_was_mapped_is_told() -> None:
    made = below(trace(tracer="kernel"), [(0, "miss", 0, 0, MIB)])
    second = text.report(summarise(made)).plain.split("\n")[2]
    assert second == "No file reads were seen; 1 MiB came into the page cache without any."


def test_only_a_disk_is_told_what_one_piece_would_take() -> None:
    """And only where it would gain something: what is read in order lies in one piece already."""
    assert "if it lay in one piece" in text.report(summarise(check())).plain
    in_order = trace([(0, number * MIB, MIB) for number in range(64)])
    assert "one piece" not in text.report(summarise(in_order)).plain
    assert "one piece" not in text.report(summarise(check(), [devices.find("nvme")])).plain


def test_what_cold_runs_read_less_than_projected_others_may_have_read() -> None:
    """A daemon that works for the command, say, whose reads are not among the command's."""
    made = summarise(check())
    less = tuple(dataclasses.replace(one, measured_bytes=one.bytes // 2) for one in made.projections)
    shown = " ".join(text.report(dataclasses.replace(made, projections=less)).plain.split())
    assert "less than projected: the rest was in memory, or others read it" in shown
