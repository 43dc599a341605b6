"""What a start loads, in an interpreter of its own: what is slow to load is loaded when it is first used."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import ROOT

HEAVY = {"pandas", "numpy", "pyarrow", "matplotlib"}
PATHS = f"import sys; sys.path[:] = {[str(ROOT), *sys.path]}\n"
"""With -S, without what site-packages load of their own."""
COMMANDS = [
    ".".join(module.relative_to(ROOT).with_suffix("").parts)
    for module in [*(ROOT / "profiler/cli").rglob("*.py"), ROOT / "profiler/__main__.py"]
    if module.name != "__init__.py"
]


@pytest.mark.parametrize(
    ("modules", "slow"),
    [
        (["profiler"], {*HEAVY, "rich", "typer", "typing"}),
        (["coldseek"], {*HEAVY, "rich"}),
        (COMMANDS, HEAVY),
    ],
    ids=["package", "other name", "commands"],
)
def test_nothing_slow_is_loaded(modules: list[str], slow: set[str]) -> None:
    program = (
        f"import sys, importlib\nfor name in {modules}: importlib.import_module(name)\nprint(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-S", "-c", PATHS + program], capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr
    assert set(modules) <= set(loaded.stdout.split())
    assert not slow & set(loaded.stdout.split())
