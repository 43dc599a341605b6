"""A fitted device as a file: its numbers, and where they come from."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import textwrap

from profiler.devices.disks.datasheet_disk import Disk
from profiler.devices.fitting.fit import Fitted
from profiler.devices.fitting.statistics import PAGE
from profiler.devices.model import COUNTS, Curve, Device


def source(fitted: Fitted, measured: str) -> str:
    """Where the numbers come from, for the device file. measured: one sentence on when, where and how."""
    small = fitted.direct_us[PAGE]
    parts = [measured, f"Random reads of 4 KiB past the page cache (O_DIRECT): {small:.4g} us"]
    parts[-1] += f" (mean of {fitted.reads[PAGE]:,} reads)"
    if fitted.buffered_us is None:
        parts[-1] += "; through the page cache: not measured."
    else:
        parts[-1] += f"; through it: {fitted.buffered_us:.4g} us ({fitted.buffered_reads:,} reads)."
    if fitted.queue:
        rates = ", ".join(f"{rate:,.0f} with {depth}" for depth, rate in sorted(fitted.queue.items()))
        parts.append(f"Reads of 4 KiB a second by how many are under way: {rates}.")
    if fitted.handoff_us is not None:
        parts.append(
            "handoff_us: what a read of 4 KiB that misses takes longer if one thread makes it for another, "
            "less what a read that hits does, a median; of the machine, not of the device."
        )
    if fitted.pause_us:
        parts.append(
            "pause_us: what a read of 4 KiB takes longer after the program was busy with something else for "
            "so many microseconds."
        )
    parts.append(
        f"One after another: {fitted.start_mb_per_s:.4g} MB/s at the start, {fitted.end_mb_per_s:.4g} MB/s "
        f"at the end."
    )
    if isinstance(fitted.model, Disk):
        parts.append(
            "seek_curve_ms: mean times by distance less command_ms, half a turn and the transfer; rpm: from "
            "how they spread; command_ms: reads right behind each other."
        )
    else:
        if fitted.model.iops < math.inf:
            parts.append(
                "iops: it is held to so many; latency_us then is of the reads that did not wait for leave."
            )
        parts.append(
            "latency_us: what a program waits, so by size past the page cache, plus what 4 KiB took longer "
            "through it. channels: most reads a second times the latency of one."
        )
    parts.append(
        "Means are medians of the rounds' means, without reads of over 20 times the median. low_ratio, "
        "high_ratio: between these lie the means of most rounds, and at least 10%."
    )
    return " ".join([*parts, *(f"{note[:1].upper()}{note[1:].rstrip('.')}." for note in fitted.notes)])


def to_toml(device: Device) -> str:
    """The device file that `loading.parse` reads back as this device (its name is that of the file).

    Fields with their default value are left out. Not for `kind` "network" or "lazy", whose server is a
    preset's name.
    """
    # A library (tomli-w) lays each point of a curve on four lines, and leaves controls of C1 as they are.
    lines = [f"kind = {_quoted(device.kind)}", f"title = {_quoted(device.title)}", 'source = """']
    lines += textwrap.wrap(_escaped(device.source), 100, break_long_words=False, break_on_hyphens=False)
    lines.append('"""')
    for item in dataclasses.fields(device.model):  # type: ignore[arg-type]
        value = getattr(device.model, item.name)
        if value != item.default:
            lines.append(f"{item.name} = {_shown(value)}")
    if device.handoff_us is not None:
        lines.append(f"handoff_us = {_shown(device.handoff_us)}")
    if device.pause_us:
        lines.append(f"pause_us = {_shown(device.pause_us)}")
    if device.remote:
        lines.append("remote = true")
    if device.counts != COUNTS[0]:
        lines.append(f"counts = {_quoted(device.counts)}")
    lines += [f"low_ratio = {device.low_ratio!r}", f"high_ratio = {device.high_ratio!r}"]
    return "\n".join(lines) + "\n"


def _shown(value: float | Curve) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(f"[{_shown(x)}, {_shown(y)}]" for x, y in value) + "]"
    return str(int(value)) if value == int(value) else repr(float(value))


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    """Text as it stands in a TOML string: quotes, backslashes, and what is no character for a text file."""
    inside = json.dumps(" ".join(text.split()), ensure_ascii=False)[1:-1]
    return re.sub(r"[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]", _code, inside)


def _code(found: re.Match[str]) -> str:
    code = ord(found.group())
    return "\\uFFFD" if 0xD800 <= code <= 0xDFFF else f"\\u{code:04X}"  # a lone surrogate is no character
