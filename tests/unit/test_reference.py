"""The reference of commands and the manual page are what the commands say of themselves."""

from __future__ import annotations

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from typing import Any

import pytest
from conftest import ROOT

from profiler import cli


@pytest.fixture(scope="module")
def reference() -> Any:
    """The script that writes both."""
    loader = SourceFileLoader("reference", str(ROOT / "scripts" / "reference"))
    spec = spec_from_loader("reference", loader)
    assert spec is not None
    sys.path.insert(0, str(ROOT / "scripts"))
    module = module_from_spec(spec)
    sys.modules["reference"] = module
    loader.exec_module(module)
    sys.path.remove(str(ROOT / "scripts"))
    return module


def test_both_are_up_to_date(reference: Any) -> None:
    found = list(reference.commands())
    assert len(found) >= len(cli._COMMANDS)
    assert reference.MARKDOWN.read_text() == reference.markdown(found), "run scripts/reference"
    assert reference.MAN.read_text() == reference.man(found), "run scripts/reference"


def test_every_command_and_option_is_in_both(reference: Any) -> None:
    markdown, man = reference.MARKDOWN.read_text(), reference.MAN.read_text()
    for command in reference.commands():
        assert command.help and f"## {command.name}\n" in markdown
        for names, words in command.options:
            assert f"`{names.replace('|', reference.PIPE)}`" in markdown and words
            assert names.replace("-", "\\-") in man
