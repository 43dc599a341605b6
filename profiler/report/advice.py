"""What would help, as text and as JSON (`coldseek.advise/1`, which grows only by adding)."""

from __future__ import annotations

import os
import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from profiler.analysis.findings import Finding
from profiler.analysis.whatif import Advice, Cost, Option
from profiler.report.json import _path as path_json
from profiler.report.json import _text as text_json
from profiler.trace import Meta
from profiler.units import show_bytes, show_count, show_path, show_percent, show_plural, show_seconds

_LABEL = 20  # columns of the names on the left
_CELL = 20
MOST_DEVICES = 3
"""So many devices stand beside each other; more take another block."""

ASSUMED = (
    "Each time is projected: what the start waits for the device, with nothing cached; below it the band "
    "that devices of this kind are expected in.",
    "A copy is taken to hold what the guest wrote, in the guest's order and in one run; holes stay holes; "
    "snapshots and bitmaps stay behind, a chain becomes one file. The program is taken to do the same on "
    "it.",
)
PREFETCHED = "Prefetching brings in what this start read, in the order of the device, all of it queued."


@dataclass(frozen=True)
class Compared:
    """What was projected and what was measured, on one subject. waits: of the measured runs, cold less warm.
    requests, bytes: observed of the traced run, None where no tracer saw the device. key, name: "now" or of
    the option. cold, warm: seconds of each untraced run."""

    key: str
    name: str
    projected: Cost
    cold: tuple[float, ...]
    warm: tuple[float, ...]
    cold_s: float | None
    warm_s: float | None
    requests: int | None
    bytes: int | None
    copy_bytes: int
    faults: tuple[str, ...]
    failed: str

    @property
    def waits_s(self) -> float | None:
        if self.cold_s is None or self.warm_s is None:
            return None
        return max(self.cold_s - self.warm_s, 0.0)

    @property
    def error(self) -> float | None:
        """Projected less measured, as a share of measured."""
        waits = self.waits_s
        return None if not waits else (self.projected.seconds - waits) / waits


@dataclass(frozen=True)
class Verification:
    """device: the model of this machine's device that was projected on. runs: of each, cold and warm."""

    device: str
    title: str
    runs: int
    results: tuple[Compared, ...]


def command(option: Option, path: bytes, image_format: str, trace: str, meta: Meta) -> list[str]:
    """The command that does it, in words as a shell takes them, fit to be copied; there may be none."""
    source = os.fsdecode(path)
    stem, suffix = os.path.splitext(source)
    if option.key == "prefetch":
        words = ["coldseek", "prefetch", _quoted(trace)]
        return [*words, "&&", *map(_quoted, meta.command)] if meta.command else words
    if option.key == "defragmented":
        copy = f"{stem}-copy{suffix}"
        return ["cp", "--sparse=always", "--reflink=never", _quoted(source), _quoted(copy)]
    if not option.convert:
        return []
    target = f"{stem}.raw" if option.key == "raw" else f"{stem}-{option.key}.qcow2"
    form = ["-f", image_format] if image_format else []
    return ["qemu-img", "convert", *form, *option.convert, _quoted(source), _quoted(target)]


