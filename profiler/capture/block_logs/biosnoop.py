"""What biosnoop of bcc prints, the one in Python and the one of libbpf: a line a request that has ended.

The columns are those of tools/biosnoop.py and libbpf-tools/biosnoop.c of bcc. TIME is when a request ended.
"""

from __future__ import annotations

import re

from profiler.capture.block_logs.events import COMPLETED, ISSUED, SECTOR, Events
from profiler.capture.block_logs.times import nanoseconds

_LINE = re.compile(
    rb" *(\d{1,10}\.\d{1,9}) +(\S.{0,31}?) +(-?\d{1,10}) +(\S{1,32}) +([A-Z]{1,10}) +"
    rb"(-?\d{1,20}) +(\d{1,12})(?: +-?\d{1,12}\.\d{1,3})?(?: +\w{1,12})? +(\d{1,12}\.\d{1,3})"
    rb"(?: +\w{1,12})? *"
)
_ROW = re.compile(rb" *\d{1,10}\.\d{1,9} ")
_LOST = re.compile(rb"(?:[Pp]ossibly )?[Ll]ost (\d{1,18}) (?:events|samples)")
_MS = 1000
"""Of them in a second."""


def read_line(events: Events, line: bytes) -> bool | None:
    """Take a line in: True. None: it is none of a request. False: it is one, and cannot be read."""
    found = _LINE.fullmatch(line)
    if found is None:
        if (lost := _LOST.match(line)) is not None:
            events.lose(int(lost[1]))
            return True
        return False if _ROW.match(line) else None
    time, comm, task, disk, letters, place, size, latency = found.groups()
    sector, tid = int(place), max(int(task), 0)
    if sector < 0 or not int(size):  # of a flush
        return None
    end, took = nanoseconds(time), nanoseconds(latency) // _MS
    sectors = -(-int(size) // SECTOR)
    for kind, when in ((ISSUED, end - took), (COMPLETED, end)):
        if not events.add(kind, when, disk, sector, sectors, letters, tid):
            return False
    events.name(tid, comm)
    return True
