"""The names of the package as a library."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest
from conftest import ROOT

import profiler


def promised() -> dict[str, tuple[str, str]]:
    """What type checkers take each name for: module and name, as imported under TYPE_CHECKING."""
    assert profiler.__file__ is not None
    tree = ast.parse(Path(profiler.__file__).read_bytes())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module != "typing"
        for alias in node.names
    }


@pytest.mark.parametrize("name", profiler.__all__)
def test_a_name_is_what_type_checkers_take_it_for(name: str) -> None:
    module, home = promised()[name]
    assert getattr(profiler, name) is getattr(import_module(module), home)


def test_the_names_that_are_listed_are_those_that_are_promised() -> None:
    assert set(profiler.__all__) == set(promised())
    assert set(profiler.__all__) <= set(dir(profiler))
    assert sorted(profiler.__all__) == sorted(set(profiler.__all__))


def test_the_documents_use_no_other_names() -> None:
    used = {
        name
        for document in (ROOT / "README.md", ROOT / "docs/trace.md")
        for name in re.findall(r"\bprofiler\.(\w+)\(", document.read_text())
    }
    assert {"load", "project"} <= used <= set(profiler.__all__)


def test_it_is_the_same_by_its_other_name() -> None:
    assert import_module("coldseek") is profiler


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'profiler' has no attribute 'nothing_of_the_kind'"):
        profiler.nothing_of_the_kind  # noqa: B018
