"""Names of tasks in a log of strace -Y (--decode-pids=comm): `12345<comm>` and `[pid 12345<comm>]` at the
beginnings of lines. They are taken off, so that the lines are those of a log without them."""

from __future__ import annotations

import re

from profiler.capture.strace.grammar import LARGEST_PID, unescape

_AT_START = re.compile(
    rb"^(\[pid +)?(\d{1,12})<([^<>\n]{0,64})>(?(1)(?=\] )|(?= ))",
    re.MULTILINE,
)
_PREFIXES = re.compile(rb"^(?:\[pid +)?\d{1,12}<[^<>\n]{0,64}>(?=\]? )", re.MULTILINE)
_FEW = 24
"""Different beginnings of lines, up to which they are replaced one by one, at the speed of the memory."""


def has_names(head: bytes) -> bool:
    """Whether lines of this log begin so."""
    return _AT_START.search(head) is not None


def taken(block: bytes) -> tuple[bytes, dict[int, bytes]]:
    """Whole lines without the names, and the last name of each task."""
    prefixes = dict.fromkeys(_PREFIXES.findall(block)[::-1])  # of each task the last first
    if not prefixes:
        return block, {}
    names: dict[int, bytes] = {}
    for prefix in prefixes:
        number, _, name = prefix.removeprefix(b"[pid").strip().partition(b"<")
        task = int(number)
        if task <= LARGEST_PID:
            names.setdefault(task, unescape(name[:-1]))
    if len(prefixes) > _FEW:
        return _AT_START.sub(rb"\1\2", block), names
    text = b"\n" + block
    for prefix in prefixes:
        end = b"] " if prefix.startswith(b"[") else b" "
        text = text.replace(b"\n" + prefix + end, b"\n" + prefix.partition(b"<")[0] + end)
    return text[1:], names
