"""The logs of block layers that can be read: how to tell them apart, and what records them."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from profiler.capture.block_logs import biosnoop, blkparse, ftrace, perf
from profiler.capture.block_logs.events import Events
from profiler.capture.strace.logs.packing import text_of
from profiler.errors import ColdseekError
from profiler.files.reading import open_log


@dataclass(frozen=True)
class Format:
    """tool: what writes it, as in a sentence. command: what records one. looks: how its lines look.
    read_line: takes a line in."""

    tool: str
    command: str
    looks: re.Pattern[bytes]
    read_line: Callable[[Events, bytes], bool | None]


FORMATS: dict[str, Format] = {
    "blktrace": Format(
        "blkparse",
        "blktrace -d /dev/DISK -o start; blkparse -i start -o LOG",
        re.compile(rb" *\d+,\d+ +\d+ +\d+ +\d+\.\d+ +\d+ +(?:[A-Z]{1,2}|m) "),
        blkparse.read_line,
    ),
    "biosnoop": Format(
        "biosnoop of bcc",
        "biosnoop-bpfcc > LOG",
        re.compile(
            rb"TIME\(s\) +COMM +PID +DISK +T +SECTOR +BYTES|"
            rb" *\d+\.\d+ +\S.{0,31}? +\d+ +\S+ +[RWDFN]\w* +\d+ +\d+ +"
        ),
        biosnoop.read_line,
    ),
    "perf": Format(
        "perf script",
        "perf record -k mono -a -e block:block_rq_issue -e block:block_rq_complete -e block:block_bio_queue "
        "-- CMD; perf script > LOG",
        re.compile(
            rb" *\S.{0,31}? +-?\d+(?:/-?\d+)? +(?:\[\d+\] +)?\d+\.\d+: +(?:\d+ +)?"
            rb"(?:block|filemap):\w+: "
        ),
        perf.read_line,
    ),
    "ftrace": Format(
        "ftrace",
        "trace-cmd record -e block_rq_issue -e block_rq_complete -e block_bio_queue CMD; "
        "trace-cmd report > LOG",
        re.compile(
            rb" *(?:\S{1,64}: +)?.{1,32}?-\d+ +(?:\( *[\d-]+\) +)?\[\d+\] +(?:[^\s:]+ +)?\d+\.\d+: +"
            rb"(?:block_|mm_filemap_)\w+: "
        ),
        ftrace.read_line,
    ),
}  # fmt: skip
"""Word of `coldseek import` -> its log."""

HEAD = 1 << 17
"""Bytes of a log that are looked at to see what it is: perf prints addresses of callers between lines."""


def format_of(head: bytes) -> str | None:
    """Which of FORMATS a log is, by its first lines; None: none of them, or more than one."""
    lines = [line[:400] for line in head[:HEAD].split(b"\n")]
    names = [name for name, log in FORMATS.items() if any(map(log.looks.match, lines))]
    return names[0] if len(names) == 1 else None


def kind_of(path: str) -> str:
    """The word of `coldseek import` for a log: one of FORMATS, or "strace", which says by itself what it is
    that it cannot read. Nothing is raised: whoever reads the log then says why."""
    head = b""
    with suppress(OSError, ColdseekError), open_log(path) as stream:
        for piece in text_of(stream, lambda _: None, lambda _: None, path):
            head += piece
            if len(head) >= HEAD:
                break
    return format_of(head) or "strace"
