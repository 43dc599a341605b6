"""Data flows one way: machine -> capture -> trace -> analysis -> report -> commands; studies combine runs.
No module imports against it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "profiler"
MODULES = sorted(PACKAGE.rglob("*.py"))
SHARED = {
    "trace",
    "facts",
    "calls",
    "plan",
    "runner",
    "runner_main",
    "errors",
    "files",
    "iolog",
    "units",
    "version",
}  # the contracts, open to all
MAY_IMPORT = {
    **{name: set() for name in SHARED},
    "machine": {"machine", "images"},  # which names of images are of other machines
    "capture": {"capture", "machine", "images"},  # the structures of an image are read right after the run
    "calibration": {"calibration", "machine"},
    "studies": {"studies", "capture", "machine", "images"},
    "images": {"images"},
    "devices": {"devices"},
    "analysis": {"analysis", "devices", "images"},
    "fleet": {"fleet", "analysis", "devices", "images"},
    "report": {"report", "analysis", "devices", "images"},
    "cli": {
        "cli", "machine", "capture", "calibration", "studies", "images", "devices", "analysis", "report",
        "fleet",
    },
    "__main__": {"cli"},
    "pytest_plugin": set(),
    "__init__": {"capture", "studies", "images", "devices", "analysis", "report"},
}  # fmt: skip
HEAVY = {"pandas", "numpy", "pyarrow", "matplotlib", "dask", "distributed", "duckdb", "fsspec"}


def part(module: Path) -> str:
    """The part of the package a module belongs to: its folder, or its own name at the top."""
    inside = module.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def imports(module: Path, top_level_only: bool = False) -> Iterator[str]:
    """Dotted names of what a module imports, in functions and for type checkers too, or at top level
    only."""
    tree = ast.parse(module.read_bytes())
    package = [PACKAGE.name, *module.relative_to(PACKAGE).parent.parts]
    nodes = at_top_level(tree.body) if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *([node.module] if node.module else [])]
            yield from (".".join([*base, alias.name]) for alias in node.names)
        elif isinstance(node, ast.Constant) and str(node.value).startswith("profiler."):
            yield str(node.value)  # import_module("profiler...")


def at_top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run on import: not those of functions, nor those for type checkers only."""
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
            for field in ("body", "orelse", "finalbody"):
                yield from at_top_level(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                yield from at_top_level(handler.body)


PARTS = {part(module) for module in MODULES}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_no_module_imports_against_the_flow(module: Path) -> None:
    allowed = MAY_IMPORT[part(module)] | SHARED
    for name in imports(module):
        first, *rest = name.split(".")
        if first == PACKAGE.name and rest and rest[0] in PARTS:
            assert rest[0] in allowed, f"{module.name} imports {name}"


def name_of(module: Path) -> str:
    inside = module.relative_to(ROOT).with_suffix("")
    return ".".join(inside.parent.parts if inside.name == "__init__" else inside.parts)


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Such a circle works or fails by what is imported first."""
    known = {name_of(module) for module in MODULES}
    graph = {
        name_of(module): {
            name if name in known else name.rpartition(".")[0]
            for name in imports(module, top_level_only=True)
        } & known - {name_of(module)}
        for module in MODULES
        if module.name != "__init__.py"
    }  # fmt: skip
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize(
    "module",
    [module for module in MODULES if part(module) in ("cli", "__init__", "__main__", "errors", "units")],
    ids=lambda module: str(module.relative_to(PACKAGE)),
)
def test_commands_import_nothing_heavy_by_themselves(module: Path) -> None:
    heavy = {name for name in imports(module, top_level_only=True) if name.split(".")[0] in HEAVY}
    assert not heavy


def test_commands_start_without_the_heavy_libraries() -> None:
    modules = [
        ".".join(module.relative_to(ROOT).with_suffix("").parts)
        for module in MODULES
        if part(module) in ("cli", "__init__", "__main__") and module.name != "__init__.py"
    ]
    program = (
        f"import sys, importlib\nfor name in {modules}: importlib.import_module(name)\nprint(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not HEAVY & set(loaded.stdout.split())
