"""The pictures, by their tables and by what lies on their axes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made import GIB, MIB, below, seed_2010, trace
from report_cases import CASES, check, image, kernel, python_import

from profiler import devices
from profiler.errors import ColdseekError, UsageError
from profiler.report import figures
from profiler.report.figures import canvas, cost, gaps, offsets, segments
from profiler.trace import TASK_COLUMNS, Trace, table


def lines(axes: Any, gid: str) -> list[Any]:
    return [line for line in axes.lines if line.get_gid() == gid]


def texts(figure: Any) -> str:
    legend = figure.legends[0]
    return "\n".join([legend.get_title().get_text(), *(text.get_text() for text in legend.get_texts())])


def test_offsets_table() -> None:
    made = trace([(0, 0, 10), (1, 5, 5), (0, None, 10), (0, 100, 10)], step_ns=10**9)
    table = offsets.offsets_table(made, 0)
    assert table.to_dict("list") == {
        "time_s": [0.0, 3.0],
        "number": [1, 3],
        "offset": [0, 100],
        "size": [10, 10],
        "seek": [True, True],
        "answer": ["unknown", "unknown"],
        "structure": ["", ""],
        "reader": [b"", b""],
    }


def test_offsets_axes_hold_the_reads() -> None:
    figure = figures.draw([seed_2010(cache="cold")], "offsets")
    left, right = figure.axes
    assert left.get_shared_y_axes().joined(left, right)
    (short,) = lines(right, "short reads")
    assert list(short.get_xdata()) == list(range(1, 1936))
    assert short.get_ydata()[0] == 143360 + 2048
    assert np.diff(short.get_ydata())[1:].tolist() == [8 * MIB] * 1933
    assert short.get_markersize() >= 2  # 4 KiB of 15 GiB is seen
    low, high = left.get_ylim()
    assert low < 143360 and high > short.get_ydata()[-1] + 4096
    assert "cold: 1,935 reads, 1,935 seeks, 7.56 MiB" in texts(figure)
    assert "/vm/disk0.qcow2" in texts(figure)


def test_long_reads_are_segments() -> None:
    figure = figures.draw([trace([(0, 0, MIB), (0, 4 * MIB, 2 * MIB), (0, 8 * MIB, 1)])])
    (long,) = lines(figure.axes[1], "long reads")
    assert long.get_xdata().tolist() == [1, 1, 1, 2, 2, 2]
    assert long.get_ydata()[[0, 1, 3, 4]].tolist() == [0, MIB, 4 * MIB, 6 * MIB]
    assert np.isnan(long.get_ydata()[[2, 5]]).all()
    (short,) = lines(figure.axes[1], "short reads")
    assert short.get_xdata().tolist() == [3]


def test_cold_and_warm_differ_in_more_than_colour() -> None:
    figure = figures.draw([check(), check(cache="warm")])
    cold, warm = lines(figure.axes[0], "short reads")
    assert cold.get_color() != warm.get_color()
    assert cold.get_markersize() > 2 * warm.get_markersize()
    assert texts(figure).count("12,288 reads") == 2 and "warm: " in texts(figure)


def test_hits_and_misses_are_told_apart() -> None:
    figure = figures.draw([kernel()])
    hits, misses = lines(figure.axes[1], "short reads")  # in the order in which they are drawn
    assert (hits.get_color(), misses.get_color()) == ("#56B4E9", "#D55E00")
    assert (len(hits.get_xdata()), len(misses.get_xdata())) == (4032, 2112)
    assert misses.get_xdata()[:2049].tolist() == [*range(1, 2049), 4097]
    assert "in the page cache: 4,032 reads" in texts(figure)
    assert "missed the page cache: 2,112 reads" in texts(figure)
    assert "(cold, hit or miss: observed)" in texts(figure)
    assert "observed" not in texts(figures.draw([check()]))


def test_what_is_not_known_is_no_hit() -> None:
    made = trace([(0, 0, 1), (0, MIB, 1), (0, 9 * MIB, 1)], direct=[2], lost_events=1, tracer="kernel")
    made = below(made, [(50, "miss", 0, 0, 4096)])
    figure = figures.draw([made])
    unknown, direct, missed = lines(figure.axes[1], "short reads")
    assert [line.get_xdata().tolist() for line in (unknown, direct, missed)] == [[2], [3], [1]]
    assert "in the page cache" not in texts(figure)
    assert "not known whether cached: 1 read" in texts(figure) and "past the page cache" in texts(figure)


def test_all_hits() -> None:
    figure = figures.draw([trace([(0, 0, 1)], tracer="kernel")])
    assert "missed the page cache: 0 reads" in texts(figure)
    nothing = figures.draw([trace(tracer="kernel", cache="cold")])
    assert "no reads to show" in [text.get_text() for text in nothing.axes[0].texts]


def test_two_traces_keep_their_colours() -> None:
    cold, warm = lines(figures.draw([kernel(), kernel(cache="warm")]).axes[0], "short reads")
    assert [cold.get_color(), warm.get_color()] == [mark["color"] for mark in canvas.PAIR]


def test_a_chosen_file() -> None:
    made = check()
    for name in ("/lib/x86_64-linux-gnu/lib3.so.6", b"lib3.so.6"):
        assert "lib3.so.6" in texts(figures.draw([made], file=name))
    with pytest.raises(ColdseekError, match="no read of it was recorded"):
        figures.draw([made], file="/none")
    twins = trace([(0, 0, 1), (1, 0, 1)], files=[b"/a/x", b"/b/x"])
    with pytest.raises(ColdseekError, match="2 files of that name"):
        figures.draw([twins], file="x")


def test_a_file_that_only_the_first_trace_read() -> None:
    figure = figures.draw([seed_2010(), python_import()])
    assert "second: 0 reads" in texts(figure)


def test_two_traces_may_be_called_by_their_files() -> None:
    assert figures.file_names(["cold.trace.parquet"]) == []
    assert figures.file_names(["a.trace.parquet", "b.parquet"]) == ["a", "b.parquet"]
    assert figures.file_names(["/x/y/a/cold.trace.parquet", "/x/y/b/c/cold.trace.parquet"]) == [
        "a/cold", "b/c/cold",
    ]  # fmt: skip
    assert figures.file_names(["a.trace.parquet", "./a.trace.parquet"]) == []
    assert figures.file_names(["a" * 40, "b"]) == []
    assert figures.file_names(["a\x1b[31m", "b"])[0] == "a\\x1b[31m"


@pytest.mark.parametrize("kind", figures.KINDS)
def test_the_names_of_files_stand_in_for_first_and_second(kind: str) -> None:
    def words(pair: list[Trace]) -> str:
        figure = figures.draw(pair, kind, names=["ann", "bob"])
        legend = texts(figure) if figure.legends else ""
        drawn = [text.get_text() for text in figure.axes[0].texts]
        return legend + "".join(drawn + [axes.get_title() for axes in figure.axes])

    other = python_import()
    others = words([seed_2010(), other])
    assert "ann" in others and "bob" in others and "second" not in others
    warm = dataclasses.replace(other.meta, cache="warm", command=("other",))
    pair = words([check(), dataclasses.replace(other, meta=warm)])  # cold and warm, but of two commands
    assert "ann" in pair and "bob" in pair
    assert "ann" not in words([check(), check(cache="warm")])


def test_joined_segments_cover_the_same() -> None:
    generator = np.random.default_rng(3)
    x = np.sort(generator.random(segments.MANY_SEGMENTS + 1))
    low = generator.random(len(x)) * 100
    high = low + 1
    got_x, got_low, got_high = segments.joined(x, low, high)
    assert len(got_x) < len(x) and (got_high > got_low).all()
    assert (got_low.min(), got_high.max()) == pytest.approx((low.min(), high.max()))
    width = (x.max() - x.min()) / segments.COLUMNS
    for probe in generator.integers(0, len(x), 50):
        near = np.abs(got_x - x[probe]) <= width
        inside = (got_low[near] <= low[probe] + 1e-6) & (high[probe] <= got_high[near] + 1e-6)
        assert inside.any()


def test_gaps_table_and_bars() -> None:
    made = trace([(0, 0, 4096), (0, 4096, 4096), (0, 8 * MIB, 4096), (0, 0, 4096)])
    table = gaps.gaps_table(made, 0)
    assert table["power"].tolist() == [-24, 0, 23]
    axes = figures.draw([made], "gaps").axes[0]
    assert [round(bar.get_x() + bar.get_width() / 2) for bar in axes.patches] == [-24, 0, 23]
    assert [bar.get_height() for bar in axes.patches] == [1, 1, 1]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert {"0", "1 KiB", "1 MiB", "-1 MiB"} <= set(labels)


def test_cost_table_ends_at_the_projection() -> None:
    table = cost.cost_table(seed_2010())
    names = [device.name for device in devices.usual()]
    assert list(table.columns[::3]) == ["number", *(f"{name} high" for name in names)]
    assert list(table.columns[1::3]) == names
    assert (table["hdd-7200 low"] <= table["hdd-7200"]).all()
    assert (table["hdd-7200"] <= table["hdd-7200 high"]).all()
    assert table["iops-120"].iloc[-1] == pytest.approx(16.125)
    assert (np.diff(table["hdd-7200"]) >= 0).all()


def test_cost_axes() -> None:
    figure = figures.draw(
        [check(), check(cache="warm")], "cost"
    )  # a warm run costs nothing of it: one line a device
    axes = figure.axes[0]
    assert axes.get_yscale() == "log"
    assert len(axes.lines) == 5
    labels = [text.get_text() for text in axes.texts]
    assert "iops-120: 17.8 s" in labels and "nvme: 789 ms" in labels
    flat = figures.draw([check()], "cost", devices=[devices.find("hdd-7200")])
    assert flat.axes[0].get_yscale() == "linear"
    assert flat.axes[0].lines[0].get_ydata()[-1] == pytest.approx(10.9, rel=0.01)


def test_two_layouts_are_told_apart() -> None:
    axes = figures.draw([seed_2010(), python_import()], "cost").axes[0]
    assert {line.get_linestyle() for line in axes.lines} == {"-", "--"}
    assert any("(second)" in text.get_text() for text in axes.texts)


@pytest.mark.parametrize("kind", figures.KINDS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("suffix", figures.SUFFIXES)
def test_everything_can_be_drawn_and_saved(kind: str, case: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    figures.save(figures.draw([CASES[case]()], kind), str(path))
    assert path.read_bytes().startswith(b"\x89PNG" if suffix == ".png" else b"<?xml")
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_the_same_input_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        figures.save(figures.draw([seed_2010()]), str(tmp_path / name))
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize(
    "name", [b"/$x^2$", b"/$", b"/\\$\x1b[2J\n", b"/\xff", "/磁盘$a$".encode(), b"/" + b"y" * 300]
)
@pytest.mark.filterwarnings("error")
def test_hostile_names_are_text(name: bytes, tmp_path: Path) -> None:
    made = trace([(0, 0, 10), (0, 20, 10)], files=[name], command=("cat", "$x^2$"))
    for kind in figures.KINDS:
        figures.save(figures.draw([made], kind), str(tmp_path / "x.svg"))
    svg = (tmp_path / "x.svg").read_text()
    assert "$x^2$" in svg and "\x1b" not in svg


def test_wrong_requests() -> None:
    with pytest.raises(UsageError, match="no picture named pie; there are offsets, files, gaps, cost"):
        figures.draw([trace()], "pie")
    with pytest.raises(UsageError, match="one trace or two"):
        figures.draw([])
    for name in ("x.pdf", "x", "x.png.txt"):
        with pytest.raises(ColdseekError, match=r"ends in \.png or \.svg"):
            figures.check_suffix(name)
    assert figures.check_suffix("X.PNG") == ".png"


def test_no_such_directory(tmp_path: Path) -> None:
    with pytest.raises(ColdseekError, match="cannot write"):
        figures.save(figures.draw([trace()]), str(tmp_path / "none" / "x.png"))


@pytest.mark.parametrize("size", [4096, 256 * MIB])
def test_a_million_reads_make_no_large_picture(size: int, tmp_path: Path) -> None:
    offsets = np.random.default_rng(23).integers(0, 16 * GIB // 4096, 1_000_000) * 4096
    made = trace([(0, offset, size) for offset in offsets.tolist()])
    figures.save(figures.draw([made]), str(tmp_path / "x.svg"))
    assert (tmp_path / "x.svg").stat().st_size < 5_000_000


def test_many_answered_reads(tmp_path: Path) -> None:
    offsets = np.random.default_rng(23).integers(0, 16 * GIB // 4096, 100_000) * 4096
    made = trace([(0, offset, 4096) for offset in offsets.tolist()], tracer="kernel")
    made = below(made, [(number * 2000 + 50, "miss", 0, 0, 4096) for number in range(50_000)])
    figures.save(figures.draw([made]), str(tmp_path / "x.png"))
    assert (tmp_path / "x.png").stat().st_size < 5_000_000


def test_reads_of_an_image_are_coloured_by_structure_and_pale_where_cached() -> None:
    made = kernel()
    image = int((made.files["path"] == b"/vm/disk0.qcow2").to_numpy(bool).argmax())
    rows = [(image, 0, 8 * MIB, "L2 table"), (image, 8 * MIB, 16 * GIB, "refcount block")]
    table = pd.DataFrame(rows, columns=["file", "start", "end", "kind"])
    made = dataclasses.replace(
        made, structures=pd.concat([made.structures, table]).astype(made.structures.dtypes.to_dict())
    )
    figure = figures.draw([made], "offsets")
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [text.split(":")[0] for text in words] == ["refcount block", "not in the map", "L2 table"]
    reads = [int(text.split(" ")[text.split(" ").index("reads,") - 1].replace(",", "")) for text in words]
    assert sum(reads) == len(made.reads())
    drawn = {line.get_color() for line in figure.axes[0].lines}
    assert {canvas.COLOURS[0], offsets.paler(canvas.COLOURS[0])} <= drawn
    assert "pale: in the page cache" in figure.legends[0].get_title().get_text()


@pytest.mark.parametrize("length", [20, 60, 400])
def test_titles_fit_in_the_figure(length: int) -> None:
    name = "/M" * (length // 2)
    made = trace([(0, 0, 4096), (0, MIB, 4096)], [name.encode()], command=("qemu-img", "check", name))
    for figure in (cost.draw_cost([made]), offsets.draw_offsets([made]), gaps.draw_gaps([made])):
        figure.draw_without_rendering()
        heading = figure._suptitle or figure.legends[0].get_title()
        extent = heading.get_window_extent()
        assert extent.x0 >= 0 and extent.x1 <= figure.bbox.width, heading.get_text()
        assert heading.get_text().endswith(("/M", "M)")), heading.get_text()
        assert heading.get_text().count(" ... ") <= 1, heading.get_text()  # cut once


@pytest.mark.parametrize("place", [2**63 - 2**20, 2**62, 2**50, 10 * GIB])
def test_offsets_far_from_0_and_near_each_other_have_few_ticks(place: int) -> None:
    rows = [(0, place + number * 8192, 512) for number in range(64)]
    figure = figures.draw([trace(rows)])
    left, right = figure.axes
    low, high = left.get_ylim()
    assert 3 <= len(left.get_yticks()) <= 20
    (short,) = lines(right, "short reads")
    assert np.diff(short.get_ydata()).tolist() == [8192] * 63  # exactly
    assert low < short.get_ydata()[0] and short.get_ydata()[-1] < high
    base = int(
        left.get_ylabel().removeprefix("offset in the file, from ").removesuffix(" on").replace(",", "")
    )
    assert base + short.get_ydata()[0] == place + 256 and base % 65536 == 0
    labels = [label.get_text() for label in left.get_yticklabels()]
    assert len(set(labels)) == len(labels)


def test_one_read_at_the_largest_offset_can_be_drawn(tmp_path: Path) -> None:
    last = [(0, 2**63 - 1, 1)]  # ends at 2**63, where 64 bits with a sign are over
    for rows in ([(0, 2**63 - 2, 1)], [(0, 2**63 - 2, 1), (0, 0, 1)], last, [*last, (0, 0, 1)]):
        figures.save(figures.draw([trace(rows)]), str(tmp_path / "x.png"))


# ---- who read ---------------------------------------------------------------------------------------------


def read_by(made: Trace, names: dict[int, bytes], pids: Any = 1) -> Trace:
    """The same trace, its events by these processes, whose names are known where they are here."""
    events = made.events.assign(pid=np.int32(0), tid=np.int32(0))
    events["pid"] = events["tid"] = np.broadcast_to(np.array(pids, np.int32), len(events))
    rows = [
        {"tid": pid, "pid": pid, "parent": -1, "name": name, "program": b"", "cgroup": b"", "container": "",
         "start_ns": 0, "end_ns": None}
        for pid, name in names.items()
    ]  # fmt: skip
    return dataclasses.replace(made, events=events, tasks=table(TASK_COLUMNS, rows))


def labels(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_programs_that_read_one_file_have_colours() -> None:
    made = trace(
        [(0, 0, 10), (0, MIB, 10), (0, 2 * MIB, 10), (1, 0, 10), (0, 4 * MIB, 10)], wall_s=1.0, ready_s=0.5
    )
    made = read_by(made, {1: b"sh", 2: b"qemu", 3: b"cat"}, [2, 1, 2, 3, 9])
    figure = figures.draw([made], file="/a")
    assert labels(figure) == [
        "qemu: 2 reads, 2 seeks, 20 B", "sh: 1 read, 1 seek, 10 B", "not known: 1 read, 1 seek, 10 B",
    ]  # fmt: skip
    qemu, shell, unknown = lines(figure.axes[1], "short reads")
    assert [line.get_xdata().tolist() for line in (qemu, shell, unknown)] == [[1, 3], [2], [4]]
    assert [qemu.get_color(), shell.get_color()] == list(canvas.COLOURS[:2])
    assert [text.get_text() for text in figure.axes[0].texts] == ["ready"]
    assert " by " not in texts(figure).split("\n")[0]
    assert texts(figures.draw([made], file="/b")).startswith("Reads of /b by cat\n")


def test_reads_of_several_programs_that_the_page_cache_answered_are_pale() -> None:
    made = trace([(0, 0, 10), (0, MIB, 10), (0, 2 * MIB, 10)], tracer="kernel")
    made = read_by(below(made, [(50, "miss", 0, 0, 4096)]), {1: b"a", 2: b"b"}, [1, 1, 2, 1])
    figure = figures.draw([made])
    hits = [line for line in lines(figure.axes[1], "short reads") if line.get_color() not in canvas.COLOURS]
    assert sorted(x for line in hits for x in line.get_xdata().tolist()) == [2, 3]
    assert "pale: in the page cache" in texts(figure) and len(labels(figure)) == 2


@pytest.mark.parametrize("count", [2, 6, 7, 40])
@pytest.mark.parametrize("mapped", [False, True])
def test_of_many_programs_the_rest_are_others(count: int, mapped: bool) -> None:
    made = image() if mapped else check(tracer="kernel")
    chosen = np.arange(len(made.events))
    made = read_by(
        made, {pid: b"p%d" % pid for pid in range(count)}, np.minimum(chosen % 97, chosen % count)
    )
    asked = offsets.offsets_table(made, figures.choose_file(made))["reader"].value_counts()
    figure = figures.draw([made])
    named = [label for label in labels(figure) if label.startswith(("p", "others"))]
    assert len(named) == min(count, 6) and named[-1].startswith("others") == (count > 6)
    counted = [int(label.split(": ")[1].split(" ")[0].replace(",", "")) for label in named]
    assert sum(counted) == asked.sum() and counted[0] == asked.iloc[0]


def test_reads_of_an_image_keep_the_colours_of_its_structures_and_get_shapes() -> None:
    made = image()
    before = [label.split(":")[0] for label in labels(figures.draw([made]))]
    of_image = (made.events["file"] == 0).to_numpy(bool)
    pids = np.where(np.arange(len(made.events)) % 100 == 0, 2, 1)
    figure = figures.draw([read_by(made, {1: b"qemu-img", 2: b"libvirtd"}, pids)])
    reads = of_image & (made.events["layer"] == "syscall").to_numpy(bool)
    few = int((reads & (pids == 2)).sum())
    # what came in while another task read is taken for mapped
    assert [label.split(":")[0] for label in labels(figure)] == [
        "mapped in",
        *before,
        "qemu-img",
        "libvirtd",
    ]
    assert labels(figure)[-1] == f"libvirtd: {few} reads"
    for axes in figure.axes:
        shaped = lines(axes, "shapes")
        assert sum(len(line.get_xdata()) for line in shaped) == few
        assert {line.get_marker() for line in shaped} == {offsets.SHAPES[1]}


def test_programs_of_two_traces_have_shapes() -> None:
    made = read_by(trace([(0, 0, 10), (0, MIB, 10), (0, 2 * MIB, 10)]), {1: b"a", 2: b"b"}, [1, 1, 2])
    figure = figures.draw([made, trace([(0, 0, 10)])])
    assert labels(figure)[2:] == ["a: 2 and 0 reads", "b: 1 and 0 reads", "not known: 0 and 1 read"]
    drawn = [line.get_xdata().tolist() for line in lines(figure.axes[1], "shapes")]
    assert sorted(filter(None, drawn)) == [[1], [3]]


@pytest.mark.parametrize("kind", figures.KINDS)
@pytest.mark.parametrize("names", [{}, {1: b"one"}, {7: b"nobody"}])
def test_nothing_changes_where_one_program_reads(kind: str, names: dict[int, bytes], tmp_path: Path) -> None:
    for number, made in enumerate((check(), read_by(check(), names))):
        figures.save(figures.draw([made], kind), str(tmp_path / f"{number}.svg"))
    assert (tmp_path / "0.svg").read_bytes() == (tmp_path / "1.svg").read_bytes()


def test_programs_of_several_containers_are_told_apart() -> None:
    made = read_by(trace([(0, 0, 10), (0, MIB, 10)]), {1: b"cat", 2: b"cat"}, [1, 2])
    assert "cat" not in texts(figures.draw([made]))
    made = dataclasses.replace(made, tasks=made.tasks.assign(container=["0123456789ab", "web\x1b"]))
    assert [label.split(":")[0] for label in labels(figures.draw([made]))] == [
        "cat in 0123456789ab", "cat in web\\x1b",
    ]  # fmt: skip


HOSTILE = (b"$x^2$", b"$\\frac{", b"\x1b[2J\n", b"\xff", b"_hidden", b"y" * 300, b"%s {0}", "磁盘".encode())


@pytest.mark.filterwarnings("error")
def test_hostile_names_of_programs_are_text_and_fit(tmp_path: Path) -> None:
    names = dict(enumerate(HOSTILE))
    made = read_by(trace([(0, number * MIB, 10) for number in range(64)]), names, np.arange(64) % len(names))
    few = read_by(made, names, np.arange(64) % 6)
    for traces in ([made], [few], [made, few]):
        for kind in figures.KINDS:
            figure = figures.draw(traces, kind)
            figures.save(figure, str(tmp_path / f"{kind}.svg"))
            drawn = (tmp_path / f"{kind}.svg").read_text()
            assert "\x1b" not in drawn and "y" * 31 not in drawn
            if kind in ("offsets", "cost") and len(traces) == 1:
                assert "$x^2$" in drawn and "_hidden" in drawn
            for legend in figure.legends:
                extent = legend.get_window_extent()
                assert extent.x0 >= 0 and extent.x1 <= figure.bbox.width


def test_the_strip_below_the_costs_tells_who_read() -> None:
    made = read_by(
        trace([(0, number * MIB, 10) for number in range(6)]), {1: b"a", 2: b"b"}, [2, 1, 1, 1, 2, 2]
    )
    table = cost.turns_table(made)
    assert table.to_dict("list") == {"start": [0, 1, 4], "end": [1, 4, 6], "reader": [b"b", b"a", b"b"]}
    figure = figures.draw([made], "cost")
    assert sorted(labels(figure)) == ["a: 3 reads", "b: 3 reads"]
    assert len(figure.axes[0].lines) == 5
    assert not figures.draw([made, seed_2010()], "cost").legends


@pytest.mark.parametrize("count", [0, 1, 599, 601, 5000])
def test_turns_cover_all_reads(count: int) -> None:
    pids = np.random.default_rng(23).integers(1, 4, count)
    made = read_by(trace([(0, number * MIB, 10) for number in range(count)]), {1: b"a", 2: b"b"}, pids)
    table = cost.turns_table(made)
    assert len(table) <= cost.STRIP_COLUMNS
    assert [*table["start"], count] == [0, *table["end"]] or not count
    assert (table["reader"].to_numpy()[1:] != table["reader"].to_numpy()[:-1]).all()


def test_what_was_watched_stands_in_for_a_command() -> None:
    figure = figures.draw([trace([(0, 0, 10)], targets=("unit:nginx.service", "pid:7"))], "cost")
    assert figure._suptitle.get_text() == "Projected cold cost of unit:nginx.service, pid:7"
