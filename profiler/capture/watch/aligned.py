"""Which file each open was of, where only their order tells: what fanotify says was opened by a thread, put
to the opens of that thread.

fanotify tells files and threads, not descriptors, and no times but that at which it was read. What was read
at once lies between two readings; there a thread's opens and what it opened are put together one by one if
they are as many, and left alone if they are not: the kernel merges two of one file, and file systems may be
unmarked. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from profiler.capture.watch.replay import Opened

MARGIN_NS = 1_000_000
"""A reading takes part of this: what was opened so shortly before may be in it or in the next."""

Told = tuple[int, int, int]
"""(when it was read in ns, thread, the recorder's file) of something that was opened, in the order of
opening."""


def files_by_order(opened: Mapping[int, Opened], told: Iterable[Told]) -> dict[int, int]:
    """The file of each open, by handle, as far as their order tells."""
    opens: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for handle, one in opened.items():
        if one.task >= 0 and not one.is_path:
            opens[one.task].append((one.began_ns, one.ended_ns, handle))
    of_thread: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for read_ns, thread, file in told:
        of_thread[thread].append((read_ns, file))
    found: dict[int, int] = {}
    for thread, ones in opens.items():
        if thread in of_thread:
            found.update(_of_thread(sorted(ones), of_thread[thread]))
    return found


def _of_thread(opens: Sequence[tuple[int, int, int]], told: Sequence[tuple[int, int]]) -> dict[int, int]:
    """The same for one thread. opens: (began, ended, handle) by time."""
    began, ended = (np.array([one[at] for one in opens], np.int64) for at in (0, 1))
    readings = np.unique([read_ns for read_ns, _ in told])
    # between two readings that no open lies across, everything is together
    across = np.searchsorted(began, readings) - np.searchsorted(ended, readings - MARGIN_NS, side="right")
    sure = readings[across <= 0]
    group_of_open = np.searchsorted(sure, ended)
    group_of_told = np.searchsorted(sure, [read_ns for read_ns, _ in told])
    files: dict[int, list[int]] = defaultdict(list)
    for group, (_, file) in zip(group_of_told.tolist(), told, strict=True):
        files[group].append(file)
    handles: dict[int, list[int]] = defaultdict(list)
    for group, (_, _, handle) in zip(group_of_open.tolist(), opens, strict=True):
        handles[group].append(handle)
    return {
        handle: file
        for group, ones in handles.items()
        if len(ones) == len(files[group])
        for handle, file in zip(ones, files[group], strict=True)
        if file >= 0
    }
