"""What would help, as text and as JSON (`coldseek.advise/1`, which grows only by adding)."""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections.abc import Container, Sequence
from dataclasses import asdict
from typing import Any

from profiler.analysis.advice.evidence import Finding
from profiler.analysis.advice.options import Advice, Estimate, Option
from profiler.analysis.advice.program_rules import CONTRIBUTORS
from profiler.analysis.advice.traced_image import TracedImage
from profiler.analysis.cost.contributors import Contributor, in_words
from profiler.report.advice.verified import Verification, gained, helped
from profiler.report.json import path_of as path_json
from profiler.report.json import text_of as text_json
from profiler.report.text.page import GAP, Page
from profiler.trace import Meta
from profiler.units import show_bytes, show_count, show_path, show_percent, show_plural, show_seconds

_LABEL = 20  # columns of the names on the left
_CELL = 19
MOST_DEVICES = 3
"""So many devices stand beside each other; more take another block."""

PROJECTED = (
    "Each time is projected: what the start waits for the device, with nothing cached; below it the band "
    "that devices of this kind are expected in."
)
COPIED = (
    "A copy is taken to hold what the guest wrote, in the guest's order and in one run; holes stay holes; "
    "snapshots and bitmaps stay behind, a chain becomes one file. The program is taken to do the same on "
    "it. What is copied stays as it is; a file that has the name of the copy already is written over."
)
PREFETCHED = "Prefetching brings in what this start read, in the order of the device, all of it queued."
IN_ORDER = (
    "In one piece: all that this start reads as one sequential read, in order, asked for at once. Files in "
    "that order come near it where they are read from end to end, not where they are read here and there."
)

ADVISED = {
    "in-order": "the files in the order of the start, as in an image that is made for it "
    "(mksquashfs -sort, or a tar unpacked onto a new file system)",
    "read-ahead": "until the next boot, for all that reads from that disk",
}
"""What is said of an option that no command, or a setting, makes."""


def command(option: Option, advice: Advice, path: bytes, trace: str, meta: Meta) -> list[str]:
    """The command that does it, in words as a shell takes them, fit to be copied; there may be none. path:
    of the image, b"" where there is none. A copy never has the name of a file that the start needs."""
    source = os.fsdecode(path)
    stem, suffix = os.path.splitext(source)
    if option.setting:
        return [*map(_quoted, option.setting)]
    if option.key == "prefetch":
        plan = f"{trace.removesuffix('.parquet').removesuffix('.trace')}.plan"
        runs = plan if "/" in plan else f"./{plan}"
        # a plan, which starts in a fraction of the time that coldseek takes
        words = ["coldseek", "prefetch", _quoted(trace), "--save", _quoted(plan), "&&", _quoted(runs)]
        return [*words, "&&", *map(_quoted, meta.command)] if meta.command else words
    if option.key == "defragmented":
        copy = _free(f"{stem}-copy", suffix, advice.taken)
        return ["cp", "--sparse=always", "--reflink=never", _quoted(source), _quoted(copy)]
    if not option.convert:
        return []
    if option.key == "raw":
        target = _free(stem, ".raw", advice.taken)
    else:
        target = _free(f"{stem}-{option.key}", ".qcow2", advice.taken)
    form = ["-f", advice.image.format] if advice.image is not None and advice.image.format else []
    return ["qemu-img", "convert", *form, *option.convert, _quoted(source), _quoted(target)]


_WORD = re.compile(r"""(?:'[^']*'|"[^"]*"|\S)+""")  # of a shell, as it was quoted

IN_OPTIONS = (
    "metadata",
    "fragmentation",
    "unaligned",
    "mapped",
    "lookups",
    "read-ahead-off",
    "read-ahead-hurts",
)
"""Findings whose remedy is among the options, projected, or no command."""


def _free(stem: str, suffix: str, taken: Container[bytes]) -> str:
    """The name, with a number where it is taken."""
    names = itertools.chain([stem + suffix], (f"{stem}-{number}{suffix}" for number in itertools.count(2)))
    return next(name for name in names if os.fsencode(name) not in taken)