def text(
    advice: Advice, findings: Sequence[Finding], path: bytes, trace: str, meta: Meta,
    verified: Verification | None = None, width: int = 80,
) -> list[str]:  # fmt: skip
    """The page, a line each. trace: the name of the trace's file."""
    image = advice.image
    facts = [image.format, show_bytes(image.virtual)]
    facts += [f"clusters of {show_bytes(image.cluster)}"] if image.cluster else []
    facts += [f"a chain of {len(image.files)} files"] if len(image.files) > 1 else []
    lines = _wrapped("image", f"{show_path(path)}: {', '.join(facts)}", width)
    lines += _wrapped("command", " ".join(map(_quoted, meta.command)) or "not known", width)
    for number, finding in enumerate(findings):
        lines += _wrapped("why" if number == 0 else "", finding.words, width)
    columns = max((width - _LABEL) // _CELL, 1)
    for first in range(0, len(advice.now), min(columns, MOST_DEVICES)):
        last = first + min(columns, MOST_DEVICES)
        lines += ["", _row("projected", [one.device for one in advice.now[first:last]])]
        lines += _costs("as it is", advice.now[first:last])
        for number, option in enumerate(advice.options, 1):
            lines += _costs(f"{number} {option.name}", option.costs[first:last])
    if not advice.options:
        lines += ["", "Nothing that is known here would gain 5% or more."]
    lines.append("")
    for number, option in enumerate(advice.options, 1):
        lines += _do(f"{number} {option.name}", option, path, trace, meta, advice, width)
    if advice.without:
        lines += _wrapped("no gain", ", ".join(advice.without), width)
    for note in advice.notes:
        lines += _wrapped("left out", show_path(note), width)
    lines.append("")
    for sentence in assumed(advice):
        lines += textwrap.wrap(sentence, width)
    if verified is not None:
        lines += ["", *_verified(verified, width)]
    return lines


def assumed(advice: Advice) -> list[str]:
    """What the numbers rest on, a sentence each."""
    more = [PREFETCHED] if any(one.key == "prefetch" for one in advice.options) else []
    return [*ASSUMED, *more]


def _do(
    label: str, option: Option, path: bytes, trace: str, meta: Meta, advice: Advice, width: int
) -> list[str]:
    if option.key == "device":
        moves = [
            f"{before.device} -> {then.device}"
            for before, then in zip(advice.now, option.costs, strict=True)
            if then.device != before.device
        ]
        return _wrapped(label, ", ".join(moves), width)
    saved = f"saves {show_percent(option.saves)} on {advice.now[0].device}" if option.saves > 0 else ""
    words = command(option, path, advice.image.format, trace, meta)
    return [*_wrapped(label, saved or "no gain on the first device", width), *_shell(words, width)]


def _shell(words: Sequence[str], width: int) -> list[str]:
    """A command on lines of its own; what does not fit goes on behind a backslash, between two words of it:
    pasted, it is one command."""
    parts: list[str] = []
    for word in words:
        if parts and len(parts[-1]) + 1 + len(word) <= width - 6:
            parts[-1] += " " + word
        else:
            parts.append(word)
    ends = [" \\"] * (len(parts) - 1) + [""]
    starts = ["  "] + ["    "] * (len(parts) - 1)
    return [start + part + end for start, part, end in zip(starts, parts, ends, strict=True)]


def _costs(label: str, costs: Sequence[Cost]) -> list[str]:
    bands = [f"{show_seconds(one.low_s)} to {show_seconds(one.high_s)}" for one in costs]
    label = label if len(label) < _LABEL else label[: _LABEL - 1]
    return [_row(label, [show_seconds(one.seconds) for one in costs]), _row("", bands)]


def _row(label: str, cells: Sequence[str]) -> str:
    return (label.ljust(_LABEL) + "".join(cell.ljust(_CELL) for cell in cells)).rstrip()


def _wrapped(label: str, words: str, width: int) -> list[str]:
    parts = textwrap.wrap(words, width - _LABEL, break_on_hyphens=False) or [""]
    return [(label if number == 0 else "").ljust(_LABEL) + part for number, part in enumerate(parts)]


def _verified(found: Verification, width: int) -> list[str]:
    """Projected beside measured."""
    lines = _wrapped(
        "verified", f"medians of {show_plural(found.runs, 'cold run')}, untraced, less as many warm ones; "
        f"projected on {show_path(found.title)}", width,
    )  # fmt: skip
    rows: list[tuple[str, ...]] = [("", "projected", "band", "measured", "error")]
    for one in found.results:
        if one.failed:
            continue
        waits, error, made = one.waits_s, one.error, one.projected
        rows.append(
            (
                one.name,
                show_seconds(made.seconds),
                f"{show_seconds(made.low_s)} to {show_seconds(made.high_s)}",
                "" if waits is None else show_seconds(waits),
                "" if error is None else f"{error:+.0%}" if abs(error) < 10 else f"{error + 1:.0f} times",
            )
        )
    widths = [_LABEL - 2, *(max(map(len, column)) for column in [*zip(*rows, strict=True)][1:])]
    for row in rows:
        cells = [cell.ljust(size) for cell, size in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip()[:width])
    lines.append("")
    for one in found.results:
        if one.failed or one.cold_s is None or one.warm_s is None:
            continue
        words = f"measured {show_seconds(one.cold_s)} cold, {show_seconds(one.warm_s)} warm"
        if one.requests is not None:
            asked = show_count(one.projected.requests)
            words += f"; {asked} requests projected, {show_count(one.requests)} seen"
        words += f"; {show_bytes(one.copy_bytes)} on disk" if one.copy_bytes else ""
        lines += _wrapped(one.name, words, width)
    for one in found.results:
        for words in (*one.faults, *([one.failed] if one.failed else [])):
            lines += _wrapped(one.name, words, width)
    return lines


def _quoted(word: str) -> str:
    return shlex.quote(show_path(word))


# ---- JSON -------------------------------------------------------------------------------------------------


def json(
    advice: Advice, findings: Sequence[Finding], path: bytes, trace: str, meta: Meta,
    verified: Verification | None = None,
) -> dict[str, Any]:  # fmt: skip
    """`coldseek.advise/1`."""
    image = advice.image
    return {
        "schema": "coldseek.advise/1",
        "command": [text_json(word) for word in meta.command],
        "image": {
            **path_json(path), "format": text_json(image.format), "virtual_size": image.virtual,
            "cluster_size": image.cluster or None, "files": len(image.files),
        },
        "findings": [asdict(one) for one in findings],
        "now": [asdict(one) for one in advice.now],
        "options": [
            {
                "option": one.key, "name": one.name, "saves": one.saves,
                "command": " ".join(command(one, path, image.format, trace, meta)) or None,
                "costs": [asdict(cost) for cost in one.costs],
            }
            for one in advice.options
        ],
        "no_gain": list(advice.without),
        "notes": [text_json(note) for note in advice.notes],
        "assumed": assumed(advice),
        "verified": None if verified is None else {
            "device": verified.device, "runs": verified.runs,
            "results": [
                {
                    "option": one.key, "projected": asdict(one.projected), "cold_s": list(one.cold),
                    "warm_s": list(one.warm), "waits_s": one.waits_s, "error": one.error,
                    "requests": one.requests, "bytes": one.bytes, "copy_bytes": one.copy_bytes or None,
                    "faults": [text_json(words) for words in one.faults],
                    "failed": text_json(one.failed) or None,
                }
                for one in verified.results
            ],
        },
    }  # fmt: skip
