"""Which pages of a task's memory are there: /proc/PID/pagemap, which its owner may read without being root.

Since Linux 6.7 the kernel gives stretches of pages at once (PAGEMAP_SCAN, linux/fs.h), and passes by what is
empty; before, a number of 8 bytes for each page (Documentation/admin-guide/mm/pagemap.rst). Numbers of page
frames are hidden from all but root, and not asked for.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

PAGE = mmap.PAGESIZE

MOST_STRETCHES = 1 << 20
"""Stretches of pages that one look gives at most (120 MB of memory)."""

MOST_PAGES = 1 << 23
"""Pages whose numbers one look reads at most where the kernel gives no stretches: 64 MiB, of 32 GiB."""

# linux/fs.h: _IOWR('f', 16, struct pm_scan_arg), PAGE_IS_FILE, _PRESENT, _SWAPPED, _HUGE
_SCAN, _FILE, _PRESENT, _SWAPPED, _HUGE = 0xC0606610, 1 << 2, 1 << 3, 1 << 4, 1 << 6
_ARGUMENT = struct.Struct("<12Q")
_WALK_END, _WALK_END_AT = struct.Struct("<Q"), 32  # where the kernel stopped, and the bytes before it
_AT_ONCE = 1 << 8
_PAGES_AT_ONCE = 1 << 17
_BITS = np.array([1 << 61, 1 << 62, 1 << 63], np.uint64)  # of a page's number: of a file; in swap; present


class TooMuchError(Exception):
    """More is mapped, or in more pieces, than a look takes."""


@dataclass
class Present:
    """stretches: addresses [start, end) in bytes. huge_bytes: of them in huge pages (2 MiB on x86), where
    the page cache holds the file so: one touch maps all of it. Not known, and 0, before Linux 6.7."""

    stretches: list[tuple[int, int]] = field(default_factory=list)
    huge_bytes: int = 0


def present(
    task: int, ranges: Iterable[tuple[int, int]], *, copies: bool = True, scan: bool = True
) -> Present:
    """The stretches of pages that a task has, in the order of the ranges and cut where these end.

    ranges: [start, end) in whole pages. copies: those that are not a file's (any more) too: in a private
    mapping the program's own copy, once it has written. scan: False: as before Linux 6.7.

    Raises OSError where the kernel does not show it (a task that is gone, or not dumpable), TooMuchError.
    """
    descriptor = os.open(f"/proc/{task}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        found, pages = Present(), MOST_PAGES
        for start, end in ranges:
            if scan:
                scan = _scanned(descriptor, start, end, copies, found)
            if not scan:
                pages -= (end - start) // PAGE
                if pages < 0:
                    raise TooMuchError
                _read(descriptor, start, end, copies, found.stretches)
            if len(found.stretches) > MOST_STRETCHES:
                raise TooMuchError
        return found
    finally:
        os.close(descriptor)


def _scanned(descriptor: int, start: int, end: int, copies: bool, found: Present) -> bool:
    """Add those of [start, end); False where the kernel has no such call."""
    must, any_of = (0, _PRESENT | _SWAPPED) if copies else (_PRESENT | _FILE, 0)
    held = (ctypes.c_uint64 * (3 * _AT_ONCE))()
    at, first = ctypes.addressof(held), True
    while start < end:
        argument = bytearray(
            _ARGUMENT.pack(
                _ARGUMENT.size, 0, start, end, 0, at, _AT_ONCE, 0, 0, must, any_of, _PRESENT | _HUGE
            )
        )
        try:
            count = fcntl.ioctl(descriptor, _SCAN, argument, True)
        except OSError:
            if not first:
                raise
            return False
        (after,) = _WALK_END.unpack_from(argument, _WALK_END_AT)
        for place in range(0, 3 * count, 3):
            low, high, kind = held[place : place + 3]
            found.stretches.append((low, high))
            found.huge_bytes += high - low if kind & _HUGE else 0
        if len(found.stretches) > MOST_STRETCHES or after <= start:
            raise TooMuchError
        start, first = after, False
    return True


def _read(descriptor: int, start: int, end: int, copies: bool, found: list[tuple[int, int]]) -> None:
    """`_scanned` from the numbers of the pages."""
    of_file, swapped, there = _BITS
    for at in range(start, end, _PAGES_AT_ONCE * PAGE):
        pages = min(end - at, _PAGES_AT_ONCE * PAGE) // PAGE
        raw = os.pread(descriptor, 8 * pages, at // PAGE * 8)
        number = np.frombuffer(raw[: len(raw) // 8 * 8], np.uint64)  # short behind the end of all memory
        mask = there | swapped if copies else there | of_file
        wanted = (number & mask != 0) if copies else (number & mask == mask)
        edges = np.flatnonzero(np.diff(wanted.astype(np.int8), prepend=0, append=0)).astype(np.int64)
        found += [(low, high) for low, high in (edges.reshape(-1, 2) * PAGE + at).tolist()]
