"""Bytes, durations, counts and file names as people read them. Pure functions, text out."""

from __future__ import annotations

import os
import signal
import unicodedata

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def show_bytes(count: int | float) -> str:
    """`count` bytes in binary units, at least three digits: 4096 -> "4 KiB", 41_943_040 -> "40 MiB"."""
    sign, value = ("-", -count) if count < 0 else ("", count)
    unit = 0
    while round(value) >= 1024 and unit < len(_BINARY) - 1:
        value /= 1024
        unit += 1
    return f"{sign}{_three_digits(value)} {_BINARY[unit]}"


def show_seconds(seconds: float) -> str:
    """A duration, three significant digits: 16.125 -> "16.1 s", 0.0042 -> "4.2 ms", 305 -> "5 min 5 s"."""
    sign, value = ("-", -seconds) if seconds < 0 else ("", seconds)
    if value == 0:
        return "0 s"
    if value < 0.9995e-6:
        return f"{sign}{_three_digits(value * 1e9)} ns"
    if value < 0.9995e-3:
        return f"{sign}{_three_digits(value * 1e6)} us"
    if value < 0.9995:
        return f"{sign}{_three_digits(value * 1e3)} ms"
    if value < 179.5:
        return f"{sign}{_three_digits(value)} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 180:
        return f"{sign}{minutes} min {rest} s" if rest else f"{sign}{minutes} min"
    hours, minutes = divmod(round(value / 60), 60)
    return f"{sign}{hours} h {minutes} min" if minutes else f"{sign}{hours} h"


def show_count(count: int) -> str:
    """A count with thousands separated: 20499 -> "20,499"."""
    return f"{count:,}"


def show_percent(ratio: float) -> str:
    """A share of 1: 0.9949 -> "99.5%". Never rounded up to 100% or down to 0% when it is not."""
    if 0.9995 <= ratio < 1:
        return ">99.9%"
    if 0 < ratio < 0.0005:
        return "<0.1%"
    return f"{100 * ratio:.1f}%" if ratio not in (0, 1) else f"{100 * ratio:.0f}%"


def show_plural(count: int, noun: str) -> str:
    """1, "read" -> "1 read"; 2 -> "2 reads"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def show_status(status: int | None) -> str:
    """An exit status as a shell gives it: 3 -> "3", 139 -> "139 (killed by SIGSEGV)", and so is
    -11, as Python gives it; None: not known."""
    if status is None:
        return "not known"
    status = 128 - status if status < 0 else status
    name = show_signal(status - 128)
    return f"{status} (killed by {name})" if name.startswith("SIG") else str(status)


def show_signal(number: int) -> str:
    """A signal's name, as kill -l gives it: 11 -> "SIGSEGV", 36 -> "SIGRTMIN+2"; "signal 99" if there is
    none."""
    if signal.SIGRTMIN < number < signal.SIGRTMAX:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def show_path(path: bytes | str) -> str:
    """A file name that is safe to print: control and undecodable bytes as \\xNN, backslashes doubled.

    A name may hold terminal escape sequences, newlines, or no valid UTF-8; shown, it stays one line of text.
    """
    text = path.decode("utf-8", "surrogateescape") if isinstance(path, bytes) else path
    return "".join(_show_character(character) for character in text)


def show_short(path: bytes | str, most: int) -> str:
    """The same in at most so many characters, 5 at least: of a longer name both ends, which tell most."""
    shown = show_path(path)
    return shown if len(shown) <= most else f"{shown[: (most - 2) // 2]}...{shown[-((most - 3) // 2) :]}"


def _show_character(character: str) -> str:
    if character == "\\":
        return "\\\\"
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    # Cc control, Cf format (bidirectional overrides), Cs surrogate, Zl/Zp line separators
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    return character


def _three_digits(value: float) -> str:
    digits = max(0, 2 - (len(str(int(value))) - 1)) if value >= 1 else 2
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def device_name(number: int) -> str:
    """A device number, as of `os.stat`, as "major:minor": so are devices named everywhere."""
    return f"{os.major(number)}:{os.minor(number)}"