def text(
    advice: Advice, findings: Sequence[Finding], path: bytes, trace: str, meta: Meta,
    verified: Verification | None = None, width: int = 80,
) -> list[str]:  # fmt: skip
    """The page, a line each. trace: the name of the trace's file."""
    page = Page(width, _LABEL)
    if advice.image is not None:
        page.row("image", _image(advice.image, path), lines=None)
    page.row("command", " ".join(map(_quoted, meta.command)) or "not known", lines=None)
    for number, finding in enumerate(finding for finding in findings if finding.kind != CONTRIBUTORS):
        page.row("why" if number == 0 else "", finding.words, lines=None)
        if finding.kind not in IN_OPTIONS:
            _remedy(page, finding.remedy)
    for number, one in enumerate(advice.contributors):
        page.row("most of it" if number == 0 else "", _contributor(one), lines=None)
    columns = max(page.room // _CELL, 1)
    for first in range(0, len(advice.now), min(columns, MOST_DEVICES)):
        last = first + min(columns, MOST_DEVICES)
        page.blank()
        _row(page, "projected", [one.device for one in advice.now[first:last]])
        _costs(page, "as it is", advice.now[first:last])
        for number, option in enumerate(advice.options, 1):
            _costs(page, f"{number} {option.name}", option.costs[first:last])
    if not advice.options:
        page.blank()
        page.paragraph("Nothing that is known here would gain 5% or more.")
    page.blank()
    for number, option in enumerate(advice.options, 1):
        _do(page, f"{number} {option.name}", option, path, trace, meta, advice, verified)
    if advice.without:
        page.row("no gain", ", ".join(advice.without), lines=None)
    for note in advice.notes:
        page.row("left out", show_path(note), lines=None)
    page.blank()
    for sentence in assumed(advice):
        page.paragraph(sentence)
    if verified is not None:
        page.blank()
        _verified(page, verified)
    return page.text().plain.split("\n")


def _remedy(page: Page, remedy: str) -> None:
    """A finding's command, and behind it what its comment says."""
    words = _WORD.findall(remedy)
    end = words.index("#") if "#" in words else len(words)
    page.command(words[:end])
    if end < len(words):
        page.row("", " ".join(words[end + 1 :]), lines=None)


def _image(image: TracedImage, path: bytes) -> str:
    facts = [show_path(image.format), *([show_bytes(image.virtual)] if image.virtual else [])]
    facts += [f"clusters of {show_bytes(image.cluster)}"] if image.cluster else []
    facts += [image.chain.words] if image.chain.files > 1 else []
    return f"{show_path(path)}: {', '.join(facts)}"


def _contributor(one: Contributor) -> str:
    several = f", {show_plural(one.files, 'file')}" if one.files > 1 else ""
    of = "the waiting" if one.seconds is not None else "the bytes"
    return (
        f"{in_words(one)}{several}: {show_percent(one.share)} of {of}, "
        f"{show_plural(one.requests, 'request')}, {show_bytes(one.bytes)}"
    )


def assumed(advice: Advice) -> list[str]:
    """What the numbers rest on, a sentence each."""
    keys = {one.key for one in advice.options}
    copies = any(one.convert for one in advice.options) or "defragmented" in keys
    said = {COPIED: copies, PREFETCHED: "prefetch" in keys, IN_ORDER: "in-order" in keys}
    return [PROJECTED, *(words for words, needed in said.items() if needed)]


def _do(
    page: Page,
    label: str,
    option: Option,
    path: bytes,
    trace: str,
    meta: Meta,
    advice: Advice,
    verified: Verification | None,
) -> None:
    if option.key == "device":
        moves = [
            f"{before.device} -> {then.device}"
            for before, then in zip(advice.now, option.costs, strict=True)
            if then.device != before.device
        ]
        page.row(label, ", ".join(moves), lines=None)
        return
    most = "at most " if option.key == "in-order" else ""  # a bound: nothing can be faster
    saved = f"saves {most}{show_percent(option.saves)} on {advice.now[0].device}" if option.saves > 0 else ""
    words = command(option, advice, path, trace, meta)
    said = saved or "no gain on the first device"
    if verified is not None and (measured := verified.of(option.key)) is not None:
        said = f"measured {gained(verified, measured)}; projected: {said}"
    more = next((more for key, more in ADVISED.items() if option.key.startswith(key)), "")
    if more and (words or not option.key.startswith("read-ahead")):
        said += f"; {more}"
    page.row(label, said, lines=None)
    page.command(words)


def _costs(page: Page, label: str, costs: Sequence[Estimate]) -> None:
    _row(page, label[:_LABEL], [show_seconds(one.seconds) for one in costs])
    _row(page, "", [f"{show_seconds(one.low_s)} to {show_seconds(one.high_s)}" for one in costs])


def _row(page: Page, label: str, cells: Sequence[str]) -> None:
    page.cells(label, [(cell, _CELL - GAP) for cell in cells])


def _verified(page: Page, found: Verification) -> None:
    """Projected beside measured."""
    page.row(
        "verified", f"medians of {show_plural(found.runs, 'cold run')}, untraced, less as many warm ones; "
        f"projected on {show_path(found.title)}", lines=None,
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
    page.grid(rows)
    page.blank()
    page.paragraph(helped(found))
    page.blank()
    for one in found.results:
        if one.failed or one.cold_s is None or one.warm_s is None:
            continue
        words = f"measured {show_seconds(one.cold_s)} cold, {show_seconds(one.warm_s)} warm"
        if one.requests is not None:
            asked = show_count(one.projected.requests)
            words += f"; {asked} requests projected, {show_count(one.requests)} seen"
        words += f"; {show_bytes(one.copy_bytes)} on disk" if one.copy_bytes else ""
        page.row(one.name, words, lines=None)
    for one in found.results:
        for words in (*one.faults, *([one.failed] if one.failed else [])):
            page.row(one.name, words, lines=None)


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
        "image": None if image is None else {
            **path_json(path), "format": text_json(image.format), "virtual_size": image.virtual,
            "cluster_size": image.cluster or None, "files": len(image.files),
        },
        "contributors": [
            asdict(one) | path_json(one.name, "name") for one in advice.contributors
        ],
        "findings": [asdict(one) for one in findings],
        "now": [asdict(one) for one in advice.now],
        "options": [
            {
                "option": one.key, "name": one.name, "saves": one.saves,
                "command": " ".join(command(one, advice, path, trace, meta)) or None,
                "costs": [asdict(cost) for cost in one.costs],
            }
            for one in advice.options
        ],
        "no_gain": list(advice.without),
        "notes": [text_json(note) for note in advice.notes],
        "assumed": assumed(advice),
        "verified": None if verified is None else {
            "device": verified.device, "runs": verified.runs, "helped": text_json(helped(verified)),
            "results": [
                {
                    "option": one.key, "projected": asdict(one.projected), "cold_s": list(one.cold),
                    "warm_s": list(one.warm), "waits_s": one.waits_s, "error": one.error,
                    "gain": verified.gain(one.key),
                    "requests": one.requests, "bytes": one.bytes, "copy_bytes": one.copy_bytes or None,
                    "faults": [text_json(words) for words in one.faults],
                    "failed": text_json(one.failed) or None,
                }
                for one in verified.results
            ],
        },
    }  # fmt: skip
