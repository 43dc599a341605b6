"""The picture of all files together, and what stands out so much that it has one of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made import MIB, below, trace, with_meta
from report_cases import check, kernel, python_import, rows_of

from profiler.analysis.cost.charges import charges
from profiler.report import figures
from profiler.report.figures import canvas, stack
from profiler.trace import STRUCTURE_COLUMNS, FileFacts, Trace


def bands(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_yticklabels()]


def labels(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def title(figure: Any) -> str:
    return str(figure.legends[0].get_title().get_text())


def mixed() -> Trace:
    """Of two files the first is read and mapped, the second mapped; and metadata before them."""
    facts = [
        FileFacts(name, "8:1", size=MIB, kind="regular", filesystem="ext4") for name in (b"/b/x", b"/a/x")
    ]
    facts.append(FileFacts(b"/dev/sda1", "8:1", kind="metadata"))
    facts.append(FileFacts(b"/dev/sda", "8:0", kind="block"))
    made = trace([(0, 0, 4096)], facts, duration_ns=900, tracer="kernel", cache="cold", wall_s=1.0,
                 command=("tool",))  # fmt: skip
    events: list[tuple[Any, ...]] = []
    times = (1, 100, 2000, 3000)
    for time, (file, offset) in zip(times, ((2, 4096), (0, 0), (1, 0), (0, 65536)), strict=True):
        events += [(time, "miss", file, offset, 4096), (time + 5, "request", 3, 2**30 + time * 4096, 4096)]
    return below(made, events, duration_ns=pd.array([pd.NA, 1000] * 4, "Int64"))


def test_files_table() -> None:
    made = mixed()
    table, names, costs = stack.files_table(made, charges(made))
    assert names == ["ext4 on 8:1", "/b/x", "/a/x"]  # of one name: with the folder
    assert table["how"].tolist() == ["metadata", "read", "mapped", "mapped"]
    assert table["band"].tolist() == [0, 1, 2, 1]
    assert table["number"].tolist() == [1, 2, 3, 4]
    assert table["offset"].tolist() == pytest.approx([0, 0, 0, 16 / 17])
    assert table["height"].tolist() == pytest.approx([1, 1 / 17, 1, 1 / 17])
    assert costs[1].startswith("2 requests, 8 KiB, ")


def test_a_band_for_each_file_and_marks_for_each_way() -> None:
    made = mixed()
    figure = figures.draw([made], "files")
    left, right = figure.axes
    assert bands(left) == ["ext4 on 8:1", "/b/x", "/a/x"] and bands(right) == ["", "", ""]
    assert labels(figure) == [
        "by reads: 1 request, 4 KiB",
        "mapped: 2 requests, 8 KiB",
        "metadata of file systems: 1 request, 4 KiB",
    ]
    drawn = {line.get_color(): line.get_marker() for line in left.lines if line.get_gid() == "short reads"}
    assert len(drawn) == 3 and len(set(drawn.values())) == 3
    assert left.get_ylim() == (3, 0)
    assert title(figure) == "What tool brings in (cold; requests seen by the tracer)"


def test_where_no_file_stands_out_all_are_drawn() -> None:
    made = python_import(30)
    assert figures.choose_file(made) is None
    figure = figures.draw([made])
    assert title(figure).endswith("brings in (requests simulated)")
    assert bands(figure.axes[0])[-1] == f"{30 - stack.MAX_BANDS} other files"
    assert (
        figures.draw([made], "gaps").legends[0].get_title().get_text() == "Gaps between reads of all files"
    )
    assert title(figures.draw([made], file="m7.cpython-311.pyc")).startswith("Reads of /usr/lib")


def test_two_traces_stand_side_by_side() -> None:
    figure = figures.draw([kernel(), kernel(cache="warm")], "files")
    assert [axes.get_title() for axes in figure.axes] == ["cold", "warm"]
    assert all(bands(axes) for axes in figure.axes)


def test_mapped_pages_of_the_file_in_focus() -> None:
    made = mixed()
    figure = figures.draw([made], file="/b/x")
    assert labels(figure)[0] == "mapped in: 1 request, 4 KiB"
    assert title(figure).startswith("Reads and mapped pages of /b/x")
    figure = figures.draw([made], file="/a/x")
    assert labels(figure) == ["mapped in: 1 request, 4 KiB"]
    assert title(figure).startswith("Mapped pages of /a/x")
    (left,) = [line for line in figure.axes[0].lines if len(line.get_xdata())]
    assert left.get_color() == stack.MAPPED_COLOUR


def test_what_lies_behind_an_image_has_axes_of_its_own() -> None:
    rows = [(number % 2, number * MIB, 4096) for number in range(20)]
    images = {"0": {"format": "qcow2"}, "1": {"format": "qcow2", "in_front": 0}}
    made = trace(rows, [b"/vm/top", b"/vm/base"], images=images, image="/vm/base", tracer="ptrace")
    kinds = [(file, 0, 20 * MIB, "data cluster", pd.NA) for file in (0, 1)]
    made = dataclasses.replace(made, structures=rows_of(STRUCTURE_COLUMNS, kinds))
    figure = figures.draw([made])
    assert len(figure.axes) == 4
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == ["offset in top", "offset in base"]
    assert title(figure) == "Reads of top and what lies behind it"
    assert labels(figure) == ["data cluster: 20 reads, 20 seeks, 80 KiB"]
    assert len(figures.draw([made], file="/vm/base").axes) == 2  # alone, as it was named


def test_times_that_hardly_differ_are_written_out() -> None:
    made = trace([(0, number * MIB, 4096) for number in range(9)], step_ns=10, wall_s=1.0)
    shifted = dataclasses.replace(
        made, events=made.events.assign(time_ns=made.events["time_ns"] + 15_610_000)
    )
    figure = figures.draw([shifted])
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert axes.xaxis.get_offset_text().get_text() == axes.yaxis.get_offset_text().get_text() == ""
    shown = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert len(set(shown)) == len(shown) and all(text.startswith(("0.01560", "0.01561")) for text in shown)


@pytest.mark.parametrize("step", [7, 1500, 33_000, 10**6, 4_100_000, 10**9])
def test_times_are_written_as_they_are(step: int) -> None:
    figure = figures.draw(
        [trace([(0, number * MIB, 4096) for number in range(9)], step_ns=step, wall_s=1.0)]
    )
    figure.draw_without_rendering()
    axis = figure.axes[0].xaxis
    shown = [float(text.get_text()) for text in axis.get_ticklabels()]
    assert shown == pytest.approx(list(axis.get_majorticklocs()), abs=1e-9)


def test_titles_are_cut_in_the_middle() -> None:
    assert canvas.shortened("a" * 30, 30) == "a" * 30
    assert len(canvas.shortened("a" * 90, 30)) <= 30
    words = "qemu-img check --output=json /srv/demo/disk0.qcow2 and some more words of it"
    ends = canvas.shortened(words, 40).split(" ... ")
    assert words.startswith(f"{ends[0]} ") and words.endswith(f" {ends[1]}")  # no word is cut
    made = dataclasses.replace(mixed().meta, command=("tool", "x" * 300))
    assert "brings in (cold" in title(figures.draw([dataclasses.replace(mixed(), meta=made)], "files"))


@pytest.mark.filterwarnings("error")
def test_hostile_names_are_text(tmp_path: Path) -> None:
    names = [b"/$x^2$", b"/\x1b[2J\n\xff", b"/_hidden", b"/" + b"y" * 300, b"/%s {0}"]
    made = trace([(number, 0, 4096) for number in range(5)], names, command=("$\\frac{",))
    figures.save(figures.draw([made], "files"), str(tmp_path / "x.svg"))
    drawn = (tmp_path / "x.svg").read_text()
    assert "\x1b" not in drawn and "y" * 40 not in drawn and "$x^2$" in drawn and "_hidden" in drawn


def test_a_chain_that_lies_has_no_end_of_its_own() -> None:
    circle = {"0": {"format": "qcow2", "in_front": 0}}
    made = with_meta(check(), images=circle)
    assert len(figures.draw([made]).axes) == 2
