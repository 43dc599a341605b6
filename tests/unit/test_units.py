"""Bytes, durations, counts, shares and file names as people read them."""

from __future__ import annotations

import signal
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.units import (
    show_bytes,
    show_count,
    show_path,
    show_percent,
    show_plural,
    show_seconds,
    show_short,
    show_signal,
    show_status,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"), (1, "1 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (4096, "4 KiB"),
        (1023.6, "1 KiB"), (2**20 - 1, "1 MiB"), (2**20, "1 MiB"), (41_943_040, "40 MiB"), (2**30, "1 GiB"),
        (17_224_024_064, "16 GiB"), (8_392_704, "8 MiB"), (-4096, "-4 KiB"), (2**70, "1048576 PiB"),
    ],
)  # fmt: skip
def test_bytes(count: float, text: str) -> None:
    assert show_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (1e-9, "1 ns"), (5e-7, "500 ns"), (140e-6, "140 us"),
        (0.0009996, "1 ms"), (0.0042, "4.2 ms"),
        (0.9996, "1 s"), (9.999, "10 s"), (16.125, "16.1 s"), (179.4, "179 s"), (179.6, "3 min"),
        (305, "5 min 5 s"), (3600, "60 min"), (10_801, "3 h"), (1e6, "277 h 47 min"), (-3, "-3 s"),
    ],
)  # fmt: skip
def test_seconds(seconds: float, text: str) -> None:
    assert show_seconds(seconds) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (0, "0%"), (1, "100%"), (0.5, "50.0%"), (0.99949, "99.9%"), (0.9995, ">99.9%"), (0.999999, ">99.9%"),
        (0.0004, "<0.1%"), (0.001, "0.1%"), (1.5, "150.0%"),
    ],
)  # fmt: skip
def test_percent(ratio: float, text: str) -> None:
    assert show_percent(ratio) == text


@given(st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_percent_is_whole_only_where_it_is(ratio: float) -> None:
    assert show_percent(ratio) not in ("0%", "0.0%", "100%", "100.0%")


def test_counts() -> None:
    assert show_count(20_499) == "20,499"
    assert show_plural(1, "read") == "1 read"
    assert show_plural(0, "read") == "0 reads"
    assert show_plural(1935, "seek") == "1,935 seeks"


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (None, "not known"), (0, "0"), (3, "3"), (127, "127"), (128, "128"), (255, "255"), (193, "193"),
        (139, "139 (killed by SIGSEGV)"), (-11, "139 (killed by SIGSEGV)"), (-2, "130 (killed by SIGINT)"),
        (164, "164 (killed by SIGRTMIN+2)"), (192, "192 (killed by SIGRTMAX)"),
    ],
)  # fmt: skip
def test_an_exit_status_names_the_signal(status: int | None, text: str) -> None:
    assert show_status(status) == text


@given(st.integers(-(2**31), 2**31))
def test_every_number_of_a_signal_can_be_shown(number: int) -> None:
    shown = show_signal(number)
    known = number in {int(one) for one in signal.valid_signals()}
    assert shown.startswith("SIG") == known and (known or shown == f"signal {number}")


@given(st.floats(0, 1e18))
def test_bytes_need_four_digits_at_most_below_the_last_unit(count: float) -> None:
    digits, unit = show_bytes(count).split()
    assert len(digits.replace(".", "")) <= 4 or unit == "PiB"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (b"/images/disk0.qcow2", "/images/disk0.qcow2"),
        ("/Bücher/日本語".encode(), "/Bücher/日本語"),
        (b"/a b", "/a b"),
        (b"/a\x1b[31mred", "/a\\x1b[31mred"),
        (b"/a\nb\rc\td\x00\x7f", "/a\\x0ab\\x0dc\\x09d\\x00\\x7f"),
        (b"/\xff\xfe", "/\\xff\\xfe"),
        (b"/a\\x1b", "/a\\\\x1b"),
        ("/\u202egnp.exe".encode(), "/\\u202egnp.exe"),  # shows right to left
        ("/\u2066\u200b\u2028".encode(), "/\\u2066\\u200b\\u2028"),
        ("/\x9b31m".encode(), "/\\x9b31m"),  # the one-byte form of ESC [
        ("/\U000e0041".encode(), "/\\U000e0041"),  # an invisible tag
        ("/\udcff", "/\\xff"),  # as os.fsdecode gives it
        ("/\ud800", "/\\ud800"),
    ],
)
def test_hostile_names_are_shown_escaped(path: bytes | str, text: str) -> None:
    assert show_path(path) == text


@given(st.binary() | st.text())
def test_a_shown_name_is_one_line_that_any_terminal_can_print(path: bytes | str) -> None:
    shown = show_path(path)
    shown.encode("utf-8")
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(st.binary(), st.binary())
def test_different_names_are_shown_differently_where_they_are_text(one: bytes, other: bytes) -> None:
    texts = [path.isascii() for path in (one, other)]
    assert one == other or not all(texts) or show_path(one) != show_path(other)


@given(st.binary(max_size=300) | st.text(max_size=300), st.integers(5, 80))
def test_a_name_cut_short_has_both_its_ends(path: bytes | str, most: int) -> None:
    whole, short = show_path(path), show_short(path, most)
    assert len(short) <= most and (short == whole) == (len(whole) <= most)
    begin, _, end = short.rpartition("...")
    assert short == whole or (whole.startswith(begin) and whole.endswith(end) and begin and end)
