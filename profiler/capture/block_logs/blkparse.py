"""What blkparse prints without -f: `8,0 3 1 0.000000000 697 D R 223490 + 8 [kjournald]`, and its totals.

The actions and the summary are those of blkparse_fmt.c and blkparse.c (blktrace 1.2).
"""

from __future__ import annotations

import re

from profiler.capture.block_logs.events import COMPLETED, ISSUED, QUEUED, Events
from profiler.capture.block_logs.times import nanoseconds

_LINE = re.compile(
    rb" *(\d{1,7},\d{1,7}) +(\d{1,5}) +(\d{1,12}) +(\d{1,12}\.\d{1,9}) +(\d{1,10}) +([A-Z]{1,2}|m) +"
    rb"([A-Z]{1,10}|N) *(.*)"
)
_NO_NAME = b"(null)"  # of a trace without the messages that name processes
_SECTORS = re.compile(rb"(\d{1,20}) \+ (\d{1,10})(?!\d)(?: \[(.{0,64})\])?")
_SPLIT = re.compile(rb"\d{1,20} / (\d{1,20})(?!\d)(?: \[(.{0,64})\])?")
_KINDS = {b"Q": QUEUED, b"A": QUEUED, b"X": QUEUED, b"D": ISSUED, b"C": COMPLETED}
_COMPLETED = re.compile(
    rb" Reads Completed: +(\d{1,18}), +(\d{1,18})KiB\s+Writes Completed: +(\d{1,18}), +(\d{1,18})KiB"
)
_SKIPS = re.compile(rb"Skips: (\d{1,18}) forward \((\d{1,18}) -")


def read_line(events: Events, line: bytes) -> bool | None:
    """Take a line in: True. None: it is none of a block event. False: it is one, and cannot be read."""
    found = _LINE.match(line)
    if found is None:
        return _summary(events, line)
    disk, _, _, time, task, action, letters, text = found.groups()
    kind = _KINDS.get(action)
    if kind is None:
        return None
    tid, when, place = int(task), nanoseconds(time), disk.replace(b",", b":")
    if action == b"X":
        found = _SPLIT.match(text)
        if found is None or not events.add(kind, when, place, int(found[1]), 0, letters, tid):
            return False
        _name(events, tid, found[2])
        return True
    found = _SECTORS.match(text)
    if found is None:  # a flush, or a command that is none of reading and writing, has no sectors
        events.empty_ends += kind == COMPLETED and b"W" not in letters
        return None if b"+" not in text else False
    if not events.add(kind, when, place, int(found[1]), int(found[2]), letters, tid):
        return False
    if action in (b"Q", b"D"):  # behind a C is an error in the brackets, and an A has none
        _name(events, tid, found[3])
    return True


def _name(events: Events, tid: int, name: bytes | None) -> None:
    if name is not None and name != _NO_NAME:
        events.name(tid, name)


def _summary(events: Events, line: bytes) -> bool | None:
    """Of several processors and disks the last word is the total. It counts as a read whatever is no
    write."""
    if (found := _COMPLETED.match(line)) is not None:
        names = ("reads", "read_kib", "writes", "write_kib")
        events.told = dict(zip(names, map(int, found.groups()), strict=True))
        return True
    if (found := _SKIPS.match(line)) is not None:
        events.lose(int(found[2]))
        return True
    return None
