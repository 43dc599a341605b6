"""Logs of block layers that cannot be taken: what they are, and what to do instead."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Refused:
    """what: the log, as in a sentence. remedy: what to do instead."""

    what: str
    remedy: str


_SECTORS = "it has no sectors; record a log that has: biosnoop-bpfcc > LOG, or blktrace -d /dev/DISK"

_BINARY: tuple[tuple[re.Pattern[bytes], Refused], ...] = (
    (re.compile(rb"\x07\x74\x61\x65|\x65\x61\x74\x07"),
     Refused("what blktrace itself writes", "print it first: blkparse -i NAME -o LOG")),
    (re.compile(rb"PERFILE2|2ELIFREP"),
     Refused("what perf record writes", "print it first: perf script -i FILE > LOG")),
    (re.compile(rb"\x17\x08\x44tracing"),
     Refused("what trace-cmd record writes", "print it first: trace-cmd report -i FILE > LOG")),
)  # fmt: skip
"""blktrace_api.h: BLK_IO_TRACE_MAGIC 0x65617400 and a version of 7; perf's header.h: PERF_MAGIC2; the first
bytes of trace.dat(5)."""

_TEXT: tuple[tuple[re.Pattern[bytes], Refused], ...] = (
    (re.compile(rb"TIME\(ms\) +(?:DISK +)?COMM +PID +LAT\(ms\)", re.MULTILINE),
     Refused("the output of bpftrace's biosnoop.bt", _SECTORS)),
    (re.compile(rb"^\s*PID +COMM +D +MAJ +MIN +DISK ", re.MULTILINE),
     Refused("the output of biotop", _SECTORS)),
    (re.compile(rb"^\s*(?:usecs|msecs) +: count +distribution", re.MULTILINE),
     Refused("the output of biolatency", _SECTORS)),
    (re.compile(rb"^Device +.*r/s", re.MULTILINE), Refused("the output of iostat", _SECTORS)),
    (re.compile(rb"^\d+,\d+,\d+\.\d+,|^#? ?time,|^\{\"", re.MULTILINE),
     Refused("no log as its tool prints it by itself", "leave out options that change the format")),
)  # fmt: skip


def refused(head: bytes) -> Refused | None:
    """Why a log that begins so cannot be taken; None: nothing is known against it."""
    for pattern, why in _BINARY:
        if pattern.match(head):
            return why
    for pattern, why in _TEXT:
        if pattern.search(head):
            return why
    return None
