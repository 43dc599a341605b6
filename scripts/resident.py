"""What is left of files in the page cache (mincore(2)): programs that run keep what they have mapped."""

import contextlib
import ctypes
import mmap
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from profiler.trace import Trace

PAGE = mmap.PAGESIZE
Left = dict[bytes, list[tuple[int, int]]]
"""Path -> stretches, each offset and size in bytes."""


def directories_in_use() -> Left:
    """The directories above all that running programs have open, mapped or are in: their inodes stay in
    memory, though nothing of their contents need be."""
    used: set[bytes] = set()
    for process in Path("/proc").glob("[0-9]*"):
        links = [process / "cwd", process / "exe", process / "root"]
        with contextlib.suppress(OSError):  # it has ended
            links += (process / "fd").iterdir()
            used.update(line.split(None, 5)[5] for line in (process / "maps").read_bytes().splitlines()
                        if line.count(b"/"))  # fmt: skip
        for link in links:
            with contextlib.suppress(OSError):
                used.add(os.fsencode(os.readlink(link)))
    paths = [Path(os.fsdecode(path)) for path in used if path.startswith(b"/")]
    above = {parent for path in paths for parent in (path, *path.parents) if parent.is_dir()}
    return {os.fsencode(path): [(0, 0)] for path in above}


def left_of(paths: Iterable[bytes]) -> Left:
    """The stretches of each of these files; those of which nothing is left are not in it."""
    return {path: stretches for path in paths if (stretches := resident(path))}


def resident(path: bytes) -> list[tuple[int, int]]:
    """The stretches of a file that are in the page cache: offset and size in bytes (mincore(2))."""
    import numpy as np

    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (
        ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
    )  # fmt: skip
    libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
    libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return []
    try:
        length = os.fstat(descriptor).st_size
        pages = -(-length // PAGE)
        address = libc.mmap(None, max(length, 1), mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
        if not length or address in (None, ctypes.c_void_p(-1).value):
            return []
        held = ctypes.create_string_buffer(pages)
        failed = libc.mincore(address, length, held)
        libc.munmap(address, length)
    finally:
        os.close(descriptor)
    there = np.frombuffer(held.raw, np.uint8)[:pages] & 1 if not failed else np.zeros(pages, np.uint8)
    edges = np.flatnonzero(np.diff(there, prepend=0, append=0))
    return [(first * PAGE, (stop - first) * PAGE) for first, stop in edges.reshape(-1, 2).tolist()]


def as_table(left: Left, trace: "Trace") -> "pd.DataFrame":
    """What was left, by the numbers that the trace has for the files."""
    import pandas as pd

    known = {path: number for number, path in enumerate(trace.files["path"])}
    rows = [
        (known[path], offset, size)
        for path, stretches in left.items()
        if path in known
        for offset, size in stretches
    ]
    return pd.DataFrame(rows, columns=["file", "offset", "size"], dtype="int64")
