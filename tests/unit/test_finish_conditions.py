"""What --until is given, and lines that match in bytes that come a piece at a time."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.errors import UsageError
from profiler.machine.finish.conditions import parse
from profiler.machine.finish.lines import LONGEST, Lines


def test_each_condition() -> None:
    assert parse("end").kind == "end" and parse("exit").kind == "exit"
    tcp = parse("tcp:127.0.0.1:80")
    assert (tcp.kind, tcp.port, tcp.addresses) == ("tcp", 80, ("7f000001",))
    assert parse("tcp:[::1]:80").addresses == (socket.inet_pton(socket.AF_INET6, "::1").hex(),)
    assert parse("tcp:*:80").addresses == parse("tcp::80").addresses == ()
    assert parse("unix:/run/x").path == "/run/x" and parse("unix:@x").path == "@x"
    assert parse("unix:x").path == os.path.abspath("x")
    web = parse("http://localhost:8080/up?deep=1")
    assert (web.kind, web.host, web.port, web.target) == ("http", "localhost", 8080, "/up?deep=1")
    assert parse("https://[::1]").port == 443 and parse("https://[::1]").secure
    assert parse("http://a").target == "/"
    assert parse("file:/a/b").kind == "file"
    line = parse("file:/a/b~c~d")
    assert (line.kind, line.path, line.pattern) == ("line", "/a/b", "c~d")
    assert parse("output:Ready in").expression.search(b"it is Ready in 3 s")
    assert parse("output:\udcff").expression.search(b"\xff")


@pytest.mark.parametrize(
    "text",
    [
        "", "ready", "end:", "tcp", "tcp:", "tcp:80", "tcp:h:", "tcp:127.0.0.1:0", "tcp:127.0.0.1:65536",
        "tcp:127.0.0.1:-1", "tcp:127.0.0.1:1_0", "unix:", "unix:\0", "http:", "http:/x", "http://", "http:///x",
        "http://a b", "http://a:b", "http://a:0", "http://me:word@a",
        "http://a/\r\nX: y", "ftp://a", "file:",
        "file:~x", "file:x~", "file:x~(", "output:", "output:[", "output:" + "a" * 5000, "file:x~*",
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(text)
    assert "\n" not in str(error.value) and "--until" in str(error.value)


@given(st.text())
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    for words in (text, f"http://{text}", f"file:{text}", f"output:{text}", f"unix:{text}"):
        try:
            assert parse(words).text == words
        except UsageError as error:
            assert "\n" not in str(error) and "\x1b" not in str(error)


@given(
    st.lists(st.sampled_from([b"a", b"READY", b"\n", b"\r\n", b"\0", b"\xff", b"-"]), max_size=30), st.data()
)
def test_a_line_is_found_however_the_bytes_are_cut(words: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(words)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    lines = Lines([re.compile(b"READY"), re.compile(b"^-")])
    found: set[int] = set()
    for low, high in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        found.update(lines.feed(whole[low:high]))
    split = re.split(rb"[\r\n]", whole)
    assert (0 in found) == any(b"READY" in line for line in split)
    assert (1 in found) == any(line.startswith(b"-") for line in split)


def test_a_line_without_end_takes_no_memory() -> None:
    lines = Lines([re.compile(b"x$"), re.compile(b"b")])
    for _ in range(100):
        lines.feed(b"a" * 10000)
    assert len(lines._begun) <= LONGEST
    assert lines.feed(b"b\nx") == [0], "what is too far behind is not looked at, the next line is"


def test_paths_are_taken_from_where_coldseek_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse("file:log~x").path == str(tmp_path / "log")
