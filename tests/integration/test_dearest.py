"""What a report says costs most, of programs that people start, held against what the page cache took in."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from conftest import need_root, need_tool, need_tracer

from profiler.report.summarise import summarise
from profiler.studies.record import record
from profiler.trace import Trace

pytestmark = [pytest.mark.full, pytest.mark.alone]

ROWS, FAR = 5, 2
"""Files are ranked by the time that they are waited for, so those of like size may change places. What
brings in most is the first row if it is twice the next; else it is on the screen, which has five rows,
unless all of these bring in more than a quarter as much."""

PROGRAMS = {
    "git": ["git", "--version"],
    "node": ["node", "-e", "1"],
    "java": ["java", "-version"],
    "ffmpeg": ["ffmpeg", "-version"],
    "chromium": ["chromium", "--headless", "--no-sandbox", "--dump-dom", "about:blank"],
    "numpy": ["/usr/bin/python3", "-c", "import numpy"],
    "python3": ["/usr/bin/python3", "-c", "import json, asyncio"],
    "qemu-img": ["qemu-img", "info", "healthy.qcow2"],
    "sqlite3": ["sqlite3", "base.sqlite3", "SELECT sum(length(text)) FROM words WHERE key % 100 = 7"],
}


def brought_in(trace: Trace) -> Counter[int]:
    """Bytes that came into the page cache, by file, counted one event after another."""
    on_disks = {
        number
        for number, kind, device in trace.files[["file", "kind", "device"]].itertuples(index=False)
        if kind == "regular" and not device.startswith("0:")
    }
    found: Counter[int] = Counter()
    for layer, op, file, size in trace.events[["layer", "op", "file", "size"]].itertuples(index=False):
        if layer == "cache" and op == "miss" and file in on_disks:
            found[file] += size
    return found


def prepare(name: str) -> None:
    """Make the files that a program reads, here."""
    if name == "qemu-img":
        need_tool("qemu-img")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "healthy.qcow2", "1G"], check=True)
    if name == "sqlite3":
        with sqlite3.connect("base.sqlite3") as base:
            base.execute("CREATE TABLE words (key INTEGER, text TEXT)")
            rows = ((key, f"{key:0950}") for key in range(200_000))
            base.executemany("INSERT INTO words VALUES (?, ?)", rows)
        base.close()
    subprocess.run(["sync"], check=True)


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_what_came_in_most_is_on_the_screen(
    name: str, disk_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_root()
    need_tracer("kernel")
    command = PROGRAMS[name]
    missing = name == "numpy" and subprocess.run(command, capture_output=True).returncode
    if shutil.which(command[0]) is None or missing:
        pytest.skip(f"{name} is not installed")  # in CI too: only some of these are there anywhere
    monkeypatch.chdir(disk_directory)
    prepare(name)
    trace = record(command, tracer="kernel", cache_state="cold", evict="all")
    seen = brought_in(trace)
    rows = summarise(trace).costs[:ROWS]
    assert rows[0].observed and rows[0].waited_s
    (most, size), (_, next_size) = [*seen.most_common(2), (-1, 0)][:2]
    shown = [row.file for row in rows[: 1 if size >= FAR * next_size else ROWS]]
    least = min((seen[file] for file in shown if file >= 0), default=0)
    assert most in shown or size < FAR**2 * least, (rows[0].path, seen.most_common(3))
