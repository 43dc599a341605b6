"""What the documents say is there: commands, options, links, pictures, columns and keys."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from typer.testing import CliRunner

import profiler
from profiler import cli, trace
from profiler.capture.calls.event_log import OPS
from profiler.facts.unseen import UNSEEN

DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")],
    key=lambda path: (len(path.relative_to(ROOT).parts), path),
)
MOST_BYTES = 150_000  # of a picture: the documents are read over slow lines too

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^][]*\]\(<?([^()<>\s]+)>?\)|<img [^>]*src=\"([^\"]+)\"")
HEADING = re.compile(r"^#+ +(.*?) *#*$", re.MULTILINE)
OPTION = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")

NEUTRAL_PLACES = {"bin", "data", "dev", "etc", "images", "lib", "proc", "srv", "sys", "usr", "var"}
"""Absolute paths in the documents lie here: those of the machine a text was written on help no reader."""
ABSOLUTE = re.compile(r"(?<![\w./:~*)>-])/(\w+)")

EMPTY_WORDS = re.compile(
    r"\b(blazing\w*|seamless\w*|effortless\w*|cutting-edge|state-of-the-art|next-gen\w*|revolutionary|"
    r"supercharge\w*|game-chang\w*|world-class|best-in-class|powerful|lightning-fast|leverag\w+|"
    r"sessions?|issues? #?\d+|work in progress|TODO|FIXME|lorem ipsum)\b",
    re.IGNORECASE,
)
"""Praise, and what only those who wrote the text could follow."""


def name(document: Path) -> str:
    return str(document.relative_to(ROOT))


def text_of(relative: str) -> str:
    return (ROOT / relative).read_text("utf-8")


every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=name)


# ---- the commands ----------------------------------------------------------------------------------------


UNSAID = {("fleet",): "add"}
"""Commands whose first word may be left out."""


@cache
def help_of(command: tuple[str, ...]) -> str:
    """What `coldseek COMMAND --help` prints."""
    for module in cli._COMMANDS:
        import_module(f"profiler.cli.commands.{module}")
    done = CliRunner().invoke(cli.app, [*command, "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    assert done.exit_code == 0, done.output
    return done.output


@cache
def subcommands(command: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The names below `Commands:` in the help."""
    _, found, listed = help_of(command).partition("\nCommands:\n")
    return tuple(re.findall(r"^  ([\w-]+)(?:  |$)", listed.split("\n\n")[0], re.MULTILINE)) if found else ()


