"""What the kernel says of its trace records: where each event's fields lie, and how a page is laid out.

The texts are those of tracefs: `events/*/*/format`, `events/header_page` and `events/header_event`. Kernels
differ in the offsets and in the fields an event has, so everything is located by name. Written for Linux:
kernel/trace/trace_events.c (f_show) and kernel/trace/ring_buffer.c (ring_buffer_print_*_header).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from profiler.errors import ColdseekError

_FIELD = re.compile(
    r"^\s*field:(?P<type>.*?)(?P<name>\w+)(?P<array>(?:\[[^\]]*\])*);"
    r"\s*offset:(?P<offset>\d+);\s*size:(?P<size>\d+);(?:\s*signed:(?P<signed>\d+);)?",
    re.MULTILINE,
)
_NUMBER_BYTES = (1, 2, 4, 8)
_LAST_ID = 0xFFFF  # common_type, by which records are told apart, has 16 bits

# The header of a record that the decoder is written for: linux/ring_buffer.h, struct ring_buffer_event.
_ENTRY_HEADER = {
    "type_len": (r"type_len\s*:\s*(\d+) bits", 5),
    "time_delta": (r"time_delta\s*:\s*(\d+) bits", 27),
    "array": (r"array\s*:\s*(\d+) bits", 32),
    "padding": (r"padding\s*:\s*type\s*==\s*(\d+)", 29),
    "time_extend": (r"time_extend\s*:\s*type\s*==\s*(\d+)", 30),
    "time_stamp": (r"time_stamp\s*:\s*type\s*==\s*(\d+)", 31),
    "data max type_len": (r"data max type_len\s*==\s*(\d+)", 28),
}


@dataclass(frozen=True)
class Field:
    """Where a field lies in a record. offset, size: bytes from the record's common_type.

    kind: "number", of 1, 2, 4 or 8 bytes; "text", a char array that ends at its first NUL, with anything
    after it; "located", a number that says where in the record such text lies (`__data_loc`): its length
    with the NUL << 16 | its offset; "other".
    """

    name: str
    offset: int
    size: int
    signed: bool
    kind: Literal["number", "text", "located", "other"] = "number"


@dataclass(frozen=True)
class Format:
    """An event's records. id: their common_type."""

    name: str
    id: int
    fields: dict[str, Field]


@dataclass(frozen=True)
class PageLayout:
    """A page's header, in bytes: where its time stamp of 8 bytes is, its `commit` (the length of the data
    and flags) and its first record.
    """

    timestamp_at: int
    commit_at: int
    commit_bytes: int
    data_at: int


def parse_format(text: str) -> Format:
    """An event's `format` file. ColdseekError if it is none, or has not what every record must have."""
    name, number = (
        re.search(r"^name: (\S+)$", text, re.MULTILINE),
        re.search(r"^ID: (\d+)$", text, re.MULTILINE),
    )
    if name is None or number is None:
        raise ColdseekError("the kernel's description of a trace event has no name or ID")
    what = f"the kernel's trace event {name[1]}"
    if not 0 < int(number[1]) <= _LAST_ID:
        raise ColdseekError(f"{what} has the ID {number[1]}, which no record can hold")
    # the text after it is C code, and may hold anything
    fields = _fields(text.partition("\nprint fmt:")[0])
    for field, size in (("common_type", 2), ("common_pid", 4)):
        if field not in fields or (fields[field].size, fields[field].kind) != (size, "number"):
            raise ColdseekError(f"{what} has no {field} of {size} bytes")
    if fields["common_type"].offset != 0:
        raise ColdseekError(f"{what} does not begin with common_type")
    return Format(name[1], int(number[1]), fields)


def parse_header_page(text: str) -> PageLayout:
    """`events/header_page`. ColdseekError if the decoder cannot read such pages."""
    fields = _fields(text)
    for name in ("timestamp", "commit", "data"):
        if name not in fields:
            raise ColdseekError(f"the kernel's trace pages have no {name}")
    timestamp, commit, data = fields["timestamp"], fields["commit"], fields["data"]
    if timestamp.size != 8 or commit.size not in (4, 8):
        raise ColdseekError(
            f"the kernel's trace pages have a timestamp of {timestamp.size} bytes and a commit of "
            f"{commit.size}; coldseek knows only 8, and 4 or 8"
        )
    if data.offset % 4:
        raise ColdseekError(
            f"the records of the kernel's trace pages begin at byte {data.offset}, within a word"
        )
    if max(timestamp.offset + timestamp.size, commit.offset + commit.size) > data.offset:
        raise ColdseekError("the header of the kernel's trace pages lies within their records")
    return PageLayout(timestamp.offset, commit.offset, commit.size, data.offset)


def check_header_event(text: str) -> None:
    """`events/header_event`. ColdseekError if records are not headed as the decoder knows it."""
    for name, (pattern, wanted) in _ENTRY_HEADER.items():
        found = re.search(pattern, text)
        if found is None:
            raise ColdseekError(f"the kernel's trace records have no {name}; coldseek cannot read them")
        if int(found[1]) != wanted:
            raise ColdseekError(
                f"the kernel's trace records have {name} {found[1]}; coldseek knows only {wanted}"
            )


def _fields(text: str) -> dict[str, Field]:
    return {found["name"]: _field(found) for found in _FIELD.finditer(text)}


def _field(found: re.Match[str]) -> Field:
    size = int(found["size"])
    kind: Literal["number", "text", "located", "other"] = "other"
    if re.fullmatch(r"__data_loc char\[\] ?", found["type"]):
        kind = "located" if size == 4 else "other"
    elif found["array"]:
        if size and re.fullmatch(r"(const )?char ?", found["type"]):
            kind = "text"
    elif size in _NUMBER_BYTES:
        kind = "number"
    return Field(found["name"], int(found["offset"]), size, found["signed"] == "1", kind)
