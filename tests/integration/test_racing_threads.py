"""Threads that are killed before their maker could tell of them: the tracer must not wait for that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, need_tool, need_tracer

LOOP = """
import sys
from profiler.capture.recording import Recording
from profiler.capture.tracer import choose
for number in range(60):
    tracer, _ = choose(sys.argv[1])
    found = tracer.record(Recording([sys.argv[2], str(number * 7 % 400)], silent=True))
    assert found.meta.exit_status == 7, found.meta
"""
PATIENCE_S = 240


@pytest.mark.parametrize("tracer", ["ptrace", "kernel"])
def test_a_process_that_ends_while_it_makes_threads(tracer: str, tmp_path: Path) -> None:
    """Of 300 such runs under ptrace at least one never ended, before."""
    need_tracer(tracer)
    program = tmp_path / "racing"
    source = ROOT / "tests" / "programs" / "racing.c"
    subprocess.run([need_tool("gcc"), "-O1", "-pthread", source, "-o", program], check=True)
    subprocess.run(
        [sys.executable, "-c", LOOP, tracer, str(program)], env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=PATIENCE_S, check=True,
    )  # fmt: skip
