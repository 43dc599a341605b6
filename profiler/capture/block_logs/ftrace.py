"""What the kernel's trace and trace_pipe print, and trace-cmd report."""

from __future__ import annotations

import re

from profiler.capture.block_logs.events import Events
from profiler.capture.block_logs.kernel_events import EVENTS
from profiler.capture.block_logs.times import nanoseconds

_LINE = re.compile(
    rb" *(?:\S{1,64}: +)?(\S.{0,31}?)-(\d{1,10}) +(?:\( *([\d-]{1,10})\) +)?\[(\d{1,5})\] +"
    rb"(?:[^\s:]{1,12} +)?(\d{1,12}\.\d{1,9}): +(?:(?:block|filemap):)?([a-z_]{1,40}): *(.*)"
)
_LOST = re.compile(
    rb"CPU:\d{1,5} \[LOST (\d{1,18}) EVENTS\]|.{0,20}CPU \d{1,5}: \[?(\d{1,18}) EVENTS DROPPED"
)
_WRITTEN = re.compile(rb"# +entries-in-buffer/entries-written: +(\d{1,18})/(\d{1,18})")


def read_line(events: Events, line: bytes) -> bool | None:
    """Take a line in: True. None: it is none of a block event. False: it is one, and cannot be read."""
    found = _LINE.match(line)
    if found is None:
        return _lost(events, line)
    comm, tid, process, _, time, event, text = found.groups()
    taken = EVENTS.get(event)
    if taken is None:
        return None
    number = int(tid)
    if not taken(events, nanoseconds(time), number, text):
        return False
    events.name(number, comm)
    if process is not None and process.isdigit():
        events.belongs(number, int(process))
    return True


def _lost(events: Events, line: bytes) -> bool | None:
    """What the kernel says that it has overwritten before anybody read it."""
    if (found := _LOST.match(line)) is not None:
        events.lose(int(found[1] or found[2]))
        return True
    if (found := _WRITTEN.match(line)) is not None:
        events.lose(int(found[2]) - int(found[1]))
        return True
    return None
