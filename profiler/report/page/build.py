"""The page: one HTML file that holds everything, and asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import profiler
from profiler.report.page import costs, guests, layers, marks, words
from profiler.report.page.packing import Pack
from profiler.report.summary import Summary
from profiler.report.text.facts import about
from profiler.trace import Trace
from profiler.units import show_short

SCRIPTS = (
    "sheet/numbers.js", "sheet/unpack.js", "map/marks.js", "map/canvas.js", "map/map.js", "map/lines.js",
    "sheet/tables.js", "map/view.js", "sheet/head.js", "map/cost.js", "sheet/fill.js", "sheet/naming.js",
    "map/gestures.js", "sheet/main.js",
)  # fmt: skip
"""Concatenated in this order into one script. map: what is drawn on a canvas; sheet: all around it."""


@dataclass(frozen=True)
class Subject:
    """A trace and what is known of it. name: what to call it beside another one, "": it stands alone.
    advice: rows of `words.advice`."""

    trace: Trace
    summary: Summary
    name: str = ""
    advice: Sequence[words.Facts] = ()


def page(subjects: Sequence[Subject], headline: Sequence[str] = ()) -> str:
    """The whole page, of one trace or of two on shared axes. headline: sentences that come first."""
    pack, kinds = Pack(), marks.Kinds()
    tables = [_layers(subject, kinds) for subject in subjects]
    for found, _ in tables:
        for one in found.values():
            kinds.files.saw(one)
    traces = []
    for subject, (found, kept) in zip(subjects, tables, strict=True):
        budget = {name: most // len(subjects) for name, most in layers.BUDGET.items()}
        told = words.facts(subject.summary, kinds, subject.name)
        told["advice"] = list(subject.advice)
        told["layers"] = {
            name: layers.layer(one, kinds.files, pack, budget[name])
            for name, one in found.items()
            if len(one)
        }
        step = told["layers"].get("reads", {}).get("step", 1)
        told["cost"] = costs.lines(subject.summary.projections, kept, step, pack)
        told["guests"] = guests.places(subject.trace, kinds.files, pack)
        traces.append(told)
    files = kinds.files
    every: dict[str, Any] = {
        "headline": list(headline),
        "traces": traces,
        "files": {
            "name": files.names, "full": files.full, "low": files.low, "high": files.high,
            "touched": files.touched,
        },
        "structures": kinds.structures.shown,
        "threads": kinds.threads.shown,
        "ops": kinds.ops.shown,
    }  # fmt: skip
    return _document(_title(subjects), pack.facts(every), pack)


def _layers(subject: Subject, kinds: marks.Kinds) -> tuple[dict[str, marks.Marks], Any]:
    reads, kept = marks.of_reads(subject.trace, kinds)
    found = {"reads": reads, "cache": marks.of_cache(subject.trace, kinds)}
    if subject.summary.charged is not None:
        found["requests"] = marks.of_requests(subject.summary.charged, subject.trace, kinds)
    return found, kept


def _title(subjects: Sequence[Subject]) -> str:
    told = [show_short(said, 80) for _, said in about(subjects[0].summary.meta)]
    return (told[0] if told else "a start") + " - coldseek"


def _document(title: str, facts: int, pack: Pack) -> str:
    script = "(() => {\n'use strict';\n" + "".join(_file(name) for name in SCRIPTS) + "})();\n"
    style = _file("sheet/page.css")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; base-uri 'none'; "
        "form-action 'none'"
    )
    blocks = "\n".join(
        f'<script type="text/plain" id="b{number}">{block}</script>'
        for number, block in enumerate(pack.base64())
    )
    parts = {
        "policy": html.escape(policy), "title": html.escape(title), "style": style, "script": script,
        "blocks": blocks, "facts": str(facts), "version": html.escape(profiler.__version__),
    }  # fmt: skip
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found.group(1)], _file("sheet/page.html"))


def _hash(text: str) -> str:
    """As a Content-Security-Policy names what it allows."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")
