"""fio's iolog, version 3: a list of reads that fio makes again. Pure: text out, no files.

Format, from fio's documentation ("Trace file format v3") and its iolog.c (fio 3.33): a header, then a line
each: TIMESTAMP FILE ACTION [OFFSET LENGTH]. A timestamp is in microseconds from the start.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

HEADER = "fio version 3 iolog"
MOST_BYTES = 2**32 - 1
"""Of one read: fio holds a length in 32 bits."""
BEGIN_US = 1
"""Added to all times: after a first time of 0 fio loses the gap that follows."""

_NAME = re.compile(r"[\x21-\x7e]{1,255}")


def iolog(names: Sequence[str], reads: Iterable[tuple[int, int, int, int]]) -> Iterator[str]:
    """The lines of an iolog, each with its newline.

    names: of the files, printable ASCII without white space; fio opens them all first. reads: time in
    microseconds (never falling), row of `names`, offset and length in bytes. Raises ValueError for what fio
    would take for something else.
    """
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(f"no name for an iolog: {name!r}")
    yield f"{HEADER}\n"
    for action in ("add", "open"):
        for name in names:
            yield f"{BEGIN_US} {name} {action}\n"
    before = 0
    for time_us, file, offset, length in reads:
        if time_us < before or file < 0 or offset < 0 or not 0 < length <= MOST_BYTES:
            raise ValueError(f"no read for an iolog: {(time_us, file, offset, length)}")
        before = time_us
        yield f"{BEGIN_US + time_us} {names[file]} read {offset} {length}\n"
