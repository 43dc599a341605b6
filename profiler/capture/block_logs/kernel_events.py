"""What the kernel's block events say, as text: the same in ftrace, trace-cmd and perf script.

The formats are those of include/trace/events/block.h; the number in front of the brackets and the priority
behind the sectors are of newer kernels, or older.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from profiler.capture.block_logs.events import COMPLETED, ISSUED, QUEUED, Events

_DISK = rb" *(\d{1,7},\d{1,7}) +([A-Z]{1,10}) +"
_REQUEST = re.compile(_DISK + rb"(?:\d{1,20} )?\([^()]{0,400}\) (\d{1,20}) \+ (\d{1,10})(?!\d)")
_BIO = re.compile(_DISK + rb"(\d{1,20}) \+ (\d{1,10})(?!\d)")
_SPLIT = re.compile(_DISK + rb"(\d{1,20}) / (\d{1,20})(?!\d)")
_PAGES = re.compile(
    rb" *dev (\d{1,7}:\d{1,7}) ino ([0-9a-f]{1,16}) .{0,100}?ofs=\d{1,20}(?: order=(\d{1,2}))?"
)
_NOWHERE = 2**64 - 1
"""The sector of a request that has none, as to flush: (sector_t) -1."""

NEEDED = "block_rq_issue"
"""Without this event nothing is known of any request."""


def _request(kind: int) -> Callable[[Events, int, int, bytes], bool]:
    def add(events: Events, time_ns: int, tid: int, text: bytes) -> bool:
        found = _REQUEST.match(text)
        if found is None:
            return False
        disk, letters, sector, sectors = found.groups()
        if int(sector) == _NOWHERE:
            return True
        return events.add(kind, time_ns, _disk(disk), int(sector), int(sectors), letters, tid)

    return add


def _queued(events: Events, time_ns: int, tid: int, text: bytes) -> bool:
    found = _BIO.match(text)
    if found is None:
        return False
    disk, letters, sector, sectors = found.groups()
    if int(sector) == _NOWHERE:
        return True
    return events.add(QUEUED, time_ns, _disk(disk), int(sector), int(sectors), letters, tid)


def _split(events: Events, time_ns: int, tid: int, text: bytes) -> bool:
    found = _SPLIT.match(text)
    if found is None:
        return False
    disk, letters, _, rest = found.groups()
    return events.add(QUEUED, time_ns, _disk(disk), int(rest), 0, letters, tid)


def _cached(events: Events, time_ns: int, tid: int, text: bytes) -> bool:
    """include/trace/events/filemap.h; order: of a folio of 2**order pages, in newer kernels."""
    found = _PAGES.match(text)
    if found is None:
        return False
    events.cache(found[1] + b" " + found[2], 1 << min(int(found[3] or 0), 20))
    return True


EVENTS: dict[bytes, Callable[[Events, int, int, bytes], bool]] = {
    b"block_rq_issue": _request(ISSUED),
    b"block_rq_complete": _request(COMPLETED),
    b"block_bio_queue": _queued,
    b"block_bio_remap": _queued,  # of a partition, or of a device that stands on others: it goes on here
    b"block_split": _split,  # the rest of what was asked for begins there
    b"mm_filemap_add_to_page_cache": _cached,
}
"""The events that are taken; each gives False where it cannot be read."""


def _disk(numbers: bytes) -> bytes:
    """ "254,0" as "254:0", which devices are called everywhere."""
    return numbers.replace(b",", b":")
