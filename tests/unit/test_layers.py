"""Data flows one way: machine -> capture -> trace -> analysis -> report -> commands; studies combine runs.
No module imports against it."""

from __future__ import annotations

import ast
from collections import Counter
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
    "validity",
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
    "library": {
        "library", "machine", "capture", "calibration", "studies", "images", "devices", "analysis", "report",
    },
    "cli": {
        "cli", "library", "machine", "capture", "calibration", "studies", "images", "devices", "analysis",
        "report", "fleet",
    },
    "__main__": {"cli"},
    "pytest_plugin": set(),
    "__init__": {"library", "machine", "capture", "devices", "analysis", "report"},
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


MOST_FILES, MOST_LINES = 12, 400


def test_no_folder_and_no_file_grows_past_what_one_sees_at_a_glance() -> None:
    """What does is split by what it is about."""
    folders = Counter(module.parent for module in MODULES if module.name != "__init__.py")
    assert {str(folder): count for folder, count in folders.items() if count > MOST_FILES} == {}
    lines = {str(module): module.read_text().count("\n") for module in MODULES}
    assert {module: count for module, count in lines.items() if count > MOST_LINES} == {}


UNIT_TESTS = sorted((ROOT / "tests/unit").glob("*.py"))
OF_THE_MACHINE = {
    "subprocess", "multiprocessing", "pty", "browser", "planted", "small_programs", "daemons", "page_cases",
}  # fmt: skip
NEEDS = {"need", "need_root", "need_tool", "need_tracer", "run_patiently", "coldseek", "*"}
PLACES = {"cache_directory", "disk_directory", "own_temporary", "seed_image", "small_image"}
"""Fixtures that make images and folders on a real disk."""


@pytest.mark.parametrize("module", UNIT_TESTS, ids=lambda module: module.name)
def test_unit_tests_need_nothing_of_the_machine(module: Path) -> None:
    """No process, no right, no tool, no disk; `conftest.py` sees to it that none is started on the way."""
    tree = ast.parse(module.read_bytes())
    for name in imports_of_test(tree):
        first, _, rest = name.partition(".")
        assert first not in OF_THE_MACHINE, f"{name}: for tests/integration"
        assert first != "conftest" or rest not in NEEDS, f"{name}: for tests/integration"
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.arguments))
    assert not PLACES & {argument.arg for node in calls for argument in node.args}


def imports_of_test(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_no_two_test_files_have_one_name() -> None:
    """pytest imports each by its name alone."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py")]
    assert len(names) == len(set(names))
