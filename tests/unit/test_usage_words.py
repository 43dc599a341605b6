"""What is said of a command line that is wrong: plain words, and what there is in place of it."""

from __future__ import annotations

from importlib import import_module

import pytest
from typer.testing import CliRunner

from profiler import cli


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["report", "--format", "nosuch"], "'html'"),
        (["project", "--copies", "many"], "integer"),
        (["project", "--copies", "0"], "1"),
        (["import", "nosuch", "boot.log"], "strace"),
    ],
)
def test_usage_is_told_in_plain_words(line: list[str], words: str) -> None:
    for module in ("report", "project", "import_log"):
        import_module(f"profiler.cli.commands.{module}")
    said = CliRunner().invoke(cli.app, line)
    assert said.exit_code == 2
    assert words in said.output.splitlines()[-1]
    for phrase in ("Value error", "Input should", "unable to parse"):
        assert phrase not in said.output
