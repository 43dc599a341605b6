"""Strings of a stranger's trace: each through every output, where none may be more than text."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import PATIENCE_S, ROOT
from image_cases import PAGE, image_trace
from made import MIB, typed, waiting

from profiler.files.traces import save
from profiler.trace import CONTENT_COLUMNS, TASK_COLUMNS, Trace, table

HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J",  # a terminal's title, and its screen
    "\x9b2J",  # the same in one character of C1
    "two\nLINES\rof",
    "\u202eright to left\u2028\u2066",
    "$(touch INJECTED); `touch INJECTED` && touch INJECTED",
    "</script><script>alert(1)</script>&lt;",
    "[bold red]markup[/] $x^2$ \\frac %s {0}",
    "x" * 5000,
)
TOGETHER = {"texts": " ".join(HOSTILE), "no text": "\udcff\udc1b\ud800", "none": ""}
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What no line may hold: controls, and what turns the direction of text."""

COLD, WARM, JSON = "cold.trace.parquet", "warm.trace.parquet", ("--format", "json")
OUTPUTS = (
    ("report", COLD), ("report", COLD, "--full"), ("project", COLD), ("compare", COLD, WARM),
    ("advise", COLD),
    ("report", COLD, *JSON), ("project", COLD, *JSON), ("compare", COLD, WARM, *JSON),
    ("advise", COLD, *JSON), ("prefetch", COLD, "--dry-run"),
)  # fmt: skip


def hostile(words: str, state: str) -> Trace:
    """A trace whose every free text is this."""
    rows = [(n * 8 * PAGE, n * 8 * PAGE + PAGE, "L2 table", None) for n in range(64)]
    made = image_trace([(0, start, PAGE) for start, *_ in rows], rows, size=8 * MIB)
    files = made.files.copy()
    files["path"] = [words.encode("utf-8", "surrogatepass") for _ in files["path"]]
    files["device"] = files["filesystem"] = words.encode("utf-8", "replace").decode()
    files["host_path"] = files["path"]
    raw = words.encode("utf-8", "surrogatepass")
    texts_of_tasks = {"name": raw, "program": raw, "cgroup": raw, "container": files["device"].iloc[0]}
    tasks = table(TASK_COLUMNS, [
        {"tid": 1, "pid": 1, "parent": -1, "start_ns": None, "end_ns": None, **texts_of_tasks},
        {"tid": 1, "pid": 1, "parent": 1, "start_ns": 9000, "end_ns": None, **texts_of_tasks,
         "name": b"other", "container": ""},
        {"tid": 1, "pid": 9, "parent": 1, "start_ns": 20000, "end_ns": 30000, **texts_of_tasks},
    ])  # fmt: skip
    run = {"wall_s": 1.0, "user_s": 0.1, "system_s": 0.1, "exit_status": 0, "stderr": words, words: words}
    texts: dict[str, Any] = {
        "command": (words, words), "cwd": words, "started_at": words, "tracer": words, "image": words,
        "tracer_version": words, "partial": words, "unseen": (words, "mmap"), "notes": (words,),
        "cache": state, "cache_asked": words, "measured": {"cold": [run], "warm": [run], words: words},
        "host": {"kernel": words, "machine": words, "virtual": words, "distribution": words, words: words,
                 "devices": {words: {"name": words, "model": words, "scheduler": words, "disk": words}}},
    }  # fmt: skip
    made = waiting(made, (1, 0, 600_000_000, "socket", raw), (1, 600_000_000, 1, "device"))
    contents = table(CONTENT_COLUMNS, [
        {"file": 0, "start": 0, "end": PAGE, "kind": texts_of_tasks["container"], "path": raw},
    ])  # fmt: skip
    meta = dataclasses.replace(made.meta, **typed(**texts))
    return dataclasses.replace(made, files=files, tasks=tasks, contents=contents, meta=meta)


@pytest.mark.parametrize("kind", TOGETHER)
def test_a_hostile_string_is_text_in_every_output(kind: str, tmp_path: Path) -> None:
    for state in ("cold", "warm"):
        save(hostile(TOGETHER[kind], state), tmp_path / f"{state}.trace.parquet")
    for arguments in OUTPUTS:
        done = subprocess.run(
            [sys.executable, "-m", "profiler", *arguments], cwd=tmp_path, capture_output=True, check=False,
            timeout=PATIENCE_S, env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"},
        )  # fmt: skip
        said = done.stdout.decode() + done.stderr.decode()  # UTF-8, whatever was in it
        assert done.returncode in (0, 1, 125), (arguments, said)
        assert "mistake of its own" not in said and "Traceback" not in said, (arguments, said)
        assert not RAW.search(said), (arguments, RAW.search(said), said)
        assert not [line for line in said.splitlines() if line.startswith(("LINES", "of"))], (
            arguments,
            said,
        )
        if "json" in arguments and done.returncode == 0:
            json.loads(done.stdout)


@pytest.mark.parametrize("kind", TOGETHER)
def test_a_hostile_string_is_text_in_every_picture(kind: str, tmp_path: Path) -> None:
    save(hostile(TOGETHER[kind], "cold"), tmp_path / COLD)
    for suffix in ("png", "svg"):
        done = subprocess.run(
            [sys.executable, "-m", "profiler", "plot", COLD, "-o", f"out.{suffix}"], cwd=tmp_path,
            capture_output=True, text=True, check=False, timeout=PATIENCE_S,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    drawn = (tmp_path / "out.svg").read_text()
    assert "<script" not in drawn and not RAW.search(drawn)
