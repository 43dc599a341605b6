"""The logs of strace -ff, a file for each process, as one log: lines with their process ids, in order of
time."""

from __future__ import annotations

import contextlib
import heapq
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import IO

from profiler.capture.strace.grammar import UnreadableError, split_prefix
from profiler.errors import UsageError
from profiler.units import show_path

_PID = re.compile(r"\.(\d{1,7})(?:\.(?:gz|xz|zst|bz2))?\Z")

_AT_ONCE = 200  # files that are read side by side
_PIECE = 1 << 16

Row = tuple[int, int, int, bytes]
"""Time (ns; -1: none), process, number of the line, the line with its process and its newline."""
Lines = Callable[[str], Iterator[bytes]]
"""A path -> the lines of the log there."""


def pid_of(path: str) -> int | None:
    """The process whose log a file of strace -ff is, by its name; None: it is none such."""
    found = _PID.search(path)
    return int(found[1]) if found is not None else None


def merged(paths: Sequence[str], lines_of: Lines, note: Callable[[str], None]) -> Iterator[bytes]:
    """The lines of all logs as strace -f would have written them, each line with its newline.

    note: called with what is worth telling: where there are no times the order between files is not known,
    and one follows the other by the numbers of the processes. Raises UsageError for names that are not those
    of one family.
    """
    named = sorted((pid, path) for path in paths if (pid := pid_of(path)) is not None)
    if len(named) < len(paths):
        odd = next(path for path in paths if pid_of(path) is None)
        raise UsageError(
            f"several logs are taken only as strace -ff writes them, LOG.PID each; {show_path(odd)} is not "
            f"named so"
        )
    if len({re.sub(_PID, "", os.path.basename(path)) for path in paths}) > 1:
        raise UsageError("several logs are taken only of one run of strace -ff: LOG.PID with one name LOG")
    streams = [_stamped(pid, lines_of(path)) for pid, path in named]
    timeless = True
    with tempfile.TemporaryFile() if len(streams) > _AT_ONCE else contextlib.nullcontext() as spool:
        while spool is not None and len(streams) > _AT_ONCE:
            parts = [streams[at : at + _AT_ONCE] for at in range(0, len(streams), _AT_ONCE)]
            streams = [_spooled(_in_order(part), spool) for part in parts]
        for stamp, _, _, line in _in_order(streams):
            timeless = timeless and stamp < 0
            yield line
    if timeless:
        note("the logs have no times: in which order lines of different processes came is not known")


def _in_order(streams: Sequence[Iterator[Row]]) -> Iterator[Row]:
    return heapq.merge(*streams, key=lambda row: row[:3])


def _spooled(rows: Iterator[Row], spool: IO[bytes]) -> Iterator[Row]:
    """The same rows, from a file: a program may have made more processes than files can be open."""
    begin = spool.seek(0, os.SEEK_END)
    spool.writelines(b"%d %d %d %b" % row for row in rows)
    spool.flush()
    return _read_back(spool.fileno(), begin, spool.tell())


def _read_back(spool: int, at: int, end: int) -> Iterator[Row]:
    left = b""
    while at < end:
        piece = os.pread(spool, min(_PIECE, end - at), at)
        at += len(piece)
        *lines, left = (left + piece).split(b"\n")
        for line in lines:
            stamp, pid, number, text = line.split(b" ", 3)
            yield int(stamp), int(pid), int(number), text + b"\n"


def _stamped(pid: int, lines: Iterator[bytes]) -> Iterator[Row]:
    """A line without a time has that before."""
    stamp = -1
    for number, line in enumerate(lines):
        try:
            found = split_prefix(line).stamp
        except UnreadableError:
            found = None
        if found is not None:
            stamp = max(stamp, found.ns)
        yield stamp, pid, number, b"%d " % pid + line
