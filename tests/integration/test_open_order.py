"""What `open` does first, and what later: nothing of it depends on how long it takes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE_S, ROOT, need_tool
from small_programs import until

from profiler.cli import drawing
from profiler.cli.drawing import Plots, drawer
from profiler.errors import ColdseekError
from profiler.files.traces import load, save
from profiler.machine.processes.guard import apart
from profiler.studies.record import record

LATER = """
import sys
from profiler import cli
from profiler.machine.page_cache import cache
from profiler.capture import leaving
from profiler.machine.processes import timed as runs

def make_cold(*arguments, real=cache.make_cold):
    known.update(sys.modules)
    return real(*arguments)

def late(*_):
    if known:
        print("LATE", *sorted(set(sys.modules) - known), file=sys.stderr, flush=True)

known = set()
cache.make_cold = runs.make_cold = make_cold
leaving.done = late  # called by the command that is over
cli.main()
"""
"""Coldseek, which tells at its end what it has imported since it first emptied the cache."""

DRAWS = """
import glob, sys
from profiler import cli
from profiler.cli import drawing

def draw(drawer, real=drawing.Drawer.draw):
    print("DRAWS", glob.glob("out/*.png"), flush=True)
    yield from real(drawer)

drawing.Drawer.draw = draw
cli.main()
"""
"""Coldseek, which tells when it begins to draw, and what figures there are then."""

PLAIN = {"encodings"}  # what the streams of the standard library ask for is of no weight


@pytest.fixture
def image(disk_directory: Path) -> Path:
    found = disk_directory / "small.qcow2"
    qemu_img = need_tool("qemu-img")
    subprocess.run([qemu_img, "create", "-q", "-f", "qcow2", found, "16M"], check=True)
    return found


def environment() -> Mapping[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}


COMMANDS = {
    "open": ["open", "{image}", "-o", "out", "--runs", "1"],
    "compare": ["compare", "--runs", "1", "--", "cat", "{image}"],
    "record": ["record", "--cache", "cold", "-o", "out.trace.parquet", "--", "cat", "/dev/null"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_loaded_after_the_cache_was_emptied(command: str, image: Path) -> None:
    name, *words = (word.format(image=image) for word in COMMANDS[command])
    done = subprocess.run(
        [sys.executable, "-c", LATER, name, "--evict", "files", *words],
        cwd=image.parent, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = done.stderr.splitlines()[-1].split()
    assert told[0] == "LATE", done.stderr
    assert [name for name in told[1:] if name.partition(".")[0] not in PLAIN] == []


def test_the_report_is_printed_before_any_figure_is_drawn(image: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DRAWS, "open", image, "--runs", "1", "-o", "out"],
        cwd=image.parent, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    before, _, after = done.stdout.partition("DRAWS []\n")
    assert "cold waits" in before and "\nreport  out/report.txt" in before
    figures = {path.name for path in (image.parent / "out").glob("*.png")}
    assert {os.path.basename(line) for line in after.splitlines()} == figures
    assert len(after.splitlines()) == 4 and all(line.startswith("plot ") for line in after.splitlines())


def test_figures_are_drawn_where_nobody_reads_the_report(image: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "profiler", "open", image, "--runs", "1", "-o", "out"],
        cwd=image.parent, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as ours:  # fmt: skip
        assert ours.stdout is not None
        ours.stdout.close()
        assert ours.wait(PATIENCE_S) == 128 + signal.SIGPIPE
    assert len(list((image.parent / "out").glob("*.png"))) == 4


# ---- what draws ----------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(record(["cat", "/etc/passwd"], "ptrace"), str(tmp_path / "a.trace.parquet"))
    return tmp_path


PLOTS: Plots = {
    "one.png": (("a.trace.parquet",), "offsets"),
    "two.png": (("a.trace.parquet", "a.trace.parquet"), "gaps"),
    "three.png": (("a.trace.parquet",), "cost"),
}


def test_each_figure_is_named_when_it_is_there(folder: Path) -> None:
    with drawer(str(folder), PLOTS) as beside:
        beside.wait_loaded()
        assert not list(folder.glob("*.png"))
        names = []
        for name in beside.draw():
            assert (folder / name).stat().st_size
            names.append(name)
    assert sorted(names) == sorted(PLOTS)


def test_a_figure_that_cannot_be_drawn_is_told_when_the_others_are_there(folder: Path) -> None:
    (folder / "two.png").mkdir()
    drawn: list[str] = []
    with (
        pytest.raises(ColdseekError, match=r"two\.png is a directory"),
        drawer(str(folder), PLOTS) as beside,
    ):
        for name in beside.draw():
            drawn.append(name)
    assert sorted(drawn) == ["one.png", "three.png"]


def test_what_is_not_told_to_draw_ends_with_the_block(folder: Path) -> None:
    with drawer(str(folder), PLOTS):
        pass
    assert [path.name for path in folder.iterdir()] == ["a.trace.parquet"]


def test_a_drawer_that_was_killed_is_missed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[int] = []

    def begun(*way: Any) -> int:
        groups.append(apart(*way))
        return groups[0]

    monkeypatch.setattr(drawing, "apart", begun)
    with (
        pytest.raises(ColdseekError, match=r"cannot draw one\.png, three\.png, two\.png"),
        drawer(str(folder), PLOTS) as beside,
    ):
        beside.wait_loaded()
        os.killpg(groups[0], signal.SIGKILL)
        list(beside.draw())
    assert until(lambda: not _lives(groups[0]))
    assert load(str(folder / "a.trace.parquet"))


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