def commands(command: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command that does something, such as ("open",) or ("import", "strace")."""
    below = subcommands(command)
    if not below:
        yield command
    for word in below:
        yield from commands((*command, word))


@cache
def options(command: tuple[str, ...]) -> frozenset[str]:
    """The options below `Options:` in the help."""
    listed = help_of(command).partition("\nOptions:\n")[2].split("\n\n")[0]
    rows = re.findall(r"^  (-.*?)(?:  |$)", listed, re.MULTILINE)
    return frozenset(option for row in rows for option in OPTION.findall(row))


def used(document: Path) -> Iterator[str]:
    """Every command line of coldseek that a document shows, in blocks and in the text, without its name."""
    text = document.read_text("utf-8")
    for language, block in FENCE.findall(text):
        if language in ("", "sh", "bash", "console", "shell"):
            lines = block.replace("\\\n", " ").splitlines()
            for line in lines:
                found = re.match(r"(?:\$ |# )?(?:\.venv/bin/)?coldseek (?!\d)(.*)", line)
                if found:
                    yield re.split(r" [|;&>]+ | # ", found.group(1))[0]
    for span in re.findall(r"`([^`\n]+)`", FENCE.sub("", text)):
        found = re.fullmatch(r"(?:\.venv/bin/)?coldseek (.+)", span.replace("\\|", "|"))
        if found:
            yield found.group(1)


def test_there_are_commands_and_options() -> None:
    """The help was read rightly."""
    assert {("open",), ("compare",), ("import", "strace")} <= set(commands())
    assert {"--by", "-o", "--output", "--runs", "--help"} <= options(("open",))
    assert "--version" in options(())


@pytest.mark.parametrize("command", [" ".join(command) for command in commands()])
def test_every_command_is_documented(command: str) -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    where = [one for one in documents if re.search(rf"\bcoldseek {command}\b", one.read_text("utf-8"))]
    assert where, f"neither README.md nor docs/ shows 'coldseek {command}'"


@every_document
def test_the_commands_shown_exist_and_have_their_options(document: Path) -> None:
    for line in used(document):
        words = re.split(r" -- ", f"{line} ")[0].split()
        command: tuple[str, ...] = ()
        while words and subcommands(command) and not words[0].startswith("-"):
            if words[0] not in subcommands(command) and command in UNSAID:
                words.insert(0, UNSAID[command])
            assert words[0] in subcommands(command), f"there is no 'coldseek {line}'"
            command = (*command, words.pop(0))
        unknown = set(OPTION.findall(" ".join(words))) - options(command) - {"--"}
        assert not unknown, f"'coldseek {line}': {' '.join(command) or 'coldseek'} has no {unknown}"


# ---- links and pictures ----------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """The anchors that a forge makes of the headings."""
    headings = HEADING.findall(FENCE.sub("", text))
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


@every_document
def test_links_and_pictures_lead_somewhere(document: Path) -> None:
    for found in LINK.findall(FENCE.sub("", document.read_text("utf-8"))):
        target = "".join(found)
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (document.parent / path).resolve() if path else document
        assert place.is_relative_to(ROOT), f"{target} leads out of the project"
        assert place.exists(), f"{target} does not exist"
        if anchor:
            assert anchor in anchors(place.read_text("utf-8")), f"{target}: no such heading"
        if place.suffix in (".png", ".svg"):
            assert place.stat().st_size <= MOST_BYTES, f"{target} is larger than {MOST_BYTES} bytes"


def test_every_picture_is_shown() -> None:
    shown = {
        (document.parent / "".join(found)).resolve()
        for document in DOCUMENTS
        for found in LINK.findall(document.read_text("utf-8"))
    }
    folders = [ROOT / "docs", ROOT / "examples"]
    pictures = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".png", ".svg")]
    assert not [name(path) for path in pictures if path not in shown]


# ---- words -----------------------------------------------------------------------------------------------


@every_document
def test_the_text_is_for_its_reader(document: Path) -> None:
    text = document.read_text("utf-8")
    assert not EMPTY_WORDS.findall(text)
    assert not set(ABSOLUTE.findall(text)) - NEUTRAL_PLACES


@every_document
def test_transcripts_fit_a_terminal(document: Path) -> None:
    for language, block in FENCE.findall(document.read_text("utf-8")):
        if not language:
            assert not [line for line in block.splitlines() if len(line) > 99]


# ---- the formats -----------------------------------------------------------------------------------------


def test_trace_md_names_every_column_key_and_operation() -> None:
    text = text_of("docs/trace.md")
    tables = (
        trace.EVENT_COLUMNS, trace.FILE_COLUMNS, trace.EXTENT_COLUMNS, trace.STRUCTURE_COLUMNS,
        trace.TASK_COLUMNS,
    )  # fmt: skip
    meta = [field.name for field in dataclasses.fields(trace.Meta)]
    advice = {op for op in OPS if op.startswith("fadvise_")}
    wanted = {*(column for table in tables for column in table), *meta, *UNSEEN, *trace.FILE_KINDS}
    wanted |= {*OPS, *trace.LAYERS, *trace.CACHE_STATES} - advice - {"close"}
    assert not {word for word in wanted if f"`{word}`" not in text}
    assert not [words for words in UNSEEN.values() if words not in text]
    assert f"this page describes version {trace.FORMAT_VERSION}." in text


def keys(value: Any) -> Iterator[str]:
    """The keys of a report, but for those that are data."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            if key not in ("host", "structures"):
                yield from keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from keys(item)


def test_json_md_names_every_key() -> None:
    reports = [
        json.loads((ROOT / "tests" / "data" / f"report_{case}.json").read_text("utf-8"))
        for case in ("check", "hostile", "python")
    ]
    text = text_of("docs/json.md")
    assert not {key for key in keys(reports) if f"`{key}`" not in text}


def test_how_it_works_names_every_device_with_its_band() -> None:
    text = text_of("docs/how-it-works.md")
    for device in profiler.presets():
        assert f"`{device.name}`" in text
        assert f"{device.low_ratio:g} to {device.high_ratio:g}" in text
