"""Who is at the other end of a socket: what the kernel answers, in tables and messages made here."""

from __future__ import annotations

import contextlib
import struct

from hypothesis import given
from hypothesis import strategies as st

from profiler.capture.watch.whom.waits import other_end, parse_unix

HEAD = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
TAIL = b"01 00000000:00000000 00:00000000 00000000     0        0 %d 1 0 100 0 0 10 0"


def line(near: str, far: str, inode: int) -> bytes:
    return b"   0: %s %s " % (near.encode(), far.encode()) + TAIL % inode


def test_the_other_end_of_a_connection_is_the_line_with_the_addresses_exchanged() -> None:
    lines = [line("0100007F:18EB", "00000000:0000", 1), line("0100007F:D431", "0100007F:18EB", 2)]
    lines += [line("0100007F:18EB", "0100007F:D431", 3), line("0100007F:18EB", "0100007F:D432", 4)]
    assert other_end(lines, 2) == (3, "127.0.0.1:6379")
    assert other_end(lines, 3) == (2, "127.0.0.1:54321")
    assert other_end(lines, 4)[0] == 0  # of another machine, or another network namespace
    assert other_end(lines, 9) == (0, "")


def test_addresses_of_both_kinds_meet() -> None:
    mapped = "0000000000000000FFFF00000100007F"
    lines = [line("0100007F:D431", "0100007F:18EB", 2), line(f"{mapped}:18EB", f"{mapped}:D431", 3)]
    assert other_end(lines, 2) == (3, "127.0.0.1:6379")
    own = "00000000000000000000000001000000"
    lines = [line(f"{own}:0001", f"{own}:0050", 2), line(f"{own}:0050", f"{own}:0001", 3)]
    assert other_end(lines, 2) == (3, "[::1]:80")


@given(
    st.lists(st.binary() | st.builds(line, st.text("0123456789ABCDEF:"), st.text("0F:"), st.integers(0, 9)))
)
def test_any_table_is_read(lines: list[bytes]) -> None:
    other_end([HEAD, *lines], 2)


def attribute(kind: int, held: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(held), kind) + held + bytes(-len(held) % 4)


def answer(*attributes: bytes, kind: int = 20) -> bytes:
    body = bytes(16) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body


def test_what_the_kernel_answers_of_a_unix_socket() -> None:
    name, peer = attribute(0, b"/run/docker.sock\0"), attribute(2, struct.pack("=I", 77))
    assert parse_unix(answer(name, attribute(9, b"x"), peer)) == (77, b"/run/docker.sock\0")
    assert parse_unix(answer()) == (0, b"")
    assert parse_unix(answer(kind=2)) is None


@given(
    st.binary() | st.lists(st.builds(attribute, st.integers(0, 3), st.binary())).map(lambda a: answer(*a)),
    st.data(),
)
def test_any_answer_is_read(text: bytes, data: st.DataObject) -> None:
    with contextlib.suppress(struct.error):
        parse_unix(text[: data.draw(st.integers(0, len(text)))])
