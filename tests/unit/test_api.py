"""The names of the package as a library: what is there, what type checkers see, what completion shows."""

from __future__ import annotations

import ast
import re

import pytest
from conftest import ROOT

import coldseek
import profiler


def test_the_documents_use_no_other_names() -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    used = {
        name
        for document in documents
        for name in re.findall(r"\b(?:profiler|coldseek)\.([a-zA-Z]\w*)\(", document.read_text("utf-8"))
    }
    assert {"load", "project"} <= used <= set(profiler.__all__)


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


@pytest.mark.parametrize("package", [profiler, coldseek])
def test_an_unknown_name_is_an_attribute_error(package: object) -> None:
    assert not hasattr(package, "nothing_of_the_kind")


@pytest.mark.parametrize("package", ["profiler", "coldseek"])
def test_it_says_that_it_has_types(package: str) -> None:
    assert (ROOT / package / "py.typed").exists()
