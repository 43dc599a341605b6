"""Symbolic links on the way to a file, and the loader that a program asks for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.machine.links import followed, loader


def names(found: list[object]) -> list[str]:
    return [os.path.basename(os.fsdecode(link.path)) for link in found]  # type: ignore[attr-defined]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """real/file, and links to both: one in the middle of a path, one behind it, one that goes nowhere."""
    place = Path(os.path.realpath(tmp_path))
    (place / "real" / "deep").mkdir(parents=True)
    (place / "real" / "file").write_text("x")
    os.symlink("real", place / "relative")
    os.symlink(place / "real", place / "absolute")
    os.symlink("../real/file", place / "real" / "up")
    os.symlink("loop", place / "loop")
    os.symlink("nowhere", place / "dangling")
    return place


@pytest.mark.parametrize(
    ("path", "links"),
    [
        ("real/file", []),
        ("relative/file", ["relative"]),
        ("absolute/up", ["absolute", "up"]),
        ("relative/../relative/./deep", ["relative", "relative"]),
        ("dangling/file", ["dangling"]),
        ("missing/file", []),
        ("loop", ["loop"] * 40),
    ],
)
def test_links_are_found_in_the_order_in_which_they_are_followed(
    folder: Path, path: str, links: list[str]
) -> None:
    found = followed(
        os.fsencode(folder / path) if ".." not in path else os.fsencode(folder) + b"/" + path.encode()
    )
    assert names(found) == links  # type: ignore[arg-type]
    for link in found:
        facts = os.lstat(link.path)
        assert (os.path.islink(link.path), facts.st_ino) == (True, link.inode)


def test_a_changed_root_is_where_paths_begin(folder: Path) -> None:
    os.symlink("/real", folder / "inside")
    found = followed(b"/inside/file", os.fsencode(folder))
    assert [link.path for link in found] == [b"/inside"]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_path_that_may_not_be_there(path: bytes) -> None:
    assert isinstance(followed(path), list)


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x02\x01" + b"\xff" * 200])
def test_what_is_no_program_asks_for_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert loader(os.fsencode(tmp_path / "file")) == b""


@given(st.binary(max_size=300))
def test_damaged_programs_ask_for_something_or_nothing(raw: bytes) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"\x7fELF\x02\x01" + raw)
    os.close(writer)
    try:
        assert isinstance(loader(b"/dev/fd/%d" % reader), bytes)
    finally:
        os.close(reader)
