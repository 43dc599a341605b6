"""What devices and file systems make of reads: how much is read ahead, and in which folios."""

from __future__ import annotations

import re

from profiler.analysis.intervals import PAGE
from profiler.analysis.simulation.kernel.readahead import MAX_ORDER
from profiler.facts.values import known
from profiler.trace import Trace

READ_AHEAD_KB, MAX_SECTORS_KB, MAX_SEGMENTS = 128, 1280, 128
"""Of a device of which the trace does not say: the kernel's own defaults (VM_READAHEAD_PAGES,
BLK_DEF_MAX_SECTORS_CAP, BLK_MAX_SEGMENTS)."""

_MOST_KB = 64 * 1024
"""More than this is believed of no device: a hostile trace may claim anything."""

_LARGE_FOLIOS = {
    "ext4": (6, 16), "xfs": (5, 18), "bcachefs": (6, 7), "erofs": (6, 2), "afs": (6, 0), "nfs": (6, 13),
    "nfs4": (6, 13), "cifs": (6, 14), "smb3": (6, 14), "9p": (6, 14), "zonefs": (6, 0), "": (6, 16),
}  # fmt: skip
"""File systems that take folios of several pages, and since which Linux."""


class Settings:
    """What the trace says of the devices and file systems that its files are on."""

    def __init__(self, trace: Trace, read_ahead_kb: int | None) -> None:
        self._host = trace.meta.host
        self._read_ahead_kb = read_ahead_kb
        self._on = trace.files["device"].tolist()
        self._kinds = trace.files["filesystem"].tolist()
        release = re.match(r"(\d{1,4})\.(\d{1,4})", trace.meta.host.kernel or "")
        self._kernel = (int(release[1]), int(release[2])) if release else (99, 0)  # unknown: a recent one
        self._known: dict[tuple[str, str], tuple[int, int, int]] = {}

    def of(self, file: int) -> tuple[int, int, int]:
        """Of a file: pages that its opens read ahead, and that one read may bring in; largest order of a
        folio."""
        key = self._on[file], self._kinds[file]
        found = self._known.get(key)
        if found is None:
            device = self._host.device(key[0])
            most = self._read_ahead_kb
            if most is None:
                most = min(known(device.read_ahead_kb, READ_AHEAD_KB), _MOST_KB)
            largest = min(known(device.max_sectors_kb, MAX_SECTORS_KB), _MOST_KB)
            since = _LARGE_FOLIOS.get(key[1])
            order = MAX_ORDER if since is not None and self._kernel >= since else 0
            kb = PAGE // 1024
            found = self._known[key] = max(0, most) // kb, largest // kb, order
        return found
