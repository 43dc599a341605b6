"""What perf script prints of block events."""

from __future__ import annotations

import re

from profiler.capture.block_logs.events import Events
from profiler.capture.block_logs.kernel_events import EVENTS
from profiler.capture.block_logs.times import nanoseconds

_LINE = re.compile(
    rb" *(\S.{0,31}?) +(-?\d{1,10})(?:/(-?\d{1,10}))? +(?:\[(\d{1,5})\] +)?"
    rb"(\d{1,12}\.\d{1,9}): +(?:\d{1,20} +)?(?:block|filemap):([a-z_]{1,40}): *(.*)"
)
_LOST = re.compile(rb".{0,80}PERF_RECORD_LOST(?:_SAMPLES)? lost (\d{1,18})")


def read_line(events: Events, line: bytes) -> bool | None:
    """Take a line in: True. None: it is none of a block event. False: it is one, and cannot be read."""
    found = _LINE.match(line)
    if found is None:
        lost = _LOST.match(line)
        if lost is None:
            return None
        events.lose(int(lost[1]))
        return True
    comm, first, second, _, time, event, text = found.groups()
    taken = EVENTS.get(event)
    if taken is None:
        return None
    number = max(int(first if second is None else second), 0)
    if not taken(events, nanoseconds(time), number, text):
        return False
    events.name(number, comm)
    if second is not None:
        events.belongs(number, int(first))
    return True
