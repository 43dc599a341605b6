"""What the kernel says of its trace records, as it is and with something amiss."""

from __future__ import annotations

from pathlib import Path

import pytest

from profiler.capture.kernel.buffer.formats import (
    Field,
    PageLayout,
    check_header_event,
    parse_format,
    parse_header_page,
)
from profiler.errors import ColdseekError

DATA = Path(__file__).resolve().parents[1] / "data" / "kernel"
TEXTS = ["name: " + text for text in (DATA / "formats.txt").read_text().split("name: ")[1:]]
HEADER_PAGE, HEADER_EVENT = (DATA / "header_page").read_text(), (DATA / "header_event").read_text()
MINIMAL = """name: small
ID: 5
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

"""


def with_field(declaration: str, size: int) -> Field:
    text = MINIMAL + f"\tfield:{declaration};\toffset:8;\tsize:{size};\tsigned:1;\n"
    (name,) = set(parse_format(text).fields) - {"common_type", "common_pid"}
    return parse_format(text).fields[name]


def test_every_field_of_this_kernels_events_is_found() -> None:
    formats = [parse_format(text) for text in TEXTS]
    assert len({one.id for one in formats}) == len(formats) == 23
    assert [len(one.fields) for one in formats] == [text.count("\tfield:") for text in TEXTS]
    bio = next(one for one in formats if one.name == "block_bio_queue")
    assert bio.fields["common_pid"] == Field("common_pid", 4, 4, True)
    assert bio.fields["sector"] == Field("sector", 16, 8, False)
    assert bio.fields["rwbs"] == Field("rwbs", 28, 10, False, "text")


@pytest.mark.parametrize(
    ("declaration", "size", "name", "kind"),
    [
        ("__data_loc char[] cmd", 4, "cmd", "located"),
        ("__rel_loc char[] cmd", 4, "cmd", "number"),
        ("const struct iovec * vec", 8, "vec", "number"),
        ("char *buf", 8, "buf", "number"),
        ("char rwbs[8]", 8, "rwbs", "text"),  # as many bytes as a number, in older kernels
        ("char comm[TASK_COMM_LEN]", 16, "comm", "text"),
        ("unsigned char flag", 1, "flag", "number"),
        ("unsigned char address[4]", 4, "address", "other"),
        ("unsigned long args[6]", 48, "args", "other"),
        ("struct in6_addr address", 16, "address", "other"),
        ("char rest[]", 0, "rest", "other"),
    ],
)
def test_declarations_of_all_kinds(declaration: str, size: int, name: str, kind: str) -> None:
    found = with_field(declaration, size)
    assert (found.name, found.offset, found.size, found.kind) == (name, 8, size, kind)


def test_a_line_that_is_code_is_no_field() -> None:
    text = MINIMAL + 'print fmt: "%d\tfield:int x;\toffset:8;\tsize:4;\tsigned:1;\n", 1\n'
    assert set(parse_format(text).fields) == {"common_type", "common_pid"}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("name: small\n", "", "has no name or ID"),
        ("ID: 5\n", "", "has no name or ID"),
        ("ID: 5\n", "ID: 65536\n", "small has the ID 65536"),
        ("ID: 5\n", "ID: 0\n", "small has the ID 0"),
        ("int common_pid", "int other", "small has no common_pid of 4 bytes"),
        ("int common_pid", "char common_pid[4]", "small has no common_pid of 4 bytes"),
        ("offset:4;\tsize:4", "offset:4;\tsize:8", "small has no common_pid of 4 bytes"),
        ("short common_type", "short type", "small has no common_type of 2 bytes"),
        ("offset:0;", "offset:2;", "small does not begin with common_type"),
    ],
)
def test_a_format_without_what_is_needed(old: str, new: str, says: str) -> None:
    assert old in MINIMAL
    with pytest.raises(ColdseekError, match=says):
        parse_format(MINIMAL.replace(old, new))


def test_the_layout_of_a_page() -> None:
    assert parse_header_page(HEADER_PAGE) == PageLayout(0, 8, 8, 16)
    words = HEADER_PAGE.replace("offset:8;\tsize:8", "offset:8;\tsize:4").replace("offset:16", "offset:12")
    assert parse_header_page(words) == PageLayout(0, 8, 4, 12)  # of a 32-bit kernel


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("u64 timestamp", "u64 time", "have no timestamp"),
        ("local_t commit", "local_t length", "have no commit"),
        ("char data", "char rest", "have no data"),
        ("offset:0;\tsize:8", "offset:0;\tsize:4", "a timestamp of 4 bytes and a commit of 8"),
        ("offset:8;\tsize:8", "offset:8;\tsize:2", "a timestamp of 8 bytes and a commit of 2"),
        ("offset:16", "offset:18", "begin at byte 18, within a word"),
        ("offset:16", "offset:12", "lies within their records"),
    ],
)
def test_a_page_of_another_layout(old: str, new: str, says: str) -> None:
    assert old in HEADER_PAGE
    with pytest.raises(ColdseekError, match=says):
        parse_header_page(HEADER_PAGE.replace(old, new))


def test_the_header_of_a_record() -> None:
    check_header_event(HEADER_EVENT)


@pytest.mark.parametrize("line", [line for line in HEADER_EVENT.splitlines() if line.startswith("\t")])
def test_another_header_of_a_record(line: str) -> None:
    with pytest.raises(ColdseekError, match="the kernel's trace records have no "):
        check_header_event(HEADER_EVENT.replace(line, ""))
    number = next(word for word in reversed(line.split()) if word.isdigit())
    with pytest.raises(ColdseekError, match=f"{number}1; coldseek knows only {number}"):
        check_header_event(HEADER_EVENT.replace(line, line.replace(number, number + "1")))


@pytest.mark.parametrize("text", ["", "\0", "name: x", "field:;offset:0;size:0;"])
def test_what_is_no_such_text(text: str) -> None:
    for parse in (parse_format, parse_header_page, check_header_event):
        with pytest.raises(ColdseekError):
            parse(text)
