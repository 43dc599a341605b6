"""Baselines as files: lines that can be compared, any name, and whatever somebody else wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.errors import ColdseekError
from profiler.facts.starts import Image, Program, Start, dumps, loads
from profiler.files import baselines
from profiler.files.writing import append

START = Start(
    ("./start", "--fast"), 0, 2,
    {"requests": (500, 501), "seconds.nvme": (0.25, None)},
    {(b"/usr/a.so", ""): (3, 12288), (b"/vm/disk", "L2 table"): (7, 7), (b"/\xff\n\x1b[31m", ""): (1, 1)},
    Program("/usr/bin/start", 10, "ab" * 32),
    (Image("/vm/disk", "qcow2", 10, None, 65536),),
    {"kernel": "6.1", "tracer": "ptrace"},
    "0.1.0",
)  # fmt: skip


def test_a_baseline_survives_the_round_trip() -> None:
    assert loads(dumps(START).encode(), "b") == START


def test_a_file_is_a_line_and_lines_are_sorted() -> None:
    lines = dumps(START).splitlines()
    assert sum("a.so" in line for line in lines) == 1
    assert json.loads(dumps(START))["schema"] == "coldseek.baseline/1"
    other = Start(**{**START.__dict__, "parts": dict(reversed(START.parts.items()))})
    assert dumps(other) == dumps(START)
    assert "\x1b" not in dumps(START)


@given(
    st.dictionaries(
        st.tuples(
            st.binary(min_size=1, max_size=9), st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
        ),
        st.tuples(st.integers(0, 2**62), st.integers(0, 2**62)),
        max_size=5,
    ),
    st.dictionaries(st.text(max_size=4), st.lists(st.none() | st.floats(0, 1e18), max_size=4).map(tuple)),
)
def test_any_numbers_and_names_survive(parts: dict, quantities: dict) -> None:  # type: ignore[type-arg]
    made = Start(runs=1, parts=parts, quantities=quantities)
    assert loads(dumps(made).encode(), "b") == made


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no baseline"),
        (b'{"schema": "coldseek.baseline/2"}', "another coldseek"),
        (b'{"schema": "coldseek.baseline/1", "runs": 0}', "no runs"),
        (b'{"schema": "coldseek.baseline/1", "runs": 1, "quantities": {"a": [-1]}}', "numbers"),
        (b'{"schema": "coldseek.baseline/1", "runs": 1, "quantities": {"a": [1e999]}}', "reason"),
        (b'{"schema": "coldseek.baseline/1", "runs": 1, "quantities": {"a": 5}}', "numbers"),
        (b'{"schema": "coldseek.baseline/1", "runs": 1, "files": {}}', "no list"),
        (b'{"schema": "coldseek.baseline/1", "runs": 1, "files": [{"path": "/a"}]}', "no path"),
        (b'{"schema": "coldseek.baseline/1", "runs": 1, "files": [{"path": "/a", "path_hex": "zz", '
         b'"requests": 1, "bytes": 1}]}', "no path"),
    ],
)  # fmt: skip
def test_what_is_no_baseline_is_told_in_one_line(content: bytes, why: str) -> None:
    with pytest.raises(ColdseekError) as caught:
        loads(content, "b\x1b[31m.json")
    words = str(caught.value)
    assert why in words and "--update" in words and "\n" not in words and "\x1b" not in words


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    assert baselines.load(str(path)) is None
    baselines.save(START, str(path))
    assert baselines.load(str(path)) == START
    with pytest.raises(ColdseekError, match="--baseline"):
        baselines.load(str(tmp_path))
    (tmp_path / "fifo.json").symlink_to("/dev/null")
    with pytest.raises(ColdseekError, match="regular"):
        baselines.load(str(tmp_path / "fifo.json"))


def test_a_summary_is_added_to(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    append(str(path), b"one\n")
    append(str(path), b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"
    (tmp_path / "link").symlink_to(path)
    for bad in ("link", ".", "none/of/it"):
        with pytest.raises(ColdseekError):
            append(str(tmp_path / bad), b"three\n")
    assert path.read_bytes() == b"one\ntwo\n"
