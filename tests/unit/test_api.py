"""The names of the package as a library: what is there, what type checkers see, what completion shows."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import coldseek
import profiler

SLOW = ("numpy", "pandas", "pyarrow", "matplotlib", "rich", "typing")


@pytest.mark.parametrize("name", profiler.__all__)
def test_every_name_is_there_and_is_the_same_thing_in_both(name: str) -> None:
    assert getattr(profiler, name) is getattr(coldseek, name) is not None


def test_completion_shows_the_public_names_alone() -> None:
    assert dir(profiler) == dir(coldseek) == profiler.__all__ == sorted(profiler.__all__)


def test_star_gives_all_names() -> None:
    known: dict[str, object] = {}
    exec("from coldseek import *", known)
    assert set(profiler.__all__) <= set(known)


def test_type_checkers_see_the_names_that_python_has() -> None:
    """The imports for type checkers, the list, and where Python looks say the same."""
    tree = ast.parse((ROOT / "profiler" / "__init__.py").read_bytes())
    guarded = next(
        node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name)
    )
    typed = {
        alias.asname or alias.name: str(node.module).removeprefix("profiler.")
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = {name: module for module, names in profiler._HOMES.items() for name in names}
    assert typed == homes
    assert sorted([*typed, "__version__"]) == profiler.__all__


def test_a_module_is_not_loaded_twice_under_another_name() -> None:
    """`import coldseek.errors` once made a second ColdseekError, which nobody catches."""
    with pytest.raises(ModuleNotFoundError):
        __import__("coldseek.errors")


@pytest.mark.parametrize("package", ["profiler", "coldseek"])
def test_importing_it_loads_nothing_slow(package: str) -> None:
    script = f"import sys, {package}; print([name for name in {SLOW} if name in sys.modules])"
    here = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {script}"
    done = subprocess.run([sys.executable, "-S", "-c", here], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", [profiler, coldseek])
def test_an_unknown_name_is_an_attribute_error(package: object) -> None:
    assert not hasattr(package, "nothing_of_the_kind")


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


@pytest.mark.parametrize("package", ["profiler", "coldseek"])
def test_it_says_that_it_has_types(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()


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
