"""The two names of the package in processes of their own: as a command, and as a type checker sees them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import profiler


def test_the_command_runs_by_both_names() -> None:
    for package in ("profiler", "coldseek"):
        done = subprocess.run(
            [sys.executable, "-m", package, "--version"],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
        )
        assert profiler.__version__ in done.stdout


TYPED = """
from pathlib import Path
import coldseek

trace: coldseek.Trace = coldseek.load(Path("a.trace.parquet"))
one: coldseek.Projection = coldseek.project(trace, "hdd-7200")
several: coldseek.Projections = coldseek.project("a.trace.parquet", ["hdd-7200", coldseek.device("nvme")])
every: coldseek.Projections = coldseek.project(trace, coldseek.presets())
ratio: float | None = coldseek.compare(["ls", Path("/")], runs=3).ratio
other: coldseek.Comparison = coldseek.compare(trace, "b.trace.parquet")
made: coldseek.Trace = coldseek.Trace.from_frame(trace.to_frame())
trace.page()
"""

FAULTS = {
    "coldseek.NoSuchName": "has no attribute",
    "coldseek.record(['ls'], cache_state='cold')": "Unexpected keyword argument",
    "coldseek.load(3)": "incompatible type",
    "coldseek.project('a', 'b').nothing": "has no attribute",
}


@pytest.mark.full
def test_a_type_checker_finds_what_is_wrong_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "right.py").write_text(TYPED)
    (tmp_path / "wrong.py").write_text("import coldseek\n" + "\n".join(FAULTS) + "\n")
    words = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache"),
             "--config-file", str(ROOT / "pyproject.toml"), "--follow-imports", "silent"]  # fmt: skip
    right, wrong = (
        subprocess.run([*words, str(tmp_path / name)], capture_output=True, text=True, cwd=ROOT, check=False)
        for name in ("right.py", "wrong.py")
    )
    assert right.returncode == 0, right.stdout
    told = wrong.stdout.splitlines()
    for line, why in enumerate(FAULTS.values(), 2):
        assert any(f"wrong.py:{line}:" in one and why in one for one in told), wrong.stdout
